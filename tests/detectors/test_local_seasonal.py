"""The default under anomaly: what it hears of service telemetry, what it takes for usual, and what no input does to it."""

from __future__ import annotations

import pickle
import random
from math import pi, sin

import pytest
from detectors.feeding import MINUTE_MS, assert_same_however_fed, feed, times_of, where

from failshut_detectors import LocalSeasonal
from failshut_detectors.registry import DetectorError, build
from failshut_detectors.shared.own_past import Alarms, Days, Threshold

DAY = 288  # records of five minutes
LEAD = 8 * DAY


def days(count: int, seed: int = 1) -> list[float]:
    """Requests a second: a wave by day and by night, and noise that grows with it."""
    rng = random.Random(seed)
    found = []
    for index in range(count):
        level = 100.0 + 60.0 * sin(2 * pi * index / DAY)
        found.append(level + rng.gauss(0.0, 0.03 * level))
    return found


def heard(changed: list[float], lead: int = LEAD) -> list[int]:
    """The records after eight quiet days at which it speaks."""
    values = [*days(lead), *changed]
    return [index - lead for index in where(feed(LocalSeasonal(), values, times_of(len(values)))) if index >= lead]


FOLLOWS = days(LEAD + DAY)[LEAD:]
INCIDENTS: dict[str, tuple[list[float], int]] = {
    "up by half": ([1.5 * value for value in FOLLOWS[:12]], 6),
    "double": ([2.0 * value for value in FOLLOWS[:12]], 2),
    "to half": ([0.5 * value for value in FOLLOWS[:12]], 6),
    "to zero": ([0.0] * 12, 1),
    "a ramp over two hours": ([value * (1.0 + index / 24) for index, value in enumerate(FOLLOWS[:24])], 24),
    "stuck": ([FOLLOWS[0]] * 12, 12),
    "restless": ([value + 30.0 * (-1) ** index for index, value in enumerate(FOLLOWS[:12])], 6),
    "night level by day": ([60.0 + value % 3 for value in FOLLOWS[60:72]], 12),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", INCIDENTS)
def test_an_incident_is_heard_within_the_hour(kind: str) -> None:
    """Each kind on the same stream; a ramp within its two hours."""
    changed, within = INCIDENTS[kind]
    lead = LEAD + 60 if kind == "night level by day" else LEAD
    found = heard(changed, lead)
    assert found
    assert found[0] < within


@pytest.mark.slow
def test_a_quiet_month_is_quiet() -> None:
    """Thirty days without an incident: after the first two, two alarms at most."""
    values = days(30 * DAY, seed=5)
    assert len([index for index in where(feed(LocalSeasonal(), values, times_of(len(values)))) if index > 2 * DAY]) <= 2


@pytest.mark.slow
def test_what_follows_an_alarm_is_heard() -> None:
    """An outage ten minutes after a small incident has begun, and the same outage again after an hour in which all was well."""
    changed = [1.5 * value for value in FOLLOWS[:2]] + [0.0] * 4 + FOLLOWS[6:80] + [0.0] * 4
    found = heard(changed)
    assert [index for index in found if index < 2]
    assert 2 in found
    assert 80 in found


@pytest.mark.slow
def test_the_same_however_fed() -> None:
    """Batches and pickles change nothing, with times and without."""
    values = days(3 * DAY)
    values[2 * DAY + 20] = 900.0
    values[2 * DAY + 60 : 2 * DAY + 90] = [75.0] * 30
    assert_same_however_fed(LocalSeasonal, values, times_of(len(values)))
    assert_same_however_fed(LocalSeasonal, values)


@pytest.mark.slow
def test_scale_does_not_matter() -> None:
    """Milliseconds or (binary) seconds: the same records are noticed."""
    values = days(3 * DAY)
    values[2 * DAY + 20] = 900.0
    expected = where(feed(LocalSeasonal(), values, times_of(len(values))))
    assert 2 * DAY + 20 in expected
    for scale in (2.0**-40, 1024.0, 2.0**60):
        assert where(feed(LocalSeasonal(), [scale * value for value in values], times_of(len(values)))) == expected


def test_a_constant_says_nothing_until_it_changes() -> None:
    """Standing still is news only to a stream that moved; the first other value is an alarm at once."""
    for level in (0.0, 5.0, -1e-200, 1e90):
        detector = LocalSeasonal()
        assert detector.feed([level] * 5_000, times_of(5_000)) == []
        assert where(detector.feed([level + max(1.0, abs(level))], times_of(1, start_ms=1_800_000_000_000))) == [0]


def test_a_stream_of_few_values_is_not_stuck() -> None:
    """A queue that is mostly empty, and a size of three or four: their own days say how long they stand still."""
    rng = random.Random(3)
    queue = [float(rng.random() < 0.02) * rng.randint(1, 5) for _ in range(6_000)]
    size = [float(3 + (rng.random() < 0.5)) for _ in range(6_000)]
    for values in (queue, size):
        texts = [alarm.text for alarm in LocalSeasonal().feed(values, times_of(6_000, MINUTE_MS)) if alarm.index > 3_000]
        assert len([text for text in texts if "still" in text or "few" in text]) <= 2


@pytest.mark.parametrize("garbage", [1e100, -1e100, 5e-324])
def test_one_absurd_value_does_not_blind_it(garbage: float) -> None:
    """Two days after it an outage is heard at once."""
    values = days(5 * DAY)
    values[3 * DAY + 3] = garbage
    values[-3:] = [0.0] * 3
    assert len(values) - 3 in where(feed(LocalSeasonal(), values, times_of(len(values))))


def test_what_lasts_becomes_usual() -> None:
    """A new level is learnt within some hundred records; a step away from it is heard."""
    rng = random.Random(2)
    detector = LocalSeasonal()
    detector.feed([rng.gauss(50.0, 1.0) for _ in range(600)])
    assert detector.feed([rng.gauss(5_000.0, 1.0) for _ in range(400)])
    assert detector.feed([rng.gauss(5_000.0, 1.0) for _ in range(1_500)]) == []
    assert where(detector.feed([0.0])) == [0]


def test_times_that_go_back_or_stand_still_are_borne() -> None:
    """A clock that was a year ahead once does not end the comparison with other days."""
    values = days(LEAD)
    times = times_of(LEAD)
    times[1_000] += 365 * 86_400_000
    detector = LocalSeasonal()
    feed(detector, values, times)
    assert detector._signals._compares
    assert detector._signals.low > 20.0


def test_its_state_is_small_and_does_not_grow() -> None:
    """Under 8 kB pickled, after 32 days as after 22."""
    sizes = []
    for count in (22, 32):
        detector = LocalSeasonal()
        detector.feed(days(count * DAY), times_of(count * DAY))
        sizes.append(len(pickle.dumps(detector)))
    assert max(sizes) < 8_000
    assert sizes[1] <= sizes[0] + 100


def test_quiet_multiplies_thresholds() -> None:
    """Twice as quiet is what it says, and what cannot be is refused."""
    rng = random.Random(1)
    values = [rng.gauss(50.0, 1.0) for _ in range(800)] + [64.0]
    assert 800 in where(LocalSeasonal().feed(values))
    assert 800 not in where(LocalSeasonal(quiet=3.0).feed(values))
    for given in ({"quiet": 0.0}, {"stuck": 1}, {"warm_up": 0}):
        with pytest.raises(DetectorError, match=r"must be|at least"):
            build("local_seasonal", given)


def test_a_threshold_follows_most_days_and_not_the_worst() -> None:
    """Nineteen calm days and one incident: as without the incident."""
    thresholds = [Threshold(1.0, 2.0, 0.7) for _ in range(2)]
    for day in range(20):
        for threshold, worst in zip(thresholds, (4.0, 400.0), strict=True):
            threshold.largest = worst if day == 12 else 4.0 + day / 10
            threshold.end_day()
    assert thresholds[0].value == pytest.approx(thresholds[1].value, rel=0.1)


def test_a_day_is_over_by_time_or_by_records() -> None:
    """A day of five minutes has 288 records, one of seconds 1,440, one of hours 24; and without times it is 1,440."""
    for every_ms, records in ((300_000, 288), (1_000, 1_440), (3_600_000, 24), (0, 1_440)):
        days_of = Days()
        ends = [index for index in range(5_000) if days_of.over(index * every_ms if every_ms else None)]
        assert ends[2] - ends[1] == pytest.approx(records, abs=1)


def test_the_other_side_is_news_at_once() -> None:
    """A fall after a rise needs no more than the first."""
    news = Alarms()
    assert news.hears(0, "up", 50.0)
    assert news.hears(1, "down", 1.0)
    assert not news.hears(2, "up", 40.0)
