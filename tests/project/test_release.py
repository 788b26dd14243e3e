"""docs/RELEASE.md says that anybody can rebuild a release byte for byte, and which version it has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from patience import patient

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
BUILT_FROM = [
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "guard",
    "detectors",
    "breakers",
    "streams",
    "ledger",
    "replay",
    "console",
]
RELEASED_AT = "1700000000"


def built(source: Path, file_mode: int, file_time: int) -> dict[str, bytes]:
    """The artefacts made from a copy of the source whose files have this mode and this time."""
    for part in BUILT_FROM:
        if (ROOT / part).is_file():
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / part, source / part)
        else:
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in source.rglob("*"):
        if path.is_file():
            path.chmod(file_mode)
        os.utime(path, (file_time, file_time))
    command = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": RELEASED_AT}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=patient(60))
    return {path.name: path.read_bytes() for path in (source / "dist").iterdir()}


@pytest.mark.slow
def test_two_builds_are_one_to_the_byte(tmp_path: Path) -> None:
    """Neither the files' times nor their modes nor the folder's name is in a wheel or a source archive."""
    first = built(tmp_path / "first", 0o644, 1_000_000_000)
    second = built(tmp_path / "second", 0o600, 1_600_000_000)
    version = PROJECT["project"]["version"]
    assert sorted(first) == [f"failshut-{version}-py3-none-any.whl", f"failshut-{version}.tar.gz"]
    assert {name: len(data) for name, data in first.items()} == {name: len(data) for name, data in second.items()}
    assert [name for name in first if first[name] != second[name]] == []


def test_the_version_is_that_of_the_newest_release() -> None:
    """CHANGELOG.md opens with what is not released, and its newest release has the version of pyproject.toml."""
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == PROJECT["project"]["version"]
    assert all(date for _, date in headings[1:])
    dates = [date for _, date in headings[1:]]
    assert dates == sorted(dates, reverse=True)


def test_changes_stand_under_the_kinds_that_there_are() -> None:
    """Keep a Changelog has six kinds of change; a release has each at most once."""
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for release in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert set(found) <= kinds
        assert len(found) == len(set(found)), release.splitlines()[0]
