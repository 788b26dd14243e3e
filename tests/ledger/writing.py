"""What the tests of the writer share: a key, leaves, a disk that fails when it is told to, and a check of all that is there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from ledger.plain import mth, numbered

from failshut_ledger.disk.check import check_tree, read_note
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.merkle.proofs import prove_consistency, verify_consistency
from failshut_ledger.merkle.tiles import TileId, tiles_of
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.position import Position

KEY = Signer.parse("PRIVATE+KEY+ledger.example/test+6118851a+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")


def position(upto: int) -> Position:
    """So many records of the one partition were read."""
    return Position("decisions", "6Yk3dGk6T0S0b9o1k2J3sA", {0: upto})


def on_disk(folder: Path) -> Checkpoint:
    """The checkpoint that anybody would read."""
    return open_checkpoint(read_note(Files(folder)), [KEY.verifier])[0]


def checked(folder: Path) -> Checkpoint:
    """The checkpoint, once the whole tree was checked: its leaves are the input's first ones, and its position is theirs."""
    checkpoint = on_disk(folder)
    found: list[bytes] = []
    check_tree(Files(folder), checkpoint, lambda index, leaf: found.append(leaf))
    assert found == numbered(checkpoint.size)
    assert checkpoint.root == mth(found)
    assert (checkpoint.position.offsets[0] if checkpoint.position else 0) == checkpoint.size
    return checkpoint


def continues(folder: Path, before: Checkpoint, after: Checkpoint) -> None:
    """Fail unless the second is a continuation of the first: no fork."""
    proof = prove_consistency(DiskTiles(Files(folder)), before.size, after.size)
    verify_consistency(before.size, before.root, after.size, after.root, proof)


def files_of(folder: Path) -> set[str]:
    """Every file of a ledger but those of its writer."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in found if path not in {"lock", "checkpoint", "checkpoint.next"}}


def expected(size: int) -> set[str]:
    """The tiles and bundles that a tree of this size needs."""
    return {tile.path for tile in tiles_of(size)}


class FaultyFiles(Files):
    """A disk whose change number `at` fails: before it is applied, in the middle of it, or although it was applied."""

    def __init__(self, folder: Path, at: int, how: str, seen: Callable[[], None] = lambda: None) -> None:
        super().__init__(folder)
        self.at, self.how, self._seen, self.changes = at, how, seen, 0

    def _changed(self, change: Callable[[], None]) -> None:
        self.changes += 1
        if self.changes == self.at:
            if self.how == "applied":
                change()
            self._seen()
            self._fail()
        change()
        self._seen()

    def _fail(self) -> None:
        from failshut_ledger.disk import files

        raise files._failed(OSError(errno.ENOSPC, "No space left on device"), "a change")

    def write(self, path: str, data: bytes) -> None:
        self._changed(lambda: Files.write(self, path, data))

    def write_next(self, path: str, data: bytes) -> None:
        if self.changes + 1 == self.at and self.how == "torn":
            Files.write_next(self, path, data[: len(data) // 2])
        self._changed(lambda: Files.write_next(self, path, data))

    def rename(self, source: str, target: str) -> None:
        self._changed(lambda: Files.rename(self, source, target))

    def settle(self) -> None:
        self._changed(lambda: Files.settle(self))

    def remove_partials(self, tile: TileId) -> None:
        self._changed(lambda: Files.remove_partials(self, tile))
