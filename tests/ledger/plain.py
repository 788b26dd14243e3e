"""A second reading of RFC 6962, section 2.1: the definitions as they stand there, recursive and slow, over all leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from failshut_ledger.errors import FileMissing
from failshut_ledger.merkle.tiles import TileId, tiles_of

Leaves = Sequence[bytes]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(count: int) -> int:
    """The largest power of two smaller than a count."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(leaves: Leaves) -> bytes:
    """Section 2.1."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0" + leaves[0])
    k = split(len(leaves))
    return sha(b"\1" + mth(leaves[:k]) + mth(leaves[k:]))


def path(m: int, leaves: Leaves) -> list[bytes]:
    """Section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Leaves) -> list[bytes]:
    """Section 2.1.2."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: Leaves, whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


class PlainTiles:
    """The tiles of a tree as tlog-tiles defines them, each hash from its leaves; what it is asked for is remembered."""

    def __init__(self, leaves: Leaves) -> None:
        self.leaves = leaves
        self.there = set(tiles_of(len(leaves), 0))
        self.asked: list[TileId] = []
        self._known: dict[TileId, list[bytes]] = {}

    def hashes(self, tile: TileId) -> list[bytes]:
        self.asked.append(tile)
        if tile not in self.there:
            raise FileMissing(tile.path)
        if tile not in self._known:
            span = 256**tile.level
            begins = [(tile.index * 256 + place) * span for place in range(tile.width)]
            self._known[tile] = [mth(self.leaves[begin : begin + span]) for begin in begins]
        return self._known[tile]


def numbered(count: int) -> list[bytes]:
    """So many different leaves."""
    return [f"leaf {number}".encode() for number in range(count)]
