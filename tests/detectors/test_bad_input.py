"""Bad input: whatever telemetry brings, a detector states a reading, and notices the next real change."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Sequence
from functools import cache
from math import inf, nan
from typing import Any

import pytest
from detectors.feeding import MINUTE_MS, times_of, where

from failshut_detectors import Contract, EventDetector, Reading, Unfit, VectorDetector, registry

WIDTH = 3
CALM, CHANGED = 1_000, 400
SIGMAS = (20.0, -40.0, 80.0)  # of the changes, one after the other
HOUR_MS = 60 * MINUTE_MS
START_MS = times_of(1)[0]

CONSTANT_RECORDS = {
    "kswin": 20_000,
    "half_space_trees": 20_000,
    "mahalanobis": 100_000,
    "mewma": 100_000,
    "false_trip_budget": 200_000,
}
"""Of a constant. A million where nothing is said: these take 7 to 140 microseconds a record."""

each = pytest.mark.parametrize("name", registry.OURS)
values_only = pytest.mark.parametrize(
    "name", [name for name, cls in registry.OURS.items() if not issubclass(cls, EventDetector)]
)
events_only = pytest.mark.parametrize("name", [name for name, cls in registry.OURS.items() if issubclass(cls, EventDetector)])


def make(name: str) -> Contract:
    return registry.build(name, {}, WIDTH)


def stream(
    detector: Contract, count: int, sigmas: float = 0.0, seed: int = 1, level: float = 50.0, sigma: float = 2.0
) -> list[Any]:
    """Records so many standard deviations from their level; of events, mostly failing ones where that is not 0."""
    rng = random.Random(seed)
    if isinstance(detector, EventDetector):
        return [float(rng.random() < (0.2 if sigmas else 0.97)) for _ in range(count)]
    if isinstance(detector, VectorDetector):
        return [[rng.gauss(level + sigmas * sigma, sigma) for _ in range(WIDTH)] for _ in range(count)]
    return [rng.gauss(level + sigmas * sigma, sigma) for _ in range(count)]


def states(detector: Contract) -> Reading:
    """What it says, which must be something."""
    reading = detector.reading
    assert reading.text.strip()
    assert 0.0 <= reading.score <= 1.0
    assert reading.demand == (reading.score == 1.0)
    return reading


def notices(detector: Contract, from_ms: int, every_ms: int = 5 * MINUTE_MS, level: float = 50.0, sigma: float = 2.0) -> bool:
    """Whether it notices one of three changes, each larger than the one before."""
    found = False
    for row, sigmas in enumerate(SIGMAS):
        if isinstance(detector, EventDetector) and row == 1:
            sigmas = 0.0
        records = stream(detector, CHANGED, sigmas, row, level, sigma)
        times = times_of(CHANGED, every_ms, from_ms + row * CHANGED * every_ms)
        found = bool(detector.feed(records, times)) or found
    states(detector)
    return found


@cache
def calm(name: str) -> tuple[bytes, int]:
    """A detector that has seen an ordinary stream, as a pickle, and how many alarms it raised."""
    detector = make(name)
    alarms = detector.feed(stream(detector, CALM), times_of(CALM))
    assert states(detector).ready
    return pickle.dumps(detector), len(alarms)


def learnt(name: str) -> tuple[Contract, int]:
    """A detector that has seen an ordinary stream, and the time after it."""
    return pickle.loads(calm(name)[0]), times_of(CALM + 1)[-1]


def as_record(detector: Contract, value: object) -> Any:
    """A record with this value, alone or in its vector."""
    return [1.0] * (WIDTH - 1) + [value] if isinstance(detector, VectorDetector) else value


@each
def test_what_is_no_number_or_too_large_is_refused(name: str) -> None:
    """With its place in the batch; reading and state are as they were, to the byte, and the next change is noticed."""
    detector, now_ms = learnt(name)
    before, state = states(detector), pickle.dumps(detector)
    good = stream(detector, 1)[0]
    for value in (nan, inf, -inf, 1e308, -1e308, 10**400, "7", b"7", None):
        with pytest.raises(Unfit) as refused:
            detector.feed([good, good, as_record(detector, value)], [now_ms] * 3)
        assert refused.value.index == 2
        assert (states(detector), pickle.dumps(detector)) == (before, state), value
    assert notices(detector, now_ms)


@pytest.mark.slow
@values_only
@pytest.mark.parametrize("value", [1e100, -1e100, 1e30, 5e-324], ids=str)
def test_one_absurd_value_that_is_taken_blinds_nothing(name: str, value: float) -> None:
    """The largest that a detector may see, and the smallest there is."""
    detector, now_ms = learnt(name)
    detector.feed([as_record(detector, value)], [now_ms])
    states(detector)
    later_ms = now_ms + CALM * 5 * MINUTE_MS
    detector.feed(stream(detector, CALM, seed=2), times_of(CALM, start_ms=now_ms))
    assert notices(detector, later_ms)


@values_only
def test_subnormal_numbers_are_numbers(name: str) -> None:
    """A stream of the smallest numbers there are, then ordinary ones, whose next change is noticed."""
    detector, rng = make(name), random.Random(1)
    detector.feed([as_record(detector, 5e-324 * rng.randint(0, 3)) for _ in range(CALM)], times_of(CALM))
    states(detector)
    ordinary = stream(detector, 2 * CALM)
    detector.feed(ordinary, times_of(3 * CALM)[CALM:])
    assert states(detector).ready
    assert notices(detector, times_of(3 * CALM + 1)[-1])


@events_only
def test_what_is_neither_one_nor_nought_is_no_event(name: str) -> None:
    """Subnormals, halves and large numbers are refused; true and false are events."""
    detector, now_ms = learnt(name)
    for value in (5e-324, 0.5, -1, 2**53 + 1):
        with pytest.raises(Unfit):
            detector.feed([value], [now_ms])
    other, _ = learnt(name)
    assert detector.feed([True, False], [now_ms] * 2) == other.feed([1.0, 0.0], [now_ms] * 2)
    assert states(detector) == states(other)
    assert notices(detector, now_ms)


@pytest.mark.slow
@each
def test_a_constant_is_quiet_and_the_change_after_it_is_noticed(name: str) -> None:
    """A million equal records, or as many as CONSTANT_RECORDS says, then other ones."""
    detector, count, batch = make(name), CONSTANT_RECORDS.get(name, 1_000_000), 10_000
    record = 1.0 if isinstance(detector, EventDetector) else as_record(detector, 1.0)
    for start in range(0, count, batch):
        assert detector.feed([record] * batch, times_of(batch, 1_000, START_MS + 1_000 * start)) == []
    assert states(detector).ready
    assert notices(detector, START_MS + 1_000 * count)


@each
def test_a_single_record_is_not_enough(name: str) -> None:
    """It says so, and demands nothing."""
    detector = make(name)
    detector.feed(stream(detector, 1), [START_MS])
    reading = states(detector)
    assert (reading.ready, reading.demand) == (False, False)
    assert reading.text.startswith("not enough evidence yet")


TIMES: dict[str, Callable[[int], int]] = {
    "all the same": lambda row: START_MS,
    "each ten times": lambda row: START_MS + 10 * MINUTE_MS * (row // 10),
    "always going back": lambda row: START_MS - MINUTE_MS * row,
    "going back now and then": lambda row: START_MS + MINUTE_MS * (row if row % 40 else row - 500),
    "gaps of a week": lambda row: START_MS + MINUTE_MS * row + 7 * 24 * HOUR_MS * (row // 300),
    "a second, then an hour": lambda row: START_MS + (1_000 * row if row < 500 else 500_000 + HOUR_MS * (row - 500)),
    "an hour, then a second": lambda row: START_MS + (HOUR_MS * row if row < 500 else HOUR_MS * 500 + 1_000 * (row - 500)),
    "before 1970": lambda row: -START_MS + MINUTE_MS * row,
    "far ahead": lambda row: 2**62 + row,
}


@pytest.mark.slow
@each
@pytest.mark.parametrize("times", TIMES)
def test_times_may_be_anything(name: str, times: str) -> None:
    """Repeated, backwards, with gaps, at another rate: a reading, and the next change is noticed at a steady pace."""
    detector = make(name)
    of_row = TIMES[times]
    found = detector.feed(stream(detector, CALM), [of_row(row) for row in range(CALM)])
    assert states(detector).ready
    assert len(found) <= calm(name)[1] + 3, f"ordinary values with such times raise {where(found)}"
    assert notices(detector, of_row(CALM - 1) + MINUTE_MS)


@each
def test_a_change_is_noticed_while_times_are_wrong(name: str) -> None:
    """Times that stand still or go back take no detector's voice."""
    for of_row in (lambda row: START_MS, lambda row: START_MS - 1_000 * row):
        detector = make(name)
        detector.feed(stream(detector, CALM), [of_row(row) for row in range(CALM)])
        noticed: list[object] = []
        for row, sigmas in enumerate(SIGMAS):
            noticed += detector.feed(stream(detector, CHANGED, sigmas, row), [of_row(CALM + CHANGED * row)] * CHANGED)
        assert noticed


@values_only
def test_booleans_and_large_integers_are_taken_as_floats(name: str) -> None:
    """True is 1.0, 2**53 + 1 is rounded: the same readings as of floats, and the next change is noticed."""
    level, sigma = 2.0**60, 2.0**50
    one, other = make(name), make(name)
    odd: Sequence[Any] = [as_record(one, value) for value in (True, False, 2**53 + 1, -(2**64) - 3)]
    floats: Sequence[Any] = [as_record(one, float(value)) for value in (True, False, 2**53 + 1, -(2**64) - 3)]
    assert one.feed(odd, times_of(4)) == other.feed(floats, times_of(4))
    assert states(one) == states(other)
    detector = make(name)
    whole = [whole_numbers(record) for record in stream(detector, CALM, level=level, sigma=sigma)]
    detector.feed(whole, times_of(CALM))
    assert states(detector).ready
    assert notices(detector, times_of(CALM + 1)[-1], level=level, sigma=sigma)


def whole_numbers(record: Any) -> Any:
    """The record in Python's unbounded integers."""
    return [int(value) for value in record] if isinstance(record, list) else int(record)
