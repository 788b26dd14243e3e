"""One writer at a time: a lock on a file of the ledger, which the system lifts when its holder dies.

Limits: it is `flock`. Two machines that share a folder by a network file system without it do not see each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from failshut_ledger.errors import AlreadyWritten, DiskFailed


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one writer of a ledger.

    Raises:
        AlreadyWritten: another process, or another writer in this one, is.
        DiskFailed: the lock's file cannot be opened.
    """
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DiskFailed(f"{folder}/lock cannot be opened: {error.strerror}. Nothing was written") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyWritten(f"another process writes the ledger in {folder}: a ledger has one writer") from error
        except OSError as error:
            raise DiskFailed(f"{folder}/lock cannot be locked: {error.strerror}. Nothing was written") from error
        yield
    finally:
        os.close(handle)
