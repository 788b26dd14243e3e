"""The bundle that is committed: it is what its sources give, and it is small."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "console" / "failshut_console" / "web" / "bundle"
TOOLS = ROOT / ".venv-web" / "node_modules" / ".bin"
RAW_BYTES_MAX = 100_000
COMPRESSED_BYTES_MAX = 45_000


def test_the_bundle_is_what_its_sources_give(tmp_path: Path) -> None:
    """Whoever reads the sources knows what a browser runs. Changing them without `make web` fails here."""
    if shutil.which("node") is None or not (TOOLS / "esbuild").exists():
        pytest.skip("Node or the tools are not here (make web): whether the bundle is what its sources give was not checked")
    subprocess.run([ROOT / "requirements" / "web" / "build.sh", tmp_path], check=True, timeout=120)
    for name in ("console.js", "console.css"):
        assert (tmp_path / name).read_bytes() == (BUNDLE / name).read_bytes(), (
            f"{name}: run `make web`, and commit what it makes"
        )


def test_the_bundle_is_small() -> None:
    """Script and style together keep to 100 kB, and to 45 kB compressed."""
    parts = [path.read_bytes() for path in sorted(BUNDLE.iterdir())]
    assert sum(map(len, parts)) <= RAW_BYTES_MAX
    assert sum(len(gzip.compress(part)) for part in parts) <= COMPRESSED_BYTES_MAX


def test_the_bundle_asks_nobody_else() -> None:
    """No address of another host stands in it, but for names of the standards that proofs follow."""
    for path in BUNDLE.iterdir():
        text = path.read_text(encoding="utf-8").replace("https://in-toto.io/Statement/v1", "")
        assert "http://" not in text
        assert "https://" not in text
        assert "@import" not in text
