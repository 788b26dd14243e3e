"""What was normal before a demand, and whether a series is back there.

At a demand the readings before it have two parts: the normal readings, and the beginning of the change. `onset` finds where
the change begins. That is the split at which the means of both parts differ most, given their lengths. `Reference.of` stores
the level of the normal part, how far its readings scattered, and how far the change moved. A window of later readings is
`back` if two things are true. Its mean is no further from the reference than half of the change, and than two deviations. And
its deviation is at most two and a half times that of the reference. Readings are cut off at five deviations first, so that a
single reading of a billion moves neither.

The size of the window follows from the change. To distinguish a change from normal, 20 readings are enough if it is many
deviations. A change of a single deviation needs 50.

Source of the split: the likelihood ratio of one change of mean, D. V. Hinkley, Inference about the Change-Point in a
Sequence of Random Variables, Biometrika 57 (1970).

Limits: a change of less than about one deviation may be mistaken for its own end. A stream whose level wanders is
back only when it wanders back, or when an operator accepts the new level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from statistics import fmean, median

READINGS_MIN = 20
READINGS_MAX = 50
EVENTS = 60
"""The readings in a window of a rule's events. It is larger, because an event says less than a value."""

LEAST = 8
"""The least number of readings before the onset, if there are as many."""

_CUT = 5.0  # readings are cut off at this many deviations
_KEPT = 128  # the most readings that a reference is made of
_NEAR, _FAR = 0.5, 2.0  # the smallest and the greatest tolerance, in deviations
_WIDER = 2.5
_SURE = 8.0  # a window's mean that is this many of its deviations away differs surely, whatever the stream

Column = Sequence[float]


def onset(columns: Sequence[Column]) -> int:
    """Return how many readings are before the change. The columns are the metrics, each oldest first.

    >>> onset([[1.0, 2.0] * 20 + [9.0, 9.5]])
    40
    """
    count = len(columns[0])
    if count <= LEAST:
        return max(0, count - 1)
    gains = [0.0] * (count - 1)
    for column in columns:
        values = _cut(column)
        centre = fmean(values)
        spread = sum((value - centre) ** 2 for value in values)
        if spread <= 0.0:
            continue
        for at, total in enumerate(accumulate(value - centre for value in values[:-1])):
            gains[at] += total * total * count / ((at + 1) * (count - at - 1)) / spread
    return max(range(LEAST - 1, count - 1), key=gains.__getitem__) + 1


def _cut(column: Column) -> list[float]:
    middle, deviation = median(column), _deviation(column)
    if deviation <= 0.0:
        return list(column)
    low, high = middle - _CUT * deviation, middle + _CUT * deviation
    return [min(max(value, low), high) for value in column]


def _deviation(column: Column) -> float:
    """Return the half width of the middle two thirds. It is a normal stream's standard deviation, whatever its tails."""
    ordered = sorted(column)
    count = len(ordered)
    return (ordered[min(count - 1, count * 84 // 100)] - ordered[count * 16 // 100]) / 2.0


@dataclass(frozen=True, slots=True)
class Band:
    """One metric's normal level. It was about `centre`, and a window's mean within `tolerance` of it is back."""

    centre: float
    tolerance: float
    scatter: float
    reach: float  # readings count as no further from the centre than this

    def back(self, values: Column) -> bool:
        """Return whether a window of readings is normal again."""
        low, high = self.centre - self.reach, self.centre + self.reach
        away = [min(max(value, low), high) - self.centre for value in values]
        if abs(fmean(away)) > self.tolerance:
            return False
        return fmean(map(abs, away)) <= _WIDER * self.scatter + self.tolerance


@dataclass(frozen=True, slots=True)
class Reference:
    """What was normal, by metric, and how many readings a window needs to show that it is normal again."""

    bands: tuple[Band, ...]
    readings: int

    @classmethod
    def of(cls, before: Sequence[Column], after: Sequence[Column], events: bool = False) -> Reference:
        """Return the reference from the readings before an onset (at least one per metric) and those after it."""
        found = [_band(one[-_KEPT:], other, events) for one, other in zip(before, after, strict=True)]
        change = max(size for _, size in found)
        wanted = EVENTS if events else max(READINGS_MIN, min(READINGS_MAX, round((_SURE / max(change, 0.1)) ** 2)))
        return cls(tuple(band for band, _ in found), wanted)

    def back(self, columns: Sequence[Column]) -> bool:
        """Return whether a window is normal again in every metric. It has one column for each metric."""
        return all(band.back(values) for band, values in zip(self.bands, columns, strict=True))


def _band(before: Column, after: Column, events: bool) -> tuple[Band, float]:
    """Return a metric's normal level, and by how many deviations it changed."""
    if events:  # a share that no reading has shown yet need not be zero
        centre = (sum(before) + 0.5) / (len(before) + 1.0)
        deviation = sqrt(centre * (1.0 - centre))
        reach = 1.0
    else:
        values = _cut(before)
        centre = fmean(values)
        deviation = sqrt(fmean([(value - centre) ** 2 for value in values]))
        reach = 0.0
    rounding = abs(centre) * 1e-9 + 1e-300
    change = abs((fmean(after) if events else median(after)) - centre) if after else 0.0
    tolerance = max(min(max(change / 2.0, _NEAR * deviation), _FAR * deviation), rounding)
    scatter = fmean([abs(value - centre) for value in before])
    reach = reach or max(_CUT * deviation, change, 10.0 * rounding)
    return Band(centre, tolerance, scatter, reach), change / max(deviation, rounding)
