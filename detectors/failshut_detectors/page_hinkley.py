"""Page-Hinkley: a lasting shift of the mean, by a cumulated deviation.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954); the implementation is river's.

Parameters: `threshold` is in the units of the stream, times records: how much deviation must add up; `delta`
(same units) is the deviation that is tolerated; `min_instances` (records) come before the first test; `alpha`
forgets.
"""

from __future__ import annotations

from collections.abc import Sequence

from river import drift

from failshut_detectors.contract import Alarm, Detector, Kind, number


class PageHinkley(Detector):
    """Detect a shift of the mean, up or down.

    >>> detector = PageHinkley(threshold=50.0)
    >>> detector.feed([1.0] * 100)
    []
    >>> detector.feed([9.0] * 20)[0].text
    'mean 1.453 shifted: 9 now'
    """

    name = "page_hinkley"
    kind = Kind.DRIFT

    def __init__(
        self, threshold: float = 50.0, delta: float = 0.005, min_instances: int = 30, alpha: float = 1 - 0.0001
    ) -> None:
        self._detector = drift.PageHinkley(min_instances=min_instances, delta=delta, threshold=threshold, alpha=alpha)
        self._min_instances = min_instances
        self._seen = 0
        self._total = 0.0
        self._since = 0

    @property
    def ready(self) -> bool:
        """Whether `min_instances` values were seen."""
        return self._seen >= self._min_instances

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        detector, update = self._detector, self._detector.update
        for index, value in enumerate(values):
            update(value)
            if detector.drift_detected:
                before = self._total / self._since if self._since else value
                alarms.append(Alarm(index, f"mean {number(before)} shifted: {number(value)} now"))
                self._total, self._since = 0.0, 0
            self._total += value
            self._since += 1
        self._seen += len(values)
        return alarms

    def summary(self) -> str:
        """Return the mean since the last alarm."""
        return f"mean {number(self._total / self._since)} over {self._since}" if self._since else "no values yet"
