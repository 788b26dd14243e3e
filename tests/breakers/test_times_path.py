"""Times: a detector that uses them is given each reading's own, whatever is skipped, too large, or out of order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from log import policy

from failshut_breakers.conditions import Moment, build
from failshut_breakers.evidence.records import FaultRow, Faults, Samples
from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import Alarm, Detector, Kind
from failshut_detectors.registry import OURS

NOW = Moment(1_000, 1_000)
TIMES = [500, 500, 700, 600, 900, 100, 100]  # they repeat and go back


class Recording(Detector):
    """Keeps what it is fed."""

    name = "recording"
    kind = Kind.DRIFT
    uses_times = True
    ready = True

    def __init__(self) -> None:
        self.fed: list[tuple[float, int]] = []

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        assert times_ms is not None
        self.fed += zip(values, times_ms, strict=True)
        return [Alarm(index, "99") for index, value in enumerate(values) if value == 99.0]

    def summary(self) -> str:
        return f"{len(self.fed)} seen"


class Eventful(Recording):
    name = "eventful"
    kind = Kind.CONFORMANCE


@pytest.fixture(autouse=True)
def _both_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OURS, "recording", Recording)
    monkeypatch.setitem(OURS, "eventful", Eventful)


def condition(text: str) -> Any:
    return build(parse_policy(policy(text)).conditions[0])


def block(values: Sequence[float]) -> Samples:
    return Samples.of("s/x", [(at, 0, TIMES[at], value) for at, value in enumerate(values)])


def test_each_value_comes_with_its_own_time() -> None:
    """Repeats and steps back are handed on as they are, and a row that an earlier run covered is left out with its time."""
    one = condition("drift: {series: s/x, detector: recording}")
    one.feed(block([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 2, NOW)
    assert one._memory.detector.fed == [(3.0, 700), (4.0, 600), (5.0, 900), (6.0, 100), (7.0, 100)]


def test_values_that_no_detector_may_see_take_their_times_with_them() -> None:
    """What remains keeps its time and its place: the demand is at the reading itself."""
    one = condition("drift: {series: s/x, detector: recording, unreadable_in_a_row: 2}")
    demands = one.feed(block([1.0, 1e200, 3.0, -1e200, 1e300, 99.0, 7.0]), 0, NOW)
    # At the alarm it is put back to where its readings began to differ.
    assert one._memory.detector.fed == [(1.0, 500), (3.0, 700)]
    assert [(demand.offset, demand.text) for demand in demands] == [
        (4, "2 readings of x in a row are too large"),
        (5, "drift in x: 99"),
    ]


def test_events_come_with_the_times_of_their_readings() -> None:
    """Judged by a rule, unjudged because nothing stands before them, or unreadable: each event has its reading's time."""
    one = condition('conformance: {series: s/x, rule: "change < 5", detector: eventful}')
    one.feed(block([1.0, 2.0, 30.0]), 0, NOW)
    one.feed(Faults("s/x", [FaultRow(9, 0, 950, "not a number")]), 0, NOW)
    assert one._memory.detector.fed == [(1.0, 500), (0.0, 700), (0.0, 950)]
