"""Several series judged together: which vectors are made of what arrives, when they are judged, and what is said of them."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Sequence

import pytest
from draws import draws
from log import World, policy

from failshut.cause import Cause
from failshut_breakers.conditions import Moment, Status
from failshut_breakers.conditions.staleness import Staleness
from failshut_breakers.conditions.together import AHEAD_MS, MISSED_MAX, PENDING_MAX, WAIT_MS, TogetherCondition
from failshut_breakers.decisions.decision import Breaker
from failshut_breakers.evidence.records import FaultRow, Faults, SampleRow, Samples
from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import Alarm, Kind, VectorDetector

EVERY_MS = 10_000
START_MS = 1_700_000_000_000
YEAR_MS, WEEK_MS = 365 * 86_400_000, 7 * 86_400_000
TEXT = "anomaly: {series: [s/x, s/y], every: 10s, detector: mahalanobis, learn: 20, unreadable_in_a_row: 5}"


class Recorder(VectorDetector):
    """Keeps the vectors and times that it is fed; a first element of 99 is an alarm."""

    name, kind, width, ready = "recorder", Kind.ANOMALY, 2, True

    def __init__(self) -> None:
        self.fed: list[tuple[int, tuple[float, ...]]] = []
        self.alarms = True

    def summary(self) -> str:
        return f"{len(self.fed)} vectors, metric 1 calm"

    def _feed(self, vectors: Sequence[Sequence[float]], times_ms: Sequence[int] | None) -> list[Alarm]:
        self.fed += [(time_ms - START_MS, tuple(vector)) for time_ms, vector in zip(times_ms or (), vectors, strict=True)]
        return [
            Alarm(index, "metric 0 and metric 7 up")
            for index, vector in enumerate(vectors)
            if vector[0] == 99.0 and self.alarms
        ]


def made(text: str = TEXT) -> TogetherCondition:
    condition = parse_policy(policy(text)).conditions[0]
    return TogetherCondition(condition)  # type: ignore[arg-type] # both kinds are


def recording(text: str = TEXT) -> TogetherCondition:
    one = made(text)
    one._memory.detector = Recorder()  # type: ignore[assignment]
    return one


def fed(one: TogetherCondition) -> list[tuple[int, tuple[float, ...]]]:
    """The vectors that were judged, with the ends of their periods from the start on."""
    assert isinstance(one._memory.detector, Recorder)
    return one._memory.detector.fed


def at(ms: int) -> Moment:
    return Moment(START_MS + ms, START_MS + ms)


def give(one: TogetherCondition, series: str, *readings: tuple[int, float]) -> None:
    """Feed readings of a series: (milliseconds from the start, value)."""
    rows: list[SampleRow] = [(offset, 0, START_MS + ms, value) for offset, (ms, value) in enumerate(readings)]
    one.feed(Samples.of(series, rows), 0, at(0))


def both(one: TogetherCondition, *readings: tuple[int, float]) -> None:
    give(one, "s/x", *readings)
    give(one, "s/y", *readings)


class TestPeriods:
    """Vectors by event time."""

    def test_the_last_value_to_arrive_is_a_period_s(self) -> None:
        """Not the mean, and not the newest time: times that repeat and go back within a period change nothing else."""
        one = recording()
        give(one, "s/x", (0, 1.0), (9_999, 2.0), (9_999, 3.0), (500, 4.0), (10_000, 5.0))
        give(one, "s/y", (5_000, 7.0), (12_000, 8.0))
        one.tick(at(13_000))
        assert fed(one) == [(10_000, (4.0, 7.0))]

    def test_a_period_waits_until_every_series_has_moved_on(self) -> None:
        """At marks alone; a series that lags by half a minute holds it back, and is not skipped."""
        one = recording()
        give(one, "s/x", *[(ms, ms / 1_000) for ms in range(0, 40_000, 10_000)])
        one.tick(at(40_000))
        give(one, "s/y", (0, -1.0))
        one.tick(at(41_000))
        assert fed(one) == []
        give(one, "s/y", (10_000, -2.0), (20_000, -3.0))
        assert fed(one) == []
        one.tick(at(42_000))
        assert fed(one) == [(10_000, (0.0, -1.0)), (20_000, (10.0, -2.0))]
        assert one.skipped == 0

    def test_a_period_waits_no_longer_than_it_may(self) -> None:
        """A whole one is judged without later values once evidence time has passed its end by the wait; not a moment before."""
        one = recording()
        both(one, (0, 1.0))
        one.tick(at(EVERY_MS + WAIT_MS - 1))
        assert fed(one) == []
        one.tick(at(EVERY_MS + WAIT_MS))
        assert fed(one) == [(10_000, (1.0, 1.0))]

    def test_a_period_that_lacks_a_series_is_skipped_and_counted(self) -> None:
        """The vectors before and after it are judged."""
        one = recording()
        give(one, "s/x", (0, 1.0), (10_000, 2.0), (20_000, 3.0), (30_000, 4.0))
        give(one, "s/y", (0, 1.0), (20_000, 3.0), (30_000, 4.0))
        one.tick(at(31_000))
        assert [end for end, _ in fed(one)] == [10_000, 30_000]
        assert one.skipped == 1

    def test_a_value_for_a_judged_period_is_dropped_and_counted(self) -> None:
        """What was judged is not judged again."""
        one = recording()
        both(one, (0, 1.0), (10_000, 2.0))
        one.tick(at(11_000))
        give(one, "s/x", (5_000, 9.0), (-YEAR_MS, 9.0))
        both(one, (20_000, 3.0))
        one.tick(at(21_000))
        assert fed(one) == [(10_000, (1.0, 1.0)), (20_000, (2.0, 2.0))]
        assert one.late == 2

    def test_a_record_a_year_ahead_stalls_nothing(self) -> None:
        """It is dropped and counted, does not make its series pass for moved on, and the vectors go on."""
        one = recording()
        give(one, "s/x", (0, 1.0), (YEAR_MS, 9.0))
        give(one, "s/y", (0, 1.0), (10_000, 2.0))
        one.tick(at(11_000))
        assert fed(one) == []
        assert one.ahead == 1
        both(one, *[(ms, 1.0) for ms in range(10_000, 100_000, 10_000)])
        one.tick(at(100_000))
        assert [end for end, _ in fed(one)] == list(range(10_000, 90_001, 10_000))
        assert one.skipped == 0

    def test_a_clock_that_is_a_little_ahead_is_believed(self) -> None:
        """Up to the bound beyond the newest mark."""
        one = recording()
        both(one, (AHEAD_MS, 1.0), (AHEAD_MS + EVERY_MS, 2.0))
        one.tick(at(0))
        assert one.ahead == 2
        both(one, (AHEAD_MS + EVERY_MS, 2.0))
        one.tick(at(EVERY_MS))
        assert fed(one) == [(AHEAD_MS + EVERY_MS, (1.0, 1.0))]

    def test_what_waits_is_bounded(self) -> None:
        """Fifty thousand periods between two marks: so many wait, the rest is dropped and counted, and new ones are judged."""
        one = recording()
        rng = random.Random(1)
        give(one, "s/x", *[(rng.randrange(-YEAR_MS, YEAR_MS), 1.0) for _ in range(50_000)])
        assert len(one._pending) == PENDING_MAX
        assert one.crowded > 40_000
        one.tick(at(0))
        assert not one._pending
        both(one, (0, 1.0), (10_000, 2.0))
        one.tick(at(11_000))
        assert fed(one) == [(10_000, (1.0, 1.0))]

    def test_sampling_more_often_changes_nothing(self) -> None:
        """From one reading in a period to a hundred: the vectors go on, one for each."""
        one = recording()
        both(one, *[(ms, 1.0) for ms in range(0, 50_000, 10_000)], *[(ms, 2.0) for ms in range(50_000, 100_000, 100)])
        one.tick(at(100_000))
        assert fed(one) == [(end, (1.0 if end <= 50_000 else 2.0,) * 2) for end in range(10_000, 90_001, 10_000)]


class TestEvidence:
    """When there is not enough of it."""

    def test_none_is_not_enough(self) -> None:
        """Only time passes: insufficient, and the series that are lacking are named."""
        one = made()
        assert one.status is Status.INSUFFICIENT
        assert not one.tick(at(YEAR_MS))
        assert one.status is Status.INSUFFICIENT
        assert one.text == "periods of 10 s lack x, y: x, y are judged together"

    def test_it_warms_up(self) -> None:
        """The condition holds from the vector on that completes what the detector learns from."""
        one = made()
        rng = random.Random(2)
        for vector in range(21):
            assert one.status is Status.INSUFFICIENT
            both(one, (vector * EVERY_MS, rng.gauss(0, 1)))
            one.tick(at(vector * EVERY_MS))
        assert one.status is Status.HOLDS
        assert one.text.startswith("x, y: distance ")

    def test_a_series_that_stays_away_is_named(self) -> None:
        """For longer than the wait and some periods; until then the condition holds."""
        one = recording()
        both(one, (0, 1.0))
        give(one, "s/x", *[(ms, 1.0) for ms in range(10_000, 150_000, 10_000)])
        bound_ms = EVERY_MS + WAIT_MS + MISSED_MAX * EVERY_MS
        one._staleness[1] = Staleness(YEAR_MS)
        one.tick(at(bound_ms))
        assert one.status is Status.HOLDS
        one.tick(at(bound_ms + 1))
        assert one.status is Status.INSUFFICIENT
        assert one.text == "periods of 10 s lack y: x, y are judged together"
        give(one, "s/y", (bound_ms, 1.0))
        one.tick(at(bound_ms + EVERY_MS + WAIT_MS))
        assert one.status is Status.HOLDS

    def test_only_who_is_lacking_now_is_named(self) -> None:
        """A series that stayed away earlier, and is back, is not."""
        one = recording()
        give(one, "s/x", *[(ms, 1.0) for ms in range(0, 30_000, 10_000)])
        give(one, "s/y", *[(ms, 1.0) for ms in range(20_000, 300_000, 10_000)])
        one._staleness[0] = Staleness(YEAR_MS)
        one.tick(at(300_000))
        assert one.skipped > 2
        assert one.text == "periods of 10 s lack x: x, y are judged together"

    def test_after_a_gap_of_a_week_it_goes_on(self) -> None:
        """Insufficient within it; the first whole period after it is judged with what was learnt before."""
        one = recording()
        both(one, (0, 1.0), (10_000, 1.0))
        one.tick(at(11_000))
        one.tick(at(WEEK_MS))
        assert one.status is Status.INSUFFICIENT
        both(one, (WEEK_MS, 2.0))
        one.tick(at(WEEK_MS))
        assert one.text == "periods of 10 s lack a value of each: x, y are judged together"
        both(one, (WEEK_MS + EVERY_MS, 2.0))
        one.tick(at(WEEK_MS + EVERY_MS))
        assert one.status is Status.HOLDS
        assert fed(one)[-1][1] == (2.0, 2.0)

    def test_series_slower_than_the_period_are_not_enough(self) -> None:
        """Sent every half minute each at its own time: no period has both, and the condition says whom it lacks."""
        one = recording()
        give(one, "s/x", *[(ms, 1.0) for ms in range(0, 300_000, 30_000)])
        give(one, "s/y", *[(ms, 1.0) for ms in range(10_000, 300_000, 30_000)])
        one.tick(at(300_000))
        assert fed(one) == []
        assert one.status is Status.INSUFFICIENT
        assert one.text.startswith("periods of 10 s lack x, y")

    def test_readings_below_what_counts_are_left_out(self) -> None:
        """Rows before `lo` were judged before, faults as well as values."""
        one = recording()
        one.feed(Samples.of("s/x", [(n, 0, START_MS + n * EVERY_MS, 1.0) for n in range(4)]), 2, at(0))
        one.feed(Faults("s/y", [FaultRow(n, 0, START_MS, "nan") for n in range(9)]), 5, at(0))
        assert len(one._pending) == 2
        assert one.status is Status.INSUFFICIENT

    def test_other_series_are_left_alone(self) -> None:
        """A gate may watch more than these."""
        one = recording()
        give(one, "s/z", (0, 1.0))
        one.feed(Faults("s/z", [FaultRow(n, 0, START_MS, "nan") for n in range(9)]), 0, at(0))
        assert not one._pending
        assert one.status is Status.INSUFFICIENT


class TestDemands:
    """What it says when the detector does."""

    def test_an_alarm_is_a_demand_at_the_mark_that_judged_it(self) -> None:
        """With the metrics' names in the detector's words; what is no number of a metric stays."""
        one = recording()
        both(one, (0, 99.0), (10_000, 1.0))
        assert one.status is not Status.DEMANDS
        assert one.tick(at(11_000))
        assert one.status is Status.DEMANDS
        assert one.text == "anomaly of 2 series together: x and metric 7 up"
        assert one.cause is Cause.ANOMALY

    def test_a_demand_stands_until_both_series_are_back(self) -> None:
        """Neither time nor one of them alone ends it: a window of periods from after it does."""
        one, rng = made(), random.Random(6)
        now = 0

        def periods(count: int, x: float, y: float) -> None:
            nonlocal now
            for _ in range(count):
                both_at = (now, x + rng.gauss(0, 1)), (now, y + rng.gauss(0, 1))
                for series, reading in zip(("s/x", "s/y"), both_at, strict=True):
                    rows: list[SampleRow] = [(0, 0, START_MS + reading[0], reading[1])]
                    one.feed(Samples.of(series, rows), 0, at(now))
                one.tick(at(now))
                now += EVERY_MS

        periods(60, 0.0, 0.0)
        assert one.status is Status.HOLDS
        periods(200, 30.0, 30.0)
        assert one.status is Status.DEMANDS
        periods(200, 0.0, 30.0)
        assert one.status is Status.DEMANDS
        periods(30, 0.0, 0.0)
        assert one.status is Status.HOLDS

    def test_metrics_of_the_same_name_are_told_apart(self) -> None:
        """By their source."""
        one = recording("drift: {series: [a/x, b/x], every: 10s, detector: mewma}")
        assert one.cause is Cause.DRIFT
        assert one.text == "no evidence of a/x, b/x together yet"

    def test_unreadable_readings_of_one_series_demand_when_they_do_not_end(self) -> None:
        """Five in a row demand at the fifth; another series' good readings are no end of it, its own are."""
        one = recording()
        faults = [FaultRow(offset, 0, START_MS, "not a number") for offset in range(6)]
        assert one.feed(Faults("s/y", faults[:4]), 0, at(0)) == []
        give(one, "s/x", (0, 1.0))
        demands = one.feed(Faults("s/y", faults[4:]), 0, at(0))
        assert [(demand.offset, demand.text) for demand in demands] == [(4, "5 readings of y in a row are not a number")]
        one.tick(at(60_000))
        assert one.status is Status.DEMANDS
        both(one, (60_000, 1.0), (70_000, 1.0))
        one.tick(at(71_000))
        assert one.status is Status.HOLDS

    def test_values_that_overflow_count_as_unreadable(self) -> None:
        """They reach no vector, and five in a row demand."""
        one = recording()
        rows: list[SampleRow] = [(offset, 0, START_MS, 1e200) for offset in range(5)]
        assert [demand.offset for demand in one.feed(Samples.of("s/x", rows), 0, at(0))] == [4]
        assert not one._pending

    def test_against_their_correlation(self) -> None:
        """Requests and processor load that part company, each in its own range: a demand that names both."""
        one, rng = made(TEXT.replace("learn: 20", "learn: 100")), random.Random(3)
        for period in range(300):
            requests = rng.gauss(100, 20)
            give(one, "s/x", (period * EVERY_MS, requests))
            give(one, "s/y", (period * EVERY_MS, 0.5 * requests + rng.gauss(0, 2)))
            assert not one.tick(at(period * EVERY_MS))
        give(one, "s/x", (3_000_000, 80.0), (3_010_000, 100.0))
        give(one, "s/y", (3_000_000, 60.0), (3_010_000, 50.0))
        assert one.tick(at(3_011_000))
        assert "x down 1" in one.text
        assert "y up 0.9" in one.text or "y up 1" in one.text


