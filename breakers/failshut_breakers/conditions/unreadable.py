"""A condition on unreadable records on the topics that feed the gate. A number of them in a window is a demand."""

from __future__ import annotations

from bisect import insort
from collections import deque

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.evidence.records import Reading
from failshut_breakers.evidence.records import Unreadable as UnreadableReading
from failshut_breakers.policy.policy import Unreadable


class UnreadableCondition(Condition):
    """Demands if the window contains at least `at_least` unreadable records."""

    cause = Cause.UNREADABLE

    def __init__(self, policy: Unreadable) -> None:
        super().__init__(policy.name, policy.action)
        self._window_ms = policy.window
        self._at_least = policy.at_least
        # Only the newest `at_least` times can decide, so no more are kept. They are in order of time, not of arrival.
        self._times: deque[int] = deque()
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
            self._judge(max(time_ms, moment.evidence_ms))
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, f"{self.text}: {reason}"))
        return demands

    def inherit(self, before: Condition) -> None:
        if isinstance(before, UnreadableCondition):
            for time_ms in before._times:
                self._take(time_ms)
            self._judge(before._newest_ms)

    def tick(self, moment: Moment) -> bool:
        self._judge(moment.evidence_ms)
        return False

    def wakes_ms(self, moment: Moment) -> int:
        return self._times[0] + self._window_ms if self._times else NEVER_MS

    def news(self, since_ms: int) -> str:
        # Its evidence is time: once a whole window follows the last unreadable record, the demand ends.
        if self._newest_ms <= since_ms:
            return "evidence time from after the closing"
        return ""

    def _take(self, time_ms: int) -> None:
        if not self._times or time_ms >= self._times[-1]:
            self._times.append(time_ms)
        else:  # partitions are read one after the other
            insort(self._times, time_ms)
        if len(self._times) > self._at_least:
            self._times.popleft()

    def _judge(self, now_ms: int) -> None:
        self._newest_ms = now_ms
        while self._times and self._times[0] <= now_ms - self._window_ms:
            self._times.popleft()
        full = len(self._times) == self._at_least
        self.status = Status.DEMANDS if full else Status.HOLDS
        self.text = f"{len(self._times)} unreadable records in {self._window_ms / 1000:g} s"
