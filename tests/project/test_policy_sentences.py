"""Every sentence of docs/policy.md has its test: policy_sentences.txt says which, and changes with the page.

A line of that file is the beginning of a sentence (of a table: of a cell, behind its row's name), a checksum of all of it, and
the names of the tests that show it. Or it has a dash, and why the sentence claims nothing that a test could show. Whoever adds
or changes a sentence is told the line that is missing. The tests are functions anywhere in tests/.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "policy.md"
TABLE = Path(__file__).with_name("policy_sentences.txt")
START = 44
SENTENCE = re.compile(r"(?<=[.!?])(?<!\.\.\.)\s+(?=[A-Z`\"*0-9])")


def sentences(page: str) -> list[str]:
    """The sentences of a page, without its headings and examples; a cell of a table begins with its row's name."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
        lines = block.strip().splitlines()
        if not lines or lines[0].startswith("#"):
            continue
        if lines[0].startswith("|"):
            for row in lines[2:]:
                name, *cells = (cell.strip() for cell in row.strip("|").split(" | "))
                found += [f"{name.strip(' `')}: {cell.strip(' |')}" for cell in cells if cell.strip(" |")]
            continue
        items: list[list[str]] = []
        for line in lines:
            if line.startswith("- ") or not items:
                items.append([])
            items[-1].append(line.strip())
        for item in items:
            found += [one for one in SENTENCE.split(" ".join(item).removeprefix("- ")) if one]
    return found


def key(sentence: str) -> str:
    """The beginning of a sentence, and the checksum of all of it."""
    return f"{sentence[:START].strip()} [{zlib.crc32(sentence.encode()) & 0xFFFF:04x}]"


def table() -> dict[str, str]:
    """What the file says: by key, the tests or the reason."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    entries = [(start, said) for start, _, said in (line.partition(" => ") for line in lines)]
    assert len({one[0] for one in entries}) == len(entries), "a sentence stands twice in policy_sentences.txt"
    return dict(entries)


def test_every_sentence_of_the_page_has_a_line_and_no_other() -> None:
    """A new or changed sentence asks for its test; a line whose sentence is gone goes with it."""
    there, told = [key(one) for one in sentences(PAGE.read_text(encoding="utf-8"))], table()
    missing = [f"missing: {one} => test_..." for one in there if one not in told]
    gone = [f"gone: {one}" for one in told if one not in there]
    assert not [*missing, *gone], "\n".join([*missing, *gone])


def test_every_line_names_tests_that_exist_or_says_why_there_is_none() -> None:
    """A test that is renamed or taken away is missed here."""
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", written))
    for start, said in table().items():
        if said.startswith("- "):
            assert len(said) > 8, f"{start}: say why it claims nothing"
            continue
        named = said.split()
        assert named, start
        assert set(named) <= there, f"{start}: no test is named {sorted(set(named) - there)}"
