"""A condition on unreadable records on the topics that feed the gate. A number of them in a window is a demand.

Partitions are read one after the other, so records come in any order, and some are later than evidence time. What counts is
that `at_least` of them lie within a window of each other, whichever came first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.evidence.records import Reading
from failshut_breakers.evidence.records import Unreadable as UnreadableReading
from failshut_breakers.policy.policy import Unreadable

ROWS_KEPT = 4
"""So many times `at_least` records are remembered at most."""


class UnreadableCondition(Condition):
    """Demands if the window contains at least `at_least` unreadable records."""

    cause = Cause.UNREADABLE

    def __init__(self, policy: Unreadable) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        self._times: deque[int] = deque()  # in order of time, not of arrival; those that the window has left are let go
        self._until_ms = 0  # when the last row of `at_least` that the window held together begins to leave it
        self._judge(0)

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, UnreadableReading):
            return []
        demands = []
        for offset, index, time_ms, reason in reading.rows:
            if offset < lo:
                continue
            demanded = self.status is Status.DEMANDS
            self._take(time_ms)
            self._judge(moment.evidence_ms)
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, f"{self.text}: {reason}"))
        return demands

    def inherit(self, before: Condition) -> None:
        if isinstance(before, UnreadableCondition):
            self.goes_on = True
            for time_ms in before._times:
                self._take(time_ms)
            self._judge(before._newest_ms)

    def tick(self, moment: Moment) -> bool:
        self._judge(moment.evidence_ms)
        return False

    def wakes_ms(self, moment: Moment) -> int:
        leaves_ms = self._times[0] + self._window_ms if self._times else NEVER_MS
        return min(leaves_ms, self._until_ms) if self.status is Status.DEMANDS else leaves_ms

    def news(self, since_ms: int) -> str:
        # Its evidence is time: once a whole window follows the last unreadable record, the demand ends.
        if self._newest_ms <= since_ms:
            return "evidence time from after the closing"
        return ""

    def _take(self, time_ms: int) -> None:
        at = bisect_right(self._times, time_ms)  # partitions are read one after the other
        self._times.insert(at, time_ms)
        for first in range(max(0, at - self._at_least + 1), min(at + 1, len(self._times) - self._at_least + 1)):
            if self._times[first + self._at_least - 1] - self._times[first] < self._window_ms:
                self._until_ms = max(self._until_ms, self._times[first] + self._window_ms)
        if len(self._times) > ROWS_KEPT * self._at_least:  # evidence time stands still: the newest go on counting
            self._times.popleft()

    def _judge(self, now_ms: int) -> None:
        self._newest_ms = now_ms
        while self._times and self._times[0] <= now_ms - self._window_ms:
            self._times.popleft()
        self.status = Status.DEMANDS if self._until_ms > now_ms else Status.HOLDS
        self.text = f"{min(len(self._times), self._at_least)} unreadable records in {self._window_ms / 1000:g} s"
