"""EWMA chart: a small lasting shift of the mean, by a moving average that forgets.

Source: S. W. Roberts, Control Chart Tests Based on Geometric Moving Averages, Technometrics 1 (1959). The average
must leave limits that hold for its steady state; they follow from `arl`.

Parameters: `arl` (records) is the mean run length without a change. `weight` (0 to 1) is how fast the average
follows: 0.1 finds shifts of one deviation, 0.4 those of two. Mean and deviation are learnt from `learn`
(records).

Limits: those of charts.py.
"""

from __future__ import annotations

from math import sqrt

from failshut_detectors.shared.charts import Chart
from failshut_detectors.shared.run_lengths import ewma_limit


class Ewma(Chart):
    """Two-sided EWMA chart with limits for the steady state.

    >>> chart = Ewma(arl=500.0, weight=0.2, learn=4)
    >>> chart.feed([1.0, 3.0, 1.0, 3.0])
    []
    >>> chart.feed([2.0, 5.0, 5.0, 5.0])[0].index
    3
    """

    name = "ewma"

    def __init__(self, arl: float = 10_000.0, weight: float = 0.1, learn: int = 500) -> None:
        self._weight = weight
        self._bound = ewma_limit(arl, weight) * sqrt(weight / (2.0 - weight))
        super().__init__(learn)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"arl": records}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._average = 0.0

    def _judge(self, z: float) -> str:
        self._average += self._weight * (z - self._average)
        return "up" if self._average > self._bound else "down" if self._average < -self._bound else ""

    def _part(self) -> float:
        return abs(self._average) / self._bound
