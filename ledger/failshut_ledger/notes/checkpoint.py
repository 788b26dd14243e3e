"""Checkpoints (C2SP tlog-checkpoint): one tree's size and root, signed by its log, and where the ledger is in its topic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from failshut_ledger.errors import Malformed, NoKnownSignature, WrongOrigin
from failshut_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES
from failshut_ledger.notes.keys import NOTE, Verifier, check_name
from failshut_ledger.notes.note import Note, open_note
from failshut_ledger.notes.position import Position
from failshut_ledger.notes.strict import from_base64, number, to_base64

EXTENSIONS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of its tree. Nothing of it is true until `open_checkpoint` has verified it."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin or not self.origin.isprintable():
            raise Malformed("a checkpoint names its origin")
        if len(self.root) != HASH_BYTES or (not self.size and self.root != EMPTY_ROOT):
            raise Malformed("the root of a checkpoint is a hash, that of the empty tree where there are no leaves")
        if len(self.extensions) > EXTENSIONS_MAX or any(not line or "\n" in line for line in self.extensions):
            raise Malformed(f"a checkpoint has at most {EXTENSIONS_MAX} extension lines, none of them empty")
        if sum(map(Position.is_one, self.extensions)) > 1:
            raise Malformed("a checkpoint holds one position")

    @property
    def text(self) -> str:
        """The text of its note."""
        return "\n".join((self.origin, str(self.size), to_base64(self.root), *self.extensions)) + "\n"

    @property
    def position(self) -> Position | None:
        """The position in the topic, or None where the checkpoint holds none. Raises Malformed where it cannot be read."""
        return next((Position.parse(line) for line in self.extensions if Position.is_one(line)), None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a note. Raises Malformed."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop():
            raise Malformed("a checkpoint has an origin, a size and a root, a line each")
        size = number(lines[1], "a size")
        return cls(lines[0], size, from_base64(lines[2], "a root", HASH_BYTES), tuple(lines[3:]))


def open_checkpoint(data: bytes, logs: Iterable[Verifier], witnesses: Iterable[Verifier] = ()) -> tuple[Checkpoint, Note]:
    """Return a checkpoint that one of these logs has signed, and its note with the cosignatures of these witnesses.

    Raises:
        Malformed: it is no checkpoint.
        BadSignature: a signature by one of these keys does not fit.
        NoKnownSignature: none of these logs has signed.
        WrongOrigin: its origin is not the name of the log that signed.
    """
    logs = tuple(logs)
    note = open_note(data, [*logs, *witnesses])
    checkpoint = Checkpoint.parse(note.text)
    signed = [one for one in note.verified if one in logs and one.kind == NOTE]
    if not signed:
        raise NoKnownSignature("witnesses have signed, and no log that is trusted")
    if all(one.name != checkpoint.origin for one in signed):
        raise WrongOrigin(f"{signed[0].name} has signed a checkpoint of {checkpoint.origin[:200]!r}")
    return checkpoint, note


def check_origin(origin: str) -> str:
    """Return what may be the origin of a ledger of ours: the name of its key. Raises Malformed.

    It has no space, so no signed checkpoint can be read as an envelope that the same key signed, which begins with
    `DSSEv1` and a space.
    """
    return check_name(origin)
