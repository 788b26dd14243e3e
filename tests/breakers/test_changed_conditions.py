"""What a changed condition takes over from its predecessor of the same name: its counts and its readings, each of them once.

test_meaning.py has what an edit keeps closed. Here stand votes, counts, and gates that an edit leaves open.
"""

from __future__ import annotations

import random

import pytest
from log import World, policy
from play import Play
from test_history import history_of_all

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Kind

FAILURES = "failure_rate: {window: 60s, at_least: 10, over: 0.3}"
UNREADABLE = "unreadable: {at_least: 3, window: 10s}"
RULE = 'conformance: {series: s/x, rule: "value <= 500", window: 20, over: 0.4, confidence: 1e-9}'
DRIFT = "drift: {series: s/x, detector: adwin}"
TOGETHER = "anomaly: {series: [s/x, s/y], every: 1s, detector: mahalanobis, learn: 20}"


def _stays_open(before: str, after: str, *items: tuple[object, ...]) -> None:
    """Open a gate with a condition, change its settings: no decision closes it at the edit, and none at the mark behind it."""
    world = World(policy(before))
    for _ in range(10):
        world.send(*items)
        world.mark()
    assert world.is_open()
    said = [*world.activate(policy(after)), *world.mark()]
    assert Kind.OPEN in {one.kind for one in said}
    assert Kind.CLOSE not in {one.kind for one in said}


@pytest.mark.parametrize(
    ("before", "after", "item"),
    [
        (DRIFT, DRIFT.replace("}", ", stale: 30s}"), ("sample", "s/x", 48.0)),
        (RULE, RULE.replace("over: 0.4", "over: 0.3"), ("sample", "s/x", 48.0)),
        (FAILURES, FAILURES.replace("over: 0.3", "over: 0.2"), ("beat", "a", None)),
        (UNREADABLE, UNREADABLE.replace("window: 10s", "window: 20s"), ("beat", "a", None)),
        ("heartbeat: {source: a, grace: 3s}", "heartbeat: {source: a, grace: 2s}", ("beat", "a", None)),
    ],
)
def test_an_edit_closes_no_gate_whose_evidence_holds(before: str, after: str, item: tuple[object, ...]) -> None:
    """What was read is judged at once by the new settings."""
    _stays_open(before, after, *[item] * 10)


def test_a_heartbeat_that_begins_to_count_instances_begins_without_evidence() -> None:
    """Nobody knows whose the beats before were."""
    world = World(policy("heartbeat: {source: a, grace: 3s}"))
    world.marks(2_000, beat="a")
    assert world.is_open()
    world.activate(policy("heartbeat: {source: a, grace: 3s, instances: 2}"))
    assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.INSUFFICIENT)


def test_a_changed_condition_on_several_series_waits_for_a_whole_period() -> None:
    """Its detector goes on; which values have come it does not know, so its gate is closed until each series has one again."""
    world, rng = World(policy(TOGETHER), telemetry_partitions=2), random.Random(4)

    def second() -> None:
        for partition, series in enumerate(("s/x", "s/y")):
            world.send(("sample", series, rng.gauss(0, 1)), partition=partition)
        world.mark(1_000)

    for _ in range(25):
        second()
    assert world.is_open()
    said = world.activate(policy(TOGETHER.replace("learn: 20", "learn: 20, stale: 5m")))
    assert (said[0].kind, said[0].cause) == (Kind.CLOSE, Cause.INSUFFICIENT)
    for _ in range(4):
        second()
    assert world.is_open()


@pytest.mark.parametrize("changed", ["window: 90s", "window: 60s, lost: ignored", "window: 60s, lost_at_most: 5"])
def test_a_changed_failure_rate_keeps_its_vote(changed: str) -> None:
    """One demand of two is needed: it stands before the edit, so the second one behind it trips."""
    world = Play(policy(FAILURES, UNREADABLE, trip_on="2 of 2", reset="{after: 30s, probes: 3}")).world
    world.marks(1_000)
    world.send(("outcome", "g", 0, "", True, 6), ("outcome", "g", 0, "", False, 6))
    world.marks(5_000)
    assert world.is_open()
    world.activate(policy(FAILURES.replace("window: 60s", changed), UNREADABLE, trip_on="2 of 2"))
    world.marks(600)
    assert world.is_open()
    world.send(*[("unreadable", "no json")] * 3)
    world.mark()
    assert world.last().breaker is Breaker.TRIPPED


def test_outcomes_are_counted_once_though_routers_go_back() -> None:
    """Four failures of ten since the last mark are at most 0.4: counted twice they would be a row, and more."""
    world = World(policy(FAILURES.replace("over: 0.3", "over: 0.5")))
    world.marks(1_000)
    world.send(("outcome", "g", 0, "", True, 6), ("outcome", "g", 0, "", False, 4))
    world.activate(policy(FAILURES.replace("over: 0.3", "over: 0.45")))
    world.marks(600)
    assert world.gate().conditions[0].text.startswith("4 of 10 executions failed")


def test_a_rule_counts_by_its_new_share_what_it_has_read() -> None:
    """Six of twenty were allowed and are not any more: what the edit finds counts."""
    world = World(policy(RULE))
    for value in [900.0] * 6 + [48.0] * 14:
        world.samples([value])
        world.mark()
    assert world.is_open()
    world.activate(policy(RULE.replace("over: 0.4", "over: 0.2")))
    world.samples([48.0])
    world.mark()
    assert (world.last().breaker, world.last().cause) == (Breaker.TRIPPED, Cause.CONFORMANCE)


def test_what_a_rule_judged_stays_judged_and_a_changed_rule_applies_to_new_readings() -> None:
    """Six misses by the old limit stay six; what comes is measured by the new one."""
    world = World(policy(RULE))
    for value in [900.0] * 6 + [48.0] * 14:
        world.samples([value])
        world.mark()
    world.marks(5_000)
    world.activate(policy(RULE.replace("500", "600")))
    assert world.gate().conditions[0].score == 6 / 8  # of the eight that are allowed
    for value in [550.0] * 10:
        world.samples([value])
        world.mark()
    assert world.is_open()
    assert world.gate().conditions[0].score < 6 / 8


@pytest.mark.parametrize("window", [20, 60])
def test_a_rule_keeps_what_it_judged_though_its_history_is_read(window: int) -> None:
    """Four misses in ten seconds were allowed, and one more is not: neither with enough evidence at the edit nor without."""
    rule = 'conformance: {series: s/x, rule: "value <= 100", window: 20, over: 0.2, confidence: 1e-9}'
    world = World(policy(rule))
    for n in range(40):
        world.samples([900.0 if n in (24, 27, 30, 33) else 48.0])
        world.mark(100)
    assert world.is_open()
    world.activate(policy(rule.replace("window: 20, over: 0.2", f"window: {window}, over: {4 / window}")))
    world.mark(100)
    if window > 20:  # it wants more than it remembers
        history_of_all(world)
    world.marks(3_000)
    world.samples([900.0])
    world.mark(100)
    assert (world.last().breaker, world.last().cause) == (Breaker.TRIPPED, Cause.CONFORMANCE)
    assert "do not conform" in world.last().because
