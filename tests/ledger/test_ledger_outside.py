"""What others make of a ledger: golang.org/x/mod reads our checkpoints, tiles and bundles, and refuses changed ones.

The checker is outside/main.go. Without Go, or where its one module cannot be had, these tests skip and say so.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from ledger.plain import numbered
from ledger.test_ledger_killed import kill_once
from ledger.writing import KEY, files_of, position
from patience import patient

from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.notes.keys import Signer

SOURCE = Path(__file__).parent / "outside"
SIZES = (1, 2, 255, 256, 257, 600)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checker, built."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed here: what x/mod says of a ledger is not tried")
    binary = tmp_path_factory.mktemp("outside") / "outside"
    command = ["go", "build", "-mod=readonly", "-o", str(binary), "."]
    built = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=patient(60))
    if built.returncode and "dial tcp" in built.stderr:
        pytest.skip("golang.org/x/mod cannot be had here")
    assert built.returncode == 0, built.stderr
    return binary


def says(checker: Path, folder: Path, *older: Path, key: Signer = KEY) -> tuple[int, str]:
    """How the checker ends, and what it prints: the tree's size, or what is wrong."""
    command = [str(checker), str(folder), str(key.verifier), *map(str, older)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(60))
    return ended.returncode, (ended.stdout or ended.stderr).strip()


def test_go_reads_what_we_write(checker: Path, tmp_path: Path) -> None:
    """At every size, every leaf is proven under the root, and each checkpoint continues all before it."""
    folder = tmp_path / "ledger"
    older: list[Path] = []
    create_ledger(folder, KEY)
    assert says(checker, folder) == (0, "0")
    for size in SIZES:
        with open_ledger(folder, KEY) as writer:
            writer.append(numbered(size)[writer.checkpoint.size :], position(size))
        assert says(checker, folder, *older) == (0, str(size))
        older.append(tmp_path / f"{size}")
        shutil.copy(folder / "checkpoint", older[-1])


def test_go_refuses_what_was_changed(checker: Path, tmp_path: Path) -> None:
    """A changed byte in each file, another key, and a checkpoint of a fork."""
    for name, leaves in (("ledger", numbered(600)), ("fork", [b"another", *numbered(600)[1:300]])):
        create_ledger(tmp_path / name, KEY)
        with open_ledger(tmp_path / name, KEY) as writer:
            writer.append(leaves, position(len(leaves)))
    folder = tmp_path / "ledger"
    assert says(checker, folder) == (0, "600")
    assert says(checker, folder, key=Signer.generate(KEY.verifier.name))[0] == 1
    assert says(checker, folder, tmp_path / "fork" / "checkpoint")[0] == 1
    for path in ["checkpoint", *files_of(folder)]:
        file, good = folder / path, (folder / path).read_bytes()
        file.write_bytes(good[:-10] + bytes([good[-10] ^ 1]) + good[-9:])
        assert says(checker, folder)[0] == 1, path
        file.write_bytes(good)


def test_go_agrees_after_a_writer_was_killed(checker: Path, tmp_path: Path) -> None:
    """Each checkpoint that a killed writer left is one that the next continues."""
    folder = tmp_path / "ledger"
    older: list[Path] = []
    create_ledger(folder, KEY)
    for number in range(5):
        kill_once(folder, random.Random(number))
        status, said = says(checker, folder, *older)
        assert status == 0, said
        older.append(tmp_path / f"{number}")
        shutil.copy(folder / "checkpoint", older[-1])
