"""The false-trip budget: what it promises is what happens, and it still notices."""

from __future__ import annotations

import pickle
import random
from itertools import pairwise
from math import sqrt

import pytest
from detectors.feeding import MINUTE_MS, assert_same_however_fed, by_the_method, feed, times_of, where

from failshut_detectors import Cusum, FalseTripBudget
from failshut_detectors.budget import _Expectation, _Reference


def normal(count: int, seed: int, level: float = 48.0, deviation: float = 2.0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(level, deviation) for _ in range(count)]


def heavy(count: int, seed: int) -> list[float]:
    """Student's t with three degrees of freedom."""
    rng = random.Random(seed)
    return [rng.gauss(0, 1) / sqrt(rng.gammavariate(1.5, 2.0) / 3.0) for _ in range(count)]


def carried(count: int, seed: int) -> list[float]:
    """An autoregression of .7."""
    rng = random.Random(seed)
    values, value = [], 0.0
    for _ in range(count):
        value = 0.7 * value + rng.gauss(0, 1)
        values.append(value)
    return values


def make(per_records: float = 1_000.0) -> FalseTripBudget:
    return FalseTripBudget(per_records=per_records)


def stepped(seed: int = 1, by: float = 4.0) -> list[float]:
    return [*normal(1_500, seed), *normal(900, seed + 1, level=48.0 + by), *normal(900, seed + 2, level=20.0)]


def test_the_same_however_fed() -> None:
    """Batches and pickles change nothing."""
    assert_same_however_fed(make, stepped())
    assert_same_however_fed(make, stepped(), times_of(len(stepped())))


def test_scale_does_not_matter() -> None:
    """Milliseconds or (binary) seconds: the same records are noticed."""
    expected = where(feed(make(), stepped()))
    assert expected
    for scale in (2.0**-40, 1024.0, 2.0**60):
        assert where(feed(make(), [scale * value for value in stepped()])) == expected


@pytest.mark.slow
@pytest.mark.parametrize("stream", [normal, heavy, carried], ids=["independent", "heavy-tailed", "autocorrelated"])
def test_the_budget_is_kept(stream: object) -> None:
    """Where nothing changes, one alarm in a thousand records is allowed: there are as many, within a factor of two."""
    values = stream(60_000, seed=7)  # type: ignore[operator]
    detector = make(1_000.0)
    alarms = detector.feed(values)
    assert 500 < len(values) / len(alarms) < 2_000
    assert detector.observed[0] == len(by_the_method(alarms))
    assert detector.nominal_records == 1_000.0


@pytest.mark.slow
def test_a_stream_worse_than_theory_raises_its_threshold() -> None:
    """Jumps that no autoregression explains: a chart overdraws the same budget twice over, this keeps it nearly."""
    rng = random.Random(5)
    values, level = [], 0.0
    for _ in range(60_000):
        if rng.random() < 0.004:
            level = rng.gauss(0, 4)
        values.append(level + rng.gauss(0, 1))
    promised = Cusum(arl=2_000.0)
    assert 60_000 / len(promised.feed(values)) < 1_000, "the stream is not as bad as this test needs"
    assert 60_000 / len(make(2_000.0).feed(values)) > 1_300


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "within"), [(2.0, 40), (3.0, 12), (5.0, 6), (-5.0, 6)])
def test_a_step_is_noticed_soon(sigma: float, within: int) -> None:
    """The median of eleven steps; the words say which way."""
    delays = []
    for seed in range(11):
        values = [*normal(1_500, seed), *normal(300, seed + 100, level=48.0 + 2.0 * sigma)]
        alarms = [alarm for alarm in make(10_000.0).feed(values) if alarm.index >= 1_500]
        delays.append(alarms[0].index - 1_500 if alarms else 300)
        assert not alarms or alarms[0].text.endswith("up" if sigma > 0 else "down")
    assert sorted(delays)[5] <= within


def test_hours_are_expected() -> None:
    """A level by day and another by night is no shift; the night's level by day is."""
    rng = random.Random(2)
    values = [(80.0 if 96 <= n % 288 < 216 else 40.0) + rng.gauss(0, 2) for n in range(15 * 288)]
    missing = 14 * 288 + 120
    values[missing:] = [40.0 + rng.gauss(0, 2) for _ in values[missing:]]
    found = where(feed(make(10_000.0), values, times_of(len(values))))
    assert len([index for index in found if 5 * 288 <= index < missing]) <= 2
    assert any(missing <= index < missing + 20 for index in found)


def test_what_remains_has_no_memory() -> None:
    """An autoregression of .95 is expected: successive remainders are uncorrelated."""
    rng = random.Random(3)
    expectation, remainders, value = _Expectation(), [], 0.0
    for _ in range(20_000):
        value = 0.95 * value + rng.gauss(0, 1)
        remainders.append(expectation.remainder(value, 0))
    kept = remainders[2_000:]
    square = sum(each * each for each in kept)
    assert abs(sum(one * other for one, other in pairwise(kept))) < 0.05 * square


