"""Executions of the gate that fail, as its guards report them, over a sliding window of evidence time.

Counts are kept by the second, so that the window costs at most as many numbers as it has seconds. Whatever is neither `ok` nor
`cancelled` (never carried out) is a failure. A long window hears a sudden fault late, so two quicker looks stand
beside it: a row of failures that would be chance once in ten thousand times at the share `over`, and the
last `at_least` executions (100 at most), of which more than half way from `over` to all failed.

Fewer than `at_least` executions say nothing, and the condition holds and says so: a gate that has not executed yet must be
able to begin. With `quiet: closes` a gate that is open for a whole window with fewer is a demand: absence, which is no vote.

A closed gate has no executions, so only probes can bring news; a lapse, which has none, stands until an operator accepts.
"""

from __future__ import annotations

from collections import deque
from math import ceil, log

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Outcomes, Reading
from failshut_breakers.policy import FailureRate

ROW_CHANCE = 1e-4
ROW_MIN = 3
LATEST_MAX = 100


class FailureRateCondition(Condition):
    """More than the share `over` of at least `at_least` executions in the window failed."""

    cause = Cause.FAILURE_RATE
    needs_probes = True

    def __init__(self, policy: FailureRate) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        self._over = policy.over
        self._row_max = self._row_now = row_of(policy.over, policy.at_least)
        self._latest_of = min(policy.at_least, LATEST_MAX)
        self._quiet_closes = policy.quiet == "closes"
        self._open_since_ms = 0  # 0 while the gate is closed
        self._seconds: dict[int, list[int]] = {}  # second -> [executions, failures]; at most the window's seconds
        self._latest: deque[tuple[int, int]] = deque()  # executions and failures of the last `_latest_of` executions
        self._total = self._failed = self._row = self._latest_total = self._latest_failed = 0
        self._stands = ""  # why a lapse stands
        self._judge()

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, Outcomes):
            return []
        demands = []
        for offset, index, time_ms, _, _, outcome, count in reading.rows:
            if offset < lo or outcome == "cancelled" or count <= 0:
                continue  # what was cancelled was not carried out
            demanded = self.status is Status.DEMANDS
            self._add(time_ms, outcome == "ok", count)
            if self.status is Status.DEMANDS:
                # What comes after a reset has to show that it is another time: a short row is heard until enough succeeded.
                self.relapses += not demanded and self._row_now < self._row_max
                self._row_now = min(ROW_MIN, self._row_max)
            elif self._total >= self._at_least:
                self._row_now, self.relapses = self._row_max, 0
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, self.text))
        return demands

    def tick(self, moment: Moment) -> bool:
        demanded = self.status is Status.DEMANDS
        self._forget(moment.evidence_ms)
        self._judge(moment.evidence_ms)
        return self.status is Status.DEMANDS and not demanded

    def gate_is_open(self, open_: bool, moment: Moment) -> None:
        if open_ is not (self._open_since_ms > 0):
            self._open_since_ms = max(1, moment.evidence_ms) if open_ else 0

    def accept(self, moment: Moment) -> str:
        self._seconds, self._stands = {}, ""
        self._latest.clear()
        self._total = self._failed = self._row = self._latest_total = self._latest_failed = 0
        self._judge()
        return ""

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
        self._row = 0 if ok else self._row + count
        self._latest.append((count, failed))
        self._latest_total += count
        self._latest_failed += failed
        while self._latest_total - self._latest[0][0] >= self._latest_of:
            executions, failures = self._latest.popleft()
            self._latest_total -= executions
            self._latest_failed -= failures
        self._judge()

    def _forget(self, now_ms: int) -> None:
        oldest = (now_ms - self._window_ms) // 1000
        for second in [second for second in self._seconds if second <= oldest]:
            executions, failures = self._seconds.pop(second)
            self._total -= executions
            self._failed -= failures
        if not self._total:
            self._row = self._latest_total = self._latest_failed = 0
            self._latest.clear()

    def _judge(self, now_ms: int = 0) -> None:
        self.absent = False
        text = f"{self._failed} of {self._total} executions failed in {self._window_ms / 1000:g} s"
        demands = self._fails()
        if not demands and self._total < self._at_least:
            text = f"too few executions to judge: {self._total} of {self._at_least} in {self._window_ms / 1000:g} s"
            open_ms = now_ms - self._open_since_ms if self._open_since_ms else 0
            if self._quiet_closes and open_ms >= self._window_ms:
                demands = self.absent = True
        if demands and self._row >= self._row_now:
            text = f"{self._row} executions in a row failed"
        if demands and not self.trips:
            self._stands = self._stands or text
        self.status = Status.DEMANDS if demands or self._stands else Status.HOLDS
        self.text = self._stands or text

    def _fails(self) -> bool:
        if self._total >= self._at_least and self._failed > self._over * self._total:
            return True
        if self._row >= self._row_now:
            return True
        halfway = (1.0 + self._over) / 2.0
        return self._latest_total >= self._latest_of and self._latest_failed > halfway * self._latest_total

    def _grade(self) -> float:
        if self._total < self._at_least or not self._over:
            return 0.0
        return self._failed / (self._over * self._total)


def row_of(over: float, at_least: int) -> int:
    """Return how many failures in a row are a demand.

    >>> row_of(0.5, 20), row_of(0.05, 20), row_of(0.5, 5), row_of(0.0, 20)
    (14, 4, 5, 3)
    """
    row = ceil(log(ROW_CHANCE) / log(over)) if over > 0.0 else ROW_MIN
    return max(1, min(at_least, max(ROW_MIN, row)))