def story(seed: int) -> list[tuple[str, int, float]]:
    """Rows of two series in their order of arrival, every so often a mark: jitter, repeats, gaps, faults and wrong clocks."""
    rng, rows, now = random.Random(seed), [], 0
    for _ in range(4_000):
        now += rng.choice((100, 1_000, 3_000, 3_000, 30_000 if rng.random() < 0.02 else 1_000))
        kind = rng.random()
        series = rng.choice(("s/x", "s/y"))
        if kind < 0.1:
            rows.append(("mark", now, 0.0))
        elif kind < 0.12:
            rows.append((f"fault {series}", now, 0.0))
        else:
            odd = rng.random()
            ahead = YEAR_MS if odd < 0.005 else -YEAR_MS if odd < 0.01 else rng.randrange(-40_000, 2_000)
            rows.append((series, now + ahead, rng.choice((99.0, 1e200, 1.0, 2.0)) if odd > 0.9 else rng.gauss(0, 1)))
    return rows


def blocks(rows: Iterable[tuple[int, str, int, float]]) -> list[Samples | Faults]:
    """The blocks of one run, one for each series and kind, as a router makes them."""
    samples: dict[str, list[SampleRow]] = {}
    faults: dict[str, list[FaultRow]] = {}
    for offset, what, ms, value in rows:
        if what.startswith("fault "):
            faults.setdefault(what.removeprefix("fault "), []).append(FaultRow(offset, 0, START_MS + ms, "nan"))
        else:
            samples.setdefault(what, []).append((offset, 0, START_MS + ms, value))
    return [Samples.of(series, some) for series, some in samples.items()] + [Faults(*item) for item in faults.items()]


