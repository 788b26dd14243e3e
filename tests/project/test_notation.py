"""One notation for what can be written in several ways: whoever reads one file can read them all.

What a formatter or a linter settles is not here (pyproject.toml). Each rule names the one way; the reason is in its message.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project.test_rules import CODE_FOLDERS, PACKAGES, code, complain, name

SOURCES = [folder for folder, _, _ in PACKAGES.values()]
FUNCTION_LINES_MAX = 60

#: Words that begin a phrase, and no order. A docstring that begins with one names a thing and not what is done.
PHRASES = {
    *("a", "an", "the", "this", "these", "that", "those", "some", "any", "one", "both", "each", "every", "all", "its", "no"),
    *("what", "whatever", "whether", "how", "which", "why", "where", "when", "who", "whose", "whom", "whoever"),
    *("for", "in", "on", "at", "as", "from", "of", "to", "with", "under", "before", "after", "behind", "beside", "until"),
    *("there", "it", "they", "nothing", "nobody", "everything", "everybody", "something"),
    *("several", "two", "since"),
}
NO_ORDER = re.compile(r"(?<!s)s$")
"""Nouns in the plural, and verbs that tell instead (Returns). Names of things are not titled: JSON, SIGKILL."""

ANYTHING = re.compile("")


def files(folders: list[str]) -> Iterator[Path]:
    """Yield the Python files in these folders."""
    return (path for folder in folders for path in code(folder))


def nodes(path: Path, mentions: re.Pattern[str] = ANYTHING) -> Iterator[ast.AST]:
    """The nodes of a file, or none if its text does not mention what a rule is about: to read it all again takes seconds."""
    text = path.read_text(encoding="utf-8")
    return ast.walk(ast.parse(text)) if mentions.search(text) else iter(())


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith(("property", ".setter")) for decorator in node.decorator_list)


def test_a_docstring_says_what_a_function_does() -> None:
    """A function's docstring begins with a verb that orders it: Return, Write, Take. A property's names what it is."""
    faults = []
    for path in files(SOURCES):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
                first = re.split(r"[ ,.;:\n]", text)[0]
                orders = first.istitle() and first.lower() not in PHRASES and not NO_ORDER.search(first)
                wrong = first in ("Return", "Returns") if is_property(node) else not orders
                if wrong:
                    faults.append(f"{name(path)}:{node.lineno} {node.name}: {text.splitlines()[0]}")
    complain(faults, "Say `Return whether ...` of a function, and `Whether ...` of a property.")


def test_sections_are_ruled_in_one_way() -> None:
    """A comment that divides a file is `# --- the section ---`."""
    rule = re.compile(r"\s*# (-{2,}|={2,}|\*{2,}|.*\w -{3,}$|.*={4,})")
    good = re.compile(r"\s*# --- \S(.*\S)? ---")
    complain(
        [
            f"{name(path)}:{number} {line.strip()[:60]}"
            for path in files(CODE_FOLDERS)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if rule.match(line) and not good.fullmatch(line)
        ],
        "A line that divides a file is `# --- the section ---`, so that one search finds all.",
    )


def test_a_modules_logger_is_called_logger() -> None:
    """`logger = logging.getLogger(__name__)`: `log` is the evidence log, or a file."""
    complain(
        [
            f"{name(path)}:{node.lineno} {ast.unparse(node)}"
            for path in files(CODE_FOLDERS)
            for node in nodes(path, re.compile(r"getLogger\("))
            if isinstance(node, ast.Assign)
            and ast.unparse(node.value) == "logging.getLogger(__name__)"
            and ast.unparse(node.targets[0]) != "logger"
        ],
        "Call it `logger`.",
    )


def test_a_bound_ends_with_max_or_min() -> None:
    """`LINES_MAX`, `BACKOFF_SECONDS_MIN`: what is bounded comes first, so that a sorted list shows things side by side."""
    complain(
        [
            f"{name(path)}:{node.lineno} {node.id}"
            for path in files(SOURCES)
            for node in nodes(path, re.compile(r"\b_?(MAX|MIN)_"))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and re.match(r"_?(MAX|MIN)_", node.id)
        ],
        "Put MAX or MIN behind the thing and its unit.",
    )


def _names_set(node: ast.AST) -> str:
    """Return the name that a node binds, if it binds one."""
    match node:
        case ast.arg(arg=found) | ast.Name(id=found, ctx=ast.Store()) | ast.Attribute(attr=found, ctx=ast.Store()):
            return found
    return ""


def test_a_unit_has_one_spelling() -> None:
    """Times are `_ms`, `_s` or `_seconds`; a constant's seconds are SECONDS."""
    other = re.compile(r"_(sec|secs|second|msec|msecs|millis|milliseconds|usec|micros|nanos|mins|minutes|hrs)\b", re.I)
    shorthand = re.compile(r"\b_?[A-Z][A-Z_]*_S(_MAX|_MIN)?\b")
    complain(
        [
            f"{name(path)}:{node.lineno} {found}"  # type: ignore[attr-defined]
            for path in files(SOURCES)
            for node in nodes(path, re.compile(f"(?i:{other.pattern})|{shorthand.pattern}"))
            if (found := _names_set(node))
            and ((other.search(found) and not found.lower().endswith("per_second")) or shorthand.fullmatch(found))
        ],
        "Write `_ms` or `_s`, and SECONDS in a constant.",
    )


@pytest.mark.parametrize("folder", CODE_FOLDERS)
def test_imports_name_the_whole_module(folder: str) -> None:
    """No import is relative: a module is found under one name, and may move without being read again."""
    complain(
        [
            f"{name(path)}:{node.lineno}"
            for path in code(folder)
            for node in nodes(path, re.compile(r"\bfrom\s*\."))
            if isinstance(node, ast.ImportFrom) and node.level
        ],
        "Import from the package's full name.",
    )


@pytest.mark.parametrize("folder", CODE_FOLDERS)
def test_a_long_function_says_why(folder: str) -> None:
    """A function of more than 60 lines has a reason above it: `# Long: ...`."""
    faults = []
    for path in code(folder):
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                length = (node.end_lineno or first) - node.lineno + 1
                if length > FUNCTION_LINES_MAX and not re.match(r"\s*# Long: \w", lines[first - 2]):
                    faults.append(f"{name(path)}:{node.lineno} {node.name} has {length} lines")
    complain(faults, "Let a part of it move out, or say above it why it is one piece.")
