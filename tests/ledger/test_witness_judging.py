"""What a witness cosigns, and what it answers to everything else: the rules of C2SP tlog-witness, one by one."""

from __future__ import annotations

import base64

import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.plain import mth
from ledger.witness_support import WITNESS, checkpoint, request, tree
from ledger.writing import KEY

from failshut_ledger.errors import Malformed, TooLong
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.note import open_note, sign_note
from failshut_ledger.witness.judging import Continues, Refused, Witnessed, cosigned, judge
from failshut_ledger.witness.request import REQUEST_BYTES_MAX, Request

ORIGIN = KEY.verifier.name
NOW_S = 1_800_000_000


def logs(size: int | None = None, fork: str = "") -> dict[str, Witnessed]:
    """A witness that cosigned a tree of this size last."""
    last = None if size is None else Checkpoint(ORIGIN, size, mth(tree(size, fork)))
    return {ORIGIN: Witnessed((KEY.verifier,), last)}


def status(body: bytes, size: int | None = None, fork: str = "") -> int:
    found = judge(body, logs(size, fork))
    return found.status if isinstance(found, Refused) else 200


@pytest.mark.parametrize(("known", "size"), [(None, 0), (None, 1), (None, 9), (0, 5), (1, 2), (3, 7), (4, 8), (6, 6), (8, 300)])
def test_what_continues_is_cosigned(known: int | None, size: int) -> None:
    """At every size, also the same one again, and the empty tree."""
    found = judge(request(known or 0, size), logs(known))
    assert isinstance(found, Continues)
    note, lines = cosigned(found, [WITNESS], NOW_S)
    both = open_note(note, [KEY.verifier, WITNESS.verifier])
    assert both.verified == (KEY.verifier, WITNESS.verifier)
    assert both.time_of(WITNESS.verifier) == NOW_S
    assert note.endswith(lines)
    assert open_note(found.note.text.encode() + b"\n" + lines, [WITNESS.verifier]).text == found.note.text


def test_each_refusal_has_its_status() -> None:
    """Unknown log, no signature that counts, an old size that is stale or above, a tree that does not continue."""
    other = Signer.generate(ORIGIN)
    stranger = Signer.generate("another.example")
    assert status(request(0, 5, key=stranger)) == 404
    assert status(request(0, 5, key=other)) == 403
    good = request(0, 5)
    text, line = good.rsplit(b" ", 1)
    broken = base64.b64encode(base64.b64decode(line)[:-1] + b"\0")
    assert status(text + b" " + broken + b"\n") == 403
    assert status(request(6, 5), 6) == 400
    found = judge(request(3, 7), logs(5))
    assert isinstance(found, Refused)
    assert (found.status, found.size) == (409, 5)
    assert status(request(0, 7), 5) == 409
    assert status(request(5, 7)) == 409
    assert status(request(5, 7, "x"), 5) == 422
    assert status(request(5, 5, "x"), 5) == 422
    assert status(request(5, 7), 5, "x") == 422


def test_a_proof_where_none_is_needed_is_refused() -> None:
    """From nothing, and from the same size."""
    assert status(Request(0, (bytes(32),), checkpoint(5)).data) == 422
    assert status(Request(5, (bytes(32),), checkpoint(5)).data, 5) == 422
    assert status(Request(3, (), checkpoint(7)).data, 3) == 422


def test_an_empty_tree_has_one_root() -> None:
    """A log may sign that it is empty, and not over another root."""
    text = f"{ORIGIN}\n0\n{base64.b64encode(bytes(32)).decode()}\n"
    assert status(Request(0, (), sign_note(text, [KEY])).data) == 422
    assert status(Request(0, (), checkpoint(0)).data) == 200
    assert status(Request(0, (), checkpoint(4)).data, 0) == 200


def test_signatures_of_others_are_ignored() -> None:
    """What other keys have signed travels along, and is not kept."""
    more = Signer.generate("somebody.example")
    note = sign_note(Checkpoint(ORIGIN, 5, mth(tree(5))).text, [more, KEY])
    found = judge(Request(0, (), note).data, logs())
    assert isinstance(found, Continues)
    assert b"somebody" not in cosigned(found, [WITNESS], NOW_S)[0]


def test_a_log_that_changes_keys_is_known_by_both() -> None:
    """Each of its keys signs for it, and a key of another log does not."""
    new = Signer.generate(ORIGIN)
    known = {ORIGIN: Witnessed((KEY.verifier, new.verifier)), "b": Witnessed((Signer.generate("b").verifier,))}
    for key in (KEY, new):
        assert isinstance(judge(request(0, 4, key=key), known), Continues)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n\n",
        b"old 0",
        b"size 0\n\n" + checkpoint(3),
        b"old 00\n\n" + checkpoint(3),
        b"old +0\n\n" + checkpoint(3),
        b"old -1\n\n" + checkpoint(3),
        b"old 1_0\n\n" + checkpoint(3),
        b"old 9223372036854775808\n\n" + checkpoint(3),
        "old \uff10\n\n".encode() + checkpoint(3),
        b"old 1\nAAAA\n\n" + checkpoint(3),
        b"old 1\n" + b"A" * 44 + b"\n\n" + checkpoint(3),
        b"old 0\r\n\r\n" + checkpoint(3),
        b"old 0\n\n" + checkpoint(3)[:-1],
        b"old 0\n\n" + checkpoint(3).replace(b"\n3\n", b"\n03\n"),
        b"old 0\n\n" + checkpoint(3).split(b"\n\n")[0],
    ],
    ids=range(16),
)
def test_what_is_no_request_is_malformed(body: bytes) -> None:
    """Numbers and base64 have one form, lines end with a newline, and no part is missing."""
    assert status(body) in (400, 403)
    assert status(body) == 400 or b"03" in body


def test_a_request_is_bounded() -> None:
    """In bytes, and in hashes."""
    line = base64.b64encode(bytes(32)) + b"\n"
    with pytest.raises(TooLong):
        Request.parse(b"old 1\n" + 64 * line + b"\n" + checkpoint(3))
    assert len(Request.parse(b"old 1\n" + 63 * line + b"\n" + checkpoint(3)).proof) == 63
    assert status(b"old 0\n\n" + checkpoint(3) + b" " * REQUEST_BYTES_MAX) == 400


@settings(max_examples=draws(300), deadline=None)
@given(data=st.binary(max_size=300), at=st.integers(0, 10_000), what=st.integers(1, 255))
def test_nothing_that_comes_raises_or_is_cosigned(data: bytes, at: int, what: int) -> None:
    """Any bytes, and any request with one byte changed: a refusal, and never an exception."""
    assert isinstance(judge(data, logs()), Refused)
    good = request(3, 7)
    at %= len(good)
    changed = good[:at] + bytes([good[at] ^ what]) + good[at + 1 :]
    assert isinstance(judge(changed, logs(3)), Refused), changed


def test_a_cosignature_has_a_time() -> None:
    """Time 0 would say that it makes no statement."""
    found = judge(request(0, 3), logs())
    assert isinstance(found, Continues)
    with pytest.raises(Malformed):
        cosigned(found, [WITNESS], 0)