def play(seed: int, size: int, pickled: bool = False) -> TogetherCondition:
    """Feed a story in runs of up to `size` rows, each of which ends at a mark at the latest."""
    one, run = recording(TEXT.replace("unreadable_in_a_row: 5", "unreadable_in_a_row: 1000000")), []
    one._memory.detector.alarms = False  # at one it would be put back to how it was
    for offset, (what, ms, value) in enumerate([*story(seed), ("mark", YEAR_MS, 0.0)]):
        if what == "mark" or len(run) == size:
            for block in blocks(run):
                one.feed(block, 0, at(ms))
            run = []
            if pickled:
                one = pickle.loads(pickle.dumps(one))
        if what == "mark":
            one.tick(at(ms))
        else:
            run.append((offset, what, ms, value))
    return one


@pytest.mark.parametrize("seed", range(draws(3)))
def test_the_same_however_the_log_is_cut(seed: int) -> None:
    """Runs of one row, of seven and of all between two marks, and a snapshot after each: the same vectors and counts."""
    whole = play(seed, 1 << 30)
    counts = (whole.skipped, whole.late, whole.ahead, whole.crowded, whole._judged, whole._newest, whole.text)
    assert len(fed(whole)) > 100
    assert min(whole.skipped, whole.late, whole.ahead) > 0
    for size, pickled in ((1, False), (7, False), (7, True)):
        other = play(seed, size, pickled)
        assert fed(other) == fed(whole), f"seed {seed}, runs of {size}"
        assert (other.skipped, other.late, other.ahead, other.crowded, other._judged, other._newest, other.text) == counts


def test_a_gate_trips_on_series_that_part_company() -> None:
    """Through router, evidence and governor, from two partitions: open once it has learnt, tripped by what neither says."""
    world = World(policy(TEXT.replace("10s, detector", "1s, detector")), telemetry_partitions=2)
    rng = random.Random(4)

    def second(x: float, y: float) -> None:
        world.send(("sample", "s/x", x), partition=0)
        world.send(("sample", "s/y", y), partition=1)
        world.mark(1_000)

    for _ in range(25):
        x = rng.gauss(0, 1)
        second(x, x + rng.gauss(0, 0.01))
    assert world.is_open()
    second(1.0, -1.0)
    second(0.0, 0.0)
    last = world.last()
    assert (last.breaker, last.cause) == (Breaker.TRIPPED, Cause.ANOMALY)
    assert last.because.startswith("anomaly of 2 series together: ")
