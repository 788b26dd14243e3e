"""Rules on what changed since the reading before: change, interval and rate."""

from __future__ import annotations

import pickle
import random
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failshut_breakers.policy.rule import Rule, RuleError

WORDS = ["value", "change", "rate", "interval", "now", "<", "<=", "==", "!=", "in", "[", "]", "(", ")", ",", "and", "or", "not"]
WORDS += ["1", "-5", "0.5", "1e308", "nan", ".", "'a'", "\n", "lambda", ":", "*", "is", "if", "else", "{", "}", "True"]


@pytest.mark.parametrize(
    ("text", "needs_before"),
    [
        ("value < 5", False),
        ("value in [1, 2]", False),
        ("change < 5", True),
        ("value < 5 or rate < 1", True),
        ("interval in [1, 2]", True),
        ("0 < interval <= 5", True),
        ("not value == change", True),
    ],
)
def test_a_rule_says_whether_it_needs_the_reading_before(text: str, needs_before: bool) -> None:
    """A rule on values alone spares itself the times."""
    assert Rule(text).needs_before is needs_before
    assert pickle.loads(pickle.dumps(Rule(text))).needs_before is needs_before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # values 10, 12, 12, 2 at 0, 1, 3, 3.5 s: changes 2, 0, -10; intervals 1, 2, 0.5; rates 2, 0, -20
        ("change >= 0", [1, 1, 0]),
        ("-5 <= change < 2", [0, 1, 0]),
        ("rate < 2", [0, 1, 1]),
        ("-20 < rate", [1, 1, 0]),
        ("interval <= 1", [1, 0, 1]),
        ("interval in [2, 1]", [1, 1, 0]),
        ("rate not in {0}", [1, 0, 1]),
        ("value >= 12 and change < 1", [0, 1, 0]),
        ("value < 5 or rate > 1", [1, 0, 1]),
        ("value < 5 or rate > 1 or interval == 2", [1, 1, 1]),
        ("change < rate", [0, 0, 0]),
        ("rate < change", [0, 0, 1]),
        ("1 < 2 < interval", [0, 0, 0]),
    ],
)
def test_changes_intervals_and_rates(text: str, expected: list[int]) -> None:
    """Change is less the one before, interval is in seconds, rate is change per second."""
    values, times_ms = [12.0, 12.0, 2.0], [1_000, 3_000, 3_500]
    assert Rule(text).judge(values, times_ms, (10.0, 0)) == expected


def test_the_first_reading_is_not_judged() -> None:
    """It has none before it: it is no event, neither conforming nor not. A rule on values alone judges it."""
    assert Rule("change < 5").judge([900.0, 901.0], [0, 1_000], None) == [1.0]
    assert Rule("change < 5").judge([900.0], [0], None) == []
    assert Rule("value < 5").judge([900.0], [], None) == [0.0]


@pytest.mark.parametrize(
    "text", ["rate < 1", "rate > -1e300", "not rate > 1", "value < 5 or rate < 1", "rate < 1 or value < 5"]
)
@pytest.mark.parametrize("time_ms", [1_000, 999, -5_000])
def test_where_no_time_passed_there_is_no_rate(text: str, time_ms: int) -> None:
    """A time that repeats or goes back makes a rate an error, and what speaks of it does not conform, whatever else it says."""
    assert Rule(text).judge([1.0], [time_ms], (1.0, 1_000)) == [0.0]
    assert Rule(text).judge([1.0], [1_001], (1.0, 1_000)) == [1.0]


def test_times_that_go_back_leave_change_and_interval() -> None:
    """Change needs no time; an interval is 0 or less, and a rule may ask for more."""
    assert Rule("change < 5").judge([1.0, 2.0], [1_000, 500], (0.0, 1_000)) == [1.0, 1.0]
    assert Rule("interval > 0").judge([1.0, 2.0, 3.0], [1_000, 500, 501], (0.0, 1_000)) == [0.0, 0.0, 1.0]


def test_the_reading_before_is_the_one_before() -> None:
    """After a time that went back, the next is counted from it, not from the newest time ever."""
    assert Rule("rate == 1").judge([5.0, 6.0], [1_000, 2_000], (4.0, 9_000)) == [0.0, 1.0]


@pytest.mark.parametrize("text", ["change < 5", "not change < 5", "rate < 5", "not rate < 5", "change > -5"])
def test_a_change_that_overflows_does_not_conform(text: str) -> None:
    """From -1e308 to 1e308 is no number, and nothing can be said of it."""
    assert Rule(text).judge([1e308, -1e308], [1_000, 2_000], (-1e308, 0)) == [0.0, 0.0]


def test_a_gap_of_a_week_is_a_long_interval() -> None:
    """The rate over it is small, and the interval says so."""
    week_ms = 7 * 24 * 3_600_000
    assert Rule("-0.01 < rate < 0.01").judge([900.0], [week_ms], (0.0, 0)) == [1.0]
    assert Rule("interval < 3600").judge([900.0], [week_ms], (0.0, 0)) == [0.0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", ["value < 0 or rate < 1", "change in [0, 1]", "-1 < change < 1 and interval > 0"])
def test_the_cut_of_batches_does_not_matter(text: str, seed: int) -> None:
    """The same events one by one and in batches: what is handed on is the last reading."""
    rng, rule = random.Random(seed), Rule(text)
    values = [float(rng.randint(-3, 3)) for _ in range(400)]
    times_ms = [rng.randint(0, 5) * 1_000 for _ in range(400)]
    whole = rule.judge(values, times_ms, None)
    cuts = sorted({0, 400, *(rng.randint(0, 400) for _ in range(60))})
    parts: list[float] = []
    before = None
    for lo, hi in pairwise(cuts):
        parts += rule.judge(values[lo:hi], times_ms[lo:hi], before)
        before = values[hi - 1], times_ms[hi - 1]
    assert parts == whole
    assert {0.0, 1.0} == set(whole)


def test_as_many_times_as_values() -> None:
    """A rule that needs times is not given fewer in silence."""
    with pytest.raises(ValueError, match="shorter"):
        Rule("rate < 1").judge([1.0, 2.0], [1], None)


@pytest.mark.slow
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
@example("value < 1 and " * 40 + "rate < 1")
@example("not " * 120 + "rate < 1")
@example("-" * 480 + "1 < rate")
@example("value" + " < 1" * 120)
@settings(max_examples=300, deadline=None)
def test_no_text_does_anything_but_make_a_rule_or_a_fault(text: str) -> None:
    """Any text is a rule, which says yes or no of any reading, or a RuleError."""
    try:
        rule = Rule(text)
    except RuleError:
        return
    for value, change, interval in [(0.0, 0.0, 0.0), (1e308, -1e308, 0.001), (-5.0, 5e-324, -1.0)]:
        assert rule(value, change, interval) in (True, False)
