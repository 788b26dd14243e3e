"""Scales that are learnt: a stream's unit does not matter, nor one absurd value, nor that it never moved before."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from math import inf, nextafter
from typing import Any

import pytest
from detectors.feeding import assert_same_however_fed, feed, where
from river import drift

from failshut_detectors import Adwin, Detector, HalfSpaceTrees, Kswin, PageHinkley, StandardAbsoluteDeviation
from failshut_detectors.shared.scaling import CLIP, Scale, centre_and_spread

ALL: dict[str, Callable[[], Detector]] = {
    "adwin": Adwin,
    "adwin, long warm-up": lambda: Adwin(warm_up=300),
    "page_hinkley": PageHinkley,
    "page_hinkley, long warm-up": lambda: PageHinkley(threshold=8.0, delta=0.5, warm_up=200),
    "kswin": Kswin,
    "standard_absolute_deviation": StandardAbsoluteDeviation,
    "half_space_trees": lambda: HalfSpaceTrees(window=100),
}
each = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


def bare(detector: Any, values: list[float]) -> list[int]:
    """Where a bare river loop detects."""
    found = []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(index)
    return found


def levels(seed: int = 1, *sigmas: float) -> list[float]:
    """Normal values around 48, of deviation 2, that step to so many deviations away, after 600 records each."""
    rng = random.Random(seed)
    return [rng.gauss(48.0 + 2.0 * away, 2.0) for away in (0.0, *(sigmas or (20.0, -20.0, 40.0))) for _ in range(600)]


@pytest.mark.slow
@each
def test_alarms_are_the_same_however_fed(make: Callable[[], Detector]) -> None:
    """One by one, in batches, whole and through pickles: the same alarms in the same words, the learning included."""
    assert_same_however_fed(make, levels())


@pytest.mark.slow
@each
def test_readings_are_the_same_however_fed(make: Callable[[], Detector]) -> None:
    """Score, summary and whether it is ready depend on the records alone, wherever a batch ends."""
    values = levels()
    singly, readings = make(), []
    for value in values:
        readings.append((singly.update(value), singly.summary()))
    rng, detector, at = random.Random(2), make(), 0
    while at < len(values):
        size = rng.randint(1, 150)
        detector.feed(values[at : at + size])
        at = min(at + size, len(values))
        assert (detector.reading, detector.summary()) == readings[at - 1]


@pytest.mark.slow
@each
@pytest.mark.parametrize("factor", [2.0**-60, 2.0**-3, 2.0**40, 2.0**200])
def test_powers_of_two_change_nothing(make: Callable[[], Detector], factor: float) -> None:
    """Another unit, exactly converted: the same records are alarms."""
    expected = where(make().feed(levels()))
    assert expected
    assert where(make().feed([factor * value for value in levels()])) == expected


@pytest.mark.slow
@each
@pytest.mark.parametrize("convert", [lambda v: 1000.0 * v, lambda v: v / 1000.0, lambda v: v + 1e6, lambda v: v - 273.15])
def test_units_and_offsets_do_not_matter(make: Callable[[], Detector], convert: Callable[[float], float]) -> None:
    """Milliseconds, seconds, or a shifted zero: the same records are alarms."""
    values = levels(5)
    assert where(make().feed([convert(value) for value in values])) == where(make().feed(values))


@each
@pytest.mark.parametrize("offset", [0.0, 1e15, -1e15])
def test_a_step_of_twenty_sigma_is_found_whatever_the_offset(make: Callable[[], Detector], offset: float) -> None:
    """Noise that is some last digits of the numbers is noise all the same."""
    found = where(make().feed([offset + value for value in levels(3, 20.0)]))
    assert [index for index in found if 600 <= index < 660], found


@pytest.mark.slow
@each
@pytest.mark.parametrize("garbage", [1e9, -1e9, 1e100, -1e100])
@pytest.mark.parametrize("place", [5, 590])
def test_one_absurd_value_blinds_nothing(make: Callable[[], Detector], garbage: float, place: int) -> None:
    """Neither among what is learnt nor just before a change of twenty sigma, which is found within sixty records."""
    values = levels(4, 20.0)
    values[place] = garbage
    assert [index for index in where(make().feed(values)) if 600 <= index < 660]


def test_plain_river_stays_blind_after_an_absurd_value() -> None:
    """Side by side, a 1e9 and later a change of twenty sigma: river's ADWIN misses it for 4,000 records, ours finds it."""
    rng = random.Random(6)
    values = [rng.gauss(level, 2.0) for level, count in ((48.0, 600), (88.0, 4_000)) for _ in range(count)]
    values[100] = 1e9
    assert bare(drift.ADWIN(), values) == []
    assert [index for index in where(Adwin().feed(values)) if 600 <= index < 632]


@each
def test_a_refused_nan_and_then_a_step_is_found(make: Callable[[], Detector]) -> None:
    """NaN is refused, nothing of its batch is taken, and a step of twenty sigma after it is found."""
    detector, values = make(), levels(7, 20.0)
    detector.feed(values[:600])
    before = pickle.dumps(detector)
    with pytest.raises(ValueError, match="value 1 is nan"):
        detector.feed([48.0, float("nan")])
    assert pickle.dumps(detector) == before
    assert [index for index in where(detector.feed(values[600:])) if index < 60]


def test_plain_river_stays_blind_after_a_nan() -> None:
    """Side by side: bare ADWIN and Page-Hinkley never detect again after one NaN."""
    values = [*levels(7)[:600], float("nan"), *levels(7)[600:]]
    for plain in (drift.ADWIN(), drift.PageHinkley()):
        assert not [index for index in bare(plain, values) if index > 600]


