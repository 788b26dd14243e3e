"""Reads tiles and leaves of a tree from disk.

A reader of an older tree finds a partial tile removed, and reads the full one that took its place. The writer reads no older
tree: where its partial tile is gone and the full one is there, somebody has put an older checkpoint back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from failshut_ledger.disk.files import Files
from failshut_ledger.errors import FileDamaged, FileMissing, Malformed
from failshut_ledger.merkle.tiles import (
    BUNDLE_BYTES_MAX,
    ENTRIES,
    TILE_BYTES_MAX,
    WIDTH,
    TileId,
    hashes_of,
    leaves_of,
    tile_of,
)

T = TypeVar("T")
KEPT_MAX: Final = 64
"""Tiles that are remembered: a proof asks for one of each level, several times."""


class DiskTiles:
    """The tiles of a ledger. Every method raises FileMissing, FileDamaged or DiskFailed, with the file's path."""

    def __init__(self, files: Files, *, newest: bool = False) -> None:
        """Read a tree; `newest`: nothing was written behind it that a checkpoint says."""
        self._files, self._newest = files, newest
        self._kept: OrderedDict[TileId, list[bytes]] = OrderedDict()

    def hashes(self, tile: TileId) -> Sequence[bytes]:
        """Return the hashes of a tile, as many as it is wide."""
        if tile not in self._kept:
            self._kept[tile] = self._read(tile, TILE_BYTES_MAX, hashes_of)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return self._kept[tile]

    def leaves(self, bundle: TileId) -> list[bytes]:
        """Return the leaves of a bundle, as many as it is wide."""
        return self._read(bundle, BUNDLE_BYTES_MAX, leaves_of)

    def leaf(self, index: int, size: int) -> bytes:
        """Return one leaf of a tree of this size. Raises Malformed where it has none there."""
        if not 0 <= index < size:
            raise Malformed(f"a ledger of {size} leaves has no leaf {index}")
        return self.leaves(tile_of(ENTRIES, index // WIDTH, size))[index % WIDTH]

    def all_leaves(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield every leaf of a tree of this size with its index, from the first on."""
        for index in range(-(-size // WIDTH)):
            yield from enumerate(self.leaves(tile_of(ENTRIES, index, size)), index * WIDTH)

    def _read(self, tile: TileId, bytes_max: int, parse: Callable[[TileId, bytes], list[T]]) -> list[T]:
        there, name = tile, tile.path
        try:
            data = self._files.read(name, bytes_max)
        except FileMissing:
            if tile.width == WIDTH or not self._files.there(tile.full.path):
                raise
            if self._newest:
                raise FileMissing(
                    f"{name} is not there and {tile.full.path} is: the checkpoint is older than the tiles, and to write on "
                    "would be a fork"
                ) from None
            there, name = tile.full, tile.full.path
            data = self._files.read(name, bytes_max)
        try:
            return parse(there, data)[: tile.width]
        except Malformed as error:
            raise FileDamaged(f"{name} is torn or changed: {error}") from error
