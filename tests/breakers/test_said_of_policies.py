"""Sentences of docs/policy.md that no other test shows."""

from __future__ import annotations

import random

import pytest
from log import START_MS, policy

from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.conditions.reference import Reference
from failshut_breakers.conditions.staleness import Staleness
from failshut_breakers.evidence.records import LagRow, Lags, Offsets, Samples
from failshut_breakers.policy.policy import parse_policy

SECOND_MS, HOUR_MS = 1_000, 3_600_000
DAY_MS = 24 * HOUR_MS


def condition(text: str) -> Condition:
    return build(parse_policy(policy(text)).conditions[0])


def fed(text: str, values: list[float]) -> Condition:
    """A condition that has read values, one a second."""
    one = condition(text)
    for n, value in enumerate(values):
        now_ms = START_MS + n * SECOND_MS
        one.feed(Samples.of("s/x", [(n, 0, now_ms, value)]), 0, Moment(now_ms, now_ms))
    return one


@pytest.mark.parametrize(
    ("text", "name", "trips"),
    [
        ("drift: {series: s/x, detector: adwin}", "drift:s/x", True),
        ('conformance: {series: s/x, rule: "value < 9"}', "conformance:s/x", True),
        ("heartbeat: {source: a, grace: 3s}", "heartbeat:a", False),
        ("heartbeat: {series: s/x, grace: 3s}", "heartbeat:s/x", False),
        ("lag: {group: w, topic: r, allowed: 1, behind: 1s}", "lag:w/r", True),
        ("failure_rate: {window: 60s, at_least: 2, over: 0.5}", "failure_rate", True),
        ("unreadable: {}", "unreadable", True),
    ],
)
def test_names_and_actions_by_default(text: str, name: str, trips: bool) -> None:
    """A condition is named by its kind and what it watches, and trips unless it is a heartbeat."""
    assert (condition(text).name, condition(text).trips) == (name, trips)


@pytest.mark.parametrize(
    ("every_ms", "stale_ms"),
    [
        (0, 60_000),
        (200, 30_000),
        (10_000, 100_000),
        (HOUR_MS // 5, HOUR_MS),
        (HOUR_MS, 3 * HOUR_MS),
        (9 * HOUR_MS, DAY_MS),
    ],
)
def test_how_old_a_reading_may_be_is_bounded(every_ms: int, stale_ms: int) -> None:
    """Ten intervals, from half a minute to an hour; three of a slow stream, at most a day; a minute before there are any."""
    one = Staleness(None)
    for n in range(100 if every_ms else 1):
        one.take([START_MS + n * every_ms])
    assert one.stale_ms == stale_ms
    assert not one.is_old(one.newest_ms + stale_ms)
    assert one.is_old(one.newest_ms + stale_ms + 1)


def test_a_window_that_scatters_is_not_back() -> None:
    """Its mean is that of the reference, and its readings are nowhere near."""
    rng = random.Random(5)
    before = [rng.gauss(48.0, 1.0) for _ in range(100)]
    reference = Reference.of([before], [[480.0] * 30])
    assert reference.back([[48.0 + n % 2 - 0.5 for n in range(reference.readings)]])
    assert not reference.back([[48.0 + (20.0 if n % 2 else -20.0) for n in range(reference.readings)]])


def test_a_fault_from_the_beginning_is_normal_to_a_detector() -> None:
    """Ten times the level, and nothing else was ever seen: it holds. A limit beside it does not."""
    rng = random.Random(6)
    bad = [rng.gauss(480.0, 8.0) for _ in range(300)]
    assert fed("drift: {series: s/x, detector: adwin}", bad).status is Status.HOLDS
    assert fed('conformance: {series: s/x, rule: "value <= 100"}', bad).status is Status.DEMANDS


def test_a_value_that_is_stuck_is_noticed_by_its_change() -> None:
    """No detector of levels hears it, and a rule about the change does."""
    rng = random.Random(7)
    stuck = [rng.gauss(48.0, 1.0) for _ in range(200)] + [48.0] * 200
    assert fed("drift: {series: s/x, detector: adwin}", stuck).status is Status.HOLDS
    assert fed('conformance: {series: s/x, rule: "change < 0 or change > 0"}', stuck).status is Status.DEMANDS


def test_an_upper_bound_alone_does_not_see_a_change_of_unit() -> None:
    """Milliseconds that become seconds are below any bound for milliseconds; a lower bound hears them."""
    changed = [250.0] * 200 + [0.25] * 100
    assert fed('conformance: {series: s/x, rule: "value <= 500", over: 0.9}', changed).status is Status.HOLDS
    assert fed('conformance: {series: s/x, rule: "1 < value <= 500"}', changed).status is Status.DEMANDS


def test_an_edit_of_latest_starts_again_at_the_present_end() -> None:
    """What stood in a partition without a commit is behind for the old condition, and before the beginning of the new one."""
    text = "lag: {group: w, topic: r, allowed: 10, behind: 1s, without_commit: latest}"
    now = Moment(START_MS, START_MS)

    def sample(one: Condition, ms: int, end: int) -> str:
        offsets = {0: Offsets(5, 5), 1: Offsets(-1, end)}
        one.feed(Lags("w", "r", [LagRow(ms, 0, START_MS + ms, offsets, "", "")]), 0, now)
        return one.text

    before, after = condition(text), condition(text.replace("10", "9"))
    assert sample(before, 0, 100) == "w on r: 0 records behind"
    assert "30 records behind" in sample(before, 1_000, 130)
    after.inherit(before)
    assert "0 records behind" in sample(after, 2_000, 130)
    assert "7 records behind" in sample(after, 3_000, 137)
