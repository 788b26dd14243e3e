"""Executions of the gate that fail, as its guards report them, over a sliding window of evidence time.

Counts are kept by the second, so that the window costs at most as many numbers as it has seconds. Fewer than
`at_least` executions say nothing, and the condition holds: a gate that has not executed yet must be able to
begin.
"""

from __future__ import annotations

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Outcomes, Reading
from failshut_breakers.policy import FailureRate


class FailureRateCondition(Condition):
    """More than the share `over` of at least `at_least` executions in the window failed."""

    cause = Cause.FAILURE_RATE

    def __init__(self, policy: FailureRate) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        self._over = policy.over
        self._seconds: dict[int, list[int]] = {}  # second -> [executions, failures]; at most the window's seconds
        self._total = self._failed = 0
        self._judge()

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, Outcomes):
            return []
        demands = []
        for offset, index, time_ms, _, _, outcome, count in reading.rows:
            if offset < lo or outcome not in ("ok", "failed"):
                continue  # what was cancelled was not carried out
            demanded = self.status is Status.DEMANDS
            self._add(time_ms, outcome == "ok", count)
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, self.text))
        return demands

    def tick(self, moment: Moment) -> bool:
        demanded = self.status is Status.DEMANDS
        self._forget(moment.evidence_ms)
        self._judge()
        return self.status is Status.DEMANDS and not demanded

    def _add(self, time_ms: int, ok: bool, count: int) -> None:
        self._forget(time_ms)
        if self._seconds and time_ms // 1000 <= max(self._seconds) - self._window_ms // 1000:
            return  # older than the window that is kept
        bucket = self._seconds.setdefault(time_ms // 1000, [0, 0])
        failed = 0 if ok else count
        bucket[0] += count
        bucket[1] += failed
        self._total += count
        self._failed += failed
        self._judge()

    def _forget(self, now_ms: int) -> None:
        oldest = (now_ms - self._window_ms) // 1000
        for second in [second for second in self._seconds if second <= oldest]:
            executions, failures = self._seconds.pop(second)
            self._total -= executions
            self._failed -= failures

    def _judge(self) -> None:
        tells = self._total >= self._at_least
        self.status = Status.DEMANDS if tells and self._failed > self._over * self._total else Status.HOLDS
        self.text = f"{self._failed} of {self._total} executions failed in {self._window_ms / 1000:g} s"

    def _grade(self) -> float:
        if self._total < self._at_least or not self._over:
            return 0.0
        return self._failed / (self._over * self._total)
