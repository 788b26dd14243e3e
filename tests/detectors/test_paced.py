"""Paced: a budget of false trips in time becomes one in records, by the stream's own times."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from typing import Any

import pytest
from detectors.feeding import assert_same_however_fed, times_of

from failshut_detectors import Alarm, Cusum, Detector, EventDetector, Kind, Mewma, SeasonalRecord, Unfit, VectorDetector
from failshut_detectors.paced import RECORDS_MIN, WINDOW, Paced

DAY_MS = 86_400_000


class Told(Detector):
    """Keeps what it was built for and fed; alarms at a value of 99, and cannot be had for few records."""

    name = "told"
    kind = Kind.DRIFT

    def __init__(self, records: float = 1.0, least: float = 0.0, warm_up: int = 0) -> None:
        if records < least:
            raise ValueError(f"{records} records are too few")
        self.records, self.warm_up = records, warm_up
        self.fed: list[Any] = []

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"records": records}

    @property
    def ready(self) -> bool:
        return len(self.fed) >= self.warm_up

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        assert times_ms is not None
        self.fed += zip(values, times_ms, strict=True)
        return [Alarm(index, f"99 at {len(self.fed)}") for index, value in enumerate(values) if value == 99.0]

    def summary(self) -> str:
        return f"fed {len(self.fed)}"


def told(paced: Paced) -> Told:
    assert isinstance(paced._detector, Told)
    return paced._detector


def learnt(times_ms: Sequence[int]) -> float:
    paced = Paced(Told, {}, DAY_MS)
    paced.feed([0.0] * len(times_ms), times_ms)
    return paced.records


def test_the_pace_of_the_first_records_turns_time_into_records() -> None:
    """A record every ten seconds is 8,640 in a day; before a hundred intervals there is no evidence."""
    paced = Paced(Told, {}, DAY_MS)
    times = times_of(WINDOW + 1, every_ms=10_000)
    paced.feed([0.0] * WINDOW, times[:-1])
    assert not paced.ready
    assert paced.summary() == "learning the pace: 99 of 100"
    paced.feed([0.0], times[-1:])
    assert paced.ready
    assert told(paced).records == paced.records == 8_640.0
    assert told(paced).fed == [(0.0, time_ms) for time_ms in times], "what was held was not fed after all"


def test_its_own_parameters_stay() -> None:
    """The policy's parameters are merged with what the promise sets."""
    paced = Paced(Told, {"warm_up": 200}, DAY_MS)
    paced.feed([0.0] * 150, times_of(150, every_ms=10_000))
    assert (paced.ready, told(paced).warm_up, told(paced).records) == (False, 200, 8_640.0)


def test_a_gap_says_nothing_of_the_pace() -> None:
    """A week in which nothing came is left out; so is a clock that was a year ahead for a moment."""
    times = times_of(101, every_ms=10_000)
    assert learnt([*times[:50], *(time_ms + 7 * DAY_MS for time_ms in times[50:])]) == pytest.approx(8_640.0, rel=0.02)
    assert learnt([*times[:50], times[50] + 365 * DAY_MS, *times[51:]]) == pytest.approx(8_640.0, rel=0.02)