def test_one_absurd_value_teaches_little() -> None:
    """After a single absurd value the expectation is still of the stream's own size."""
    expectation = _Expectation()
    values = normal(300, 1)
    remainders = [expectation.remainder(value, 0) for value in [*values[:150], 1e100, *values[150:]]]
    assert max(map(abs, remainders[151:])) < 100.0


def test_spikes_do_not_move_what_is_expected() -> None:
    """A hundred times the deviation, every fortieth record: what is expected of the others stays where they are."""
    rng, expectation, remainders = random.Random(4), _Expectation(), []
    for n in range(4_000):
        spike = n % 40 == 39
        remainder = expectation.remainder(rng.gauss(0, 1) + 200.0 * spike, 0)
        if n >= 1_000 and not spike:
            remainders.append(remainder)
    assert abs(sum(remainders) / len(remainders)) < 0.5


def test_a_change_does_not_hide_itself() -> None:
    """A remainder is not ranked against its own neighbours: it joins the reference fifty records later."""
    reference = _Reference()
    for _ in range(300):
        reference.add(0.0)
    largest = reference.bets(5.0)
    for _ in range(50):
        reference.add(5.0)
    assert reference.bets(5.0) == largest
    for _ in range(50):
        reference.add(5.0)
    assert reference.bets(5.0) != largest


@pytest.mark.slow
def test_a_constant_says_nothing_until_it_changes() -> None:
    """Fifty thousand equal values, then others."""
    for level in (0.0, 0.1, -3e90):
        detector = make()
        assert detector.feed([level] * 50_000) == []
        assert where(detector.feed([level + max(1.0, abs(level))] * 20))


@pytest.mark.parametrize("garbage", [1e100, -1e100, 5e-324])
def test_one_absurd_value_does_not_blind_it(garbage: float) -> None:
    """A single absurd value, and a thousand records later the next step is noticed."""
    for quiet in (normal(1_500, 1), [48.0] * 1_500):
        values = [*quiet, garbage, *quiet[:1_000], *normal(100, 3, level=68.0)]
        assert any(index >= 2_501 for index in where(make().feed(values)))


@pytest.mark.slow
def test_few_different_values_are_ties_not_evidence() -> None:
    """Counts of 0 and 1 keep the budget too."""
    rng = random.Random(8)
    alarms = make().feed([float(rng.random() < 0.2) for _ in range(40_000)])
    assert len(alarms) <= 80


def test_a_budget_by_time_is_learnt_from_the_pace() -> None:
    """One in a week at a record every five minutes is one in 2,016, also when times repeat, go back or leave a gap."""
    detector = FalseTripBudget(per_ms=7 * 24 * 60 * MINUTE_MS)
    times = times_of(6_000)
    times[3_000:] = [at + 30 * 24 * 60 * MINUTE_MS for at in times[3_000:]]
    times[4_000] = times[3_999]
    times[4_500] = times[4_400]
    detector.feed(normal(6_000, 1), times)
    assert detector.nominal_records == pytest.approx(2_016, rel=0.05)


def test_a_budget_is_above_nothing() -> None:
    """A budget of no records, or of negative time, is refused; one in time needs times."""
    with pytest.raises(ValueError, match="above 0"):
        FalseTripBudget(per_records=0.0)
    with pytest.raises(ValueError, match="above 0"):
        FalseTripBudget(per_ms=-1.0)
    with pytest.raises(ValueError, match="needs the times"):
        FalseTripBudget(per_ms=1e9).feed([1.0])
    with pytest.raises(ValueError, match="2 values with 1 times"):
        make().feed([1.0, 2.0], [1])


def test_it_says_when_it_may_be_relied_on() -> None:
    """Silent until there is a reference to rank among, and says so."""
    detector = make()
    assert detector.feed([1.0] * 200 + [1e6] + [1.0] * 98) == []
    assert not detector.ready
    detector.feed([1.0] * 11)
    assert detector.ready
    assert detector.summary() == "0 alarms in 10 records, 1 in 1000 allowed"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_refused_and_nothing_taken(bad: float) -> None:
    """A batch with a value that no detector may see leaves the state as it was."""
    detector = make()
    detector.feed([1.0, 2.0])
    before = pickle.dumps(detector)
    with pytest.raises(ValueError, match="value 1 is"):
        detector.feed([1.0, bad, 2.0])
    assert pickle.dumps(detector) == before


def test_its_state_does_not_grow() -> None:
    """As large after ten thousand records as after three."""
    sizes = []
    for count in (3_000, 10_000):
        detector = make()
        detector.feed(normal(count, 1), times_of(count))
        sizes.append(len(pickle.dumps(detector)))
    assert sizes[1] <= sizes[0] * 1.02
