"""Expressions of conformance, in the Common Expression Language (CEL), for what a rule's comparisons cannot say.

`math.abs(change) <= 0.1 * value`, `value > 500.0 ? rate < 1.0 : rate < 10.0`. An expression may use the same four names as a
rule (see rule.py), all of type double, so numbers are written with a point. It may also use CEL's operators, conversions and
macros, and its math functions. Types are checked when the policy is read, and the result must be bool.

The library is the CEL project's own, cel-expr-python around its C++ implementation; docs/decisions/ says why. It is part
of the extra `monitor` and is loaded when the first expression is read: where it is missing, an expression is a fault.

Limits: an evaluation that ends in an error (whole numbers divided by zero, a conversion out of range) does not conform. In CEL,
an error on one side of || or && counts only if the other side does not decide. Division of doubles by zero is no error, but
infinity or NaN. There is no clock, and texts are refused. Numbers need none, and texts bring things that differ between
machines: regular expressions, and time zones from the machine's own tables. The library bounds nesting at 32 and the steps of
macros at 10,000 for one evaluation; `length_max` bounds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Set
from functools import cache
from typing import Any

from failshut_breakers.policy.rule import NAMES, Criterion, Predicate, RuleError

_PREFIX = re.compile(r"^[A-Z_]+: (ERROR: <input>:)?")
"""Of the library's messages: what is left begins with line and column."""


class Expression(Criterion):
    """A CEL expression.

    >>> expression = Expression("math.abs(change) <= 0.1 * value")
    >>> expression(100.0, change=-5.0, interval=1.0), expression(100.0, change=-50.0, interval=1.0)
    (True, False)
    """

    length_max = 1_000

    __slots__ = ()

    @classmethod
    def _read(cls, text: str) -> tuple[set[str], Predicate]:
        if "'" in text or '"' in text:
            raise RuleError(f"not an expression: {text!r}: texts are not taken, a reading has numbers alone")
        expression = _compiled(text, frozenset(NAMES))
        if expression.return_type().name() != "BOOL":
            raise RuleError(f"not an expression: {text!r} is {expression.return_type().name()}, must be BOOL")
        names = {name for name in NAMES if not _compiles(text, set(NAMES) - {name})}
        return names, _predicate(expression, names)


def _predicate(expression: Any, names: Set[str]) -> Predicate:
    evaluate = expression.eval

    def conforms(data: dict[str, float]) -> bool:
        try:
            return evaluate(data=data).value() is True  # an error's value is its text
        except RuntimeError:  # the bound on macros, above all: what cannot be evaluated does not conform
            return False

    if names <= {"value"}:
        return lambda value: conforms({"value": value})
    used = [(name, at) for at, name in enumerate(NAMES) if name in names]
    return lambda event: conforms({name: event[at] for name, at in used})


def _compiles(text: str, names: Set[str]) -> bool:
    try:
        _compiled(text, frozenset(names))
    except RuleError:
        return False
    return True


def _compiled(text: str, names: frozenset[str]) -> Any:
    try:
        return _environment(names).compile(text)
    except (RuntimeError, TypeError) as error:  # a TypeError where the text is no Unicode
        why = _PREFIX.sub("", str(error).splitlines()[0])[:300] if isinstance(error, RuntimeError) else "not Unicode"
        hint = "; numbers beside names are doubles, such as 500.0" if "double, int" in why or "int, double" in why else ""
        raise RuleError(f"not an expression: {text!r}: {why}{hint}") from error


@cache
def _environment(names: frozenset[str]) -> Any:
    try:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_math
    except ImportError as error:
        raise RuleError("expressions need the package cel-expr-python, which comes with failshut[monitor]") from error
    return cel.NewEnv(variables=dict.fromkeys(sorted(names), cel.Type.DOUBLE), extensions=[ext_math.ExtMath()])