def test_times_that_repeat_are_records_all_the_same() -> None:
    """Ten records with one time, every ten seconds, are a record a second."""
    assert learnt([1_000_000 + 10_000 * (at // 10) for at in range(101)]) == pytest.approx(86_400.0, rel=0.02)


def test_times_that_go_back_cancel_out() -> None:
    """Two producers that interleave, one of them half a minute behind, have the pace that they have."""
    rng = random.Random(1)
    times = [time_ms - rng.choice([0, 5_000, 30_000]) for time_ms in times_of(101, every_ms=10_000)]
    assert learnt(times) == pytest.approx(8_640.0, rel=0.1)


def test_without_times_that_move_there_is_never_evidence() -> None:
    """Absent and frozen times leave it unready, and it says why; no more is held than a window."""
    none, frozen = Paced(Told, {}, DAY_MS), Paced(Told, {}, DAY_MS)
    for _ in range(20):
        none.feed([0.0] * 50)
        frozen.feed([0.0] * 50, [5] * 50)
    assert not none.ready
    assert not frozen.ready
    assert none.summary() == "the records have no times, learning the pace: 0 of 100"
    assert "the times of the records do not move on" in frozen.summary()
    assert len(frozen._held) <= WINDOW + 1


def test_a_budget_of_very_few_records_is_kept_as_one_in_a_hundred() -> None:
    """A day at a record an hour is 24 records: nobody keeps that."""
    assert learnt(times_of(101, every_ms=3_600_000)) == RECORDS_MIN


def test_a_budget_that_the_detector_cannot_keep_leaves_it_unready() -> None:
    """It refuses the records that the pace came to: no evidence, in words, and no error in the middle of a log."""
    paced = Paced(Told, {"least": 9_000.0}, DAY_MS)
    paced.feed([0.0] * 500, times_of(500, every_ms=10_000))
    assert not paced.ready
    assert "no budget of one in 8640 records: told: 8640.0 records are too few" in paced.summary()


def test_what_was_found_among_the_first_records_is_told_where_the_pace_was_learnt() -> None:
    """Held is not lost: an alarm among the records held stands at the record that ended the learning."""
    values = [0.0] * 300
    values[30] = values[200] = 99.0
    alarms = Paced(Told, {}, DAY_MS).feed(values, times_of(300))
    assert alarms == [Alarm(100, "99 at 101"), Alarm(200, "99 at 201")]


def changed(factor: float, records: int) -> Paced:
    """A stream whose records come so many times as far apart, for so many records."""
    paced = Paced(Told, {}, DAY_MS)
    times = times_of(2_001, every_ms=10_000)
    paced.feed([0.0] * 2_001, times)
    paced.feed([0.0] * records, times_of(records, every_ms=int(10_000 * factor), start_ms=times[-1]))
    return paced


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_another_pace_for_long_is_learnt_anew(factor: float) -> None:
    """After a thousand records at another pace it has no evidence, says so, and then keeps the budget at that pace."""
    paced = changed(factor, 1_050)
    assert not paced.ready
    assert paced.summary().startswith(f"the pace was one record in 10 s and is one in {10 * factor:g} s, learning the pace: ")
    paced = changed(factor, 1_300)
    assert paced.ready
    assert paced.records == pytest.approx(8_640.0 / factor, rel=0.02)


@pytest.mark.parametrize(("factor", "records"), [(0.6, 5_000), (1.8, 5_000), (5.0, 850)])
def test_a_pace_that_departs_little_or_briefly_is_left(factor: float, records: int) -> None:
    """Within a factor of 2, or for less than a thousand records, nothing is begun anew."""
    paced = changed(factor, records)
    assert paced.ready
    assert len(told(paced).fed) == 2_001 + records


def test_the_cut_of_batches_does_not_matter() -> None:
    """One by one, in batches and through pickles: the same alarms with the same words, also over a change of pace."""
    rng = random.Random(3)
    values = [rng.gauss(50 + 20 * (at // 900 % 2), 4) for at in range(5_400)]
    times = times_of(2_700, every_ms=10_000)
    times += times_of(2_700, every_ms=50_000, start_ms=times[-1])
    times = [time_ms - rng.choice([0, 0, 0, 20_000]) for time_ms in times]
    assert_same_however_fed(lambda: Paced(Cusum, {"learn": 200}, DAY_MS / 4), values, times)


def test_a_chart_keeps_its_budget_in_time() -> None:
    """On independent normal values at a record every ten seconds, one in three hours is some 1,080 records apart."""
    rng = random.Random(5)
    count = 80_000
    paced = Paced(Cusum, {"learn": 1_000}, DAY_MS / 8)
    alarms = paced.feed([rng.gauss(50, 4) for _ in range(count)], times_of(count, every_ms=10_000))
    watched = count - 1_000 * (1 + len(alarms))  # after each it learns anew
    assert 0.5 < len(alarms) / (watched / 1_080.0) < 2.0


class Events(EventDetector):
    """Of events, with a promise."""

    name = "events"

    def __init__(self, records: float = 1.0) -> None:
        self.records = records

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"records": records}

    ready = True

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        return []

    def summary(self) -> str:
        return ""


class Vectors(VectorDetector):
    """Of vectors, with a promise."""

    name = "vectors"
    kind = Kind.ANOMALY

    def __init__(self, width: int = 0, records: float = 1.0) -> None:
        self.width, self.records = width, records

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"records": records}

    ready = True

    def _feed(self, vectors: Sequence[Sequence[float]], times_ms: Sequence[int] | None) -> list[Alarm]:
        return []

    def summary(self) -> str:
        return ""


def test_events_and_vectors_are_paced_as_values_are() -> None:
    """By the pace of events, and of vectors; what fits is what fits the detector, before it is built too."""
    events, vectors = Paced(Events, {}, DAY_MS), Paced(Vectors, {}, DAY_MS, width=2)
    with pytest.raises(Unfit, match="no event"):
        events.feed([0.5], [0])
    with pytest.raises(Unfit, match="2 metrics"):
        vectors.feed([[1.0]], [0])
    events.feed([1.0] * 101, times_of(101, every_ms=10_000))
    vectors.feed([[1.0, 2.0]] * 101, times_of(101, every_ms=10_000))
    assert (events.kind, events.records, events.ready) == (Kind.CONFORMANCE, 8_640.0, True)
    assert (vectors.kind, vectors.records, vectors.ready) == (Kind.ANOMALY, 8_640.0, True)
    mewma = Paced(Mewma, {}, DAY_MS, width=2)
    mewma.feed([[1.0, 2.0]] * 101, times_of(101, every_ms=10_000))
    assert mewma.records == 8_640.0


def test_who_makes_no_promise_is_refused() -> None:
    """With the words of the detector."""
    with pytest.raises(ValueError, match="seasonal_record makes no promise of how often it is wrong"):
        Paced(SeasonalRecord, {}, DAY_MS)


def test_a_pickle_goes_on_where_it_was() -> None:
    """Also in the middle of learning the pace."""
    times = times_of(300)
    through, restored = Paced(Told, {}, DAY_MS), Paced(Told, {}, DAY_MS)
    through.feed([1.0] * 300, times)
    for at in range(300):
        restored.feed([1.0], times[at : at + 1])
        restored = pickle.loads(pickle.dumps(restored))
    assert (restored.summary(), restored.records, told(restored).fed) == (through.summary(), through.records, told(through).fed)
