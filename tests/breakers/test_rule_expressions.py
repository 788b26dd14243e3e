"""Expressions in CEL: types are checked when they are read, and what fails at an event does not conform."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Iterator

import pytest
from draws import draws
from hypothesis import example, given, settings
from hypothesis import strategies as st
from log import policy

from failshut_breakers.policy import expression
from failshut_breakers.policy.expression import Expression
from failshut_breakers.policy.policy import PolicyError, parse_policy
from failshut_breakers.policy.rule import Rule, RuleError

WORDS = [
    "value",
    "change",
    "rate",
    "interval",
    "now",
    "<",
    "<=",
    "==",
    "!=",
    "in",
    "[",
    "]",
    "(",
    ")",
    ",",
    "&&",
    "||",
    "!",
    "?",
]
WORDS += [
    ":",
    "1.0",
    "2",
    "0",
    "-",
    "+",
    "*",
    "/",
    "%",
    "int",
    "double",
    "dyn",
    "string",
    "math.abs",
    "x",
    ".all",
    ".map",
    "{",
    "}",
]
WORDS += ["timestamp", "duration", "type", "1e308", "\n", "//", "true", "null", "size", "0x7fffffffffffffff", "3u", "`"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "value",
        "value < 500",
        "value < 'a'",
        'value < "a"',
        "value + 1.0",
        "value < 1.0 ? 1 : 2",
        "dyn(value)",
        "true",
        "1.0 < 2.0",
        "limit < 1.0",
        "now < 1.0",
        "now() < timestamp(1)",
        "value < 1.0 &&",
        "value < 1.0; value < 2.0",
        "value.real < 1.0",
        "has(value.x)",
        "value.matches(string(value))",
        "value < \ud800",
        "value\x00 < 1.0",
        "(" * 40 + "value < 1.0" + ")" * 40,
        "1.0" + " + 1.0" * 100 + " < value",
        "[" * 40 + "]" * 40 + " == [] && value < 1.0",
        "value < 1.0" + " && value < 1.0" * 100,
    ],
)
def test_what_is_no_expression_is_refused_when_it_is_read(text: str) -> None:
    """A wrong type, an unknown name, a result that is no bool, a text, or too much of it: always the same type of error."""
    with pytest.raises(RuleError):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("value < 500", "such as 500.0"),
        ("limit < 1.0", "1:1: undeclared reference to 'limit'"),
        ("value + 1.0", "is DOUBLE, must be BOOL"),
        ("true", "says nothing of value, change, rate or interval"),
        ("string(value) == 'x'", "texts are not taken"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, words: str) -> None:
    """The message says what to change, and where."""
    with pytest.raises(RuleError) as caught:
        Expression(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "conforming", "others"),
    [
        ("value < 500.0", [(1, 0, 1)], [(500, 0, 1)]),
        ("value < 500.0 || change < 10.0", [(600, 9, 1), (1, 99, 1)], [(600, 10, 1)]),
        ("math.abs(change) <= 0.1 * value", [(100, -10, 1)], [(100, -11, 1), (100, 11, 1)]),
        ("rate < 1.0 && interval <= 5.0", [(0, 4, 5)], [(0, 6, 5), (0, 1, 6)]),
        ("value > 500.0 ? rate < 1.0 : rate < 10.0", [(1, 9, 1), (600, 0.5, 1)], [(600, 9, 1), (1, 10, 1)]),
        ("value in [1.0, 2.0]", [(2, 0, 1)], [(3, 0, 1)]),
        ("[value, change].all(x, x < 3.0)", [(1, 2, 1)], [(1, 3, 1), (3, 1, 1)]),
        ("int(value) % 2 == 0 // even", [(4, 0, 1)], [(5, 0, 1)]),
    ],
)
def test_expressions_mean_what_cel_says(
    text: str, conforming: list[tuple[float, float, float]], others: list[tuple[float, float, float]]
) -> None:
    """Of value, change and seconds since the reading before; also through a pickle."""
    for one in (Expression(text), pickle.loads(pickle.dumps(Expression(text)))):
        for value, change, interval in conforming:
            assert one(float(value), float(change), float(interval)), (value, change, interval)
        for value, change, interval in others:
            assert not one(float(value), float(change), float(interval)), (value, change, interval)


@pytest.mark.parametrize(
    ("text", "needs_before"),
    [
        ("value < 1.0", False),
        ("value < 1.0 // whatever the rate", False),
        ("value < 1.0 || rate < 1.0", True),
        ("interval < 1.0", True),
        ("[1.0].all(change, change < value)", False),
    ],
)
def test_an_expression_says_whether_it_needs_the_reading_before(text: str, needs_before: bool) -> None:
    """By the names that it really speaks of, not by the letters in it."""
    assert Expression(text).needs_before is needs_before


@pytest.mark.parametrize(
    "text",
    [
        "1 / int(value) == 1 || value > 1.0",
        "!(int(value) % int(value) == 0)",
        "int(value + 1e300) < 5 || value < 0.0",
        "[1.0][int(value) + 1] < 5.0 || value > 1.0",
        "{1.0: true}[value]",
        "9223372036854775807 + int(value + 1.0) > 0",
        "uint(value - 1.0) < 5u || value > 1.0",
        "dyn(value) < dyn(true)",
    ],
)
def test_an_error_at_an_event_does_not_conform(text: str) -> None:
    """Division of whole numbers by zero, a conversion out of range, a place that is not there."""
    assert Expression(text)(0.0) is False


def test_an_error_that_decides_nothing_is_none() -> None:
    """CEL's || and && are satisfied by either side, whichever stands first."""
    assert Expression("1 / int(value) == 1 || value < 1.0")(0.0) is True
    assert Expression("!(1 / int(value) == 1 && value > 1.0)")(0.0) is True


