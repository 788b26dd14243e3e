"""What a log asks of a witness (C2SP tlog-witness, add-checkpoint): cosign this tree, which continues the one that you know.

    old 20852014
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
    (an empty line, and the signed checkpoint)

Nothing of a request is verified by being read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Self

from failshut_ledger.errors import Malformed, TooLong
from failshut_ledger.merkle.hashing import HASH_BYTES
from failshut_ledger.merkle.proofs import PROOF_HASHES_MAX
from failshut_ledger.notes.strict import from_base64, number, to_base64

REQUEST_BYTES_MAX: Final = 128 * 1024
ADD_PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type of a 409, whose body is the size that the witness knows."""
_OLD: Final = "old "


@dataclass(frozen=True, slots=True)
class Request:
    """The size that the witness knows, the hashes that lead from there, and a signed checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    @property
    def data(self) -> bytes:
        """The body."""
        return "\n".join([f"{_OLD}{self.old}", *map(to_base64, self.proof), "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a body. Raises Malformed; TooLong where it is larger than any that may come."""
        if len(data) > REQUEST_BYTES_MAX:
            raise TooLong(f"a request has at most {REQUEST_BYTES_MAX} bytes")
        head, empty, checkpoint = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("a request is ASCII up to its checkpoint") from error
        if not empty or not checkpoint or not first.startswith(_OLD):
            raise Malformed("a request begins with `old` and a size, and ends with a checkpoint behind an empty line")
        if len(lines) > PROOF_HASHES_MAX:
            raise TooLong(f"a proof has at most {PROOF_HASHES_MAX} hashes")
        old = number(first.removeprefix(_OLD), "an old size")
        return cls(old, tuple(from_base64(line, "a hash", HASH_BYTES) for line in lines), checkpoint)


def origin_hash(origin: str) -> str:
    """Return the name under which a witness shows a log's checkpoint."""
    return hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()
