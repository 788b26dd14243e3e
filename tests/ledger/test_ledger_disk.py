"""The writer: what is on the disk after each batch, after each failure, and when somebody has changed it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from draws import draws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger.plain import numbered
from ledger.writing import KEY, FaultyFiles, checked, continues, expected, files_of, on_disk, position
from patience import patient

from failshut_ledger.disk.check import check_tree
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.disk.writer import BATCH_LEAVES_MAX, create_ledger, open_ledger
from failshut_ledger.errors import (
    AlreadyThere,
    AlreadyWritten,
    DiskFailed,
    FileDamaged,
    FileMissing,
    Malformed,
    NoCheckpoint,
    NoKnownSignature,
    Refused,
    TooLong,
)
from failshut_ledger.merkle.tiles import ENTRIES, TileId
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.position import Position


def grow(folder: Path, *batches: int, files: Files | None = None) -> Checkpoint:
    """Go on where the ledger is, as a consumer of the topic does."""
    with open_ledger(folder, KEY, files) as writer:
        for count in batches:
            at = writer.checkpoint.size
            writer.append(numbered(at + count)[at:], position(at + count))
        return writer.checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty ledger."""
    create_ledger(tmp_path / "ledger", KEY)
    return tmp_path / "ledger"


@settings(max_examples=draws(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 300), max_size=4), max_size=3))
def test_a_ledger_holds_what_was_appended(tmp_path_factory: pytest.TempPathFactory, runs: list[list[int]]) -> None:
    """After any batches in any runs: every leaf in order, every tile, nothing else, and each checkpoint continues the last."""
    folder = tmp_path_factory.mktemp("ledger") / "l"
    before = create_ledger(folder, KEY)
    for batches in runs:
        grow(folder, *batches)
        after = checked(folder)
        continues(folder, before, after)
        assert after.size == before.size + sum(batches)
        assert files_of(folder) >= expected(after.size)
        full = {path.partition(".p/")[0] for path in files_of(folder) if ".p/" not in path}
        assert not [path for path in files_of(folder) if ".p/" in path and path.partition(".p/")[0] in full]
        before = after


def test_a_batch_that_ends_a_tile_removes_its_partials(folder: Path) -> None:
    """Partial tiles and bundles are removed once the full one is under a checkpoint, and not before."""
    grow(folder, 255)
    assert files_of(folder) == {"tile/entries/000.p/255", "tile/0/000.p/255"}
    grow(folder, 1)
    assert files_of(folder) == expected(256) == {"tile/entries/000", "tile/0/000", "tile/1/000.p/1"}


def test_an_older_checkpoint_is_read_from_fuller_tiles(folder: Path) -> None:
    """Who has an older checkpoint still finds every leaf and hash of its tree."""
    older = grow(folder, 200)
    grow(folder, 200)
    found: list[bytes] = []
    check_tree(Files(folder), older, lambda index, leaf: found.append(leaf))
    assert found == numbered(200)
    assert DiskTiles(Files(folder)).leaf(199, 200) == numbered(200)[199]
    with pytest.raises(Malformed):
        DiskTiles(Files(folder)).leaf(200, 200)


def published(folder: Path, at: int, how: str, batches: tuple[int, ...]) -> list[Checkpoint]:
    """Every checkpoint that anybody could read while a disk failed at one change, and after the ledger was opened again."""
    seen: list[Checkpoint] = []

    def look() -> None:
        if not seen or on_disk(folder) != seen[-1]:
            seen.append(on_disk(folder))

    files = FaultyFiles(folder, at, how, look)
    with pytest.raises(DiskFailed, match="the disk is full"):
        grow(folder, *batches, files=files)
    grow(folder, 7)
    look()
    return seen


BATCHES = (3, 300, 513)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["failed", "applied", "torn"])
def test_whatever_change_fails_the_ledger_goes_on_without_a_fork(tmp_path: Path, how: str) -> None:
    """Each change of the disk as failed, as failed but applied, and as torn: no gap, no duplicate, no fork, no second try."""
    counted = FaultyFiles(tmp_path / "counted", 0, how)
    create_ledger(tmp_path / "counted", KEY)
    grow(tmp_path / "counted", *BATCHES, files=counted)
    assert counted.changes > 25
    for at in range(1, counted.changes + 1):
        folder = tmp_path / f"{at}"
        create_ledger(folder, KEY)
        seen = published(folder, at, how, BATCHES)
        assert checked(folder) == seen[-1]
        for before, after in pairwise(seen):
            continues(folder, before, after)


