"""Each cause has a page that says what to do, and each command that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from failshut import Cause
from failshut_console.app import COMMANDS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "trouble" / "causes"
PARTS = ("**Who says it.**", "**What to look at.**", "**What to do.**", "**How it ends.**")


@pytest.mark.parametrize("cause", Cause)
def test_a_cause_has_a_page(cause: Cause) -> None:
    """With the words that guards say, four parts, and commands of this version alone."""
    text = (FOLDER / f"{cause}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# `{cause}`: {cause.meaning}\n")
    assert [part for part in PARTS if text.count(part) != 1] == []
    named = set(re.findall(r"`failshut ([a-z]+)", text))
    assert named <= {command.name for command in COMMANDS}


def test_no_page_is_of_no_cause() -> None:
    """And the list has a row for each, with what it means."""
    assert {path.stem for path in FOLDER.glob("*.md")} == {*map(str, Cause), "README"}
    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (.+) \|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    assert sorted(rows) == sorted((str(cause), str(cause), cause.meaning) for cause in Cause)
