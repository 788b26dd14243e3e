"""What a log makes of its witnesses' answers: cosignatures that are joined, and a fork that is told from a lie.

A witness that knows more than the log, or another tree, has a reason or lies. What settles it is a checkpoint with the log's
own signature: `is_fork` looks at one. Without it only that witness is doubted, and the quorum says what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from failshut_ledger.errors import Malformed, NotConsistent
from failshut_ledger.merkle.proofs import Tiles, prove_consistency, root_from, root_within, verify_consistency
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.keys import Verifier
from failshut_ledger.notes.note import Note, Signature, open_note, split_note
from failshut_ledger.notes.strict import number
from failshut_ledger.witness.request import Request

ANSWER_BYTES_MAX: Final = 64 * 1024
AHEAD_SECONDS_MAX: Final = 300
"""A cosignature that is dated further ahead of our clock would never be old. It is not taken."""
_DIGITS_MAX: Final = 20


def proven_request(tiles: Tiles, checkpoint: Checkpoint, note: bytes, old: int) -> Request:
    """Return what to ask of a witness that knows a tree of `old` leaves.

    The proof is checked first: a witness that refuses it then has seen another tree, and no damaged tile is to blame.

    Raises:
        Malformed: the tree has fewer leaves than the witness knows.
        NotConsistent: the tiles do not lead to the checkpoint's root: the ledger is damaged.
        Damaged, DiskFailed: a tile cannot be read.
    """
    if root_from(tiles, checkpoint.size) != checkpoint.root:
        raise NotConsistent(f"the tiles do not lead to the root of the checkpoint of {checkpoint.size} leaves")
    proof = tuple(prove_consistency(tiles, old, checkpoint.size))
    verify_consistency(old, root_within(tiles, old, checkpoint.size), checkpoint.size, checkpoint.root, proof)
    return Request(old, proof, note)


def known_size(body: bytes) -> int:
    """Return the size that a 409 says. Raises Malformed."""
    try:
        line = body[: _DIGITS_MAX + 1].decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("a size is a number") from error
    return number(line.removesuffix("\n"), "a size")


def taken(text: str, body: bytes, witness: Verifier, now_s: int) -> Signature:
    """Return a witness's cosignature of a checkpoint's text, verified, from what it answered.

    Raises:
        Malformed: the answer holds no signature lines, or a time that cannot be.
        BadSignature: a line in its name does not fit.
        NoKnownSignature: there is no line in its name.
    """
    note = open_note((text + "\n").encode() + body, [witness])
    if not 1 <= note.time_of(witness) <= now_s + AHEAD_SECONDS_MAX:
        raise Malformed(f"the cosignature is dated {note.time_of(witness)}, and it is {now_s}")
    return next(one for one in note.signatures if (one.name, one.id) == (witness.name, witness.id))


def joined_note(note: bytes, cosignatures: Iterable[Signature]) -> bytes:
    """Return a checkpoint's note with these cosignatures behind the log's own signatures; one by the same key is replaced."""
    text, signatures = split_note(note)
    found = {(one.name, one.id): one for one in signatures}
    found.update({(one.name, one.id): one for one in cosignatures})
    return (text + "\n" + "".join(one.line for one in found.values())).encode()


def ages(note: Note, witnesses: Mapping[str, Verifier], now_s: int) -> dict[str, int]:
    """Return by whom of a policy's witnesses a note is cosigned, and how many seconds ago."""
    return {name: max(0, now_s - note.time_of(one)) for name, one in witnesses.items() if one in note.verified}


def is_fork(tiles: Tiles, checkpoint: Checkpoint, shown: bytes, logs: Iterable[Verifier]) -> str:
    """Return in words how a checkpoint with the log's own signature contradicts its tree; empty if it does not.

    Raises:
        Malformed, BadSignature, NoKnownSignature, WrongOrigin: what is shown is no word of this log, and proves nothing.
        Damaged, DiskFailed: a tile cannot be read.
    """
    other, _ = open_checkpoint(shown, [one for one in logs if one.name == checkpoint.origin])
    if other.size > checkpoint.size:
        return f"its key has signed {other.size} leaves before, and the ledger holds {checkpoint.size}: it was rolled back"
    if root_within(tiles, other.size, checkpoint.size) != other.root:
        return f"its key has signed two trees: their first {other.size} leaves are not the same"
    return ""
