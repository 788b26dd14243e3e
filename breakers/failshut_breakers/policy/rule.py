"""Rules of conformance: one line that says whether a reading is as it should be.

`value <= 500`, `10 <= value < 20`, `value in [1, 2, 3]`, `value != 0 and rate < 100`, `not -5 < change < 5`. The
text is parsed by Python's own parser and only the forms above are taken; nothing of it is ever executed as
code. A rule that names anything else is refused when the policy is read, so that none can fail in the middle
of a stream.

A rule may use four names. `value` is the reading's value. `change` is the value less the one before. `interval` is the
seconds since the one before, by the readings' own times: 0 if a time repeats, and negative if it goes back. `rate` is
the change per second. The first reading has none before it: a rule that needs one does not judge it, and it is no
event. If no time passed there is no rate, and if numbers overflow there is no change. A rule that uses them then does
not conform, even if the rest of the rule is satisfied.

The reading before is the last one that could be read. An unreadable reading does not conform, and is not the reading
before the next one. Otherwise every jump could be hidden behind one, and a stream that alternates would never be
judged.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, ClassVar

NAMES = ("value", "change", "rate", "interval")
"""What can be said of a reading, in the order of an event's elements. Seconds."""

_BLANKS = re.compile(r"(?<=[^\w.]) | (?=[^\w.])")
"""Blanks beside a sign. Those between two words, or numbers, part them."""

Predicate = Callable[[Any], bool]
"""On a value where only `value` is spoken of, on (value, change, rate, interval) elsewhere."""

_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class RuleError(ValueError):
    """A rule or an expression that cannot be evaluated."""


class Criterion(ABC):
    """What says whether a reading conforms: picklable by its text, and equal by it but for blanks. `Rule` and `Expression` are.

    Raises:
        RuleError: the text cannot be evaluated.
    """

    length_max: ClassVar[int]
    """Characters."""

    __slots__ = ("_needs_rate", "_predicate", "form", "needs_before", "text")

    def __init__(self, text: str) -> None:
        if len(text) > self.length_max:
            raise RuleError(f"{len(text)} characters; at most {self.length_max}")
        self.text = text
        self.form = _BLANKS.sub("", " ".join(text.split()))
        """The text without blanks that say nothing."""
        names, self._predicate = self._read(text)
        if not names:
            raise RuleError(f"{text!r} says nothing of {', '.join(NAMES[:-1])} or {NAMES[-1]}")
        self.needs_before: bool = names != {"value"}
        self._needs_rate = "rate" in names

    @classmethod
    @abstractmethod
    def _read(cls, text: str) -> tuple[set[str], Predicate]:
        """Return which names the text speaks of, and what it says."""

    def __call__(self, value: float, change: float = math.nan, interval: float = math.nan) -> bool:
        """Return whether a finite value conforms, with its change from the one before and the seconds since then."""
        if not self.needs_before:
            return self._predicate(value)
        rate = change / interval if interval > 0 else math.nan
        return isfinite(rate if self._needs_rate else change) and self._predicate((value, change, rate, interval))

    def judge(self, values: Sequence[float], times_ms: Sequence[int], before: tuple[float, int] | None) -> list[float]:
        """Return 1 for each finite value that conforms and 0 for each other, in order.

        `before` is value and time (ms) of the reading before the first. If the rule needs one and there is none, the first
        value is not judged. The list is then one shorter. The times are looked at only where `needs_before`.
        """
        if not self.needs_before:
            conforms = self._predicate
            return [1.0 if conforms(value) else 0.0 for value in values]
        found = []
        for value, time_ms in zip(values, times_ms, strict=True):
            if before is not None:
                found.append(1.0 if self(value, value - before[0], (time_ms - before[1]) / 1000) else 0.0)
            before = value, time_ms
        return found

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.form == getattr(other, "form", None)

    __hash__ = None  # type: ignore[assignment] # policies are compared, never put in sets

    def __reduce__(self) -> tuple[type[Criterion], tuple[str]]:
        return (type(self), (self.text,))