def test_division_of_doubles_is_no_error() -> None:
    """It is infinity, as in IEEE 754 and in CEL, and conforms where infinity does."""
    assert Expression("1.0 / value > 5.0")(0.0) is True
    assert Expression("math.isFinite(1.0 / value) && 1.0 / value > 5.0")(0.0) is False


def test_macros_end() -> None:
    """A hundred million steps are not taken: the library stops, and the event does not conform."""
    some = "[1,2,3,4,5,6,7,8,9,0]"
    text = "".join(f"{some}.all({name}, " for name in "abcdefgh") + "value < 9.0" + ")" * 8
    assert Expression(text)(5.0) is False
    assert Expression(text)(9.0) is False
    assert Expression(f"{some}.all(a, value < 9.0)")(5.0) is True


@pytest.mark.parametrize("text", ["rate < 1.0", "!(rate > 1.0)", "value < 5.0 || rate < 1.0"])
@pytest.mark.parametrize("time_ms", [1_000, 999])
def test_where_no_time_passed_there_is_no_rate(text: str, time_ms: int) -> None:
    """As in a rule: a time that repeats or goes back makes a rate an error."""
    assert Expression(text).judge([1.0], [time_ms], (1.0, 1_000)) == [0.0]
    assert Expression(text).judge([1.0], [1_001], (1.0, 1_000)) == [1.0]


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 5_000)), min_size=2, max_size=40),
)
@settings(max_examples=draws(60), deadline=None)
def test_a_rule_and_its_expression_say_the_same(readings: list[tuple[float, int]]) -> None:
    """One comparison, in both languages."""
    values, times_ms = [value for value, _ in readings], [time_ms for _, time_ms in readings]
    rule = Rule("value <= 500 and -10 < rate < 10 or not (interval != 0 or change >= 3)")
    cel = Expression("value <= 500.0 && -10.0 < rate && rate < 10.0 || !(interval != 0.0 || change >= 3.0)")
    assert rule.judge(values, times_ms, None) == cel.judge(values, times_ms, None)


def test_expressions_are_equal_by_their_text() -> None:
    """An unchanged policy counts as unchanged, and a rule is no expression."""
    assert Expression("value < 3.0") == Expression("value < 3.0")
    assert Expression("value < 3.0") != Expression("value < 4.0")
    assert Expression("value < 3.0") != Rule("value < 3.0")
    assert pickle.loads(pickle.dumps(Expression("value < 3.0"))) == Expression("value < 3.0")


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
@example("!" * 980 + "(value < 1.0)")
@example("-" * 900 + "value < 1.0")
@example("value < 1.0 ? " * 30 + "true" + " : false" * 30)
@settings(max_examples=draws(300), deadline=None)
def test_no_text_does_anything_but_make_an_expression_or_a_fault(text: str) -> None:
    """Any text is an expression, which says yes or no of any reading, or a RuleError."""
    try:
        one = Expression(text)
    except RuleError:
        return
    for value, change, interval in [(0.0, 0.0, 0.0), (1e308, -1e308, 0.001), (-5.0, 5e-324, -1.0), (math.pi, 1.0, 1.0)]:
        assert one(value, change, interval) in (True, False)


@pytest.fixture
def without_the_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine where cel-expr-python is not installed."""
    expression._environment.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "cel_expr_python"] or ["cel_expr_python"]:
        monkeypatch.setitem(sys.modules, name, None)
    yield
    expression._environment.cache_clear()


@pytest.mark.usefixtures("without_the_library")
def test_without_the_library_an_expression_is_a_fault_and_a_rule_is_not() -> None:
    """The fault says what to install; other policies are read as ever."""
    with pytest.raises(PolicyError, match=r"cel-expr-python, which comes with failshut\[monitor\]"):
        parse_policy(policy('conformance: {series: s/x, cel: "value < 5.0"}'))
    parse_policy(policy('conformance: {series: s/x, rule: "value < 5"}'))
