"""A heartbeat that must keep arriving: an explicit event of a source, or the mere arrival of a series' values.

It is judged at marks, from evidence alone. It is missing if the newest beat is older than `grace` in evidence time. A beat's
time is the producer's claim, bounded by append time. So an old beat that is delivered late is still an old beat. If a source
has `instances`, that many different ones must be alive, because one instance's beat is no sign of life of another. Beats
without an instance name count as one instance. An unreadable value is no sign of life.

A missing heartbeat is absence: the demand closes the gate by itself and is no vote.
"""

from __future__ import annotations

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.evidence.records import Beats, Reading, Samples
from failshut_breakers.policy.policy import Heartbeat

INSTANCES_TIMES = 4
"""The last beat is kept of at most this many times the instances that must be alive. The oldest is forgotten."""


class HeartbeatCondition(Condition):
    """Demands if there was no beat for longer than the grace, or if too few instances sent one."""

    cause = Cause.HEARTBEAT

    def __init__(self, policy: Heartbeat) -> None:
        super().__init__(policy.name, policy.action)
        self._whom = policy.source or policy.series or ""
        self._of = (policy.source, policy.series)
        self._grace_ms = policy.grace
        self._instances = policy.instances
        self._last_ms: dict[str, int] = {}  # by instance
        self._age_ms = 0
        self.text = f"no heartbeat from {self._whom} yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if isinstance(reading, Samples):
            skip = reading.before(lo)
            if skip < reading.count:
                self._beat("", reading.time_max(skip))
        elif isinstance(reading, Beats):
            times_ms = [row[2] for row in reading.rows if row[0] >= lo]
            if times_ms:
                self._beat(reading.instance if self._instances > 1 else "", max(times_ms))
        return []  # judged at the mark: other beats may still follow in their own blocks

    def _beat(self, who: str, time_ms: int) -> None:
        self._last_ms[who] = max(self._last_ms.get(who, 0), time_ms)
        if len(self._last_ms) > INSTANCES_TIMES * self._instances:
            del self._last_ms[min(self._last_ms, key=lambda one: (self._last_ms[one], one))]

    def inherit(self, before: Condition) -> None:
        if not isinstance(before, HeartbeatCondition) or before._of != self._of:
            return
        if (before._instances > 1) is (self._instances > 1):  # otherwise nobody knows whose the beats were
            self._last_ms, self.goes_on = dict(before._last_ms), True

    def tick(self, moment: Moment) -> bool:
        before = self.status
        self._judge(moment)
        return self.status is Status.DEMANDS and before is not Status.DEMANDS

    def wakes_ms(self, moment: Moment) -> int:
        if self.status is not Status.HOLDS:
            return NEVER_MS  # only a beat helps
        return sorted(self._last_ms.values(), reverse=True)[self._instances - 1] + self._grace_ms + 1

    def _judge(self, moment: Moment) -> None:
        ages = sorted(max(0, moment.evidence_ms - last_ms) for last_ms in self._last_ms.values())
        if len(ages) < self._instances:
            if ages:
                self.text = f"heartbeats of {len(ages)} instances of {self._whom} yet, {self._instances} must live"
            return
        # The oldest beat among the instances that must be alive decides.
        self._age_ms = age_ms = ages[self._instances - 1]
        self.absent = age_ms > self._grace_ms
        living = sum(age <= self._grace_ms for age in ages)
        if self.absent:
            self.status = Status.DEMANDS
            self.text = f"no heartbeat from {self._whom} for {age_ms / 1000:.1f} s"
            if self._instances > 1:
                self.text = f"{living} of {self._instances} instances of {self._whom} live"
        else:
            self.status = Status.HOLDS
            self.text = f"heartbeat from {self._whom} {age_ms / 1000:.1f} s ago"
            if self._instances > 1:
                self.text = f"{living} instances of {self._whom} live, {self._instances} must"

    def news(self, since_ms: int) -> str:
        if sum(last_ms > since_ms for last_ms in self._last_ms.values()) < self._instances:
            return f"a heartbeat of {self._whom} from after the closing"
        return ""

    def _grade(self) -> float:
        return self._age_ms / self._grace_ms
