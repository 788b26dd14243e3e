"""Conformance over a series: which readings are events, and that the cut of runs and a snapshot change nothing."""

from __future__ import annotations

import pickle
import random

import pytest
from log import policy

from failshut_breakers.conditions import Condition, Demand, Moment, Status, build
from failshut_breakers.evidence.records import FaultRow, Faults, Samples
from failshut_breakers.policy.policy import parse_policy

NOW = Moment(1, 1_000_000)  # so nothing that comes is old, and nothing is from after a closing

TEXTS = [
    'conformance: {series: s/x, rule: "-5 < change < 5", window: 30, over: 0.4}',
    'conformance: {series: s/x, rule: "value < 70 and rate < 5", window: 30, over: 0.4, detector: hddm_a}',
    'conformance: {series: s/x, cel: "math.abs(rate) < 5.0 || interval > 1.5", window: 30, over: 0.4, detector: ddm}',
    'conformance: {series: s/x, cel: "value < 70.0", window: 30, over: 0.4, detector: hddm_w}',
    'conformance: {series: s/x, rule: "change < 5", window: 30, over: 0.4, detector: eddm}',
]


def condition(text: str) -> Condition:
    return build(parse_policy(policy(text)).conditions[0])


def samples(values: list[float], first: int = 0, every_ms: int = 1_000) -> Samples:
    return Samples.of("s/x", [(first + n, 0, every_ms * (first + n), value) for n, value in enumerate(values)])


def faults(count: int, first: int = 0) -> Faults:
    return Faults("s/x", [FaultRow(first + n, 0, 1_000 * (first + n), "not a number") for n in range(count)])


def places(demands: list[Demand]) -> list[int]:
    return [demand.offset for demand in demands]


class TestChange:
    """A rule that needs the reading before."""

    TEXT = 'conformance: {series: s/x, rule: "-5 < change < 5", window: 10, over: 0.25}'

    def test_the_first_reading_is_no_event(self) -> None:
        """Ten events need eleven readings, and the places of demands are those of the readings."""
        one = condition(self.TEXT)
        one.feed(samples([900.0] * 10), 0, NOW)
        assert one.status is Status.INSUFFICIENT
        one.feed(samples([900.0], 10), 0, NOW)
        assert one.status is Status.HOLDS
        steps = condition(self.TEXT)
        assert places(steps.feed(samples([0.0, 9.0, 18.0, 27.0, 36.0]), 0, NOW)) == [3]

    def test_the_last_reading_of_a_run_is_the_one_before_the_next_run(self) -> None:
        """A jump between two runs is a jump."""
        one = condition(self.TEXT)
        for n, value in enumerate([0.0, 9.0, 18.0]):
            assert one.feed(samples([value], n), 0, NOW) == []
        assert places(one.feed(samples([27.0], 3), 0, NOW)) == [3]

    def test_readings_that_were_judged_before_are_not_the_ones_before(self) -> None:
        """What an earlier run covered is skipped, and the change is from the last reading that was judged."""
        one = condition(self.TEXT)
        one.feed(samples([0.0, 1.0, 2.0]), 0, NOW)
        one.feed(samples([500.0, 700.0, 3.0], 1), 3, NOW)
        one.feed(samples([4.0] * 10, 4), 0, NOW)
        assert one.status is Status.HOLDS
        assert one.text == "x: 0 of the last 10 do not conform"

    def test_a_jump_is_not_hidden_behind_an_unreadable_reading(self) -> None:
        """An unreadable reading does not conform, and is stepped over: the change is from the last that could be read."""
        one = condition(self.TEXT)
        assert one.feed(samples([0.0, 1.0]), 0, NOW) == []
        assert one.feed(faults(1, 2), 0, NOW) == []
        assert one.feed(samples([900.0], 3), 0, NOW) == []
        assert places(one.feed(samples([0.0], 4), 0, NOW)) == [4]

    def test_a_stream_that_alternates_with_unreadable_readings_is_judged(self) -> None:
        """Each readable one has a reading before it, though not right before it: half of the events conform."""
        one = condition('conformance: {series: s/x, rule: "-5 < change < 5", window: 10, over: 0.6}')
        for n in range(1, 40):
            assert one.feed(samples([1.0], n) if n % 2 else faults(1, n), 0, NOW) == []
        assert (one.status, one.text) == (Status.HOLDS, "x: 5 of the last 10 do not conform")


class TestRate:
    """A rule on change per second."""

    TEXT = 'conformance: {series: s/x, rule: "rate < 5", window: 10, over: 0.25}'

    def test_it_is_by_the_readings_own_times(self) -> None:
        """The same values conform every second and do not ten times a second."""
        values = [float(n) for n in range(12)]
        assert condition(self.TEXT).feed(samples(values), 0, NOW) == []
        assert places(condition(self.TEXT).feed(samples(values, every_ms=100), 0, NOW))[0] == 3

    @pytest.mark.parametrize("every_ms", [0, -1_000])
    def test_times_that_do_not_pass_do_not_conform(self, every_ms: int) -> None:
        """Without a rate an event does not conform, and a producer whose clock stands still is demanded to stop."""
        one = condition(self.TEXT)
        block = Samples.of("s/x", [(n, 0, 100_000 + every_ms * n, 1.0) for n in range(12)])
        assert places(one.feed(block, 0, NOW))[0] == 3
        assert one.status is Status.DEMANDS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", TEXTS)
def test_runs_and_snapshots_change_nothing(text: str, seed: int) -> None:
    """One by one, in runs, and through a pickle after each run: the same demands, the same words."""
    rng = random.Random(seed)
    rows = [(n, 0, rng.choice([1, 1, 1, 0, 2]) * 1_000 + 1_000 * n, rng.gauss(50 if n < 400 else 69, 5)) for n in range(800)]
    bad = {n for n in range(800) if rng.random() < (0.01 if n < 600 else 0.3)}

    def told(sizes: tuple[int, int], pickled: bool) -> tuple[list[Demand], Status, str]:
        one, demands, at = condition(text), [], 0
        while at < len(rows):
            upto = min(at + rng.randint(*sizes), len(rows))
            while at < upto:  # neighbours of a kind in one block
                end = next((n for n in range(at, upto) if (n in bad) is not (at in bad)), upto)
                block = faults(end - at, at) if at in bad else Samples.of("s/x", rows[at:end])
                demands += one.feed(block, 0, NOW)
                at = end
            if pickled:
                one = pickle.loads(pickle.dumps(one))
        return demands, one.status, one.text

    expected = told((1, 1), pickled=False)
    assert expected[0]
    for pickled in (False, True):
        demands, status, words = told((1, 90), pickled)
        assert places(demands) == places(expected[0])
        assert (status, words) == expected[1:]
