"""A sign of life that must keep coming: an explicit event of a source, or the mere arrival of a series.

Missing is judged at marks, from evidence alone: the newest beat is older than `grace` in evidence time. A
beat's time is what its producer claims, bounded by append time, so that an old beat delivered late is an old
beat.
"""

from __future__ import annotations

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Reading
from failshut_breakers.policy import Heartbeat


class HeartbeatCondition(Condition):
    """No beat for longer than the grace."""

    cause = Cause.HEARTBEAT

    def __init__(self, policy: Heartbeat) -> None:
        super().__init__(policy.name, policy.action)
        self._whom = policy.source or policy.series or ""
        self._grace_ms = policy.grace
        self._last_ms = 0
        self.text = f"no heartbeat from {self._whom} yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        rows = getattr(reading, "rows", ())
        for row in rows:
            if row[0] >= lo and row[2] > self._last_ms:
                self._last_ms = row[2]
        self._judge(moment)
        return []

    def tick(self, moment: Moment) -> bool:
        before = self.status
        self._judge(moment)
        return self.status is Status.DEMANDS and before is not Status.DEMANDS

    def _judge(self, moment: Moment) -> None:
        if not self._last_ms:
            return
        age_ms = max(0, moment.evidence_ms - self._last_ms)
        if age_ms > self._grace_ms:
            self.status = Status.DEMANDS
            self.text = f"no heartbeat from {self._whom} for {age_ms / 1000:.1f} s"
        else:
            self.status = Status.HOLDS
            self.text = f"heartbeat from {self._whom} {age_ms / 1000:.1f} s ago"
