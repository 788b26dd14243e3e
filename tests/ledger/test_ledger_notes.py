"""Keys, signed notes, checkpoints, positions and cosignatures: read as C2SP writes them, and refused where a bit differs."""

from __future__ import annotations

import base64

import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st

from failshut_ledger.errors import BadSignature, LedgerError, Malformed, NoKnownSignature, TooLong, WrongOrigin
from failshut_ledger.merkle.hashing import EMPTY_ROOT
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer, Verifier
from failshut_ledger.notes.note import NOTE_BYTES_MAX, Signature, open_note, sign_note, split_note
from failshut_ledger.notes.position import Position

#: The example of C2SP signed-note.
FOO = Verifier.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
#: A key of golang.org/x/mod/sumdb/note, from its documentation.
PETER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SIGNED = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()

LOG = Signer.generate("ledger.example/one")
WITNESS = Signer.generate("witness.example/w", COSIGNATURE)
POSITION = Position("decisions", "6Yk3dGk6T0S0b9o1k2J3sA", {0: 128, 11: 0, 2: 77})
CHECKPOINT = Checkpoint("ledger.example/one", 3, b"r" * 32, (POSITION.line,))


def cosigned(time_s: int = 1_700_000_000) -> bytes:
    """The checkpoint with its log's signature, a stranger's and a witness's."""
    stranger = Signer.generate("stranger.example")
    witness = Signature(WITNESS.verifier.name, WITNESS.verifier.id, cosign(CHECKPOINT.text, WITNESS, time_s))
    return sign_note(CHECKPOINT.text, [LOG, stranger], [witness])


def test_the_specifications_example_verifies() -> None:
    """The note of C2SP signed-note is read, and its key is written as it was."""
    note = open_note(EXAMPLE, [FOO])
    assert (note.text, note.verified, note.data) == ("This is an example message.\n", (FOO,), EXAMPLE)
    assert str(FOO).startswith("example.com/foo+530d903a+")


def test_gos_keys_and_notes_are_ours() -> None:
    """A key of golang.org/x/mod signs here as it does there, byte for byte."""
    peter = Signer.parse(PETER)
    assert (str(peter.verifier), peter.secret()) == (PETER_PUBLIC, PETER)
    note = open_note(PETER_SIGNED, [Verifier.parse(PETER_PUBLIC)])
    assert sign_note(note.text, [peter]) == PETER_SIGNED
    assert "AYEK" not in repr(peter)


def test_unknown_signatures_are_ignored_and_known_ones_must_fit() -> None:
    """A stranger's signature says nothing; none that is known is a refusal; one that does not fit is another."""
    note = open_note(cosigned(), [LOG.verifier, WITNESS.verifier])
    assert note.verified == (LOG.verifier, WITNESS.verifier)
    assert note.time_of(WITNESS.verifier) == 1_700_000_000
    with pytest.raises(KeyError):
        note.time_of(FOO)
    with pytest.raises(NoKnownSignature):
        open_note(cosigned(), [FOO])
    with pytest.raises(NoKnownSignature):
        open_note(cosigned(), [])
    text, (log, *more) = split_note(cosigned())
    with pytest.raises(BadSignature):
        open_note(sign_note(text, [], [log._replace(data=bytes(64)), *more]), [LOG.verifier])
    with pytest.raises(BadSignature):
        open_note(sign_note(text, [LOG], [log]), [LOG.verifier])


def test_a_log_does_not_cosign_and_a_witness_does_not_sign() -> None:
    """A signature of one type under the id of the other does not fit, and a witness alone makes no checkpoint."""
    text, (log, _, witness) = split_note(cosigned())
    swapped = [witness._replace(data=witness.data[8:]), witness._replace(data=bytes(8) + log.data)]
    for one in swapped:
        with pytest.raises(BadSignature):
            open_note(sign_note(text, [LOG], [one]), [LOG.verifier, WITNESS.verifier])
    with pytest.raises(NoKnownSignature, match="witnesses have signed"):
        open_checkpoint(cosigned(), [Signer.generate("ledger.example/one").verifier], [WITNESS.verifier])
    with pytest.raises(NoKnownSignature):
        open_checkpoint(cosigned(), [WITNESS.verifier])
    with pytest.raises(Malformed):
        cosign(text, LOG, 1)
    with pytest.raises(Malformed):
        cosign(text, WITNESS, -1)


def test_the_witness_of_the_specification_signs_this_message() -> None:
    """The signed bytes are those that tlog-cosignature shows, the time in a line of its own."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    data = cosign(text, WITNESS, 1_679_315_147)
    assert int.from_bytes(data[:8], "big") == 1_679_315_147
    assert WITNESS.verifier.fits(b"cosignature/v1\ntime 1679315147\n" + text.encode(), data[8:])


@settings(max_examples=draws(400), deadline=None)
@given(st.integers(0, len(cosigned()) * 8 - 1))
def test_no_changed_bit_goes_unseen(bit: int) -> None:
    """Whatever bit of a checkpoint is changed: it is refused by a typed error, or the change is in a stranger's line."""
    whole = cosigned()
    bit %= len(whole) * 8
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        checkpoint, note = open_checkpoint(bytes(changed), [LOG.verifier], [WITNESS.verifier])
    except LedgerError:
        return
    assert checkpoint == CHECKPOINT
    lines = whole.split(b"\n")
    begin = len(b"\n".join(lines[: len(CHECKPOINT.text.splitlines()) + 1]))
    assert bit // 8 >= begin, "the text and the empty line are signed"
    said = {one.line for one in split_note(whole)[1]}
    assert all(one.line in said for one in note.signatures if one.id == LOG.verifier.id), "the log's own line is as it was"


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAA",
        b"text\n\n- name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAA==\n",
        b"text\n\n\xe2\x80\x94  AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n",
        b"te\txt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"te\rxt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAB=\n",
    ],
)
def test_what_is_no_note_is_refused(wrong: bytes) -> None:
    """A note without its parts, with control characters, or with base64 in a second form."""
    with pytest.raises(Malformed):
        split_note(wrong)


