"""ADWIN: a change of mean, by an adaptive window.

Source: A. Bifet and R. Gavalda, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007; the
implementation is river's. The window grows while its halves agree and drops its older part when they do not.

Parameters: `delta` (0 to 1) is the bound on a false alarm at one test. `clock` (records) is the distance of two tests
of the window. `grace_period` (records) comes before the first test. `warm_up` (records) comes before its silence
counts, and its scale is learnt from these records. If `scale` (units of the stream) is not 0, values are divided by it
instead: with 1 it is river's own detector.

Limits: values that are independent; with memory or hours it speaks too often. It is slower to be wrong than delta
promises: on independent normal values 0.002 means no alarm in hundreds of thousands of records. Those of scaling.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from river import drift

from failshut_detectors.contract import Kind, number
from failshut_detectors.shared.scaling import Scale, Scaled

_LATEST = 32  # records, the most that an alarm's new mean is taken from


class Adwin(Scaled):
    """Detect a change of mean of any size, up or down.

    >>> detector = Adwin(delta=0.002)
    >>> detector.feed([48.0, 49.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([97.0, 96.0] * 100)[0].text
    'mean 48.5 to 80.5'
    """

    name = "adwin"
    kind = Kind.DRIFT
    version = 3

    def __init__(
        self, delta: float = 0.002, clock: int = 32, grace_period: int = 10, warm_up: int = 30, scale: float = 0.0
    ) -> None:
        if not 0.0 < delta < 1.0:
            raise ValueError(f"delta is {delta}, must be above 0 and below 1: it is a probability")
        if clock < 1 or grace_period < 1:
            raise ValueError(f"clock is {clock} and grace_period {grace_period}, both must be at least 1 record")
        self._parameters: dict[str, Any] = {"delta": delta, "clock": clock, "grace_period": grace_period}
        super().__init__(warm_up, scale)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        if not records > 1.0:
            raise ValueError(f"one false alarm in {records} records cannot be promised")
        return {"delta": 1.0 / records}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._adwin = drift.ADWIN(**self._parameters)
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._total, self._since = 0.0, 0
        self._former = self._present = 0.0  # the means before and after the last alarm

    def _judge(self, scale: Scale, values: Sequence[float]) -> Iterator[tuple[int, str]]:
        adwin, update, total, start = self._adwin, self._adwin.update, self._total, -self._since
        for index, scaled in enumerate(scale.of(values)):
            update(scaled)
            total += scaled
            if adwin.drift_detected:
                self._former = self._before(scale, total, index + 1 - start)
                yield index, self._told(values[: index + 1])
                total, start = 0.0, index + 1  # river's window begins anew
        self._latest.extend(values[-_LATEST:])
        self._total, self._since = total, len(values) - start

    def _before(self, scale: Scale, total: float, since: int) -> float:
        """Return the mean of what the window has just dropped."""
        return scale.back((total - self._adwin.total) / max(1, since - int(self._adwin.width)))

    def _usual(self) -> tuple[float, float]:
        return self._former, super()._usual()[1]

    def _now(self, value: float) -> float:
        return max(value, self._present, key=lambda one: abs(one - self._former))

    def _told(self, values: Sequence[float]) -> str:
        kept = int(self._adwin.width)
        latest = [*self._latest, *values[-_LATEST:]][-min(kept, _LATEST) :]
        self._present = fmean(latest)
        return f"mean {number(self._former)} to {number(self._present)}"

    def _progress(self) -> str:
        """Return the mean of the window and its width."""
        if self._scale is None:
            return self._learning()
        return f"mean {number(self._scale.back(self._adwin.estimation))} over the last {int(self._adwin.width)}"
