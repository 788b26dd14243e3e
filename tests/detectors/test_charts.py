"""Control charts: run lengths equal to the published ones, and charts that have them."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from statistics import fmean

import pytest
from detectors.feeding import assert_same_however_fed, where

from failshut_detectors import Cusum, Detector, Ewma
from failshut_detectors.shared.run_lengths import cusum_arl, cusum_decision, ewma_arl, ewma_limit, two_sided_cusum_arl

CHARTS: list[Callable[[], Detector]] = [lambda: Cusum(arl=100_000, learn=200), lambda: Ewma(arl=100_000, learn=200)]
each_chart = pytest.mark.parametrize("make", CHARTS, ids=["cusum", "ewma"])


def steps(seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(level, 2.0) for level in (48.0, 54.0, 30.0) for _ in range(500)]


@pytest.mark.parametrize(
    ("decision", "shift", "published"),
    [
        (4, 0, 168),
        (4, 0.5, 26.6),
        (4, 1, 8.38),
        (4, 2, 3.34),
        (4, 4, 1.71),
        (5, 0, 465),
        (5, 0.25, 139),
        (5, 1, 10.4),
        (5, 3, 2.57),
    ],
)
def test_cusum_run_lengths_are_the_published_ones(decision: float, shift: float, published: float) -> None:
    """Montgomery's table 9.3 (k = 1/2), to half a percent."""
    assert two_sided_cusum_arl(0.5, decision, shift) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(
    ("weight", "limit", "shift", "published"),
    [(0.4, 3.054, 0, 500), (0.25, 2.998, 0, 500), (0.1, 2.814, 0, 500), (0.1, 2.814, 0.5, 31.3), (0.1, 2.814, 1, 10.3)],
)
def test_ewma_run_lengths_are_the_published_ones(weight: float, limit: float, shift: float, published: float) -> None:
    """Lucas and Saccucci's table (Montgomery 9.11), to one percent."""
    assert ewma_arl(weight, limit, shift) == pytest.approx(published, rel=0.01)


@pytest.mark.slow
def test_run_lengths_are_what_charts_have() -> None:
    """Four thousand simulated one-sided CUSUM charts run, on average, as long as the equation says."""
    rng = random.Random(11)
    lengths = []
    for _ in range(4_000):
        total, length = 0.0, 0
        while total <= 3.0:
            total, length = max(0.0, total + rng.gauss(0, 1) - 0.5), length + 1
        lengths.append(length)
    assert fmean(lengths) == pytest.approx(cusum_arl(0.5, 3.0), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("arl", [100.0, 10_000.0, 1e8])
def test_thresholds_have_the_run_length_that_was_asked_for(arl: float) -> None:
    """Asking for a run length and computing it again gives the same."""
    assert two_sided_cusum_arl(0.5, cusum_decision(arl)) == pytest.approx(arl, rel=1e-6)
    assert ewma_arl(0.1, ewma_limit(arl)) == pytest.approx(arl, rel=1e-6)


def test_impossible_charts_are_refused() -> None:
    """No run length below one record, no weight of nothing, no deviation from one value."""
    for refused in (
        lambda: Cusum(arl=0.5),
        lambda: Cusum(arl=1e30),
        lambda: Cusum(reference=0.0),
        lambda: Ewma(arl=float("nan")),
        lambda: Ewma(weight=0.0),
        lambda: Ewma(weight=1.5),
        lambda: Cusum(learn=1),
        lambda: cusum_arl(0.5, 0.0),
    ):
        with pytest.raises(ValueError, match=r"must be|out of reach|at least"):
            refused()


@each_chart
def test_the_same_however_fed(make: Callable[[], Detector]) -> None:
    """Batches and pickles change nothing."""
    assert_same_however_fed(make, steps())


@each_chart
def test_both_steps_are_noticed_and_named(make: Callable[[], Detector]) -> None:
    """One up, one down, each soon; in between the chart learns anew."""
    up, down = make().feed(steps())
    assert 500 <= up.index < 512
    assert 1_000 <= down.index < 1_006
    assert up.text.startswith("mean up from 48")
    assert down.text.startswith("mean down from 5")


@each_chart
def test_scale_does_not_matter(make: Callable[[], Detector]) -> None:
    """Milliseconds or (binary) seconds: the same records are noticed."""
    expected = where(make().feed(steps()))
    for scale in (2.0**-40, 2.0**60):
        assert where(make().feed([scale * value for value in steps()])) == expected


@each_chart
def test_a_constant_says_nothing_until_it_changes(make: Callable[[], Detector]) -> None:
    """Equal values have no deviation: any other is noticed at once."""
    detector = make()
    assert detector.feed([3.0] * 10_000) == []
    assert where(detector.feed([3.1])) == [0]


@each_chart
@pytest.mark.parametrize("garbage", [1e100, -1e100, 5e-324])
def test_one_absurd_example_does_not_blind_it(make: Callable[[], Detector], garbage: float) -> None:
    """A chart that learnt from an absurd value, too, notices the next step."""
    rng = random.Random(4)
    values = [rng.gauss(48, 2) for _ in range(700)]
    values[50] = garbage
    values[600:] = [value + 10.0 for value in values[600:]]
    assert [index for index in where(make().feed(values)) if 600 <= index < 606]


@each_chart
def test_it_says_when_it_may_be_relied_on(make: Callable[[], Detector]) -> None:
    """Not before mean and deviation are learnt; right after an alarm, by what was learnt before it."""
    detector = make()
    detector.feed([1.0, 3.0] * 99 + [1.0])
    assert not detector.ready
    assert detector.summary() == "learning: 199 of 200"
    detector.feed([3.0])
    assert detector.ready
    detector.feed([100.0])
    assert detector.ready
    assert detector.summary() == "judged by what was before the alarm; learning: 0 of 200"


@each_chart
def test_nan_is_refused_and_nothing_taken(make: Callable[[], Detector]) -> None:
    """A batch with a value that no detector may see leaves the state as it was."""
    detector = make()
    before = pickle.dumps(detector)
    with pytest.raises(ValueError, match="value 1 is"):
        detector.feed([1.0, float("nan")])
    assert pickle.dumps(detector) == before


@each_chart
def test_a_second_change_is_heard_while_it_learns_again(make: Callable[[], Detector]) -> None:
    """An outage forty records after a small shift, of which one alarm was raised; and when it is over the same shift again."""
    rng = random.Random(5)
    levels = [48.0] * 300 + [54.0] * 40 + [0.0] * 20 + [48.0] * 20 + [54.0] * 20
    found = make().feed([rng.gauss(level, 2.0) for level in levels])
    heard = [alarm for alarm in found if alarm.text.startswith("again")]
    assert 300 <= found[0].index < 312
    assert [(alarm.index // 20, alarm.text.split(":")[0]) for alarm in heard] == [(17, "again down"), (19, "again up")]