def test_a_writer_that_failed_is_done_for(folder: Path) -> None:
    """After a failure nobody knows what the disk holds: the same writer signs nothing more, a new one reads the disk."""
    with open_ledger(folder, KEY, FaultyFiles(folder, 2, "failed")) as writer:
        with pytest.raises(DiskFailed):
            writer.append(numbered(1), position(1))
        with pytest.raises(Refused, match="open the ledger again"):
            writer.append(numbered(1), position(1))
    assert grow(folder, 1).size == 1


def test_a_signed_checkpoint_that_waits_is_published(folder: Path) -> None:
    """A writer killed between signing and publishing may have been seen by nobody or by a witness: its checkpoint counts."""
    with open_ledger(folder, KEY, FaultyFiles(folder, 5, "failed")) as writer, pytest.raises(DiskFailed):
        writer.append(numbered(3), position(3))
    assert on_disk(folder).size == 0
    assert grow(folder).size == 3
    assert checked(folder).size == 3
    assert not (folder / "checkpoint.next").exists()


def test_a_creation_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    """Until the first checkpoint is published there is no ledger, whatever was left of the attempt."""
    for at in (1, 2, 3, 4):
        folder = tmp_path / str(at)
        with pytest.raises(DiskFailed):
            create_ledger(folder, KEY, FaultyFiles(folder, at, "torn"))
        if not (folder / "checkpoint").exists():
            create_ledger(folder, KEY)
        assert grow(folder, 1).size == 1


@pytest.mark.parametrize(("code", "words"), [("ENOSPC", "the disk is full"), ("EROFS", "read-only"), ("EIO", "the disk fails")])
def test_what_the_system_refuses_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    """A full, a read-only and a failing disk are told apart; the ledger stays as it was, and goes on when there is room."""
    import errno

    before = grow(folder, 5)

    def refuse(handle: int) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    with open_ledger(folder, KEY) as writer, monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(DiskFailed, match=f"not written: .*{words}.*stands as it was"):
            writer.append(numbered(6)[5:], position(6))
    assert checked(folder) == before
    assert grow(folder, 1).size == 6
    assert checked(folder).size == 6


def test_two_writers_at_once_are_refused(folder: Path) -> None:
    """The second is told by name, in this process and in another, and may come when the first has gone."""
    other = f"""
from pathlib import Path
from ledger.writing import KEY
from failshut_ledger.disk.writer import open_ledger
with open_ledger(Path({str(folder)!r}), KEY) as writer:
    print(writer.checkpoint.size)
"""
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    command = [sys.executable, "-c", other]
    with open_ledger(folder, KEY) as writer:
        with pytest.raises(AlreadyWritten, match="one writer"), open_ledger(folder, KEY):
            pass
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patient(60))
        assert ended.returncode != 0
        assert "AlreadyWritten" in ended.stderr
        writer.append(numbered(1), position(1))
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patient(60), check=True)
    assert ended.stdout == "1\n"


