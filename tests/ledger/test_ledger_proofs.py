"""Proofs of one leaf, trust policies and changes of keys: what an auditor accepts, and everything else that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from console.decisions import DRIFT, decision, encoded
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.writing import KEY, position

from failshut_breakers.decisions.decision import Kind
from failshut_ledger.disk.check import check_tree, read_note
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.proving import find_leaves, prove_leaf
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.errors import LedgerError, Malformed, NoKnownSignature, TooLong
from failshut_ledger.leaves.chain import KeyChain
from failshut_ledger.leaves.envelope import sign_envelope, split_envelope
from failshut_ledger.leaves.statement import Record, begin_leaf, record_leaf, rotation_leaf
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer, Verifier
from failshut_ledger.notes.note import Signature, split_note
from failshut_ledger.notes.policy import POLICY_BYTES_MAX, parse_policy
from failshut_ledger.notes.proof import PROOF_BYTES_MAX, Proof
from failshut_ledger.verdict import CHECKPOINT, CHECKS, ENVELOPE, FORM, INCLUSION, STATEMENT, WITNESSES, Verdict, examine

W1, W2, W3 = (Signer.generate(f"witness.example/{number}", COSIGNATURE) for number in (1, 2, 3))
LOG_LINE = f"log {KEY.verifier}\n"
TRUST = (LOG_LINE + "quorum none\n").encode()
WITNESSED = (
    LOG_LINE
    + f"witness one {W1.verifier}\nwitness two {W2.verifier} https://two.example\nwitness three {W3.verifier}\n"
    + "group most 2 one two three\nquorum most\n"
).encode()


def leaf(number: int, gate: str = "pay") -> bytes:
    """The leaf of a closing."""
    value = encoded(decision(Kind.CLOSE, number, gate=gate, **DRIFT))[0]
    return record_leaf(Record("decisions", 0, number, 1_000, value), KEY)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A ledger of 300 decisions about two gates."""
    folder = tmp_path_factory.mktemp("ledger") / "l"
    create_ledger(folder, KEY)
    with open_ledger(folder, KEY) as writer:
        writer.append([leaf(number, "pay" if number % 2 else "fleet") for number in range(300)], position(300))
    return Files(folder)


@pytest.fixture(scope="module")
def proof(files: Files) -> bytes:
    """The proof of one of them."""
    return prove_leaf(files, 77).data


def failed(data: bytes, trust: bytes = TRUST) -> str:
    """Which check fails; none behind it was made, and nothing of the leaf is told."""
    verdict = examine(data, parse_policy(trust))
    assert not verdict.passed
    assert verdict.statement is None
    assert [check.name for check in verdict.checks] == list(CHECKS)
    (bad,) = [check for check in verdict.checks if check.passed is False]
    at = CHECKS.index(bad.name)
    assert [check.passed for check in verdict.checks] == [True] * at + [False] + [None] * (len(CHECKS) - at - 1)
    return bad.name


def passes(data: bytes, trust: bytes = TRUST) -> Verdict:
    verdict = examine(data, parse_policy(trust))
    assert verdict.passed, verdict.checks
    return verdict


@pytest.mark.parametrize("index", [0, 1, 77, 255, 256, 299])
def test_every_leaf_is_proven(files: Files, index: int) -> None:
    """Wherever a leaf is, its proof passes every check and tells what was decided."""
    verdict = passes(prove_leaf(files, index).data)
    assert verdict.statement is not None
    assert verdict.statement.predicate["record"]["offset"] == index
    assert [check.name for check in verdict.checks] == list(CHECKS)


