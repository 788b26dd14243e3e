"""Files of a ledger: read within bounds, written whole or not at all, and on the disk before anything says so.

A file is written under a hidden name, synced, and renamed. `settle` syncs the folders, so that the names last as well.
Whatever the system refuses becomes `DiskFailed` with words that name the file and what to do. Tests inject faults by a
subclass: every change of the disk goes through `write`, `rename`, `settle` or `remove_partials`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failshut_ledger.errors import DiskFailed, FileDamaged, FileMissing
from failshut_ledger.merkle.tiles import TileId

CHECKPOINT: Final = "checkpoint"
NEXT: Final = "checkpoint.next"
"""The checkpoint that is about to be published: on the disk under this name first."""
TILES: Final = "tile"
COSIGNED: Final = "checkpoint.cosigned"
"""The newest checkpoint that enough witnesses have cosigned, with their cosignatures."""
FORK: Final = "checkpoint.fork"
"""A checkpoint with the ledger's own signature that contradicts its tree."""

_WORDS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EIO: "the disk fails",
}


class Files:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._renamed: set[Path] = set()  # folders whose names are not synced yet

    def read(self, path: str, bytes_max: int) -> bytes:
        """Return what a file holds.

        Raises:
            FileMissing: there is none.
            FileDamaged: it is longer than it can be.
            DiskFailed: it cannot be read.
        """
        try:
            with (self.folder / path).open("rb") as file:
                data = file.read(bytes_max + 1)
        except FileNotFoundError as error:
            raise FileMissing(f"{path} is not there") from error
        except OSError as error:
            raise _failed(error, f"{path} cannot be read") from error
        if len(data) > bytes_max:
            raise FileDamaged(f"{path} is longer than the {bytes_max} bytes that it can have")
        return data

    def there(self, path: str) -> bool:
        """Return whether anything has this path. Raises DiskFailed where that cannot be said."""
        try:
            return (self.folder / path).exists()
        except OSError as error:
            raise _failed(error, f"{path} cannot be looked at") from error

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all; its name lasts from the next `settle` on. Raises DiskFailed."""
        target = self.folder / path
        partial = target.with_name(f".{target.name}.partial")
        with _told(path):
            self._make(target.parent)
            self._write_synced(partial, data)
            partial.replace(target)
        self._renamed.add(target.parent)

    def write_next(self, path: str, data: bytes) -> None:
        """Write a file in place, for a name that nobody reads until it is renamed. Raises DiskFailed."""
        target = self.folder / path
        with _told(path):
            self._write_synced(target, data)
        self._renamed.add(target.parent)

    def rename(self, source: str, target: str) -> None:
        """Give a file another's name. Raises DiskFailed."""
        with _told(target):
            (self.folder / source).replace(self.folder / target)
        self._renamed.add((self.folder / target).parent)

    def remove(self, path: str) -> None:
        """Remove a file. Raises DiskFailed."""
        with _told(path):
            (self.folder / path).unlink()
        self._renamed.add((self.folder / path).parent)

    def settle(self) -> None:
        """Sync every folder in which a name changed. Raises DiskFailed."""
        for folder in sorted(self._renamed):
            with _told(str(folder)):
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        self._renamed.clear()

    def remove_partials(self, tile: TileId) -> None:
        """Remove the partial tiles in whose place there is a full one. What cannot be removed stays, and does no harm."""
        shutil.rmtree(self.folder / f"{tile.full.path}.p", ignore_errors=True)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it; their names are to be synced as well."""
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._renamed.update(one.parent for one in missing)

    def _write_synced(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Say what the system refused, and of which file."""
    try:
        yield
    except OSError as error:
        raise _failed(error, f"{path} was not written") from error


def _failed(error: OSError, what: str) -> DiskFailed:
    why = _WORDS.get(error.errno or 0, error.strerror or type(error).__name__)
    return DiskFailed(f"{what}: {why}. What was signed before stands as it was")
