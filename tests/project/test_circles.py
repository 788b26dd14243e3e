"""No module imports one that imports it: inside a package the arrows point one way, those for type checkers included.

Two modules that import each other are one module in two files: neither is read, tested or replaced without the other. An
import under TYPE_CHECKING hides that from Python and from nobody else. What breaks a circle is a third module for what both
need, a value instead of its owner, or a protocol in the module that calls.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from project.test_rules import PACKAGES, ROOT, complain

#: Circles that are known, and are still to be undone.
KNOWN: frozenset[frozenset[str]] = frozenset()

Graph = Mapping[str, frozenset[str]]


def modules_of(folder: Path) -> dict[str, Path]:
    """The modules of the package in a folder, by full name; a package's own is its `__init__.py`."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path) -> Iterator[str]:
    """The full names that a file imports, wherever in it; `from a import b` gives `a.b`, whatever b is."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def graph_of(folder: Path) -> Graph:
    """Which modules each module of a package imports. A name that is no module is the module's that it stands in."""
    modules = modules_of(folder)

    def module_of(name: str) -> str:
        return name if name in modules or "." not in name else module_of(name.rpartition(".")[0])

    return {
        module: frozenset(module_of(name) for name in imports_of(module, path)) & modules.keys() - {module}
        for module, path in modules.items()
    }


@cache
def graph_of_package(package: str) -> Graph:
    """The graph of one of our packages."""
    return graph_of(ROOT / PACKAGES[package][0] / package)


def reached_from(graph: Graph, start: str) -> set[str]:
    """What a module imports, directly or through others."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph[module]
    return reached


def circles_of(graph: Graph) -> set[frozenset[str]]:
    """The largest sets of modules of which each imports each other, directly or through others."""
    reached = {module: reached_from(graph, module) for module in graph}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }


def said(circles: Iterable[frozenset[str]], graph: Graph) -> list[str]:
    """Each circle with the imports that make it."""
    return sorted(
        "; ".join(f"{module} imports {', '.join(sorted(graph[module] & circle))}" for module in sorted(circle))
        for circle in circles
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_what_imports_it(package: str) -> None:
    """Inside a package there are no circles of imports but those that are listed here."""
    graph = graph_of_package(package)
    complain(
        said(circles_of(graph) - KNOWN, graph),
        "These are circles, TYPE_CHECKING or not. Move what both need to a module of its own, or pass the value.",
    )


def test_what_is_listed_is_still_a_circle() -> None:
    """A circle that was undone is taken off the list, so that it does not come back."""
    gone = KNOWN.difference(*(circles_of(graph_of_package(package)) for package in PACKAGES)) if KNOWN else ()
    complain([" <-> ".join(sorted(circle)) for circle in gone], "No circle any more: take it out of KNOWN.")


HIDDEN = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A package without a circle: main -> part -> parts.lower, and the package's own module imports main."""
    folder = tmp_path / "made_up"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "__init__.py").touch()
    (folder / "__init__.py").write_text("from made_up.main import run\n")
    (folder / "main.py").write_text("import json\nfrom made_up import part\ndef run(): ...\n")
    (folder / "part.py").write_text("from made_up.parts.lower import low\n")
    (folder / "parts" / "lower.py").write_text("low = 1\n")
    return folder


def test_a_tree_without_a_circle_has_none(made_up: Path) -> None:
    """Imports that all point one way are no circle, however long the way."""
    graph = graph_of(made_up)
    assert circles_of(graph) == set()
    assert reached_from(graph, "made_up") == {"made_up.main", "made_up.part", "made_up.parts.lower"}


@pytest.mark.parametrize(
    "added",
    [
        "from made_up.main import run",
        "from made_up import main",
        "import made_up.main",
        "from .. import main",
        "from ..main import run",
        HIDDEN + "from made_up.main import run",
        "def later():\n    from made_up.main import run",
    ],
)
def test_a_circle_that_is_added_is_found(made_up: Path, added: str) -> None:
    """One import upwards, hidden or not and over two modules, makes a circle of all that lie between."""
    (made_up / "parts" / "lower.py").write_text(f"{added}\n")
    graph = graph_of(made_up)
    assert circles_of(graph) == {frozenset({"made_up.main", "made_up.part", "made_up.parts.lower"})}
    (line,) = said(circles_of(graph), graph)
    assert "made_up.parts.lower imports made_up.main" in line


def test_a_package_that_imports_its_own_front_is_a_circle(made_up: Path) -> None:
    """A name that only the package's `__init__.py` has is imported from there, and it imports them all."""
    (made_up / "part.py").write_text("from made_up import run\n")
    assert circles_of(graph_of(made_up)) == {frozenset({"made_up", "made_up.main", "made_up.part"})}


def test_two_circles_are_two(made_up: Path) -> None:
    """Circles that do not touch are told apart."""
    (made_up / "part.py").write_text("import made_up.main\n")
    (made_up / "parts" / "lower.py").write_text("import made_up.parts.upper\n")
    (made_up / "parts" / "upper.py").write_text("import made_up.parts.lower\n")
    assert circles_of(graph_of(made_up)) == {
        frozenset({"made_up.main", "made_up.part"}),
        frozenset({"made_up.parts.lower", "made_up.parts.upper"}),
    }
