"""Rules of conformance: one line that says whether a value is as it should be.

`value <= 500`, `10 <= value < 20`, `value in [1, 2, 3]`, `value != 0 and value < 100`, `not value > 3`. The
text is parsed by Python's own parser and only the forms above are taken; nothing of it is ever executed as
code. A rule that names anything else is refused when the policy is read, so that none can fail in the middle
of a stream.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

Predicate = Callable[[float], bool]

MAX_LENGTH = 500

_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class RuleError(ValueError):
    """A rule that cannot be evaluated."""


class Rule:
    """A parsed rule: picklable by its text, callable on a value."""

    __slots__ = ("predicate", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.predicate = _parse(text)

    def __call__(self, value: float) -> bool:
        """Return whether a finite value conforms."""
        return self.predicate(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.text == other.text

    __hash__ = None  # type: ignore[assignment] # policies are compared, never put in sets

    def __reduce__(self) -> tuple[type[Rule], tuple[str]]:
        return (Rule, (self.text,))


def _parse(text: str) -> Predicate:
    if len(text) > MAX_LENGTH:
        raise RuleError(f"a rule of {len(text)} characters; at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RuleError(f"not a rule: {text!r}: {error}") from error
    if not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
        raise RuleError(f"not a rule: {text!r} says nothing of `value`")
    return _compile(tree, text)


def _compile(node: ast.expr, text: str) -> Predicate:
    if isinstance(node, ast.BoolOp):
        parts = [_compile(part, text) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda value: all(part(value) for part in parts)
        return lambda value: any(part(value) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _compile(node.operand, text)
        return lambda value: not inner(value)
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    raise RuleError(f"not a rule: {text!r}: use comparisons of `value` with numbers, `in [..]`, and, or, not")


def _comparison(node: ast.Compare, text: str) -> Predicate:
    if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
        return _membership(node, text)
    terms = [_term(side, text) for side in [node.left, *node.comparators]]
    steps: list[tuple[Callable[[float, float], bool], float | None, float | None]] = []
    for op, left, right in zip(node.ops, terms[:-1], terms[1:], strict=True):
        compare = _COMPARE.get(type(op))
        if compare is None:
            raise RuleError(f"not a rule: {text!r}: this comparison is not known")
        steps.append((compare, left, right))
    if len(steps) == 1 and terms[0] is None and terms[1] is not None:
        compare, bound = steps[0][0], terms[1]
        return lambda value: compare(value, bound)

    def chained(value: float) -> bool:
        return all(
            compare(value if left is None else left, value if right is None else right) for compare, left, right in steps
        )

    return chained


def _membership(node: ast.Compare, text: str) -> Predicate:
    listed = node.comparators[0]
    if _term(node.left, text) is not None or not isinstance(listed, ast.List | ast.Tuple | ast.Set):
        raise RuleError(f"not a rule: {text!r}: write `value in [1, 2, 3]`")
    members = frozenset(_number(item, text) for item in listed.elts)
    wanted = isinstance(node.ops[0], ast.In)
    return lambda value: (value in members) is wanted


def _term(node: ast.expr, text: str) -> float | None:
    """Return a number, or None for `value` itself."""
    if isinstance(node, ast.Name):
        if node.id != "value":
            raise RuleError(f"not a rule: {text!r}: {node.id!r} is not known; a rule speaks of `value`")
        return None
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
        raise RuleError(f"not a rule: {text!r}: only finite numbers stand beside `value`")
    return sign * value
