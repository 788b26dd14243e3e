"""Rules of conformance: only comparisons are taken, and what is taken never fails on a value."""

from __future__ import annotations

import pickle

import pytest

from failshut_breakers.policy.rule import Rule, RuleError

HOSTILE = [
    "",
    " ",
    "value",
    "True",
    "1 < 2",
    "value.real < 1",
    "value.__class__ == 1",
    "().__class__ == value",
    "abs(value) < 1",
    "__import__('os').system('id') == value",
    "value < limit",
    "value + 1 < 3",
    "value < 2 ** 400",
    "value < 10 ** 10 ** 10",
    "value < 1e400",
    "value < -1e400",
    "value < 1" + "0" * 400,
    "value < nan",
    "value < 'a'",
    "value < True",
    "value < None",
    "value < 1j",
    "value is 1",
    "value in value",
    "value in 'abc'",
    "value in [value]",
    "1 in [1, value]",
    "value in [1, [2]]",
    "1 < value in [1, 2]",
    "[value for value in [1]] == value",
    "lambda value: value < 1",
    "(value := 1) < 2",
    "value if value else value",
    "f'{value}' == value",
    "value < 1; value < 2",
    "value = 1",
    "value <\n1",
    "value < 1 \x00",
    "value < \ud800",
    "(" * 240 + "value" + ")" * 240 + " < 1",
    "value < " + "1" * Rule.length_max,
    "*value, 1",
    "await value < 1",
    "value @ 1 < 2",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_anything_but_a_comparison_is_refused(text: str) -> None:
    """What is not a comparison of `value` with finite numbers is refused, always with the same type of error."""
    with pytest.raises(RuleError):
        Rule(text)


@pytest.mark.parametrize(
    ("text", "conforming", "others"),
    [
        ("value <= 500", [500, -1e300], [500.1, 1e300]),
        ("10 <= value < 20", [10, 19.9], [9.9, 20]),
        ("0 < 1 < value", [2], [1]),
        ("value in [1, 2, 3]", [1, 3.0], [0, 2.5]),
        ("value not in (1, 2)", [3], [1, 2]),
        ("value != 0 and value < 100", [1, -1], [0, 100]),
        ("value < 0 or value > 10", [-1, 11], [0, 10]),
        ("not value > 3", [3], [4]),
        ("not (value > 3 or value < 1)", [2], [0, 4]),
        ("-5 <= value <= +5", [-5, 5], [-6, 6]),
        ("value < --3", [2], [3]),
        ("5 >= value", [5], [6]),
        ("value == value", [0], []),
        ("not " * 100 + "value > 3", [4], [3]),
    ],
)
def test_comparisons_mean_what_they_say(text: str, conforming: list[float], others: list[float]) -> None:
    """A rule says of a value what Python would."""
    rule = Rule(text)
    assert all(rule(value) for value in conforming)
    assert not any(rule(value) for value in others)


def test_rules_are_equal_by_their_text() -> None:
    """A rule that was read again is the same rule, so that an unchanged policy counts as unchanged."""
    assert Rule("value < 3") == Rule("value < 3")
    assert Rule("value < 3") != Rule("value < 4")
    assert pickle.loads(pickle.dumps(Rule("value < 3"))) == Rule("value < 3")
    assert pickle.loads(pickle.dumps(Rule("value < 3")))(2)
