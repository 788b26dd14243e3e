"""CUSUM: a lasting shift of the mean, found soonest of all charts where its size is known.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954); D. C. Montgomery, Introduction to
Statistical Quality Control, chapter 9. The sums of what exceeds the mean by more than `reference`, upwards and
downwards, must pass a decision interval, which follows from `arl`.

Parameters: `arl` (records) is the mean run length without a change. `reference` (standard deviations) is half of the
shift that is found fastest. Mean and deviation are learnt from `learn` (records).

Limits: those of charts.py.
"""

from __future__ import annotations

from failshut_detectors.shared.charts import Chart
from failshut_detectors.shared.run_lengths import cusum_decision


class Cusum(Chart):
    """Two-sided CUSUM.

    >>> chart = Cusum(arl=465.4, learn=4)
    >>> chart.feed([1.0, 3.0, 1.0, 3.0]), chart.ready
    ([], True)
    >>> chart.feed([2.0, 5.0, 5.0, 5.0])[0].text
    'mean up from 2 (deviation 1.155): 5 now'
    """

    name = "cusum"

    def __init__(self, arl: float = 10_000.0, reference: float = 0.5, learn: int = 500) -> None:
        if reference <= 0:
            raise ValueError(f"reference is {reference}, must be positive")
        self._reference, self._decision = reference, cusum_decision(arl, reference)
        super().__init__(learn)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"arl": records}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._up = self._down = 0.0

    def _judge(self, z: float) -> str:
        self._up = max(0.0, self._up + z - self._reference)
        self._down = max(0.0, self._down - z - self._reference)
        return "up" if self._up > self._decision else "down" if self._down > self._decision else ""

    def _part(self) -> float:
        return max(self._up, self._down) / self._decision
