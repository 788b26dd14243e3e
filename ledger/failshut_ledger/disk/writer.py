"""Writes a ledger: batches of leaves, each with a signed checkpoint behind it.

The order of a batch is what makes it safe: entry bundles, tiles, their sync, and last the checkpoint. So a signed checkpoint
never needs what is not on the disk. The checkpoint holds the position in the topic as well: whenever the writer is killed, it
goes on where the last checkpoint says, with no leaf missing and none twice.

A checkpoint that somebody may have seen must outlive a loss of power: a writer that went back behind it would sign a fork. So
it is synced under the name `checkpoint.next` before it is published by a rename, and a writer that starts takes up one that
waits there. Files that a checkpoint needs are never written again: the next tree's partial tiles have other widths, and so
other paths. Files behind the last checkpoint are nobody's, and are replaced.

Limits: after any failure a writer is done for. Open the ledger again, which reads what the disk holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from failshut_ledger.disk.cosigned import settle_fork
from failshut_ledger.disk.files import CHECKPOINT, COSIGNED, FORK, NEXT, TILES, Files
from failshut_ledger.disk.lock import writing
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import (
    AlreadyThere,
    DiskFailed,
    FileDamaged,
    FileMissing,
    LedgerError,
    NoCheckpoint,
    Refused,
    TooLong,
)
from failshut_ledger.merkle.frontier import Frontier
from failshut_ledger.merkle.hashing import EMPTY_ROOT, leaf_hash
from failshut_ledger.merkle.tiles import ENTRIES, LEAF_BYTES_MAX, LEVEL_MAX, WIDTH, TileId, bundle_of, hashes_at, tile_of
from failshut_ledger.notes.checkpoint import Checkpoint, check_origin, open_checkpoint
from failshut_ledger.notes.keys import Signer, Verifier
from failshut_ledger.notes.note import NOTE_BYTES_MAX, sign_note
from failshut_ledger.notes.position import Position

logger = logging.getLogger(__name__)

BATCH_LEAVES_MAX: Final = 16 * WIDTH


class Writer:
    """The one writer of a ledger; `open_ledger` makes it. `checkpoint` is the last one that is on the disk."""

    def __init__(self, files: Files, signer: Signer) -> None:
        self._files = files
        self._signer = signer
        self._done_for = False
        self.checkpoint = _read_checkpoint(files, signer.verifier)
        self.tiles = DiskTiles(files, newest=True)
        settle_fork(files, self.tiles, self.checkpoint)
        self._edge = _read_edge(self.tiles, self.checkpoint)
        self._open = _read_open_bundle(self.tiles, self.checkpoint.size)  # the leaves of the bundle that is not full

    def append(self, leaves: Sequence[bytes], position: Position | None, also: Sequence[Signer] = ()) -> Checkpoint:
        """Append leaves and say how far the topic was read; return the checkpoint, which is on the disk by then.

        Args:
            leaves: at most BATCH_LEAVES_MAX; none at all if only the position moves.
            position: where the topic goes on behind these leaves; None for a ledger that has read none.
            also: keys that sign this checkpoint as well, as at a change of keys.

        Raises:
            DiskFailed: the disk refused. Whether the batch is in the ledger, the next `open_ledger` finds out.
            TooLong: a leaf, or their number, is more than a batch takes; nothing was written.
            Refused: the position is another topic's or goes back, or the writer has failed before; nothing was written.
            Forked: the ledger's key has signed another tree, and a witness has shown it; nothing was written.
        """
        if self._done_for:
            raise Refused("this writer has failed before: open the ledger again")
        if self._files.there(FORK):
            settle_fork(self._files, self.tiles, self.checkpoint)
        _check_batch(leaves)
        _check_position(self.checkpoint.position, position)
        edge = self._edge.copy()
        full = edge.append(map(leaf_hash, leaves))
        before = {tile.id for tile in self._edge.partials()}
        extensions = (position.line,) if position else ()
        checkpoint = Checkpoint(self.checkpoint.origin, edge.size, edge.root(), extensions)
        waiting = [*self._open, *leaves]
        self._done_for = True
        if leaves:
            self._write_bundles(self.checkpoint.size - len(self._open), waiting)
        for tile in [*full, *(one for one in edge.partials() if one.id not in before)]:
            self._files.write(tile.id.path, tile.data)
        self._files.settle()
        _publish(self._files, sign_note(checkpoint.text, [self._signer, *also]))
        self._drop_partials(before, edge.size)
        self._edge, self._open, self.checkpoint = edge, waiting[len(waiting) - edge.size % WIDTH :], checkpoint
        self._done_for = False
        return checkpoint

    def _write_bundles(self, begin: int, leaves: Sequence[bytes]) -> None:
        for at in range(0, len(leaves), WIDTH):
            held = leaves[at : at + WIDTH]
            self._files.write(TileId(ENTRIES, (begin + at) // WIDTH, len(held)).path, bundle_of(held))

    def _drop_partials(self, before: set[TileId], size: int) -> None:
        for tile in before:
            if (tile.index + 1) * WIDTH <= hashes_at(tile.level, size):
                self._files.remove_partials(tile)
                if tile.level == 0:
                    self._files.remove_partials(TileId(ENTRIES, tile.index))


def create_ledger(folder: Path, signer: Signer, files: Files | None = None) -> Checkpoint:
    """Make an empty ledger, whose origin is the name of its key. Nothing starts one anew in a folder that held one.

    Raises:
        AlreadyThere: the folder holds a ledger, or parts of one.
        AlreadyWritten, DiskFailed: it cannot be written now.
        Malformed: the key's name cannot be an origin.
    """
    files = files or Files(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{folder} cannot be made: {error.strerror}") from error
    with writing(folder):
        found = [
            name for name in (CHECKPOINT, TILES, COSIGNED, FORK) if files.there(name)
        ]  # NEXT alone: a creation that was killed
        if found:
            raise AlreadyThere(f"{folder} holds {', '.join(found)}: a ledger that starts anew there would be a fork")
        checkpoint = Checkpoint(check_origin(signer.verifier.name), 0, EMPTY_ROOT)
        _publish(files, sign_note(checkpoint.text, [signer]))
    return checkpoint


@contextmanager
def open_ledger(folder: Path, signer: Signer, files: Files | None = None) -> Iterator[Writer]:
    """Be the writer of a ledger, for as long as the block lasts.

    Raises:
        AlreadyWritten: another process is.
        NoCheckpoint, FileMissing, FileDamaged: the disk does not hold what the checkpoint says. Nothing is repaired here.
        BadSignature, NoKnownSignature, WrongOrigin: the checkpoint is not this key's.
        Forked: its key has signed another tree, and a witness has shown it.
        DiskFailed: the disk cannot be read, or the lock cannot be taken.
    """
    if not folder.is_dir():
        raise NoCheckpoint(f"there is no ledger in {folder}")
    with writing(folder):
        yield Writer(files or Files(folder), signer)


def _publish(files: Files, note: bytes) -> None:
    """Replace the checkpoint. What it needs is on the disk."""
    files.write_next(NEXT, note)
    files.settle()
    files.rename(NEXT, CHECKPOINT)
    files.settle()


def _read_checkpoint(files: Files, verifier: Verifier) -> Checkpoint:
    """Return the last checkpoint, and publish it if it waits under its first name."""
    waiting = _waiting(files, verifier)
    try:
        published, _ = open_checkpoint(files.read(CHECKPOINT, NOTE_BYTES_MAX), [verifier])
    except FileMissing as error:
        if waiting is None or waiting.size:
            what = "its tiles are there, its checkpoint is not" if files.there(TILES) else "there is no ledger"
            raise NoCheckpoint(f"{files.folder}: {what}") from error
        published = waiting  # `create_ledger` was killed
    if waiting is None:
        return published
    if waiting.size < published.size or waiting.origin != published.origin:
        raise FileDamaged(f"{NEXT} is older than {CHECKPOINT}, or another ledger's: somebody put it there")
    _read_edge(DiskTiles(files, newest=True), waiting)
    files.rename(NEXT, CHECKPOINT)
    files.settle()
    logger.info("a checkpoint of %d leaves was signed and not published; it is now", waiting.size)
    return waiting


def _waiting(files: Files, verifier: Verifier) -> Checkpoint | None:
    """Return the checkpoint that waits under its first name, or None. One that is torn was never published: it is nothing."""
    try:
        data = files.read(NEXT, NOTE_BYTES_MAX)
    except FileMissing:
        return None
    try:
        return open_checkpoint(data, [verifier])[0]
    except LedgerError as error:
        logger.warning("%s is not whole, and was not published: %s", NEXT, error)
        return None


def _read_edge(tiles: DiskTiles, checkpoint: Checkpoint) -> Frontier:
    """Return the right edge as the disk has it. Raises FileDamaged where it does not lead to the checkpoint's root."""
    size, edge = checkpoint.size, []
    for level in range(LEVEL_MAX + 1):
        count = hashes_at(level, size)
        edge.append(list(tiles.hashes(tile_of(level, count // WIDTH, size))) if count % WIDTH else [])
    found = Frontier(size, edge)
    if found.root() != checkpoint.root:
        names = ", ".join(tile.id.path for tile in found.partials()) or "no tile"
        raise FileDamaged(f"the root over {names} is not that of the checkpoint of {size} leaves: one of them is changed")
    return found


def _read_open_bundle(tiles: DiskTiles, size: int) -> list[bytes]:
    """Return the leaves of the bundle that is not full. Raises FileDamaged where they are not those of the tile beside it."""
    if not size % WIDTH:
        return []
    bundle = tile_of(ENTRIES, size // WIDTH, size)
    leaves = tiles.leaves(bundle)
    if list(map(leaf_hash, leaves)) != list(tiles.hashes(tile_of(0, size // WIDTH, size))):
        raise FileDamaged(f"{bundle.path} does not hold the leaves whose hashes stand in the tile")
    return leaves


def _check_batch(leaves: Sequence[bytes]) -> None:
    if len(leaves) > BATCH_LEAVES_MAX or any(len(leaf) > LEAF_BYTES_MAX for leaf in leaves):
        raise TooLong(f"a batch takes {BATCH_LEAVES_MAX} leaves of {LEAF_BYTES_MAX} bytes")


def _check_position(before: Position | None, after: Position | None) -> None:
    if before is None:
        return
    if after is None or (after.topic, after.topic_id) != (before.topic, before.topic_id):
        raise Refused(f"the ledger follows the topic {before.topic} ({before.topic_id}), and no other")
    if any(after.offsets.get(partition, 0) < offset for partition, offset in before.offsets.items()):
        raise Refused("a position never goes back")