class Rule(Criterion):
    """A rule of comparisons.

    >>> rule = Rule("value <= 500 and rate < 10")
    >>> rule(480.0, change=30.0, interval=5.0), rule(480.0, change=30.0, interval=1.0)
    (True, False)
    """

    length_max = 500

    __slots__ = ()

    @classmethod
    def _read(cls, text: str) -> tuple[set[str], Predicate]:
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise RuleError(f"not a rule: {text!r}: {error}") from error
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return names, _compile(tree, text, names <= {"value"})


def _compile(node: ast.expr, text: str, alone: bool) -> Predicate:
    if isinstance(node, ast.BoolOp):
        return _joined([_compile(part, text, alone) for part in node.values], isinstance(node.op, ast.And))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _compile(node.operand, text, alone)
        return lambda event: not inner(event)
    if isinstance(node, ast.Compare):
        return _comparison(node, text, alone)
    raise RuleError(f"not a rule: {text!r}: use comparisons with numbers, `in [..]`, and, or, not")


def _joined(parts: list[Predicate], every: bool) -> Predicate:
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return (lambda event: first(event) and second(event)) if every else (lambda event: first(event) or second(event))
    if every:
        return lambda event: all(part(event) for part in parts)
    return lambda event: any(part(event) for part in parts)


def _comparison(node: ast.Compare, text: str, alone: bool) -> Predicate:
    if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
        return _membership(node, text, alone)
    terms = [_term(side, text) for side in [node.left, *node.comparators]]
    steps = []
    for op, left, right in zip(node.ops, terms[:-1], terms[1:], strict=True):
        compare = _COMPARE.get(type(op))
        if compare is None:
            raise RuleError(f"not a rule: {text!r}: this comparison is not known")
        steps.append(_step(compare, left, right, alone))
    return _joined(steps, every=True)


def _step(compare: Callable[[float, float], bool], left: str | float, right: str | float, alone: bool) -> Predicate:
    if isinstance(left, str) and isinstance(right, float):  # nearly every rule: without a detour
        if alone:
            return lambda value: compare(value, right)
        at = NAMES.index(left)
        return lambda event: compare(event[at], right)
    one, other = _getter(left, alone), _getter(right, alone)
    return lambda event: compare(one(event), other(event))


def _getter(term: str | float, alone: bool) -> Callable[[Any], float]:
    if isinstance(term, float):
        return lambda event: term
    return (lambda value: value) if alone else operator.itemgetter(NAMES.index(term))


def _membership(node: ast.Compare, text: str, alone: bool) -> Predicate:
    listed, tested = node.comparators[0], _term(node.left, text)
    if isinstance(tested, float) or not isinstance(listed, ast.List | ast.Tuple | ast.Set):
        raise RuleError(f"not a rule: {text!r}: write `value in [1, 2, 3]`")
    members = frozenset(_number(item, text) for item in listed.elts)
    wanted = isinstance(node.ops[0], ast.In)
    if alone:
        return lambda value: (value in members) is wanted
    read = _getter(tested, alone)
    return lambda event: (read(event) in members) is wanted


def _term(node: ast.expr, text: str) -> str | float:
    """Return a number, or the name that stands there."""
    if isinstance(node, ast.Name):
        if node.id not in NAMES:
            raise RuleError(f"not a rule: {text!r}: {node.id!r} is not known; a rule speaks of {', '.join(NAMES)}")
        return node.id
    return _number(node, text)


def _number(node: ast.expr, text: str) -> float:
    sign = 1.0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -sign if isinstance(node.op, ast.USub) else sign
        node = node.operand
    raw = node.value if isinstance(node, ast.Constant) else None
    try:
        value = float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else math.nan
    except OverflowError:  # an integer beyond what a float holds
        value = math.nan
    if not math.isfinite(value):
        raise RuleError(f"not a rule: {text!r}: only finite numbers stand beside names")
    return sign * value