@pytest.mark.parametrize("path", ["tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "longer", "empty"])
def test_a_damaged_edge_is_noticed_and_left_as_it_is(folder: Path, path: str, damage: str) -> None:
    """What a writer builds upon is checked when it starts: an error names the file, and nothing is written over it."""
    grow(folder, 600)
    file = folder / path
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = {"truncated": data[:-1], "changed": data[:-1] + bytes([data[-1] ^ 1]), "longer": data + b"x", "empty": b""}
        file.write_bytes(changed[damage])
    before = {one: (folder / one).read_bytes() for one in files_of(folder)}
    error = FileMissing if damage == "missing" else FileDamaged
    for _ in range(2):
        with pytest.raises(error, match=path.replace(".", r"\.")), open_ledger(folder, KEY):
            pass
    assert {one: (folder / one).read_bytes() for one in files_of(folder)} == before
    file.write_bytes(data)
    assert grow(folder, 1).size == 601


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001", "tile/1/000.p/2"])
def test_a_check_of_the_whole_names_the_file(folder: Path, path: str) -> None:
    """A tile or bundle that is torn, changed, missing or swapped with another is found wherever it is."""
    checkpoint = grow(folder, 600)
    file, good = folder / path, (folder / path).read_bytes()

    def found() -> str:
        with pytest.raises((FileDamaged, FileMissing)) as refused:
            check_tree(Files(folder), checkpoint, lambda index, leaf: None)
        return str(refused.value)

    level, number = path.split("/")[1:3]
    file.write_bytes(good[:-1])
    assert path in found()
    file.write_bytes(good[:50] + bytes([good[50] ^ 1]) + good[51:])
    assert number[:3] in found()
    file.unlink()
    assert path in found()
    if level != "1":
        other = folder / path.replace(number, "001" if number == "000" else "000")
        swapped = other.read_bytes()
        file.write_bytes(swapped)
        other.write_bytes(good)
        assert "do not agree" in found()


def test_a_ledger_without_its_checkpoint_is_not_begun_anew(folder: Path) -> None:
    """To start at zero over existing leaves would be a fork: both opening and creating are refused, by name."""
    grow(folder, 3)
    (folder / "checkpoint").unlink()
    with pytest.raises(NoCheckpoint, match="its tiles are there"), open_ledger(folder, KEY):
        pass
    with pytest.raises(AlreadyThere, match="fork"):
        create_ledger(folder, KEY)
    with pytest.raises(NoCheckpoint), open_ledger(folder / "nowhere", KEY):
        pass


def test_a_ledger_is_created_once(folder: Path) -> None:
    """A second creation is refused, and an empty ledger verifies."""
    with pytest.raises(AlreadyThere):
        create_ledger(folder, KEY)
    assert checked(folder).size == 0


def test_an_older_checkpoint_put_back_is_refused(folder: Path) -> None:
    """Its partial tile was removed when a newer checkpoint was on the disk: to write on from the older one would be a fork."""
    grow(folder, 200)
    old = (folder / "checkpoint").read_bytes()
    new_size = grow(folder, 100).size
    new = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(old)
    before = {path: (folder / path).read_bytes() for path in files_of(folder)}
    with pytest.raises(FileMissing, match=r"older than the tiles.* fork"), open_ledger(folder, KEY):
        pass
    assert {path: (folder / path).read_bytes() for path in files_of(folder)} == before
    (folder / "checkpoint.next").write_bytes(new)
    assert grow(folder).size == new_size, "a newer one that waits is taken up"
    (folder / "checkpoint.next").write_bytes(old)
    with pytest.raises(FileDamaged, match="somebody put it there"), open_ledger(folder, KEY):
        pass


def test_another_key_does_not_write(folder: Path) -> None:
    """The checkpoint must be signed by the key that would sign the next."""
    with pytest.raises(NoKnownSignature), open_ledger(folder, Signer.generate("ledger.example/test")):
        pass


def test_a_change_of_keys_is_signed_by_both(folder: Path) -> None:
    """A checkpoint that both keys sign hands the ledger over."""
    new = Signer.generate("ledger.example/test")
    with open_ledger(folder, KEY) as writer:
        writer.append(numbered(1), position(1), [new])
    with open_ledger(folder, new) as writer:
        writer.append(numbered(2)[1:], position(2))
    with pytest.raises(NoKnownSignature), open_ledger(folder, KEY):
        pass


def test_batches_and_positions_are_bounded(folder: Path) -> None:
    """What a batch does not take is refused before anything is written; a position neither goes back nor to another topic."""
    grow(folder, 2)
    with open_ledger(folder, KEY) as writer:
        for leaves in ([b""] * (BATCH_LEAVES_MAX + 1), [b"x" * 65_536]):
            with pytest.raises(TooLong):
                writer.append(leaves, position(3))
        for wrong in (position(1), Position("decisions", "another", {0: 3}), Position("x", position(0).topic_id, {0: 3}), None):
            with pytest.raises(Refused):
                writer.append([b"leaf"], wrong)
        writer.append(numbered(3)[2:], position(3))
    assert checked(folder).size == 3


def test_what_a_checkpoint_needs_is_never_written_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch writes a path that the checkpoint before it needs."""
    written: list[str] = []
    write = Files.write

    def noted(self: Files, path: str, data: bytes) -> None:
        written.append(path)
        write(self, path, data)

    monkeypatch.setattr(Files, "write", noted)
    for count in (1, 254, 1, 1, 256, 255, 300):
        needed = expected(on_disk(folder).size)
        written.clear()
        grow(folder, count)
        assert not needed & set(written)
    assert TileId(ENTRIES, 0).path in files_of(folder)


def test_names_last_before_a_checkpoint_needs_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of power takes names that were not synced: every tile's is, before its checkpoint is even written anywhere."""
    unsynced: list[tuple[str, int]] = []
    files = Files(folder)
    write_next, rename = Files.write_next, Files.rename

    def written(self: Files, path: str, data: bytes) -> None:
        unsynced.append(("written", len(self._renamed)))
        write_next(self, path, data)

    def renamed(self: Files, source: str, target: str) -> None:
        unsynced.append(("published", len(self._renamed)))
        rename(self, source, target)

    monkeypatch.setattr(Files, "write_next", written)
    monkeypatch.setattr(Files, "rename", renamed)
    grow(folder, 1, 600, files=files)
    assert unsynced == [("written", 0), ("published", 0)] * 2
    assert not files._renamed
