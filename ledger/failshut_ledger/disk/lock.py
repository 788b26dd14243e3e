"""One writer at a time: a lock on a file of the ledger, which the system lifts when its holder dies.

Limits: it is `flock`. Two machines that share a folder by a network file system without it do not see each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failshut_ledger.errors import AlreadyWritten, DiskFailed

LEDGER: Final = "lock"
COSIGNING: Final = "lock.cosign"
WITNESS: Final = "lock.witness"
_WHY: Final = {
    LEDGER: "another process writes the ledger in {}: a ledger has one writer",
    COSIGNING: "another process asks the witnesses of the ledger in {}",
    WITNESS: "another process is the witness in {}: two could cosign trees that do not continue each other",
}


@contextlib.contextmanager
def writing(folder: Path, name: str = LEDGER) -> Iterator[None]:
    """Be the one writer of what a lock's file in this folder stands for.

    Raises:
        AlreadyWritten: another process, or another writer in this one, is.
        DiskFailed: the lock's file cannot be opened.
    """
    try:
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DiskFailed(f"{folder}/{name} cannot be opened: {error.strerror}. Nothing was written") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyWritten(_WHY[name].format(folder)) from error
        except OSError as error:
            raise DiskFailed(f"{folder}/{name} cannot be locked: {error.strerror}. Nothing was written") from error
        yield
    finally:
        os.close(handle)
