"""Cosignatures, version 1 (C2SP tlog-cosignature): a witness's word that it saw this tree, and none that contradicts it.

The signature is over a line of its own, the time in seconds, and the whole text of the checkpoint. So it cannot be taken for
a log's signature, nor a log's for it.
"""

from __future__ import annotations

from typing import Final

from failshut_ledger.errors import Malformed
from failshut_ledger.notes.keys import COSIGNATURE, Signer

_HEADER: Final = "cosignature/v1"
TIME_MAX: Final = 2**63 - 1


def cosigned_message(text: str, time_s: int) -> bytes:
    """Return what a witness signs of a checkpoint's text at a time."""
    return f"{_HEADER}\ntime {time_s}\n{text}".encode()


def time_of(data: bytes) -> int:
    """Return the time in a cosignature, in seconds since 1970."""
    return int.from_bytes(data[:8], "big")


def cosign(text: str, signer: Signer, time_s: int) -> bytes:
    """Return a cosignature of a checkpoint's text: what stands behind the key's id.

    Raises:
        Malformed: the key is not a witness's, or the time cannot be said.
    """
    if signer.verifier.kind != COSIGNATURE or not 0 <= time_s <= TIME_MAX:
        raise Malformed("a cosignature needs a key of type 4, and a time since 1970")
    return time_s.to_bytes(8, "big") + signer.sign(cosigned_message(text, time_s))