def test_notes_are_bounded() -> None:
    """More bytes or signatures than any note of ours has are not read."""
    with pytest.raises(TooLong):
        split_note(b"x" * (NOTE_BYTES_MAX + 1))
    with pytest.raises(TooLong):
        split_note(sign_note("text\n", [], [Signature("n", 1, b"12345")] * 65))
    assert len(split_note(sign_note("text\n", [], [Signature("n", 1, b"12345")] * 64))[1]) == 64
    for text in ("text", "te\x00xt\n"):
        with pytest.raises(Malformed):
            sign_note(text, [LOG])


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        "example.com/foo+530d903a+",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
        "exa mple.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        PETER,
        "x" * 2000,
    ],
)
def test_what_is_no_verifier_key_is_refused(wrong: str) -> None:
    """Another id, another type, another length, a space in the name: none is a key."""
    with pytest.raises(Malformed):
        Verifier.parse(wrong)


@pytest.mark.parametrize("wrong", [PETER_PUBLIC, PETER[:-4], PETER.replace("c74f20a3", "c74f20a4"), "PRIVATE+KEY+a+b", ""])
def test_what_is_no_signer_key_is_refused_unquoted(wrong: str) -> None:
    """The error says nothing of a private key."""
    with pytest.raises(Malformed) as refused:
        Signer.parse(wrong)
    assert "AYEK" not in str(refused.value)


def test_ml_dsa_is_refused_by_name() -> None:
    """A key of a type that is not understood is an error, never a signature that counts or is left out in silence."""
    data = base64.b64encode(bytes([6]) + bytes(1312 // 4)).decode()
    with pytest.raises(Malformed, match="ML-DSA-44"):
        Verifier.parse(f"witness.example+00000000+{data}")


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    """Origin, size, root, position; and only under the key of its origin."""
    checkpoint, note = open_checkpoint(cosigned(), [LOG.verifier], [WITNESS.verifier])
    assert checkpoint == CHECKPOINT
    assert checkpoint.position == POSITION
    assert note.data == cosigned() or note.verified == (LOG.verifier, WITNESS.verifier)
    other = Signer.generate("ledger.example/two")
    with pytest.raises(WrongOrigin):
        open_checkpoint(sign_note(CHECKPOINT.text, [other]), [other.verifier, LOG.verifier])
    assert Checkpoint("o", 0, EMPTY_ROOT).position is None


ROOT = base64.b64encode(b"r" * 32).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "o\n", "o\n3\n", f"o\n3\n{ROOT}", f"\n3\n{ROOT}\n", f"o\n03\n{ROOT}\n", f"o\n-3\n{ROOT}\n", f"o\n3_0\n{ROOT}\n"),
        *(f"o\n{2**63}\n{ROOT}\n", f"o\n3\n{ROOT[:-4]}\n", f"o\n3\n{ROOT}\n\n", f"o\n3\n{ROOT}\nx\n\ny\n", f"o\n٣\n{ROOT}\n"),
        *(
            f"o\n0\n{ROOT}\n",
            f"o\n3\n{ROOT}\n{POSITION.line}\n{POSITION.line}\n",
            f"o\n3\n{ROOT}\n" + "x\n" * 17,
            f" \n3\n{ROOT}",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(wrong: str) -> None:
    """Numbers in other forms, missing lines, empty lines, two positions, an empty tree with leaves."""
    with pytest.raises(Malformed):
        Checkpoint.parse(wrong)


def test_a_position_is_one_line() -> None:
    """Partitions are sorted; it comes back as it was; a partition never goes back."""
    assert POSITION.line == "failshut-position/v1 decisions 6Yk3dGk6T0S0b9o1k2J3sA 0:128,2:77,11:0"
    assert Position.parse(POSITION.line) == POSITION
    empty = Position("decisions", "id")
    assert Position.parse(empty.line) == empty
    assert POSITION.moved({0: 129, 5: 1}).offsets == {0: 129, 2: 77, 5: 1, 11: 0}
    with pytest.raises(Malformed, match="never goes back"):
        POSITION.moved({0: 127})


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            "failshut-position/v1",
            "failshut-position/v1 d id",
            "failshut-position/v2 d id -",
            "failshut-position/v1 d id 0",
        ),
        *("failshut-position/v1 d id 0:1,0:1", "failshut-position/v1 d id 1:1,0:1", "failshut-position/v1 d id 0:01"),
        *("failshut-position/v1 d id 0:1,", "failshut-position/v1 d id 0:-1", "failshut-position/v1 d/ id -", "x"),
        "failshut-position/v1 d id " + ",".join(f"{n}:0" for n in range(4097)),
    ],
)
def test_what_is_no_position_is_refused(wrong: str) -> None:
    """A position has one form, and at most 4096 partitions."""
    with pytest.raises(Malformed):
        Position.parse(wrong)
