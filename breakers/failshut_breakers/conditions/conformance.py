"""Conformance: a rule judges every reading of a series, and a detector watches how many conform."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from failshut.cause import Cause
from failshut_breakers.conditions.base import Demand
from failshut_breakers.conditions.on_series import OnSeries
from failshut_breakers.evidence import Samples
from failshut_breakers.policy import Conformance


class ConformanceCondition(OnSeries):
    """Fewer events conform to the rule than did, or than must."""

    cause = Cause.CONFORMANCE

    def __init__(self, policy: Conformance) -> None:
        super().__init__(policy)
        self._rule = policy.criterion
        self._before: tuple[float, int] | None = None  # value and time (ms) of the last reading that could be read
        self._window: deque[float] = deque(maxlen=policy.window)
        self._misses = 0.0
        self._misses_max = policy.over * policy.window

    def _values(self, samples: Samples, skip: int) -> list[Demand]:
        self._in_a_row = 0
        values = samples.values(skip)
        times_ms = samples.times_ms(skip) if self._rule.needs_before or self._detector.uses_times else ()
        if self._rule.needs_before:
            conforming = self._rule.judge(values, times_ms, self._before)
            self._before = values[-1], times_ms[-1]
        else:
            conforming = self._rule.judge(values, (), None)
        unjudged = len(values) - len(conforming)  # the first reading ever may not be judged
        return self._events(conforming, times_ms[unjudged:], lambda row: samples.place(skip + unjudged + row))

    def _faults(self, rows: list[tuple[int, int, int, str]]) -> list[Demand]:
        # Unreadable readings are non-conforming events, on top of counting in a row.
        return super()._faults(rows) + self._events([0.0] * len(rows), [row[2] for row in rows], lambda row: rows[row][:2])

    def _events(
        self, conforming: Sequence[float], times_ms: Sequence[int], place: Callable[[int], tuple[int, int]]
    ) -> list[Demand]:
        demands = [
            Demand(*place(alarm.index), f"{self._metric}: {alarm.text} to {self._rule.text!r}")
            for alarm in self._detector.feed(conforming, times_ms if self._detector.uses_times else None)
        ]
        window = self._window
        if not self._misses and len(window) == window.maxlen and min(conforming, default=1.0) == 1.0:
            return demands  # a full window of conforming events is what more of them leave it
        for row, conforms in enumerate(conforming):
            below = self._misses <= self._misses_max
            self._misses += (1.0 - conforms) - (1.0 - window[0] if len(window) == window.maxlen else 0.0)
            window.append(conforms)
            if below and self._misses > self._misses_max:
                demands.append(Demand(*place(row), self._standing()))
        demands.sort()
        return demands

    def _grade(self) -> float:
        return max(super()._grade(), self._misses / self._misses_max)

    def _standing(self) -> str:
        if self._misses <= self._misses_max:
            return ""
        return f"{int(self._misses)} of the last {len(self._window)} of {self._metric} do not conform to {self._rule.text!r}"
