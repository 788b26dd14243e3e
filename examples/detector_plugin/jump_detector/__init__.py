"""Jump: a value far from the median of the last ones, by the median of their distances.

Source: F. R. Hampel, The Influence Curve and its Role in Robust Estimation, J. Am. Stat. Assoc. 69 (1974).

Parameters: `window` (records) is how many values the median is taken of; `far` (median distances) is how far a value may
be from it. A far value is an alarm, and the window of what is usual stays as it is. What comes from the first one on is
collected beside it; as soon as that is a whole window, it is what is usual.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from failshut_detectors import Alarm, Detector, Kind, number


class Jump(Detector):
    """Detect a value that is unlike the last ones, whatever they are.

    >>> detector = Jump(window=5)
    >>> detector.feed([1.0, 2.0, 3.0, 2.0, 1.0]), detector.ready
    ([], True)
    >>> detector.feed([97.0])[0].text
    '97 where 2 is usual'
    """

    name = "jump"
    kind = Kind.ANOMALY

    def __init__(self, window: int = 100, far: float = 20.0) -> None:
        if window < 2 or not far > 0:
            raise ValueError("window must be 2 at least, and far above 0")
        self._window, self._far = window, far
        self._last: deque[float] = deque(maxlen=window)
        self._beside: deque[float] = deque(maxlen=window)  # what follows an alarm

    @property
    def ready(self) -> bool:
        """Whether a whole window was seen."""
        return len(self._last) == self._window

    def summary(self) -> str:
        """Return the median of the last values."""
        return f"{number(median(self._last))} is usual" if self._last else "no values yet"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            far = False
            if self.ready:
                usual = median(self._last)
                spread = median(abs(last - usual) for last in self._last)
                far = abs(value - usual) > self._far * spread
                if far:
                    alarms.append(Alarm(index, f"{number(value)} where {number(usual)} is usual"))
            (self._beside if far or self._beside else self._last).append(value)
            if len(self._beside) == self._window:
                self._last, self._beside = self._beside, deque(maxlen=self._window)
        return alarms
