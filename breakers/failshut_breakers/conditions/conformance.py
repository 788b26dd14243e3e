"""Conformance: a rule judges every reading of a series, and a detector watches how many conform.

The rule is a limit. The condition demands if more than the share `over` of the last `window` readings do not conform, or if
`at_once` of them do not. It demands even if the stream was never good. The detector notices a slow change below that share.
A demand by the limit ends when the newest readings from after it are within the limit again. That takes 60 readings, or
`window` if that is less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment
from failshut_breakers.conditions.on_series import OnSeries
from failshut_breakers.conditions.reference import EVENTS
from failshut_breakers.evidence.records import FaultRow, Samples
from failshut_breakers.policy.policy import Conformance


class ConformanceCondition(OnSeries):
    """Demands if fewer readings conform to the rule than must, or than before."""

    cause = Cause.CONFORMANCE
    events = True

    def __init__(self, policy: Conformance) -> None:
        super().__init__(policy)
        self._rule = policy.criterion
        self._before: tuple[float, int] | None = None  # value and time (ms) of the last readable reading
        self._window: deque[float] = deque(maxlen=policy.window)
        self._misses = 0.0
        self._misses_max = policy.over * policy.window
        if policy.at_once is not None:
            self._misses_max = min(self._misses_max, policy.at_once - 1.0)
        self._limit_ms = 0  # the newest mark (ms) when the limit was passed; 0 while it is kept
        # Events from after that mark.
        self._after: deque[float] = deque(maxlen=min(policy.window, EVENTS))

    def only_learn(self, only: bool) -> None:
        super().only_learn(only)
        if not only:  # its limit is about what comes now
            self._window = deque(maxlen=self._window.maxlen)
            self._misses = 0.0

    def take_over_from(self, before: OnSeries) -> None:
        super().take_over_from(before)
        if isinstance(before, ConformanceCondition):  # of the same policy: what its rule has judged stays judged
            self._window, self._misses, self._before = before._window, before._misses, before._before

    def _values(self, samples: Samples, skip: int, times_ms: tuple[int, ...], moment: Moment) -> list[Demand]:
        self._can_read(len(times_ms))
        values = samples.values(skip)
        if self._rule.needs_before:
            conforming = self._rule.judge(values, times_ms, self._before)
            self._before = values[-1], times_ms[-1]
        else:
            conforming = self._rule.judge(values, (), None)
        unjudged = len(values) - len(conforming)  # the first reading ever may not be judged
        return self._events(conforming, times_ms[unjudged:], lambda row: samples.place(skip + unjudged + row), moment)

    def _faults(self, rows: list[FaultRow], moment: Moment) -> list[Demand]:
        # Unreadable readings are non-conforming events, on top of counting in a row.
        events = self._events([0.0] * len(rows), [row.time_ms for row in rows], lambda row: rows[row][:2], moment)
        return sorted(super()._faults(rows, moment) + events)

    def _events(
        self,
        conforming: Sequence[float],
        times_ms: Sequence[int],
        place: Callable[[int], tuple[int, int]],
        moment: Moment,
    ) -> list[Demand]:
        alarms = self._memory.take(conforming, times_ms, moment.newest_ms, moment.evidence_ms)
        demands = [Demand(*place(alarm.index), self._words(alarm.text)) for alarm in alarms]
        window = self._window
        full = len(window) == window.maxlen
        if not self._misses and not self._limit_ms and full and min(conforming, default=1.0) == 1.0:
            return demands  # more conforming events do not change a full window of conforming events
        for row, (conforms, time_ms) in enumerate(zip(conforming, times_ms, strict=True)):
            self._misses += (1.0 - conforms) - (1.0 - window[0] if len(window) == window.maxlen else 0.0)
            window.append(conforms)
            if self._limit_ms:
                if time_ms > self._limit_ms:
                    self._take_after(conforms)
            elif self._misses > self._misses_max and not self._memory.deaf:
                self._limit_ms = max(1, moment.newest_ms)
                demands.append(Demand(*place(row), self._limit()))
        demands.sort()
        return demands

    def _take_after(self, conforms: float) -> None:
        after = self._after
        after.append(conforms)
        allowed = self._misses_max * len(after) / (self._window.maxlen or 1)
        if len(after) == after.maxlen and len(after) - sum(after) <= allowed:
            self._limit_ms = 0
            self._window.clear()
            self._window.extend(after)
            self._misses = len(after) - sum(after)
            after.clear()

    def inherit(self, before: Condition) -> None:
        super().inherit(before)
        if isinstance(before, ConformanceCondition) and before.series == self.series:
            self._limit_ms, self._before = before._limit_ms, before._before
            self._window.extend(before._window)
            self._misses = len(self._window) - sum(self._window)

    def _window_of(self) -> int:
        return self._after.maxlen or 0

    def _grade(self) -> float:
        return max(super()._grade(), self._misses / self._misses_max if self._misses_max else 0.0)

    def _words(self, text: str) -> str:
        return f"{self._metric}: {text} to {self._rule.text!r}"

    def _told(self) -> str:
        return self._words(self._memory.text)

    def _limit(self) -> str:
        if not self._limit_ms:
            return ""
        return f"{int(self._misses)} of the last {len(self._window)} of {self._metric} do not conform to {self._rule.text!r}"
