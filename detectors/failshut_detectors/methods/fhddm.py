"""FHDDM: conformance that falls, by Hoeffding's bound on a sliding window.

Source: A. Pesaranghader and H. L. Viktor, Fast Hoeffding Drift Detection Method for Evolving Data Streams,
ECML-PKDD 2016; the implementation is river's. The stream is 1 for a conforming event and 0 for another.

Parameters: `window` (events) is the sliding window, and its warm-up; `confidence` (0 to 1) bounds a false alarm at one test.

Limits: events that are independent. It is quick, and blind to small changes. The share in the window must fall by sqrt(ln(1 /
confidence) / (2 window)), 0.26 at the defaults. So a change from 1 % failing to 10 % is never found. If that number is 1 or
more (a window of 6 events at the default confidence), it never alarms at all. A stream that never conformed does not fall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from river.drift import binary

from failshut_detectors.contract import Alarm, EventDetector
from failshut_detectors.shared.river_events import one_in, probability
from failshut_detectors.shared.watch import EventWatch, Watching


class Fhddm(Watching, EventDetector):
    """Detect that the share of conforming events falls from its best.

    >>> detector = Fhddm(window=100)
    >>> detector.feed([1.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 60)[0].text
    '27 of the last 100 do not conform'
    """

    name = "fhddm"
    version = 3

    def __init__(self, window: int = 100, confidence: float = 1e-6) -> None:
        if window < 1:
            raise ValueError(f"window is {window}, must be at least 1 event")
        self._detector = binary.FHDDM(sliding_window_size=window, confidence_level=probability("confidence", confidence))
        self._window = window
        self._recent: deque[float] = deque(maxlen=window)
        self._misses = 0  # of those
        self._seen = 0
        self._since_alarm = 0

    @property
    def _learnt(self) -> bool:
        """Whether a whole window was seen."""
        return self._seen >= self._window

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        # The bound is that of one window against a known share; here the best window and the last one both vary, and
        # the difference of two exceeds a bound as often as the root of what it says.
        return {"confidence": one_in(records) ** 2}

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        if self._misses == 0 and self._since_alarm > self._window and min(values, default=1.0) == 1.0:
            # A full window of conforming events is what more of them leave it.
            self._seen += len(values)
            return []
        alarms: list[Alarm] = []
        detector, update, begin = self._detector, self._detector.update, -self._since_alarm
        for index, value in enumerate(values):
            update(value)
            if detector.drift_detected:
                begin = index + 1
                window = [*self._recent, *values[:begin]][-self._window :]
                alarms.append(Alarm(index, _told(_misses(window), len(window))))
                self._learns_again(index, EventWatch(1.0 - float(detector._u_max), self._window))
        latest = values[-self._window :]
        left = max(0, len(self._recent) + len(latest) - self._window)
        self._misses += _misses(latest) - _misses(list(islice(self._recent, left)))
        self._recent.extend(latest)
        self._seen += len(values)
        self._since_alarm = len(values) - begin
        return alarms

    def _part(self) -> float:
        if self._since_alarm < self._window:  # river's window began anew
            return 0.0
        return float((self._detector._u_max - 1.0 + self._misses / self._window) / self._detector._epsilon)

    def _progress(self) -> str:
        return _told(self._misses, len(self._recent)) if self._learnt else f"learning: {self._seen} of {self._window}"


def _misses(events: Sequence[float]) -> int:
    return len(events) - int(sum(events))


def _told(misses: int, events: int) -> str:
    return f"{misses} of the last {events} do not conform"
