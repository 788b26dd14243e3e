"""Page-Hinkley: a lasting shift of the mean, by a cumulated deviation.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954); the implementation is river's. It is a CUSUM
whose mean is that of all values so far.

Parameters: `threshold` (standard deviations of the stream, times records) is how much deviation must add up. `delta`
(standard deviations) is the deviation that is tolerated. `warm_up` (records) comes before the first test, and the scale
is learnt from it. `alpha` (0 to 1) is the share of the sum that a record leaves. If `scale` (units of the stream) is
not 0, values are divided by it instead. With 1 it is river's own detector, and `threshold` and `delta` are in the units
of the stream.

Scaled values end at half of the threshold, if that is less than 16 deviations: no single record is a shift.

Limits: the defaults are river's, which alarm every 1,700 records or so if nothing changes. `for_false_trips` sets the threshold
by CUSUM's run lengths, for independent normal values. Heavy tails do not shorten them. Those of scaling.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from river import drift

from failshut_detectors.contract import Kind, number
from failshut_detectors.shared.run_lengths import cusum_decision
from failshut_detectors.shared.scaling import CLIP, Scale, Scaled

_REFERENCE = 0.5  # standard deviations: half of the shift that is found soonest


class PageHinkley(Scaled):
    """Detect a shift of the mean, up or down.

    >>> detector = PageHinkley(threshold=20.0)
    >>> detector.feed([1.0, 3.0] * 50)
    []
    >>> detector.feed([9.0] * 20)[0].text
    'mean 2.137 shifted: 9 now'
    """

    name = "page_hinkley"
    kind = Kind.DRIFT
    version = 3

    def __init__(
        self,
        threshold: float = 50.0,
        delta: float = 0.005,
        warm_up: int = 30,
        alpha: float = 1 - 0.0001,
        scale: float = 0.0,
    ) -> None:
        if not 0.0 < threshold < float("inf"):
            raise ValueError(f"threshold is {threshold}, must be above 0")
        if not 0.0 <= delta < float("inf"):
            raise ValueError(f"delta is {delta}, must be at least 0")
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}, must be above 0 and at most 1")
        self._parameters: dict[str, Any] = {"threshold": threshold, "delta": delta, "min_instances": warm_up, "alpha": alpha}
        self._clip = min(CLIP, threshold / 2.0)
        super().__init__(warm_up, scale)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        # A run length hangs on the deviation to its exponent: thirty records do not know it well enough. Forgetting pulls a sum
        # of what is tolerated back up, as if nothing were.
        return {"threshold": cusum_decision(records, _REFERENCE), "delta": _REFERENCE, "warm_up": 200, "alpha": 1.0}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._detector = drift.PageHinkley(**self._parameters)
        self._total, self._since = 0.0, 0
        self._former = 0.0  # the mean before the last alarm

    def _usual(self) -> tuple[float, float]:
        return self._former, super()._usual()[1]

    def _judge(self, scale: Scale, values: Sequence[float]) -> Iterator[tuple[int, str]]:
        detector, update, total, start = self._detector, self._detector.update, self._total, -self._since
        for index, scaled in enumerate(scale.of(values)):
            update(scaled)
            if detector.drift_detected:
                self._former = total / (index - start) if index > start else values[index]
                yield index, f"mean {number(self._former)} shifted: {number(values[index])} now"
                total, start = 0.0, index
            total += values[index]
        self._total, self._since = total, len(values) - start

    def _part(self) -> float:
        if self._since < self._parameters["min_instances"]:
            return 0.0
        # river keeps these to itself; test_river_values.py holds them to its threshold.
        river: Any = self._detector
        rise, fall = river._sum_increase - river._min_increase, river._max_decrease - river._sum_decrease
        return float(max(rise, fall) / river.threshold)

    def _progress(self) -> str:
        """Return the mean since the last alarm."""
        if self._scale is None:
            return self._learning()
        return f"mean {number(self._total / self._since)} over {self._since}" if self._since else "no values yet"