@settings(max_examples=draws(300), deadline=None)
@given(st.data())
def test_no_changed_bit_of_a_proof_goes_unseen(proof: bytes, data: st.DataObject) -> None:
    """Whatever bit is changed, a check fails by name; there is no bit that nobody looks at."""
    bit = data.draw(st.integers(0, len(proof) * 8 - 1))
    changed = bytearray(proof)
    changed[bit // 8] ^= 1 << bit % 8
    assert failed(bytes(changed)) in CHECKS


@settings(max_examples=draws(60), deadline=None)
@given(st.data())
def test_a_cut_proof_is_refused(proof: bytes, data: st.DataObject) -> None:
    """So is one that goes on behind its end."""
    failed(proof[: data.draw(st.integers(0, len(proof) - 1))])
    failed(proof + data.draw(st.binary(min_size=1, max_size=5)))


def test_what_is_wrong_is_named(files: Files, proof: bytes) -> None:
    """A leaf of another place, another log's checkpoint, a stranger's leaf: each fails at its own check."""
    good = Proof.parse(proof)
    other = prove_leaf(files, 78)
    assert failed(b"") == failed(b"x" * (PROOF_BYTES_MAX + 1)) == FORM
    assert failed(Proof(good.index, good.hashes, good.checkpoint).data) == FORM
    assert failed(Proof(78, good.hashes, good.checkpoint, good.extra).data) == INCLUSION
    assert failed(Proof(77, good.hashes, good.checkpoint, other.extra).data) == INCLUSION
    assert failed(Proof(77, good.hashes[::-1], good.checkpoint, good.extra).data) == INCLUSION
    assert failed(Proof(77, good.hashes[:-1], good.checkpoint, good.extra).data) == INCLUSION
    stranger = Signer.generate("ledger.example/test")
    assert failed(proof, f"log {stranger.verifier}\nquorum none\n".encode()) == CHECKPOINT
    assert failed(proof, f"log {Signer.generate('other.example').verifier}\nquorum none\n".encode()) == CHECKPOINT
    assert failed(proof, b"quorum none\n") == CHECKPOINT


@pytest.mark.parametrize(
    ("written", "check"), [(b"no envelope", ENVELOPE), (leaf(0)[:-2], ENVELOPE), (sign_envelope(b"{}", [KEY]), STATEMENT)]
)
def test_a_leaf_that_is_none_of_ours_fails_by_name(tmp_path: Path, written: bytes, check: str) -> None:
    """What a log holds is not true by being there."""
    create_ledger(tmp_path, KEY)
    with open_ledger(tmp_path, KEY) as writer:
        writer.append([written, record_leaf(Record("d", 0, 1, 1, b"x"), Signer.generate("a.example"))], position(2))
    assert failed(prove_leaf(Files(tmp_path), 0).data) == check
    assert failed(prove_leaf(Files(tmp_path), 1).data) == ENVELOPE


def cosigned(proof: bytes, *witnesses: Signer) -> bytes:
    """The same proof under a checkpoint that these witnesses have cosigned."""
    good = Proof.parse(proof)
    text, _ = split_note(good.checkpoint)
    lines = [Signature(one.verifier.name, one.verifier.id, cosign(text, one, 1_700_000_000)).line for one in witnesses]
    return Proof(good.index, good.hashes, good.checkpoint + "".join(lines).encode(), good.extra).data


def test_a_quorum_of_witnesses_is_asked_for(proof: bytes) -> None:
    """Two of three are enough, one is not, nor is one twice, nor a stranger; more than were asked for do no harm."""
    for enough in ((W1, W2), (W1, W3), (W3, W2, W1)):
        verdict = passes(cosigned(proof, *enough), WITNESSED)
        assert "2023-11-14T22:13:20Z" in verdict.checks[2].found
    for few in ((), (W1,), (W1, Signer.generate("witness.example/4", COSIGNATURE))):
        assert failed(cosigned(proof, *few), WITNESSED) == WITNESSES
    assert failed(cosigned(proof, W1, W1), WITNESSED) == CHECKPOINT
    passes(cosigned(proof, W1), TRUST)


def test_a_decision_is_found_by_gate_and_epoch(files: Files) -> None:
    """As `failshut log` prints both; an index is taken as it is; what is not there is not found."""
    assert find_leaves(files, f"pay@{(1 << 40) + 77}") == [77]
    assert find_leaves(files, f"fleet@{(1 << 40) + 77}") == find_leaves(files, "none@1") == []
    assert find_leaves(files, "12") == [12]
    for wrong in ("pay", "pay@", "pay@x", "pay@" + "1" * 17):
        with pytest.raises(Malformed):
            find_leaves(files, wrong)
    with pytest.raises(Malformed):
        prove_leaf(files, 300)


def test_a_proof_is_a_text_of_the_specification(proof: bytes) -> None:
    """The header, extra data, an index, the hashes, an empty line, the checkpoint as it is on the disk."""
    lines = proof.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ")
    assert lines[2] == "index 77"
    assert lines[3 + len(Proof.parse(proof).hashes)] == ""
    assert Proof.parse(proof).data == proof
    with pytest.raises(TooLong):
        Proof.parse(proof.replace(b"index 77\n", b"index 77\n" + b"A" * 43 + b"=\n" + (b"A" * 43 + b"=\n") * 63))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"log x\nquorum none",
        b"quorum one\n",
        b"quorum none\nquorum none\n",
        LOG_LINE.encode() * 2 + b"quorum none\n",
        f"log {W1.verifier}\nquorum none\n".encode(),
        f"witness one {KEY.verifier}\nquorum one\n".encode(),
        f"witness one {W1.verifier}\nwitness one {W2.verifier}\nquorum one\n".encode(),
        f"witness one {W1.verifier}\nwitness two {W1.verifier}\nquorum one\n".encode(),
        f"witness none {W1.verifier}\nquorum none\n".encode(),
        f"witness one {W1.verifier}\ngroup g 2 one\nquorum g\n".encode(),
        f"witness one {W1.verifier}\ngroup g 0 one\nquorum g\n".encode(),
        f"witness one {W1.verifier}\ngroup g any one one\nquorum g\n".encode(),
        f"witness one {W1.verifier}\ngroup g any one\ngroup h any one\nquorum g\n".encode(),
        f"group g any one\nwitness one {W1.verifier}\nquorum g\n".encode(),
        b"group g any\nquorum g\n",
        b"group g all none\nquorum g\n",
        b"quorum none more\n",
        b"trust me\nquorum none\n",
        b"quorum\x0bnone\n",
        b"quorum none\r\n",
        b"#" * (POLICY_BYTES_MAX + 1),
    ],
    ids=lambda wrong: f"{len(wrong)}-bytes",  # keys are drawn anew in each process, and names of cases are not
)
def test_a_policy_that_is_not_understood_trusts_nobody(wrong: bytes) -> None:
    """Any line that is not the specification's is refused, and the whole file with it."""
    with pytest.raises(Malformed):
        parse_policy(wrong)


