"""Policies of every form over a whole log: what trips, at which reading, and that the cut of runs does not matter."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from log import CONTROL, START_MS, TELEMETRY, FrontDoor, Log, Router, policy

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.evidence.records import decode_run

MINUTE_MS = 60_000


def door_of(text: str, series: dict[str, Sequence[float | str]], every_ms: int, back_ms: int = 0) -> FrontDoor:
    """A front door with a policy, and then a reading of each series every so often, a text being a fault; marks between."""
    door, rng, now_ms = FrontDoor(), random.Random(7), START_MS
    starts = {topic: dict.fromkeys(range(count), 0) for topic, count in door.counts.items()}
    door.append(CONTROL, now_ms, ("term", {"term": 1, "starts": starts}))
    door.append(CONTROL, now_ms, ("activate", 1, {"g.yaml": text}, "operator", ""))
    for at, row in enumerate(zip(*series.values(), strict=True)):
        now_ms += every_ms
        for name, value in zip(series, row, strict=True):
            kind = "fault" if isinstance(value, str) else "sample"
            door.append(TELEMETRY, now_ms - (rng.choice([0, 0, back_ms]) if back_ms else 0), (kind, name, value))
        if at % 5 == 0:
            door.mark_all(now_ms)
    door.mark_all(now_ms + 1)
    return door


def judged(door: FrontDoor, most: int) -> list[Decision]:
    """Everything that is decided where runs hold so many front-door records at most."""
    log = Log()
    router = Router(door, log)
    router.route(CONTROL)
    while any(router.pending(key) for key in door.logs):
        for key in door.logs:
            router.route(key, most)
    governor, decisions = log.governor(), []
    for offset, data in enumerate(log.records[0]):
        decisions += governor.step(offset, decode_run(data))
    return decisions


def trips(decisions: list[Decision]) -> list[tuple[object, ...]]:
    """The first closing by a tripped breaker: why, and at which reading."""
    closings = [one for one in decisions if one.kind is Kind.CLOSE and one.breaker is Breaker.TRIPPED]
    return [(one.cause, one.because, one.origin) for one in closings[:1]]


def stream(before: int, after: int, level: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(50, 3) for _ in range(before)] + [rng.gauss(level, 3) for _ in range(after)]


def habits(days: int) -> list[float]:
    """A quarter hour each, busy by day, and at the end what never was."""
    rng = random.Random(2)
    return [40 + 20 * (32 <= at % 96 < 72) + rng.random() for at in range(96 * days)] + [97.0] * 8


def with_faults(values: list[float]) -> list[float | str]:
    rng = random.Random(3)
    return ["not a number" if rng.random() < 0.02 else 1e200 if rng.random() < 0.01 else value for value in values]


BOTH = stream(900, 100, 50.0)
OPPOSED = [100.0 - value for value in BOTH[:900]] + BOTH[900:]  # each alone is as it was; together they never were so

STORIES: dict[str, tuple[str, dict[str, Sequence[float | str]], int, Cause, str]] = {
    "an anomaly": ("anomaly: {series: s/x}", {"s/x": habits(10)}, 15 * MINUTE_MS, Cause.ANOMALY, " in x: "),
    "an anomaly among faults": (
        "anomaly: {series: s/x}",
        {"s/x": [*with_faults(habits(10)[:960]), *[97.0] * 8]},
        15 * MINUTE_MS,
        Cause.ANOMALY,
        " in x: ",
    ),
    "a chart": (
        "drift: {series: s/x, detector: cusum, arl: 20000, learn: 100}",
        {"s/x": stream(800, 100, 65.0)},
        1_000,
        Cause.DRIFT,
        "mean up from",
    ),
    "votes": (
        "drift: {series: s/x, detector: [{cusum: {learn: 100}}, {ewma: {learn: 100}}, adwin], votes: 2, within: 40}",
        {"s/x": with_faults(stream(800, 100, 65.0))},
        1_000,
        Cause.DRIFT,
        "of 3, ",
    ),
    "a budget": (
        "drift: {series: s/x, false_trips: 1 per 6h}",
        {"s/x": stream(1500, 200, 65.0)},
        1_000,
        Cause.DRIFT,
        "shift up",
    ),
    "a budget of a chart": (
        "drift: {series: s/x, detector: cusum, learn: 150, false_trips: 1 per 6h}",
        {"s/x": with_faults(stream(1200, 100, 65.0))},
        1_000,
        Cause.DRIFT,
        "mean up from",
    ),
    "votes on events": (
        'conformance: {series: s/x, rule: "value < 60", detector: [fhddm, {hddm_a: {}}], votes: 2, within: 100, over: 0.9}',
        {"s/x": stream(500, 200, 65.0)},
        1_000,
        Cause.CONFORMANCE,
        "2 of 2, fhddm and hddm_a",
    ),
    "several series together": (
        "anomaly: {series: [s/x, s/y], every: 1s, detector: mahalanobis}",
        {"s/x": BOTH, "s/y": OPPOSED},
        1_000,
        Cause.ANOMALY,
        "anomaly of 2 series together",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_policy_trips_at_the_same_reading_however_runs_are_cut(name: str) -> None:
    """Its cause and its words are its own; one record to a run, a few, or many, the first trip is the same."""
    condition, series, every_ms, cause, words = STORIES[name]
    door = door_of(policy(condition), series, every_ms)
    one_by_one, few, many = (judged(door, most) for most in (1, 7, 400))
    (trip,) = trips(one_by_one)
    assert trip[0] is cause
    assert words in str(trip[1])
    assert trips(few) == trips(many) == [trip]


@pytest.mark.parametrize("name", STORIES)
def test_a_stream_without_its_end_opens_the_gate_and_keeps_it_open(name: str) -> None:
    """Where nothing changes nothing trips, and there is evidence enough before the change that would have."""
    condition, series, every_ms, _, _ = STORIES[name]
    quiet = {name: values[:-200] for name, values in series.items()}
    decisions = judged(door_of(policy(condition), quiet, every_ms), 50)
    assert trips(decisions) == []
    assert decisions[-1].kind in (Kind.OPEN, Kind.RENEW)


def test_what_is_lacking_is_said_once_and_not_with_every_reading() -> None:
    """Not enough evidence yet is one decision, in words that say how much is known, while the readings in brief go on."""
    door = door_of(policy("drift: {series: s/x, detector: cusum, false_trips: 1 per 6h}"), {"s/x": [50.0] * 90}, 1_000)
    decisions = judged(door, 1)
    lacking = [one for one in decisions if one.cause is Cause.INSUFFICIENT]
    assert [one.because for one in lacking][1:] == ["not enough readings of x yet: learning the pace: 0 of 100"]
    assert len(decisions) < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a budget of a chart", "an anomaly", "a budget"])
def test_times_that_go_back_change_nothing_about_that(name: str) -> None:
    """Readings whose times repeat and go back are read as they come, and the same readings trip, however runs are cut."""
    condition, series, every_ms, cause, _ = STORIES[name]
    door = door_of(policy(condition), series, every_ms, back_ms=3 * every_ms)
    found = trips(judged(door, 1))
    assert [trip[0] for trip in found] == [cause]
    assert trips(judged(door, 30)) == found
