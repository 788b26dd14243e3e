"""The right edge of a tree: all that is needed to append to it, and to know its root.

It is RFC 6962's tree as a compact range, in the groups of the tiles: at each level the hashes of the tile that is not full
yet. A tile that fills up is given out, and becomes one hash of the level above. So memory grows with the tree's height alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from failshut_ledger.errors import Malformed
from failshut_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, joined, perfect_hash
from failshut_ledger.merkle.tiles import LEVEL_MAX, SIZE_MAX, WIDTH, TileId, hashes_at


class Tile(NamedTuple):
    """A tile with its hashes."""

    id: TileId
    hashes: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """What its file holds."""
        return b"".join(self.hashes)


class Frontier:
    """The right edge of a tree of `size` leaves. Copy it before you append what may have to be taken back."""

    def __init__(self, size: int = 0, edge: Sequence[Sequence[bytes]] = ()) -> None:
        """Take the hashes of the tile that is not full, level by level; a level without one is empty.

        Raises:
            Malformed: these are not the edge of a tree of this size.
        """
        self.size = size
        self._edge = [list(hashes) for hashes in edge] + [[] for _ in range(LEVEL_MAX + 1 - len(edge))]
        for level, hashes in enumerate(self._edge):
            if len(hashes) != hashes_at(level, size) % WIDTH or any(len(one) != HASH_BYTES for one in hashes):
                raise Malformed(f"level {level} of the edge is not that of a tree of {size} leaves")

    def copy(self) -> Self:
        """Return another one that is the same now."""
        return type(self)(self.size, self._edge)

    def append(self, leaf_hashes: Iterable[bytes]) -> list[Tile]:
        """Append hashes of leaves; return the tiles that became full, lower levels first where they did at once.

        Raises:
            Malformed: the tree would have more leaves than can be said.
        """
        full: list[Tile] = []
        for one in leaf_hashes:
            if self.size >= SIZE_MAX:
                raise Malformed("the tree is full")
            self.size += 1
            level = 0
            self._edge[0].append(one)
            while len(self._edge[level]) == WIDTH:
                hashes, self._edge[level] = tuple(self._edge[level]), []
                full.append(Tile(TileId(level, hashes_at(level, self.size) // WIDTH - 1, WIDTH), hashes))
                level += 1
                self._edge[level].append(perfect_hash(hashes))
        return full

    def partials(self) -> list[Tile]:
        """Return the tiles of the edge that are not full, lower levels first."""
        return [
            Tile(TileId(level, hashes_at(level, self.size) // WIDTH, len(hashes)), tuple(hashes))
            for level, hashes in enumerate(self._edge)
            if hashes
        ]

    def root(self) -> bytes:
        """Return the hash of the whole tree."""
        found: bytes | None = None
        for hashes in self._edge:
            found = joined(hashes, found)
        return EMPTY_ROOT if found is None else found
