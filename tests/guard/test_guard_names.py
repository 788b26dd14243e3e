"""Subjects and operations are text, on every way in; patterns mean what docs/policy.md says."""

from __future__ import annotations

import asyncio
import enum
from typing import Any

import pytest
from guard.standin import SUBJECT, Monitor, admitted, eventually

from failshut import Cause, Gate, Withheld
from failshut.admission.subjects import NAME_CHARS_MAX, matches


class Equal(str):
    """A text that says it equals whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(SUBJECT)


class Kind(enum.StrEnum):
    """An ordinary subclass of text."""

    REFUND = SUBJECT


class Raises:
    """An object whose every question raises."""

    def __hash__(self) -> int:
        raise LookupError

    def __eq__(self, other: object) -> bool:
        raise LookupError

    def __len__(self) -> int:
        raise LookupError


NO_NAMES: list[Any] = [
    *(None, 7, 1.5, True, b"agent:refund-7", [], ["agent:refund-7"], {"a": 1}, {"a"}, object(), Raises(), bytearray(b"x")),
    *((SUBJECT, "refund"), (SUBJECT, None), (SUBJECT,), frozenset({SUBJECT}), Equal("x"), Kind.REFUND),
    *("", "x" * (NAME_CHARS_MAX + 1)),
    *(f"{SUBJECT}\nroot", f"{SUBJECT}\r", f"{SUBJECT}\x00", f"\t{SUBJECT}", f"{SUBJECT}\x1b[2J", f"{SUBJECT}\x7f"),
    *(f"{SUBJECT}\u2028", f"{SUBJECT}\u202e", f"{SUBJECT}\ud800", f"{SUBJECT}\u200b", f"{SUBJECT}\x85"),
]


def asked(gate: Gate, subject: Any, operation: Any = None) -> list[Withheld]:
    """Ask by every way in; each must refuse by Withheld, and nothing else."""

    async def awaited() -> None:
        async with gate.execution(subject, operation):
            pytest.fail("admitted")

    def entered() -> None:
        with gate.execution(subject, operation):
            pytest.fail("admitted")

    def guarded() -> None:
        gate.guarded(subject=lambda: subject, operation=lambda: operation)(lambda: pytest.fail("admitted"))()

    ways = [lambda: gate.check(subject, operation), entered, lambda: asyncio.run(awaited())]
    ways += [guarded] if operation is not None else []
    denials = []
    for way in ways:
        with pytest.raises(Withheld) as caught:
            way()
        denials.append(caught.value)
    return denials


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: f"{type(name).__name__}")
def test_what_is_no_name_is_refused_by_type(monitor: Monitor, gate: Gate, name: Any) -> None:
    """A permit for everybody, a warm hot path, and still: only text of printable characters is a subject or an operation."""
    monitor.issue(ttl_ms=600_000, subjects=("*",), operations=("*",))
    admitted(gate)
    gate.check(SUBJECT, "refund")
    assert {denial.cause for denial in asked(gate, name)} == {Cause.IDENTITY}
    assert {denial.cause for denial in asked(gate, name, "refund")} == {Cause.IDENTITY}
    if name is not None:
        assert {denial.cause for denial in asked(gate, SUBJECT, name)} == {Cause.OPERATION}


@pytest.mark.parametrize("name", ["agent:refund-7 (eu)", "агент", "agent:é", "a/b c", "x" * NAME_CHARS_MAX, "[x]", "*"])
def test_what_is_a_name_is_admitted(monitor: Monitor, gate: Gate, name: str) -> None:
    """Blanks, letters of any script, signs: whatever can be printed."""
    monitor.issue(ttl_ms=600_000, subjects=("*",))
    eventually(lambda: gate.prepare(5))
    assert gate.check(name).subjects == ("*",)


@pytest.mark.parametrize(
    ("pattern", "name", "covers"),
    [
        *(("agent:*", "agent:1", True), ("agent:*", "agent:", True), ("agent:*", "agents:1", False), ("*", "x", True)),
        *(("agent:*", "AGENT:1", False), ("Agent:1", "agent:1", False), ("agent:*", " agent:1", False)),
        *(("a*b*c", "a-b-b-c", True), ("a*b*c", "a-b-c-d", False), ("*a", "ba", True), ("**", "x", True), ("a*", "a", True)),
        *(("agent:?", "agent:1", True), ("agent:?", "agent:", False), ("agent:?", "agent:12", False)),
        *(("agent:[12]", "agent:1", False), ("agent:[12]", "agent:[12]", True), ("agent:[!1]", "agent:2", False)),
        *(("agent:]", "agent:]", True), ("agent:.", "agent:x", False), ("a\\*", "a*", False), ("", "x", False)),
        *(("ein\u0065\u0301", "ein\u00e9", False), ("ß", "ss", False)),
    ],
)
def test_a_pattern_covers_all_of_a_name(pattern: str, name: str, covers: bool) -> None:
    """`*` is any run, `?` is one, and everything else is itself."""
    assert matches((pattern,), name) is covered(pattern, name) is covers


def covered(pattern: str, name: str) -> bool:
    """The same by another way: every split of the name over the pattern."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(covered(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and covered(pattern[1:], name[1:])


def test_a_pattern_with_many_stars_costs_a_bounded_look() -> None:
    """No pattern makes a look-up that grows with every star."""
    assert not matches(("a*" * 100 + "b",), "a" * NAME_CHARS_MAX)
