"""Tiles and entry bundles of C2SP tlog-tiles: where each is, how wide it is, and what it holds.

A tile holds up to 256 hashes of one level; a hash of the level above stands for a full tile. A bundle holds the leaves
themselves, in the same groups of 256. The rightmost may be partial, and then its path names its width, so that no path ever
holds two different contents of one tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from failshut_ledger.errors import Malformed, TooLong
from failshut_ledger.merkle.hashing import HASH_BYTES

WIDTH: Final = 256
TILE_BYTES_MAX: Final = WIDTH * HASH_BYTES
LEVEL_MAX: Final = 7
"""256 ** 8 is past the largest size, so no tree has a tile above this level."""
SIZE_MAX: Final = 2**63 - 1
LEAF_BYTES_MAX: Final = 0xFFFF
BUNDLE_BYTES_MAX: Final = WIDTH * (2 + LEAF_BYTES_MAX)

_PATH = re.compile(r"tile/(0|[1-9]\d?|entries)/((?:x\d{3}/){0,6}\d{3})(?:\.p/([1-9]\d{0,2}))?")
ENTRIES: Final = -1
"""The level under which bundles are named here."""


@dataclass(frozen=True, slots=True, order=True)
class TileId:
    """One tile: its level (ENTRIES for a bundle), its index in the level, its width (1 to 256)."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        return f"tile/{level}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @property
    def full(self) -> TileId:
        """The same tile when it is full."""
        return TileId(self.level, self.index, WIDTH)


def tile_at(path: str) -> TileId:
    """Return the tile that a path names. Raises Malformed for any path that none has."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise Malformed(f"no tile has the path {path[:200]!r}")
    level = ENTRIES if found[1] == "entries" else int(found[1])
    tile = TileId(level, int(found[2].replace("x", "").replace("/", "")), int(found[3] or WIDTH))
    if tile.path != path:
        raise Malformed(f"no tile has the path {path[:200]!r}")
    return tile


def hashes_at(level: int, size: int) -> int:
    """Return how many hashes a tree of this size has in the tiles of a level."""
    return size >> (8 * max(level, 0))


def tile_of(level: int, index: int, size: int) -> TileId:
    """Return a tile as a tree of this size has it. Raises Malformed where the tree has none there."""
    if not -1 <= level <= LEVEL_MAX or index < 0:
        raise Malformed(f"no tree has a tile {index} in level {level}")
    width = min(WIDTH, hashes_at(level, size) - index * WIDTH)
    if width <= 0:
        raise Malformed(f"a tree of {size} leaves has no tile {index} in level {level}")
    return TileId(level, index, width)


def tiles_of(size: int, level_min: int = ENTRIES) -> Iterator[TileId]:
    """Yield every tile of a tree of this size: bundles first, then each level from the left."""
    for level in range(level_min, LEVEL_MAX + 1):
        for index in range(-(-hashes_at(level, size) // WIDTH)):
            yield tile_of(level, index, size)


def hashes_of(tile: TileId, data: bytes) -> list[bytes]:
    """Return the hashes in a tile. Raises Malformed where it has another length than its width says."""
    if len(data) != tile.width * HASH_BYTES:
        raise Malformed(f"{tile.path} has {len(data)} bytes and must have {tile.width * HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def bundle_of(leaves: Sequence[bytes]) -> bytes:
    """Return the bundle of these leaves.

    Raises:
        TooLong: a leaf, or their number, is more than a bundle takes.
    """
    if len(leaves) > WIDTH or any(len(leaf) > LEAF_BYTES_MAX for leaf in leaves):
        raise TooLong(f"a bundle takes {WIDTH} leaves of {LEAF_BYTES_MAX} bytes")
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def leaves_of(tile: TileId, data: bytes) -> list[bytes]:
    """Return the leaves in a bundle. Raises Malformed where it is torn, or holds another number than its width says."""
    leaves: list[bytes] = []
    at = 0
    while at < len(data) and len(leaves) <= tile.width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise Malformed(f"{tile.path} ends in the middle of its leaf {len(leaves)}")
        leaves.append(data[at + 2 : end])
        at = end
    if len(leaves) != tile.width:
        raise Malformed(f"{tile.path} holds {'more' if at < len(data) else len(leaves)} leaves and must hold {tile.width}")
    return leaves
