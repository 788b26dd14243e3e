"""Checks a whole ledger on disk: every leaf, every tile, the root. It says which file is the first that is not right.

Nothing is taken from a tile: all of them are made again from the leaves, and compared. One pass, in memory that grows with the
tree's height alone.
"""

from __future__ import annotations

from collections.abc import Callable

from failshut_ledger.disk.files import CHECKPOINT, Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import FileDamaged, FileMissing, NoCheckpoint
from failshut_ledger.merkle.frontier import Frontier, Tile
from failshut_ledger.merkle.hashing import leaf_hash
from failshut_ledger.merkle.tiles import ENTRIES, WIDTH, tile_of
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.note import NOTE_BYTES_MAX


def read_note(files: Files, name: str = CHECKPOINT) -> bytes:
    """Return the checkpoint, or the cosigned one, as it stands on the disk. Raises NoCheckpoint, FileDamaged, DiskFailed."""
    try:
        return files.read(name, NOTE_BYTES_MAX)
    except FileMissing as error:
        raise NoCheckpoint(f"there is no {name} in {files.folder}") from error


def check_tree(files: Files, checkpoint: Checkpoint, taken: Callable[[int, bytes], None]) -> None:
    """Read the tree of a checkpoint, and hand each leaf with its index to `taken`, which may raise.

    Raises:
        FileMissing, FileDamaged: the first file that is not there, or not what the leaves make it.
        DiskFailed: a file cannot be read.
    """
    tiles, edge, size = DiskTiles(files), Frontier(), checkpoint.size
    for index in range(-(-size // WIDTH)):
        bundle = tile_of(ENTRIES, index, size)
        leaves = tiles.leaves(bundle)
        for tile in edge.append(map(leaf_hash, leaves)):
            _compare(tiles, tile)
        for place, leaf in enumerate(leaves):
            taken(index * WIDTH + place, leaf)
    for tile in edge.partials():
        _compare(tiles, tile)
    if edge.root() != checkpoint.root:
        raise FileDamaged(f"the {size} leaves and all tiles agree, and their root is not that of the checkpoint")


def _compare(tiles: DiskTiles, tile: Tile) -> None:
    wrong = [place for place, pair in enumerate(zip(tiles.hashes(tile.id), tile.hashes, strict=True)) if pair[0] != pair[1]]
    if wrong:
        first = (tile.id.index * WIDTH + wrong[0]) * WIDTH**tile.id.level
        raise FileDamaged(
            f"{tile.id.path} and the leaves from {first} on do not agree, in {len(wrong)} of {tile.id.width} hashes: "
            "the tile or a bundle is changed"
        )
