"""The seasonal-record detector: what it notices, what it takes for usual, and what no input does to it."""

from __future__ import annotations

import pickle
import random

import pytest
from detectors.feeding import MINUTE_MS, assert_same_however_fed, feed, times_of, where

from failshut_detectors import SeasonalRecord
from failshut_detectors.methods.seasonal import bucket_of

DAY = 288  # records of five minutes


def days(count: int, seed: int = 1, night: float = 40.0, day: float = 80.0, noise: float = 2.0) -> list[float]:
    """A level by day and one by night."""
    rng = random.Random(seed)
    return [(day if 96 <= index % DAY < 216 else night) + rng.gauss(0, noise) for index in range(count * DAY)]


def alarms_after(values: list[float], row: int, **parameters: int) -> list[int]:
    found = where(feed(SeasonalRecord(**parameters), values, times_of(len(values))))
    return [index - row for index in found if index >= row]


@pytest.mark.slow
def test_the_same_however_fed() -> None:
    """Batches and pickles change nothing."""
    values = days(8)
    values[5 * DAY + 20] = 300.0
    values[6 * DAY : 7 * DAY] = [40.0] * DAY
    assert_same_however_fed(SeasonalRecord, values, times_of(len(values)))
    assert_same_however_fed(SeasonalRecord, values)


@pytest.mark.slow
def test_scale_does_not_matter() -> None:
    """Milliseconds or (binary) seconds: the same records are noticed."""
    values = days(8)
    values[5 * DAY + 20] = 300.0
    expected = where(feed(SeasonalRecord(), values, times_of(len(values))))
    for scale in (2.0**-40, 1024.0, 2.0**60):
        assert where(feed(SeasonalRecord(), [scale * value for value in values], times_of(len(values)))) == expected


@pytest.mark.slow
def test_a_value_never_seen_is_noticed_at_once() -> None:
    """A new highest and a new lowest value, and the words name them."""
    for value in (300.0, -300.0):
        values = [*days(7), value]
        alarm = feed(SeasonalRecord(), values, times_of(len(values)))[-1]
        assert alarm.index == 7 * DAY
        assert alarm.text.startswith(f"{value:.0f} is outside ")


@pytest.mark.slow
def test_a_day_that_does_not_come_is_noticed() -> None:
    """Values seen every night, at noon: no value is new, the hour is."""
    values = days(8)
    night = random.Random(3)
    values[7 * DAY + 96 :] = [40.0 + night.gauss(0, 2) for _ in values[7 * DAY + 96 :]]
    assert alarms_after(values, 7 * DAY + 96)[0] < 60
    without_times = where(feed(SeasonalRecord(), values))
    assert not [index for index in without_times if index >= 7 * DAY + 96]


@pytest.mark.slow
def test_an_ordinary_week_is_quiet() -> None:
    """Two weeks of days and nights raise only what the records of a young stream raise."""
    assert len(alarms_after(days(14), 2 * DAY)) <= 4


@pytest.mark.slow
def test_a_constant_says_nothing_until_it_changes() -> None:
    """A hundred thousand equal values, then another one."""
    for level in (0.0, 5.0, -1e-300, 1e90):
        detector = SeasonalRecord()
        assert detector.feed([level] * 100_000, times_of(100_000)) == []
        assert where(detector.feed([level + max(1.0, abs(level))], times_of(1, start_ms=1_800_000_000_000))) == [0]


def test_it_rests_after_an_alarm() -> None:
    """Eight hours by time, a hundred records without; a time that goes back does not prolong it. What is far worse is heard."""
    values = [*days(7), *(1000.0 + 10.0 * step for step in range(3))]
    last = times_of(7 * DAY)
    hour = 60 * MINUTE_MS
    for extra, expected in (((1, 2, 3), 1), ((1, 10, 19), 3), ((20, 1, 10), 2)):
        times = [*last, *(last[-1] + hour * hours for hours in extra)]
        assert len([index for index in where(feed(SeasonalRecord(), values, times)) if index >= 7 * DAY]) == expected
    growing = [*(float(index % 7) for index in range(300)), *(1e4 * 1.2**step for step in range(3) for _ in range(100))]
    assert [index - 300 for index in where(feed(SeasonalRecord(), growing)) if index >= 300] == [0, 100, 200]
    outage = [*days(7), 0.0, *([70.0] * 5), -1000.0, -1010.0]
    assert [index for index in where(feed(SeasonalRecord(), outage)) if index >= 7 * DAY] == [7 * DAY, 7 * DAY + 6]


def test_it_says_when_it_may_be_relied_on() -> None:
    """Silent before its warm-up, and says so."""
    detector = SeasonalRecord(warm_up=10)
    assert detector.summary() == "learning: 0 of 10"
    assert detector.feed([1.0] * 8 + [1e6]) == []
    assert not detector.ready
    detector.feed([1.0])
    assert detector.ready


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_refused_and_nothing_taken(bad: float) -> None:
    """A batch with a value that no detector may see leaves the state as it was."""
    detector = SeasonalRecord()
    detector.feed([1.0, 2.0])
    before = pickle.dumps(detector)
    with pytest.raises(ValueError, match="value 1 is"):
        detector.feed([1.0, bad, 2.0])
    assert pickle.dumps(detector) == before


def test_times_must_be_as_many_as_values() -> None:
    """A caller's slip is an error, not a guess."""
    with pytest.raises(ValueError, match="2 values with 1 times"):
        SeasonalRecord().feed([1.0, 2.0], [1])


@pytest.mark.slow
@pytest.mark.parametrize("garbage", [1e100, -1e100, 5e-324])
def test_one_absurd_value_does_not_blind_it(garbage: float) -> None:
    """After a single absurd value the next missing day is still noticed."""
    values = days(15)
    values[7 * DAY + 3] = garbage
    night = random.Random(3)
    values[14 * DAY + 96 : 14 * DAY + 216] = [40.0 + night.gauss(0, 2) for _ in range(120)]
    assert alarms_after(values, 14 * DAY + 96)[0] < 120


@pytest.mark.slow
def test_its_state_does_not_grow() -> None:
    """As large after fifty days as after ten."""
    sizes = []
    for count in (10, 50):
        detector = SeasonalRecord()
        detector.feed(days(count), times_of(count * DAY))
        sizes.append(len(pickle.dumps(detector)))
    assert sizes[1] <= sizes[0] + 16


def test_hours_and_weekends() -> None:
    """Half hours from midnight UTC; Saturday and Sunday have their own."""
    monday = 1_700_438_400_000
    half_hour = 30 * MINUTE_MS
    assert [bucket_of(monday + half_hour * n) for n in (0, 1, 47, 48)] == [0, 1, 47, 0]
    assert [bucket_of(monday + 48 * half_hour * n) for n in range(7)] == [0, 0, 0, 0, 0, 48, 48]
    assert 0 <= bucket_of(-1) < 96
