"""FHDDM: conformance that falls, by Hoeffding's bound on a sliding window.

Source: A. Pesaranghader and H. L. Viktor, Fast Hoeffding Drift Detection Method for Evolving Data Streams,
ECML-PKDD 2016; the implementation is river's. The stream is 1 for a conforming event and 0 for another.

Parameters: `window` (records) is the sliding window; `confidence` (0 to 1) is the bound on a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

from river.drift import binary

from failshut_detectors.contract import Alarm, EventDetector


class Fhddm(EventDetector):
    """Detect that the share of conforming events falls from its best.

    >>> detector = Fhddm(window=100)
    >>> detector.feed([1.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 60)[0].text
    '27 of the last 100 do not conform'
    """

    name = "fhddm"

    def __init__(self, window: int = 100, confidence: float = 1e-6) -> None:
        self._detector = binary.FHDDM(sliding_window_size=window, confidence_level=confidence)
        self._window = window
        self._recent: list[float] = [1.0] * window
        self._seen = 0
        self._misses = 0
        self._since_alarm = 0

    @property
    def ready(self) -> bool:
        """Whether a whole window was seen."""
        return self._seen >= self._window

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        if self._misses == 0 and self._since_alarm > self._window and min(values, default=1.0) == 1.0:
            # A full window of conforming events is what more of them leave it.
            self._seen += len(values)
            return []
        alarms: list[Alarm] = []
        detector, update, recent, window = self._detector, self._detector.update, self._recent, self._window
        for index, value in enumerate(values):
            update(int(value))
            slot = self._seen % window
            self._misses += int(recent[slot] - value)
            recent[slot] = value
            self._seen += 1
            self._since_alarm += 1
            if detector.drift_detected:
                self._since_alarm = 0
                alarms.append(Alarm(index, self.summary()))
        return alarms

    def summary(self) -> str:
        """Return how many of the last window do not conform."""
        return f"{self._misses} of the last {min(self._seen, self._window)} do not conform"
