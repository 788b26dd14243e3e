"""A sign of life that must keep coming: an explicit event of a source, or the mere arrival of a series.

Missing is judged at marks, from evidence alone: the newest beat is older than `grace` in evidence time. A
beat's time is what its producer claims, bounded by append time, so that an old beat delivered late is an old
beat.
"""

from __future__ import annotations

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Beats, Faults, Reading, Samples
from failshut_breakers.policy import Heartbeat


class HeartbeatCondition(Condition):
    """No beat for longer than the grace."""

    cause = Cause.HEARTBEAT

    def __init__(self, policy: Heartbeat) -> None:
        super().__init__(policy.name, policy.action)
        self._whom = policy.source or policy.series or ""
        self._grace_ms = policy.grace
        self._last_ms = self._age_ms = 0
        self.text = f"no heartbeat from {self._whom} yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if isinstance(reading, Samples):
            skip = reading.before(lo)
            return self._beat(reading.time_max(skip), reading.place(reading.count - 1), moment) if skip < reading.count else []
        if isinstance(reading, Beats | Faults):
            rows = [row for row in reading.rows if row[0] >= lo]
            return self._beat(max(row[2] for row in rows), rows[-1][:2], moment) if rows else []
        return []

    def _beat(self, time_ms: int, place: tuple[int, int], moment: Moment) -> list[Demand]:
        before = self.status
        self._last_ms = max(self._last_ms, time_ms)
        self._judge(moment)
        began = self.status is Status.DEMANDS and before is not Status.DEMANDS
        return [Demand(*place, self.text)] if began else []

    def tick(self, moment: Moment) -> bool:
        before = self.status
        self._judge(moment)
        return self.status is Status.DEMANDS and before is not Status.DEMANDS

    def _judge(self, moment: Moment) -> None:
        if not self._last_ms:
            return
        self._age_ms = age_ms = max(0, moment.evidence_ms - self._last_ms)
        if age_ms > self._grace_ms:
            self.status = Status.DEMANDS
            self.text = f"no heartbeat from {self._whom} for {age_ms / 1000:.1f} s"
        else:
            self.status = Status.HOLDS
            self.text = f"heartbeat from {self._whom} {age_ms / 1000:.1f} s ago"

    def _grade(self) -> float:
        return self._age_ms / self._grace_ms
