"""docs/decisions/README.md lists every record once, by the number and the title that the record has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = Path(__file__).resolve().parents[2] / "docs" / "decisions"
RECORDS = sorted(path for path in DECISIONS.glob("*.md") if path.name not in {"README.md", "template.md"})
ROW = re.compile(r"^\| \[(\d{4})\]\((.+)\) \| (.+) \|$", re.MULTILINE)
PARTS = ("**We do.**", "**Why", "**Costs.**")


def test_the_index_lists_every_record() -> None:
    """Each record has its row, in the order of the numbers, under its own title."""
    rows = ROW.findall((DECISIONS / "README.md").read_text(encoding="utf-8"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in RECORDS]
    assert rows == [(path.name[:4], path.name, title.removeprefix("# ")) for path, title in zip(RECORDS, titles, strict=True)]


def test_numbers_are_used_once() -> None:
    """Records are numbered from 0001 without a gap, and no two have one number."""
    assert [path.name[:4] for path in RECORDS] == [f"{number:04}" for number in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("path", [*RECORDS, DECISIONS / "template.md"], ids=lambda path: path.name)
def test_a_record_has_the_parts_of_the_template(path: Path) -> None:
    """What is done, why, and what it costs stand in this order."""
    text = path.read_text(encoding="utf-8")
    places = [text.find(part) for part in PARTS]
    assert -1 not in places, dict(zip(PARTS, places, strict=True))
    assert places == sorted(places)
