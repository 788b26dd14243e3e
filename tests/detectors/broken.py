"""Eight detectors, each with one fault and otherwise right; the suite must find it and no other.

All stand on `Right`, which has no fault: it speaks of a value six deviations away from the mean so far.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import sqrt
from typing import Any

from failshut_detectors import Alarm, Detector, Kind, Reading, number

_LEARN = 100


class Right(Detector):
    """Learn mean and deviation, and speak of a value far from them once a hundred records were seen.

    A hundred records from an alarm on are learnt beside, and replace what was known.
    """

    name = "right"
    kind = Kind.DRIFT

    def __init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._count = 0
        self._mean = self._squares = 0.0
        self._beside: list[float] | None = None

    def _spoke(self) -> None:
        if self._beside is None:
            self._beside = []

    @property
    def ready(self) -> bool:
        return self._count >= _LEARN

    def summary(self) -> str:
        return f"mean {number(self._mean)} over {self._count}"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            if self._far(value):
                alarms.append(Alarm(index, f"{number(value)} where {number(self._mean)} was usual"))
                self._spoke()
            self._take(value)
        return alarms

    def _take(self, value: float) -> None:
        if self._beside is None:
            self._learn(value)
            return
        self._beside.append(value)
        if len(self._beside) == _LEARN:
            values = self._beside
            self._begin_anew()
            for one in values:
                self._learn(one)

    def _far(self, value: float) -> bool:
        deviation = sqrt(self._squares / max(1, self._count))
        return self.ready and abs(value - self._mean) > 6.0 * deviation + 1e-9

    def _learn(self, value: float) -> None:
        self._count += 1
        distance = value - self._mean
        self._mean += distance / self._count
        self._squares += distance * (value - self._mean)


class LookAhead(Right):
    """Sees the next value of the batch, and speaks a record early."""

    name = "look_ahead"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        for index, value in enumerate(values):
            if index + 1 < len(values) and self._far(values[index + 1]):
                alarms.append(Alarm(index, "about to change"))
                self._spoke()
                self._take(values[index])
            else:
                alarms += [Alarm(index, alarm.text) for alarm in super()._feed([value], None)]
        return alarms


class HiddenClock(Right):
    """Says nothing for some time after an alarm, by the wall clock."""

    name = "hidden_clock"

    def __init__(self) -> None:
        super().__init__()
        self._spoke_at = 0.0

    def _far(self, value: float) -> bool:
        if not super()._far(value) or time.monotonic() < self._spoke_at + 0.001:
            return False
        self._spoke_at = time.monotonic()
        return True


class NanBlind:
    """No subclass: takes what comes, and after one NaN its mean is one for ever."""

    name = "nan_blind"
    kind = Kind.DRIFT
    version = 1
    uses_times = False

    def __init__(self) -> None:
        self._inner = Right()

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def reading(self) -> Reading:
        return self._inner.reading

    def summary(self) -> str:
        return self._inner.summary()

    def feed(self, values: Sequence[float], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        return self._inner.take(values, times_ms)

    def __getstate__(self) -> tuple[int, dict[str, Any]]:
        return self.version, self.__dict__

    def __setstate__(self, state: tuple[int, dict[str, Any]]) -> None:
        Detector.__setstate__(self, state)  # type: ignore[arg-type] # it wants no more than `version` and `name`


class BatchDependent(Right):
    """Wants two far values in a row, and forgets the first where a batch ends."""

    name = "batch_dependent"
    _far_before = False

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        if values:
            self._far_before = False
        return super()._feed(values, times_ms)

    def _far(self, value: float) -> bool:
        far, before = super()._far(value), self._far_before
        self._far_before = far
        return far and before


class Growing(Right):
    """Keeps every value, for later."""

    name = "growing"

    def __init__(self) -> None:
        super().__init__()
        self._all: list[float] = []

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        self._all += values
        return super()._feed(values, times_ms)


class Unpicklable(Right):
    """Keeps a function that no pickle can hold."""

    name = "unpicklable"

    def __init__(self) -> None:
        super().__init__()
        self._words = lambda value: f"{number(value)} is far"


class RangePeeking(Right):
    """Takes the range of the batch for the range of the stream: what is small in it is no change."""

    name = "range_peeking"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        least = (max(values) - min(values)) / 10.0 if values else 0.0
        alarms: list[Alarm] = []
        for index, value in enumerate(values):
            if abs(value - self._mean) > least:
                alarms += [Alarm(index, alarm.text) for alarm in super()._feed([value], None)]
            else:
                self._take(value)
        return alarms


class Resting(Right):
    """Says nothing for sixty records after an alarm, learns nothing of them, and says that it is ready."""

    name = "resting"
    _rest = 0

    def _far(self, value: float) -> bool:
        self._rest = max(0, self._rest - 1)
        return not self._rest and super()._far(value)

    def _take(self, value: float) -> None:
        if not self._rest:
            super()._take(value)

    def _spoke(self) -> None:
        super()._spoke()
        self._rest = 60
