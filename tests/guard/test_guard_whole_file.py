"""A file that is written whole has its old content or its new one, whatever goes wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from failshut.whole_file import partial_of, write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The new content has the name, and nothing else is left in the folder."""
    path = tmp_path / "a.json"
    for content in (b"old", b"new", b""):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "fchmod", "fdopen"])
def test_what_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """A disk that is full or an interruption anywhere in between: the old content stays, and no partial file."""
    path = tmp_path / "a.json"
    write_whole(path, b"old", 0o644)

    def broken(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, fails, broken)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_cannot_be_given_leaves_nothing(tmp_path: Path) -> None:
    """Where a folder has the name, it keeps it, and no partial file stays."""
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped path is an error and no new folder."""
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_asked_for_or_the_process_own(tmp_path: Path) -> None:
    """A private file is private from its first byte on, whatever the mask; others are as any new file."""
    former = os.umask(0o027)
    try:
        write_whole(tmp_path / "asked", b"", 0o644)
        write_whole(tmp_path / "private", b"", 0o600)
        write_whole(tmp_path / "own", b"")
    finally:
        os.umask(former)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"asked": 0o644, "private": 0o600, "own": 0o640}


def test_two_processes_do_not_write_the_same_partial_file(tmp_path: Path) -> None:
    """The name says whose it is, and no pattern for the file's own kind finds it."""
    partial = partial_of(tmp_path / "a.yaml")
    assert str(os.getpid()) in partial.name
    assert partial.parent == tmp_path
    partial.touch()
    assert not list(tmp_path.glob("*.yaml"))
