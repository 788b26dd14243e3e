"""What a witness answers: does this tree continue the one that I cosigned last?

The rules, in the order in which C2SP tlog-witness has them. The first that applies answers:

    400  it is no request, or its old size is above the checkpoint's
    404  no such log is witnessed here
    403  no key of that log has signed it, or a signature of one does not fit
    409  the old size is not that of the last tree that was cosigned; the answer says which is
    422  the tree does not continue that one, or is empty with the root of another
    200  the tree is cosigned

Limits: keys are Ed25519. Whoever calls this keeps the new state on the disk before it sends a cosignature, and judges one
request of a log at a time: otherwise two could be cosigned that do not continue each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from failshut_ledger.errors import Malformed, NotConsistent, Unproven
from failshut_ledger.merkle.hashing import EMPTY_ROOT
from failshut_ledger.merkle.proofs import verify_consistency
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import Signer, Verifier
from failshut_ledger.notes.note import Note, Signature, open_note, split_note
from failshut_ledger.notes.strict import to_base64
from failshut_ledger.witness.request import Request

MALFORMED, NOT_SIGNED, UNKNOWN, STALE, FORKED = 400, 403, 404, 409, 422


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A log that is witnessed: whose signatures count, and the last tree that was cosigned, None before the first."""

    keys: tuple[Verifier, ...]
    last: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is no cosignature: its status, and why. `size` is what a 409 says."""

    status: int
    why: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Continues:
    """A tree that may be cosigned, with the log's note that says so."""

    checkpoint: Checkpoint
    note: Note


NOTHING: Final = Checkpoint("-", 0, EMPTY_ROOT)


def judge(body: bytes, logs: Mapping[str, Witnessed]) -> Continues | Refused:
    """Return what a request comes to. Nothing is raised over it, whatever it holds."""
    try:
        request = Request.parse(body)
        text, _ = split_note(request.checkpoint)
        origin, size, root, *_ = *text.split("\n"), "", ""
        log = logs.get(origin)
        if log is None:
            return Refused(UNKNOWN, "this witness does not know that log")
        note = open_note(request.checkpoint, log.keys)
        if size == "0" and root != to_base64(EMPTY_ROOT):
            return Refused(FORKED, "the tree is empty and its root is not that of the empty tree")
        checkpoint = Checkpoint.parse(note.text)
    except Malformed as error:
        return Refused(MALFORMED, str(error))
    except Unproven as error:
        return Refused(NOT_SIGNED, str(error))
    return _judge_tree(request, checkpoint, note, log.last or NOTHING)


def _judge_tree(request: Request, checkpoint: Checkpoint, note: Note, last: Checkpoint) -> Continues | Refused:
    if request.old > checkpoint.size:
        return Refused(MALFORMED, f"the old size {request.old} is above the checkpoint's, {checkpoint.size}")
    if request.old != last.size:
        return Refused(STALE, f"the last tree that was cosigned has {last.size} leaves", last.size)
    try:
        verify_consistency(last.size, last.root, checkpoint.size, checkpoint.root, request.proof)
    except NotConsistent as error:
        return Refused(FORKED, str(error))
    return Continues(checkpoint, note)


def cosigned(found: Continues, signers: Sequence[Signer], time_s: int) -> tuple[bytes, bytes]:
    """Return the note to keep, with the log's verified signatures and ours, and the lines to answer. Raises Malformed."""
    if time_s < 1:
        raise Malformed("a cosignature says when it was made")
    text, known = found.note.text, {(one.name, one.id) for one in found.note.verified}
    own = [Signature(one.verifier.name, one.verifier.id, cosign(text, one, time_s)) for one in signers]
    log = [one for one in found.note.signatures if (one.name, one.id) in known]
    lines = "".join(one.line for one in own)
    return (text + "\n" + "".join(one.line for one in log) + lines).encode(), lines.encode()
