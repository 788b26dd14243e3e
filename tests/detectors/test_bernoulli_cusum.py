"""A rise of the share of failing events: from 1 % to 5 % within some hundred events, and hardly ever for nothing."""

from __future__ import annotations

import random
from statistics import median

import pytest
from detectors.feeding import assert_same_however_fed, where

from failshut_detectors import BernoulliCusum
from failshut_detectors.registry import DetectorError, build


def events(share: float, count: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() >= share) for _ in range(count)]


def delays(after: float, before: int = 20_000, seeds: int = 15) -> list[int]:
    """Events from a rise from 1 % until it is heard, for several seeds; 5,000 where it is not."""
    found = []
    for seed in range(seeds):
        detector = BernoulliCusum()
        assert detector.feed(events(0.01, before, seed)) == []
        alarms = detector.feed(events(after, 5_000, seed + 1_000))
        found.append(alarms[0].index + 1 if alarms else 5_000)
    return found


@pytest.mark.parametrize(("after", "within"), [(0.05, 500), (0.1, 160), (0.5, 20)])
def test_a_small_rise_is_heard_within_some_hundred_events(after: float, within: int) -> None:
    """The median of fifteen rises, each after 20,000 events of which 1 % failed."""
    assert median(delays(after)) <= within


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.2, 0.6])
def test_it_is_hardly_ever_wrong(share: float) -> None:
    """No alarm in 400,000 events of one stream, nor in a hundred fresh ones of 2,000: little is known of these."""
    detector = BernoulliCusum()
    for seed in range(8):
        assert detector.feed(events(share, 50_000, seed)) == []
    for seed in range(100):
        assert BernoulliCusum().feed(events(share, 2_000, seed)) == [], f"seed {seed}"


def test_the_same_however_fed() -> None:
    """Long good times are passed over whole, and batches and pickles change nothing."""
    stream = [1.0] * 3_000 + events(0.01, 4_000) + events(0.2, 300) + [1.0] * 1_500 + events(0.3, 200, 2) + [1.0] * 700
    assert_same_however_fed(BernoulliCusum, stream)


def test_readings_are_the_same_in_batches() -> None:
    """Scores and words after each batch are those of one by one."""
    stream = events(0.02, 1_000) + [1.0] * 350 + events(0.1, 400, 3)
    alone, batched = BernoulliCusum(), BernoulliCusum()
    for at in range(0, len(stream), 70):
        for value in stream[at : at + 70]:
            reading = alone.update(value)
        batched.feed(stream[at : at + 70])
        assert batched.reading == reading


def test_what_follows_an_alarm_is_heard() -> None:
    """A second rise after a recovery, and an outage while a small rise lasts; a rise that lasts is one alarm, then usual."""
    detector = BernoulliCusum()
    detector.feed(events(0.01, 5_000))
    assert len(detector.feed(events(0.15, 400, 2))) == 1
    assert detector.score > 0.5, "it lasts"
    assert detector.feed([0.0] * 30), "an outage"
    assert detector.feed([1.0] * 400) == []
    assert detector.score < 0.1
    assert detector.feed(events(0.3, 100, 3)), "a second one"
    detector.feed(events(0.3, 1_500, 4))
    assert detector.feed(events(0.3, 3_000, 5)) == [], "usual by now"


def test_a_rise_does_not_become_usual_while_it_is_being_noticed() -> None:
    """Blocks wait while a sum is more than half full: what is usual stays near 1 %."""
    detector = BernoulliCusum()
    detector.feed(events(0.01, 20_000))
    (alarm, *_) = detector.feed(events(0.04, 5_000, 7))
    assert float(alarm.text.split(", ")[1].split(" %")[0]) < 1.4


def test_where_most_always_failed_it_is_silent() -> None:
    """There is no rise; a policy's `over` is the limit there."""
    assert BernoulliCusum().feed(events(0.97, 20_000)) == []


def test_one_failure_after_a_good_time_is_none() -> None:
    """Nor are four in a row; the fifth is an alarm at the least share that may always fail."""
    detector = BernoulliCusum()
    detector.feed([1.0] * 50_000)
    assert where(detector.feed([0.0] * 6)) == [4]


def test_a_shorter_promise_is_quicker() -> None:
    """`arl` is what false alarms cost: a rise is heard in fewer events."""
    found: dict[float, list[int]] = {1e4: [], 1e10: []}
    for arl, after in found.items():
        for seed in range(7):
            detector = BernoulliCusum(**BernoulliCusum.for_false_trips(arl))
            detector.feed(events(0.01, 20_000, seed))
            after.append(detector.feed(events(0.05, 5_000, seed + 50))[0].index)
    assert median(found[1e4]) < median(found[1e10])


@pytest.mark.parametrize(
    "given", [{"arl": 5.0}, {"arl": 1e16}, {"window": 0}, {"least": 0.0}, {"least": 0.6}, {"relearn": 50}, {"memory": 500}]
)
def test_parameters_that_cannot_be_are_refused(given: dict[str, float]) -> None:
    """When the policy is read, in words."""
    with pytest.raises(DetectorError, match=r"must be|at least"):
        build("bernoulli_cusum", given)
