"""Executions of the gate that fail, as its guards report them, over a sliding window of evidence time.

What is not known to have succeeded counts as failed unless the policy says otherwise: executions that somebody else's timeout
ended, and outcomes that were lost on their way. Cancelled ones were not carried out, and count as nothing.

Counts are kept by the second, so that the window costs at most as many numbers as it has seconds. Fewer than
`at_least` executions say nothing, and the condition holds: a gate that has not executed yet must be able to
begin.
"""

from __future__ import annotations

from collections.abc import Iterator

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.conditions.sent import Holes
from failshut_breakers.evidence import Outcomes, Reading, Sent
from failshut_breakers.policy import FailureRate


class FailureRateCondition(Condition):
    """More than the share `over` of at least `at_least` executions in the window failed, or too many were lost."""

    cause = Cause.FAILURE_RATE

    def __init__(self, policy: FailureRate) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        self._over = policy.over
        self._judged = {"ok", "failed"} if policy.interrupted == "ignored" else {"ok", "failed", "interrupted"}
        self._lost_fail = policy.lost == "failed"
        self._lost_at_most = policy.lost_at_most
        self._seconds: dict[int, list[int]] = {}  # second -> [executions, failures, lost]; at most the window's seconds
        self._total = self._failed = self._lost = 0
        self._holes = Holes()
        self._judge()

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        demands = []
        for offset, index, time_ms, executions, failures, lost in self._rows(reading, lo):
            demanded = self.status is Status.DEMANDS
            self._add(time_ms, executions, failures, lost)
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, self.text))
        return demands

    def _rows(self, reading: Reading, lo: int) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Offset, index, time, executions, failures and lost ones of each row that counts."""
        if isinstance(reading, Outcomes):
            for offset, index, time_ms, _, _, outcome, count in reading.rows:
                if offset >= lo and outcome in self._judged:  # what was cancelled was not carried out
                    yield offset, index, time_ms, count, 0 if outcome == "ok" else count, 0
        elif isinstance(reading, Sent):
            for offset, index, time_ms, guard, total, count, lost in reading.rows:
                if offset < lo:
                    continue
                if guard:
                    self._holes.take(guard, total, count, time_ms)
                if lost:
                    yield offset, index, time_ms, *self._of_lost(lost)

    def _of_lost(self, lost: int) -> tuple[int, int, int]:
        counted = lost if self._lost_fail else 0
        return counted, counted, lost

    def tick(self, moment: Moment) -> bool:
        demanded = self.status is Status.DEMANDS
        if lost := self._holes.lost(moment.evidence_ms):
            self._add(moment.evidence_ms, *self._of_lost(lost))
        self._forget(moment.evidence_ms)
        self._judge()
        return self.status is Status.DEMANDS and not demanded

    def _add(self, time_ms: int, executions: int, failures: int, lost: int) -> None:
        self._forget(time_ms)
        if self._seconds and time_ms // 1000 <= max(self._seconds) - self._window_ms // 1000:
            return  # older than the window that is kept
        bucket = self._seconds.setdefault(time_ms // 1000, [0, 0, 0])
        for place, number in enumerate((executions, failures, lost)):
            bucket[place] += number
        self._total += executions
        self._failed += failures
        self._lost += lost
        self._judge()

    def _forget(self, now_ms: int) -> None:
        oldest = (now_ms - self._window_ms) // 1000
        for second in [second for second in self._seconds if second <= oldest]:
            executions, failures, lost = self._seconds.pop(second)
            self._total -= executions
            self._failed -= failures
            self._lost -= lost

    def _judge(self) -> None:
        fails = self._total >= self._at_least and self._failed > self._over * self._total
        too_many = self._lost_at_most is not None and self._lost > self._lost_at_most
        self.status = Status.DEMANDS if fails or too_many else Status.HOLDS
        self.text = f"{self._failed} of {self._total} executions failed in {self._window_ms / 1000:g} s"
        if self._lost:
            self.text += f", {self._lost} outcomes lost" + (" (counted as failed)" if self._lost_fail else "")

    def _grade(self) -> float:
        lost = self._lost / self._lost_at_most if self._lost_at_most else 0.0
        if self._total < self._at_least or not self._over:
            return lost
        return max(lost, self._failed / (self._over * self._total))
