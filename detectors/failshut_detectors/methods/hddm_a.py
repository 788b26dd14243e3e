"""HDDM_A: a share of non-conforming events that rises above its lowest, by Hoeffding's bound on averages.

Source: I. Frias-Blanco and others, Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds, IEEE
Transactions on Knowledge and Data Engineering 27 (2015); the implementation is river's. It compares the share of all
events since the last alarm with that up to the point where it was lowest; no distribution is assumed.

Parameters: `confidence` (0 to 1) bounds a false alarm at one test; `warm_up` (events) before its silence counts.

Limits: events that are independent. It forgets nothing before an alarm: small rises are found, given time, but the longer
all was well, the later.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

from river import stats
from river.drift import binary

from failshut_detectors.shared.river_events import RiverEvents, one_in, probability


class HddmA(RiverEvents):
    """Detect that the share of non-conforming events rises from its lowest, by however little, given time.

    >>> detector = HddmA()
    >>> detector.feed([1.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 60)[0].text
    '4 of the last 100 do not conform'
    """

    name = "hddm_a"

    def __init__(self, confidence: float = 0.001, warm_up: int = 30) -> None:
        super().__init__(_Hddm(drift_confidence=probability("confidence", confidence)), warm_up)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        return {"confidence": one_in(records)}

    def _pass_over(self, count: int) -> bool:
        if self._misses:
            return False
        # Nothing failed: all three averages are 0, of all events so far.
        for average in (self._river._z, self._river._x_min, self._river._x_max):
            average.n += count
        return True

    def _part(self) -> float:
        now, lowest = self._river._z, self._river._x_min
        if not self._since or now.n == lowest.n:
            return 0.0
        bound = sqrt((now.n - lowest.n) / (lowest.n * now.n) / 2.0 * log(2.0 / self._river.drift_confidence))
        return float((now.get() - lowest.get()) / bound)


class _Average(stats.Mean):
    """river clones two averages at nearly every event; its own way, which knows all kinds of objects, takes 60 us."""

    def clone(self, new_params: dict[str, Any] | None = None, include_attributes: bool = False) -> _Average:
        copy = _Average()
        copy.n, copy._mean = self.n, self._mean
        return copy


class _Hddm(binary.HDDMA):
    def _reset(self) -> None:
        super()._reset()
        self._x_min, self._x_max, self._z = _Average(), _Average(), _Average()
