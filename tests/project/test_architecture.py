"""ARCHITECTURE.md and the READMEs' lists of files say what is there, and no folder grows past a glance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project.test_rules import PACKAGES, ROOT, complain, name

FILES_MAX = 16
#: Folders of files of one kind, where each is found by its name.
OF_ONE_KIND = {"detectors/failshut_detectors/methods", "docs/decisions", "docs/model", "docs/pictures", "docs/trouble/causes"}
NOT_LISTED = {"__init__.py", "py.typed"}

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FOLDERS = [folder for folder, _, _ in PACKAGES.values()]
#: A path from the root, as the page writes it: bare, in backticks or as a link.
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join([*FOLDERS, 'docs', 'tests'])})/[\w./-]*\w\.\w+")
ROW = re.compile(r"^\| ([\w.-]+\.\w+) \| (.+) \|$", re.MULTILINE)


def rooms(package: Path) -> Iterator[Path]:
    """The folders of a package, itself included."""
    yield package
    for path in sorted(package.rglob("*")):
        if path.is_dir() and path.name != "__pycache__" and any(path.iterdir()):
            yield path


def files(folder: Path) -> list[Path]:
    """What stands in a folder itself."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".pyc"]


def listed(readme: str) -> dict[str, dict[str, str]]:
    """The README's list: room -> file -> its line. The package's own files are under the room ""."""
    _, _, text = readme.partition("\n## Files\n")
    found = {"": dict(ROW.findall(text.partition("\n### ")[0]))}
    for section in text.split("\n### ")[1:]:
        room, _, rest = section.partition("\n")
        found[room.strip().rstrip("/")] = dict(ROW.findall(rest))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_readme_lists_every_file_and_no_other(package: str) -> None:
    """Each file of a package stands in the README of its folder, under its room, with a line of words."""
    folder = ROOT / PACKAGES[package][0]
    said = listed((folder / "README.md").read_text(encoding="utf-8"))
    there = {
        path.relative_to(folder / package).as_posix().removeprefix("."): {
            file.name for file in files(path) if file.name not in NOT_LISTED
        }
        for path in rooms(folder / package)
    }
    there = {room: names for room, names in there.items() if names}
    said = {room: lines for room, lines in said.items() if lines}
    faults = [f"{room}/{file} is not in the list" for room in there for file in sorted(there[room] - said.get(room, {}).keys())]
    faults += [f"{room}/{file} is not there" for room in said for file in sorted(said[room].keys() - there.get(room, set()))]
    complain(faults, f"{folder.name}/README.md, under ## Files: a table for each room, a row for each file.")


def test_every_path_of_the_page_is_there() -> None:
    """Whatever file ARCHITECTURE.md names exists."""
    named = PATH.findall(PAGE)
    assert len(named) > 50, "the page names its files from the root"
    complain(sorted({path for path in named if not (ROOT / path).is_file()}), "ARCHITECTURE.md names what is not there.")


def test_the_page_names_every_part() -> None:
    """No top-level package is left out of the page."""
    complain(
        [package for package in PACKAGES if f"{PACKAGES[package][0]}/{package}/" not in PAGE],
        "ARCHITECTURE.md leaves out a part.",
    )


def test_the_walk_and_the_questions_have_an_answer_each() -> None:
    """Every step, every start and every question names a file, and there are eleven starts and twelve questions."""
    rows = {
        heading.partition("\n")[0]: [line for line in heading.splitlines() if line.startswith("| ")][1:]
        for heading in PAGE.split("\n## ")[1:]
    }
    steps, starts, questions = (
        rows[heading] for heading in ("How does one reading become a denial?", "Where do I start?", "Can you find it?")
    )
    complain([row for row in (*steps, *starts, *questions) if not PATH.search(row)], "A row of ARCHITECTURE.md without a file.")
    assert (len(starts), len(questions)) == (11, 12)
    assert len(steps) > 15


def test_no_folder_holds_more_than_a_glance() -> None:
    """At most 16 files in a folder, those of one kind apart: then a room of its own is due."""
    parts = [ROOT / folder for folder in (*FOLDERS, "docs", "examples", "docker")]
    every = [path for part in parts for path in rooms(part) if "build" not in path.parts and not path.name.startswith(".")]
    complain(
        [
            f"{name(path)}/ holds {len(files(path))} files"
            for path in every
            if name(path) not in OF_ONE_KIND and len(files(path)) > FILES_MAX
        ],
        f"At most {FILES_MAX} files in a folder: give those that belong together a room, named for what they hold.",
    )


def test_a_folder_of_one_kind_is_there() -> None:
    """What is exempt from the bound exists."""
    complain([path for path in sorted(OF_ONE_KIND) if not (ROOT / path).is_dir()], "Take it out of OF_ONE_KIND.")


HEAD = "| file | holds |\n|---|---|\n"
LIST = f"# part\n\n## Files\n\n{HEAD}| a.py | One |\n\n### room/\n\nWords.\n\n{HEAD}| b.lua | Two |\n"


def test_a_list_is_read_as_it_is_written() -> None:
    """Rows count for the room whose heading they stand under; the table's head is no file."""
    assert listed(LIST) == {"": {"a.py": "One"}, "room": {"b.lua": "Two"}}