@pytest.mark.slow
@each
@pytest.mark.parametrize("constant", [0.0, 48.0, -1e15, 1e-300])
def test_a_constant_says_nothing_until_it_changes(make: Callable[[], Detector], constant: float) -> None:
    """Equal values are no alarm; another value that lasts is one, by any difference, within sixty records."""
    detector = make()
    assert detector.feed([constant] * 5_000) == []
    another = constant * 1.001 if constant else 1e-9
    assert [index for index in where(detector.feed([another] * 300)) if index < 60]


@pytest.mark.slow
@pytest.mark.parametrize("make", [Adwin, PageHinkley, Kswin], ids=["adwin", "page_hinkley", "kswin"])
def test_a_counter_that_begins_to_count_is_one_change(make: Callable[[], Detector]) -> None:
    """After 100,000 zeros 1, 0, 1, 0 ...: a drift that is found within 150 records, and is usual afterwards."""
    detector = make()
    assert detector.feed([0.0] * 100_000) == []
    (alarm,) = detector.feed([1.0, 0.0] * 1_000)
    assert alarm.index < 150


@pytest.mark.slow
@pytest.mark.parametrize("make", [Adwin, PageHinkley, Kswin], ids=["adwin", "page_hinkley", "kswin"])
def test_a_rare_one_among_zeros_is_no_drift(make: Callable[[], Detector]) -> None:
    """A counter that is 1 once in a thousand records, from early on or after a long silence, drifts nowhere."""
    rng = random.Random(8)
    assert make().feed([0.0] * 5_000 + [float(rng.random() < 0.001) for _ in range(30_000)]) == []


@pytest.mark.parametrize("count", [40, 100, 500, 3_000])
def test_one_outlier_is_no_drift_for_adwin(count: int) -> None:
    """Why `CLIP` is what it is: a single value at the clip, wherever it stands before a test, is not called a change."""
    for seed in range(12):
        rng = random.Random(seed)
        values = [rng.gauss(0.0, 1.0) for _ in range(count)]
        detector = Adwin()
        detector.feed(values)
        assert detector.feed([rng.choice((1e9, -1e9))] + [rng.gauss(0.0, 1.0) for _ in range(100)]) == [], f"seed {seed}"


def test_what_is_learnt_from_is_judged_too() -> None:
    """A step within the examples is told at the record that completes them, and what follows it is learnt from."""
    rng = random.Random(9)
    values = [rng.gauss(0.0, 1.0) for _ in range(150)] + [rng.gauss(6.0, 1.0) for _ in range(350)]
    detector = Adwin(warm_up=300)
    found = where(detector.feed(values[:300]))
    assert found == [299]
    assert detector.ready, detector.summary()
    rest = int(detector.summary().split("scale: ")[1].split()[0])
    assert 100 < rest < 150, "the records after the alarm are kept"
    detector.feed(values[300 : 600 - rest])
    assert detector.ready


def test_after_an_alarm_the_scale_is_learnt_anew() -> None:
    """A stream that becomes a thousand times wider is judged by its new width."""
    rng = random.Random(10)
    wide = [rng.gauss(1e4, 1e3) for _ in range(3_000)]
    detector = Adwin()
    first = feed(detector, [*(rng.gauss(0.0, 1.0) for _ in range(500)), *wide])
    assert len(first) == 1
    assert where(detector.feed([rng.gauss(1e4 + 3e3, 1e3) for _ in range(100)])), "three of the new deviations"


def test_a_given_scale_divides_and_does_nothing_else() -> None:
    """`scale` 4 is a bare river detector on quarters, beyond any clip and through alarms."""
    values = [100.0 * value for value in levels(11)]
    for ours, plain in ((Adwin(scale=4.0), drift.ADWIN()), (PageHinkley(scale=4.0), drift.PageHinkley())):
        expected = bare(plain, [value / 4.0 for value in values])
        assert expected
        assert where(ours.feed(values)) == expected


def test_centre_and_spread_are_those_of_what_is_not_absurd() -> None:
    """One absurd example in thirty moves neither, and a minority that differs is seen where it is more than that."""
    rng = random.Random(12)
    examples = [rng.gauss(5.0, 2.0) for _ in range(30)]
    centre, spread = centre_and_spread(examples)
    assert centre_and_spread([*examples, 1e30]) == pytest.approx((centre, spread))
    assert centre_and_spread([0.0] * 28 + [1.0] * 2)[1] > 0.2
    assert centre_and_spread([0.0] * 29 + [1.0]) == (0.0, 0.0)


@pytest.mark.parametrize("constant", [0.0, 0.3, 1e15])
def test_rounding_is_no_spread(constant: float) -> None:
    """Where nothing differs, an ulp is less than half a deviation, and any real difference is one."""
    scale = Scale.learnt([constant] * 30)
    assert abs(scale.of([nextafter(constant, inf)])[0]) <= 0.5
    assert scale.of([constant + 1e9, constant - 1e9]) == [1.0, -1.0]


def test_scaled_values_end_at_the_clip() -> None:
    """No value weighs more than `CLIP` spreads, and those within it are exact."""
    scale = Scale(10.0, 2.0, CLIP)
    assert scale.of([12.0, 1e100, -1e100, 42.0]) == [1.0, CLIP, -CLIP, CLIP]
    assert scale.back(scale.of([11.0])[0]) == 11.0
