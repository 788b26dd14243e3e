"""Hashes of RFC 6962, section 2.1, over SHA-256: leaves, nodes, and trees of them.

A leaf and a node are hashed with different first bytes, so that neither can be shown as the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

HASH_BYTES: Final = 32
#: The hash of the tree without leaves.
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_hash(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over hashes of equal trees, as many as a power of two. Raises ValueError for another number."""
    row = list(hashes)
    if not row or len(row) & (len(row) - 1):
        raise ValueError(f"{len(row)} hashes are no perfect tree")
    while len(row) > 1:
        row = [node_hash(row[place], row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]


def joined(hashes: Sequence[bytes], right: bytes | None = None) -> bytes | None:
    """Return the hash over hashes of equal trees in order, and of one smaller tree to the right of them.

    None where there is neither. It is MTH of RFC 6962 for any number of hashes: perfect trees, the largest first.
    """
    end = len(hashes)
    while end:
        begin = end - (end & -end)
        left = perfect_hash(hashes[begin:end])
        right = left if right is None else node_hash(left, right)
        end = begin
    return right
