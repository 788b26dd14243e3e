"""KSWIN: a change of any kind in how values are distributed, by the Kolmogorov-Smirnov test on two windows.

Source: C. Raab, M. Heusinger and F.-M. Schleif, Reactive Soft Prototype Computing for Concept Drift Streams,
Neurocomputing 416 (2020); window and draws are river's. At every record the last `recent` are compared with as many
that are drawn from the older part of the window. Of two samples of one size the test has few outcomes, so their
probabilities are a table here (J. L. Hodges, The Significance Probability of the Smirnov Two-Sample Test, Arkiv foer
Matematik 3, 1958): the alarms are those of river, which asks scipy at every record, at an eighth of the cost.

Parameters: `alpha` (0 to 1) is the probability of one test below which it alarms. `window` (records) is the memory, and
the warm-up. `recent` (records, at most half of the window) is the part that may have changed. `seed` is that of the
draws, the same again after each alarm.

Limits: values must be independent. Then it is wrong at most once in 1/alpha records. It may be wrong four times less
often, because the test has few outcomes and each record is in many tests. A change is seen while the window still holds
what was before: one that takes longer than `window` records is not. Only ranks count, so scale and outliers do not
matter, and ties weigh against an alarm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import median
from typing import Any

from river import drift

from failshut_detectors.contract import Alarm, Detector, Kind, number
from failshut_detectors.shared.scaling import centre_and_spread
from failshut_detectors.shared.watch import Watch, Watching

_RECENT_MAX = 500  # of larger samples the least probable outcome is no float above 0
_DISTANCE_MIN = 0.1  # river's: nearer than this the samples are alike, however improbable


class Kswin(Watching, Detector):
    """Detect a change of level, of spread or of shape.

    >>> detector = Kswin(alpha=0.0001)
    >>> detector.feed([float(n % 7) for n in range(200)]), detector.ready
    ([], True)
    >>> detector.feed([float(n % 7) + 4.0 for n in range(40)])[0].text
    'the last 30 are unlike those before (p 5.8e-06): median 3 to 6'
    """

    name = "kswin"
    kind = Kind.DRIFT
    version = 2

    def __init__(self, alpha: float = 0.005, window: int = 100, recent: int = 30, seed: int = 1) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha is {alpha}, must be above 0 and below 1: it is a probability")
        if not 2 <= recent <= _RECENT_MAX or window < 2 * recent:
            raise ValueError(
                f"recent is {recent} and window {window}: recent must be from 2 to {_RECENT_MAX}, window at least twice as long"
            )
        self._detector = _Kswin(alpha=alpha, window_size=window, stat_size=recent, seed=seed)

    @property
    def _learnt(self) -> bool:
        """Whether the window is full; after an alarm it is filled anew."""
        return len(self._detector.window) == self._detector.window_size

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        if not records > 1.0:
            raise ValueError(f"one false alarm in {records} records cannot be promised")
        return {"alpha": 1.0 / records}

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        detector, update = self._detector, self._detector.update
        for index, value in enumerate(values):
            update(value)
            if detector.drift_detected:
                alarms.append(Alarm(index, detector.told))
                self._learns_again(index, Watch(*detector.usual, value, detector.window_size))
        return alarms

    def _part(self) -> float:
        return float(self._detector.alpha / self._detector.probability) if self._learnt else 0.0

    def _progress(self) -> str:
        if not self._learnt:
            return f"{len(self._detector.window)} of {self._detector.window_size} values"
        return f"the last {self._detector.stat_size} are like those before (p {self._detector.probability:.2g})"


class _Kswin(drift.KSWIN):
    """River's window and draws, with the test by table."""

    told = ""
    usual = (0.0, 0.0)  # level and spread of the older part of the window, at the last alarm
    probability = 1.0

    def update(self, x: float) -> None:
        if self.drift_detected:
            self._reset()
        self.window.append(x)
        if len(self.window) < self.window_size:
            return
        older = self.window_size - self.stat_size
        values = list(self.window)
        drawn = [values[place] for place in self._rng.sample(range(older), self.stat_size)]
        apart = _apart(drawn, values[older:])
        self.probability = _probabilities(self.stat_size)[apart]
        if self.probability <= self.alpha and apart / self.stat_size > _DISTANCE_MIN:
            self._drift_detected = True
            medians = f"median {number(median(values[:older]))} to {number(median(values[older:]))}"
            self.told = f"the last {self.stat_size} are unlike those before (p {self.probability:.2g}): {medians}"
            self.usual = centre_and_spread(values[:older])
            self.window.clear()


def _apart(one: Iterable[float], other: Iterable[float]) -> int:
    """Return the largest difference, over all values, of how many of each sample are at most that value.

    >>> _apart([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]), _apart([1.0, 1.0], [1.0, 1.0])
    (1, 0)
    """
    low, high = sorted(one), sorted(other)
    # The counts of one sample lead most at one of its own values.
    ahead = max([bisect_right(low, value) - bisect_right(high, value) for value in low])
    return max(ahead, *[bisect_right(high, value) - bisect_right(low, value) for value in high])


@lru_cache(maxsize=16)
def _probabilities(size: int) -> tuple[float, ...]:
    """Return, for 0 to `size`, the probability that two samples of one distribution are so far apart, or farther.

    >>> [round(probability, 6) for probability in _probabilities(30)[12:15]]
    [0.015643, 0.006548, 0.00253]
    """
    found = [1.0]
    for apart in range(1, size + 1):
        probability = 0.0
        for reflection in range(size // apart, -1, -1):
            term = 1.0
            for step in range(apart):
                term = (size - reflection * apart - step) * term / (size + reflection * apart + step + 1)
            probability = term * (1.0 - probability)
        found.append(min(1.0, 2.0 * probability))
    return tuple(found)
