"""ADWIN: a change of mean, by an adaptive window.

Source: A. Bifet and R. Gavalda, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007; the
implementation is river's. The window grows while its halves agree and drops its older part when they do not.

Parameters: `delta` (0 to 1) is the bound on a false alarm at one test; `clock` (records) is how often the
window is tested; `grace_period` (records) is how many must have been seen before the first test; `warm_up`
(records) is how many must have been seen before its silence counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from river import drift

from failshut_detectors.contract import Alarm, Detector, Kind, number

_STRIDE = 32  # records between two looks at the mean that an alarm will report as the one before


class Adwin(Detector):
    """Detect a change of mean of any size, up or down.

    >>> detector = Adwin(delta=0.002)
    >>> detector.feed([48.0, 49.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([97.0, 96.0] * 100)[0].text
    'mean 48.5 to 80.5'
    """

    name = "adwin"
    kind = Kind.DRIFT

    def __init__(self, delta: float = 0.002, clock: int = 32, grace_period: int = 10, warm_up: int = 30) -> None:
        self._adwin = drift.ADWIN(delta=delta, clock=clock, grace_period=grace_period)
        self._warm_up = warm_up
        self._seen = 0
        self._mean_before = 0.0

    @property
    def ready(self) -> bool:
        """Whether `warm_up` values were seen."""
        return self._seen >= self._warm_up

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        adwin, update = self._adwin, self._adwin.update
        index, total = 0, len(values)
        while index < total:
            stop = min(total, index + _STRIDE - self._seen % _STRIDE)
            self._seen += stop - index
            for value in values[index:stop]:
                update(value)
                if adwin.drift_detected:
                    alarms.append(Alarm(index, f"mean {number(self._mean_before)} to {number(adwin.estimation)}"))
                    self._mean_before = adwin.estimation
                index += 1
            if self._seen % _STRIDE == 0:
                self._mean_before = adwin.estimation
        return alarms

    def summary(self) -> str:
        """Return the mean of the window and its width."""
        return f"mean {number(self._adwin.estimation)} over the last {int(self._adwin.width)}"