def test_groups_of_groups_are_counted() -> None:
    """The specification's kind of example: any of these and all of those; comments, tabs and empty lines are nothing."""
    text = (
        f"# who\n\n \t\nwitness\tone {W1.verifier}\nwitness two {W2.verifier}\nwitness three {W3.verifier}\n"
        "group any-two any one two\ngroup all all any-two three\nquorum all"
    )
    policy = parse_policy(text.encode())
    one, two, three = (key.verifier for key in (W1, W2, W3))
    assert policy.met_by([one, three])
    assert policy.met_by([two, three])
    assert not policy.met_by([one, two])
    assert not policy.met_by([three])


# --- changes of keys ---


def handed_over(folder: Path) -> tuple[Signer, list[bytes]]:
    """A ledger whose key has changed in its middle."""
    new = Signer.generate(KEY.verifier.name)
    create_ledger(folder, KEY)
    with open_ledger(folder, KEY) as writer:
        writer.append([begin_leaf(KEY, position(0), 1), leaf(1)], position(2))
        writer.append([rotation_leaf(KEY, new, 2)], position(2), [new])
    with open_ledger(folder, new) as writer:
        writer.append([record_leaf(Record("decisions", 0, 2, 1, b"x"), new)], position(3))
    found: list[bytes] = []
    checkpoint = Checkpoint.parse(split_note(read_note(Files(folder)))[0])
    check_tree(Files(folder), checkpoint, lambda index, one: found.append(one))
    return new, found


def walked(leaves: list[bytes], *keys: Verifier) -> KeyChain:
    chain = KeyChain(keys)
    for index, one in enumerate(leaves):
        chain.take(index, one)
    return chain


def test_who_knows_the_first_key_needs_no_other(tmp_path: Path) -> None:
    """The chain ends at the new key, which signs the checkpoint; leaves are counted by kind."""
    new, leaves = handed_over(tmp_path)
    chain = walked(leaves, KEY.verifier)
    assert chain.keys == (new.verifier,)
    assert dict(chain.kinds) == {"key": 2, "decision": 1, "unreadable": 1}


def test_an_old_key_signs_nothing_behind_its_end(tmp_path: Path) -> None:
    """A leaf of the old key behind the change, a change that one of both did not sign, a stranger's: each is named by index."""
    new, leaves = handed_over(tmp_path)
    with pytest.raises(NoKnownSignature, match="leaf 4"):
        walked([*leaves, leaf(9)], KEY.verifier)
    with pytest.raises(NoKnownSignature, match="leaf 0"):
        walked(leaves, new.verifier)
    payload = split_envelope(leaves[2])[0]
    for half in ([KEY], [new]):
        with pytest.raises(NoKnownSignature, match="leaf 2"):
            walked([*leaves[:2], sign_envelope(payload, half)], KEY.verifier)
    with pytest.raises(LedgerError, match="leaf 0"):
        walked([b"nothing"], KEY.verifier)
    other = Signer.generate(KEY.verifier.name)
    with pytest.raises(Malformed, match="signs its first leaf"):
        walked([sign_envelope(split_envelope(begin_leaf(other, position(0), 1))[0], [KEY])], KEY.verifier)
