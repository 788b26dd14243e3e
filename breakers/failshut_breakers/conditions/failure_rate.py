"""The failure rate of a gate's executions, as its guards report them, over a sliding window of evidence time.

An execution that is not known to have succeeded counts as failed, unless the policy says otherwise. For example, somebody
else's timeout ended it, or its outcome was lost on the way. Cancelled executions were not carried out, and do not count.

Counts are kept per second, so that a window needs at most as many entries as it has seconds. A long window notices a sudden
fault late, so there are two quicker tests. The first is a row of failures that at the share `over` would happen by chance
once in ten thousand times. The second looks at the last `at_least` executions (100 at most). It demands if the share that
failed is more than half way from `over` to all. Lost outcomes have no place in a row, so they count only in the window.

Fewer than `at_least` executions are too few to judge. The condition then holds and its text says so, because a gate that has
not executed yet must be able to begin. With `quiet: closes` it demands if a gate was open for a whole window with fewer
executions. That demand is absence, which is no vote. It lasts until probes execute or an operator accepts.

A closed gate has no executions, so only probes can bring news. A lapse has no probes, so it lasts until an operator accepts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import ceil, log

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.conditions.sent import Holes
from failshut_breakers.evidence.records import Outcomes, Reading, Sent
from failshut_breakers.policy.policy import FailureRate

ROW_CHANCE = 1e-4
ROW_MIN = 3
LATEST_MAX = 100


class FailureRateCondition(Condition):
    """Demands if more than the share `over` of `at_least` or more executions in the window failed, or too many were lost."""

    cause = Cause.FAILURE_RATE
    needs_probes = True

    def __init__(self, policy: FailureRate) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        self._over = policy.over
        self._judged = {"ok", "failed"} if policy.interrupted == "ignored" else {"ok", "failed", "interrupted"}
        self._lost_fail = policy.lost == "failed"
        self._lost_at_most = policy.lost_at_most
        self._row_max = self._row_now = row_of(policy.over, policy.at_least)
        self._latest_of = min(policy.at_least, LATEST_MAX)
        self._quiet_closes = policy.quiet == "closes"
        self._open_since_ms = 0  # 0 while the gate is closed
        self._quiet = False  # whether it was quiet for a whole open window, and has not had enough executions since
        self._now_ms = 0  # where the window ends: evidence time, or the newest outcome if that is later
        self._seconds: dict[int, list[int]] = {}  # second -> [executions, failures, lost]; at most the window's seconds
        self._latest: deque[tuple[int, int]] = deque()  # executions and failures of the last `_latest_of` executions
        self._total = self._failed = self._lost = self._row = self._latest_total = self._latest_failed = 0
        self._wary = False  # whether it demanded, and too few executions have succeeded since
        self._holes = Holes()
        self._stands = ""  # the text of a lasting lapse
        self._judge()

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        demands = []
        for offset, index, time_ms, executions, failures, lost in self._rows(reading, lo):
            demanded = self.status is Status.DEMANDS
            self._add(time_ms, moment.evidence_ms, executions, failures, lost)
            if self.status is Status.DEMANDS:
                # After a reset the gate must first show that the fault is over. Until then a shorter row is a demand.
                self.relapses += not demanded and self._wary
                self._row_now, self._wary = min(ROW_MIN, self._row_max), True
            elif self._total >= self._at_least:
                self._row_now, self._wary, self.relapses = self._row_max, False, 0
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, self.text))
        return demands

    def _rows(self, reading: Reading, lo: int) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Yield offset, index, time (ms), executions, failures and losses of each row that counts."""
        if isinstance(reading, Outcomes):
            for offset, index, time_ms, _, _, outcome, count in reading.rows:
                if offset >= lo and outcome in self._judged:  # a cancelled execution was not carried out
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
            self._add(moment.evidence_ms, moment.evidence_ms, *self._of_lost(lost))
        self._forget(moment.evidence_ms)
        self._judge(moment.evidence_ms)
        return self.status is Status.DEMANDS and not demanded

    def wakes_ms(self, moment: Moment) -> int:
        if self._holes.waits:
            return 0
        quiet_ms = NEVER_MS
        if self._quiet_closes and self._open_since_ms and not self._quiet and self._total < self._at_least:
            quiet_ms = self._open_since_ms + self._window_ms
        return min(min(self._seconds, default=NEVER_MS) * 1000 + self._window_ms, quiet_ms)

    def gate_is_open(self, open_: bool, tripped: bool, moment: Moment) -> None:
        counts = open_ and not tripped  # the breaker remembers what tripped it, and its probes are executions
        if counts is not (self._open_since_ms > 0):
            self._open_since_ms = max(1, moment.evidence_ms) if counts else 0
        if tripped and self._quiet:
            self._quiet = False
            self._judge()

    def inherit(self, before: Condition) -> None:
        if isinstance(before, FailureRateCondition):
            self._stands, self.relapses = before._stands, before.relapses
            self._row_now, self._wary, self._quiet = min(before._row_now, self._row_max), before._wary, before._quiet
            self._holes = before._holes  # outcomes that were sent before the edit and never arrive are still lost
            self._now_ms, self.goes_on = before._now_ms, True
            self._take_over_counts(before)
            self._judge()

    def _take_over_counts(self, before: FailureRateCondition) -> None:
        """Take over what was counted. Lost outcomes count as failed, or not, by the settings that are now."""
        now_failed = int(self._lost_fail) - int(before._lost_fail)
        for second, (executions, failures, lost) in before._seconds.items():
            changed = now_failed * lost
            self._seconds[second] = [executions + changed, failures + changed, lost]
        self._total, self._failed, self._lost = (sum(counts[at] for counts in self._seconds.values()) for at in range(3))
        for executions, failures in before._latest:
            self._add_to_row(executions, failures)
        self._row = before._row
        self._forget(self._now_ms)

    def accept(self, moment: Moment) -> str:
        self._seconds, self._stands, self._quiet = {}, "", False
        self._total = self._failed = self._lost = 0
        self._forget_row()
        self._judge()
        return ""

    def _add(self, time_ms: int, evidence_ms: int, executions: int, failures: int, lost: int) -> None:
        self._now_ms = max(self._now_ms, time_ms, evidence_ms)
        self._forget(self._now_ms)
        if time_ms // 1000 <= (self._now_ms - self._window_ms) // 1000:
            return  # older than the window when it arrived
        bucket = self._seconds.setdefault(time_ms // 1000, [0, 0, 0])
        for place, number in enumerate((executions, failures, lost)):
            bucket[place] += number
        self._total += executions
        self._failed += failures
        self._lost += lost
        if executions and not lost:
            self._add_to_row(executions, failures)
        self._judge()

    def _forget(self, now_ms: int) -> None:
        oldest = (now_ms - self._window_ms) // 1000
        for second in [second for second in self._seconds if second <= oldest]:
            executions, failures, lost = self._seconds.pop(second)
            self._total -= executions
            self._failed -= failures
            self._lost -= lost
        if not self._total:
            self._forget_row()

    def _add_to_row(self, executions: int, failures: int) -> None:
        self._row = self._row + executions if failures else 0
        self._latest.append((executions, failures))
        self._latest_total += executions
        self._latest_failed += failures
        while self._latest_total - self._latest[0][0] >= self._latest_of:
            oldest, failed = self._latest.popleft()
            self._latest_total -= oldest
            self._latest_failed -= failed

    def _forget_row(self) -> None:
        self._row = self._latest_total = self._latest_failed = 0
        self._latest.clear()

    def _judge(self, now_ms: int = 0) -> None:
        self.absent = False
        text = f"{self._failed} of {self._total} executions failed in {self._window_ms / 1000:g} s"
        demands = self._fails()
        if not demands and self._total < self._at_least:
            text = f"too few executions to judge: {self._total} of {self._at_least} in {self._window_ms / 1000:g} s"
            open_ms = now_ms - self._open_since_ms if self._open_since_ms else 0
            self._quiet = self._quiet or (self._quiet_closes and open_ms >= self._window_ms)
            demands = self.absent = self._quiet
        elif self._total >= self._at_least:
            self._quiet = False
        if demands and self._row >= self._row_now:
            text = f"{self._row} executions in a row failed"
        if self._lost:
            text += f", {self._lost} outcomes lost" + (" (counted as failed)" if self._lost_fail else "")
        if demands and not self.trips:
            self._stands = self._stands or text
        self.status = Status.DEMANDS if demands or self._stands else Status.HOLDS
        self.text = self._stands or text

    def _fails(self) -> bool:
        if self._total >= self._at_least and self._failed > self._over * self._total:
            return True
        if self._lost_at_most is not None and self._lost > self._lost_at_most:
            return True
        if self._row >= self._row_now:
            return True
        halfway = (1.0 + self._over) / 2.0
        return self._latest_total >= self._latest_of and self._latest_failed > halfway * self._latest_total

    def _grade(self) -> float:
        lost = self._lost / self._lost_at_most if self._lost_at_most else 0.0
        if self._total < self._at_least or not self._over:
            return lost
        return max(lost, self._failed / (self._over * self._total))


def row_of(over: float, at_least: int) -> int:
    """Return the number of failures in a row that is a demand.

    >>> row_of(0.5, 20), row_of(0.05, 20), row_of(0.5, 5), row_of(0.0, 20)
    (14, 4, 5, 3)
    """
    row = ceil(log(ROW_CHANCE) / log(over)) if over > 0.0 else ROW_MIN
    return max(1, min(at_least, max(ROW_MIN, row)))
