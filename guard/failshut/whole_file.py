"""Files that are written whole or not at all: a reader sees the old one or the new one, and no part of either.

The new file is written beside the old one, under a hidden name that contains the process id. It is on the disk before
it gets its name, and is removed if that fails. Limits: two threads of one process must not write one file at a time. A
file that a killed process left stays until somebody removes it.
"""

from __future__ import annotations

import os
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Return where this process writes a file before it gets its name: in the same folder, hidden."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def write_whole(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file, whole or not at all. Its folder must be there.

    Args:
        path: the file's name; what has it before is replaced.
        data: all that it holds.
        mode: its permissions, which hold from the first byte on; by default those that the process gives new files.

    Raises:
        OSError: it was not written, and whatever had the name before is as it was.
    """
    partial = partial_of(path)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
