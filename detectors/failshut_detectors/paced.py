"""A budget of false trips in time, for detectors that keep one in records.

People say `1 per 30d`; a chart knows its average run length in records. Only the stream shows how many records 30 days have. So
its pace is learnt from the times of its first records. The detector is then built for the budget in records, and is fed those
first records too. The pace may change by more than a factor of 2, for long enough to matter. That is a tenth of the budget's
records, and at least a thousand. Then the pace is learnt again, and the detector starts again.

The pace is a mean of intervals, each with its sign, so times that repeat or go back cancel out. Intervals that are far
longer than most are left out: a gap says nothing about the pace.

Limits: a promise holds as far as the wrapped detector's does (docs/detectors.md). Where a detector cannot keep a budget
in so few or so many records, it stays without evidence and says so. Without times there is no pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from failshut_detectors.contract import Alarm, Contract, number
from failshut_detectors.registry import DetectorError, checked, construct

WINDOW = 100
"""Intervals from which a pace is learnt."""
RECORDS_MIN, RECORDS_MAX = 100.0, 1e12
"""A budget of one false trip in fewer records is kept as one in so many; in more, likewise."""
NOMINAL_RECORDS = 10_000.0
"""What a detector is built for before the pace is known."""

_GAP = 10.0  # times the median: an interval this long is a gap
_DEPARTED = 2.0  # the factor that matters
_DEPARTED_RECORDS_MIN, _DEPARTED_SHARE = 1_000, 0.1  # of the budget, that a departure lasts before it is believed


class Paced(Contract):
    """One detector that is wrong about once in `per_ms` milliseconds of a stream that does not change.

    >>> from failshut_detectors.methods.cusum import Cusum
    >>> detector = Paced(Cusum, {"learn": 50}, per_ms=86_400_000)
    >>> detector.feed([1.0, 3.0] * 50, list(range(0, 200_000, 2_000))), detector.ready, detector.summary()
    ([], False, 'learning the pace: 99 of 100')
    >>> detector.feed([1.0], [200_000]), detector.ready, detector.records
    ([], True, 43200.0)
    """

    name = "paced"
    uses_times = True

    def __init__(self, cls: type[Contract], given: Mapping[str, Any], per_ms: float, width: int = 0) -> None:
        if not per_ms > 0:
            raise ValueError(f"per_ms is {per_ms}, must be above 0")
        self.kind = cls.kind
        self._cls, self._given, self._width = cls, dict(given), width
        self._per_ms = per_ms
        self.records = 0.0  # what the budget comes to at the pace that was learnt; 0 before
        self._detector = self._for(NOMINAL_RECORDS)
        self._because = ""  # why the pace is being learnt again, or cannot be used
        self._interval_ms = 0.0
        self._intervals: list[int] = []
        self._held: list[tuple[Any, int]] = []
        self._last_ms: int | None = None
        self._departed = 0  # records in a row whose pace was another

    @property
    def ready(self) -> bool:
        """Whether the pace is known and the detector made for it has seen enough."""
        return self.records > 0.0 and self._detector.ready

    def fit(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._detector.fit(values)

    def _feed(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        if times_ms is None:
            if len(values):
                self._because = "the records have no times"
            return []
        alarms: list[Alarm] = []
        at, total = 0, len(values)
        while at < total:
            upto = min(total, at + WINDOW - len(self._intervals) + (self._last_ms is None))
            alarms += self._stretch(values[at:upto], times_ms[at:upto], at)
            at = upto
        return alarms

    def _stretch(self, values: Sequence[Any], times_ms: Sequence[int], at: int) -> list[Alarm]:
        """Take records up to the end of a window of intervals at most."""
        last_ms = times_ms[0] if self._last_ms is None else self._last_ms
        first = 1 if self._last_ms is None else 0
        for time_ms in times_ms[first:]:
            self._intervals.append(time_ms - last_ms)
            last_ms = time_ms
        self._last_ms = last_ms
        whole = len(self._intervals) == WINDOW
        pace = _pace(self._intervals) if whole else 0.0
        if whole:
            self._intervals = []
        if self.records:
            alarms = self._detector.take(values, times_ms)
            if whole:
                self._compare(pace)
            return [Alarm(at + alarm.index, alarm.text) for alarm in alarms]
        self._held += zip(values, times_ms, strict=True)
        alarms = self._begin(pace) if whole else []
        # What was found among the records held is told where they end.
        return [Alarm(at + len(values) - 1, alarms[-1].text)] if alarms else []

    def _begin(self, pace: float) -> list[Alarm]:
        """Build the detector for the pace, and feed it what was held."""
        held, self._held = self._held, []
        if pace <= 0.0:
            self._because = "the times of the records do not move on"
            return []
        records = max(RECORDS_MIN, min(self._per_ms / pace, RECORDS_MAX))
        try:
            self._detector = self._for(records)
        except DetectorError as error:
            self._because = f"no budget of one in {number(records)} records: {error}"
            return []
        self._because, self._interval_ms, self.records = "", pace, records
        return self._detector.take([value for value, _ in held], [time_ms for _, time_ms in held])

    def _compare(self, pace: float) -> None:
        """Count records of another pace, and learn anew when they were too many."""
        known = self._interval_ms
        if known / _DEPARTED <= pace <= known * _DEPARTED:
            self._departed = 0
            return
        self._departed += WINDOW
        if self._departed >= max(_DEPARTED_RECORDS_MIN, _DEPARTED_SHARE * self.records):
            now = f"one in {number(pace / 1000.0)} s" if pace > 0.0 else "unknown"
            self._because = f"the pace was one record in {number(known / 1000.0)} s and is {now}"
            self.records, self._departed = 0.0, 0

    def _for(self, records: float) -> Contract:
        promised = self._cls.for_false_trips(records)
        return construct(self._cls, checked(self._cls, {**self._given, **promised}), self._width)

    def summary(self) -> str:
        """Return what the detector says, or how far the pace is known."""
        if self.records:
            return self._detector.summary()
        learning = f"learning the pace: {len(self._intervals)} of {WINDOW}"
        return f"{self._because}, {learning}" if self._because else learning

    def _grade(self) -> float:
        return self._detector.score if self.records else 0.0


def _pace(intervals: list[int]) -> float:
    """Return the mean interval (ms) without gaps; 0 where the times do not move on."""
    moved = [abs(interval) for interval in intervals if interval]
    if not moved:
        return 0.0
    longest = _GAP * median(moved)
    kept = [interval for interval in intervals if abs(interval) <= longest]
    return max(0.0, sum(kept) / len(kept))
