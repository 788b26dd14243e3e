"""Proofs of one leaf (C2SP tlog-proof): a text that is checked offline, with a public key alone.

It holds the leaf's index, the hashes that lead to the root, and the signed checkpoint. Ours carry the leaf itself as extra
data, so that one file is all that an auditor needs. Extra data is not authenticated by being there: the leaf counts once its
hash was shown to be in the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from failshut_ledger.errors import Malformed, TooLong
from failshut_ledger.merkle.hashing import HASH_BYTES
from failshut_ledger.merkle.proofs import PROOF_HASHES_MAX
from failshut_ledger.notes.note import NOTE_BYTES_MAX
from failshut_ledger.notes.strict import from_base64, number, to_base64

_HEADER: Final = "c2sp.org/tlog-proof@v1"
PROOF_BYTES_MAX: Final = NOTE_BYTES_MAX + 128 * 1024


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it was read, or as it will be written. Nothing of it is verified."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @property
    def data(self) -> bytes:
        """The file."""
        lines = [_HEADER, *([f"extra {to_base64(self.extra)}"] if self.extra is not None else []), f"index {self.index}"]
        return "\n".join([*lines, *map(to_base64, self.hashes), "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a file. Raises Malformed; TooLong where it is larger than any of ours."""
        if len(data) > PROOF_BYTES_MAX:
            raise TooLong(f"a proof has at most {PROOF_BYTES_MAX} bytes")
        head, empty, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("a proof is ASCII up to its checkpoint") from error
        if lines.pop(0) != _HEADER or not empty or not checkpoint:
            raise Malformed(f"a proof begins with {_HEADER}, and ends with a checkpoint behind an empty line")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "), "extra data")
        if not lines or not lines[0].startswith("index "):
            raise Malformed("a proof names an index")
        index = number(lines.pop(0).removeprefix("index "), "an index")
        if len(lines) > PROOF_HASHES_MAX:
            raise TooLong(f"a proof has at most {PROOF_HASHES_MAX} hashes")
        return cls(index, tuple(from_base64(line, "a hash", HASH_BYTES) for line in lines), checkpoint, extra)
