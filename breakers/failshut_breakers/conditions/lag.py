"""A watched consumer group that falls behind: Burrow's rules over sampled offsets, with unknown never OK.

Source: LinkedIn Burrow, evaluator rules (`evaluator/caching.go`), restated as pure functions over a window of
samples of one partition: committed offset, end offset, time. A partition within `allowed` is OK whatever its
history. Beyond it, a group that stopped committing is STOPPED, one whose commits do not move is STALLED, one
that commits and still falls behind is BEHIND, and one that catches up is OK. A negative committed offset
means that the group never committed there: UNKNOWN.

The condition demands when the worst partition has been anything but OK for `behind`; samples that stop coming
are UNKNOWN too.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Lags, Reading
from failshut_breakers.policy import Lag

WINDOW = 10
"""Samples kept of each partition, as in Burrow."""

MAX_PARTITIONS = 10_000


class Health(IntEnum):
    """How a partition does, from well to worst."""

    OK = 0
    BEHIND = 1
    STALLED = 2
    STOPPED = 3
    UNKNOWN = 4


Sampled = tuple[int, int, int]
"""time_ms, committed (-1: never), end"""


def judge_partition(samples: deque[Sampled], allowed: int) -> Health:
    """Apply the rules, in order, to the samples of one partition (oldest first, at least one)."""
    _, committed, end = samples[-1]
    if committed < 0:
        return Health.UNKNOWN if end > 0 else Health.OK
    if end - committed <= allowed:
        return Health.OK
    if len(samples) < 2:
        return Health.BEHIND
    lags = [max(0, sample[2] - sample[1]) for sample in samples]
    moved = samples[-1][1] > samples[0][1]
    if not moved:
        return Health.STALLED if samples[-1][2] > samples[0][2] else Health.STOPPED
    if lags[-1] < lags[0]:
        return Health.OK
    return Health.BEHIND


class LagCondition(Condition):
    """The group has been behind for longer than the policy lets it."""

    cause = Cause.LAG

    def __init__(self, policy: Lag) -> None:
        super().__init__(policy.name, policy.action)
        self.group, self.topic = policy.group, policy.topic
        self._allowed = policy.allowed
        self._behind_ms = policy.behind
        self._stale_ms = policy.stale
        self._samples: dict[int, deque[Sampled]] = {}
        self._last_ms = 0
        self._not_ok_since_ms = 0
        self._health = Health.UNKNOWN
        self._lag = 0
        self.text = f"no sample of {self.group} on {self.topic} yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, Lags):
            return []
        demands = []
        for offset, index, time_ms, partitions in reading.rows:
            if offset < lo or time_ms < self._last_ms:
                continue
            demanded = self.status is Status.DEMANDS
            self._take(time_ms, partitions)
            self._settle(time_ms)
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(offset, index, self.text))
        return demands

    def tick(self, moment: Moment) -> bool:
        if not self._last_ms:
            return False
        demanded = self.status is Status.DEMANDS
        if moment.evidence_ms - self._last_ms > self._stale_ms:
            self._health = Health.UNKNOWN
            self._not_ok_since_ms = self._not_ok_since_ms or self._last_ms
        self._settle(max(self._last_ms, moment.evidence_ms))
        return self.status is Status.DEMANDS and not demanded

    def _take(self, time_ms: int, partitions: dict[int, tuple[int, int]]) -> None:
        self._last_ms = time_ms
        worst, total = Health.UNKNOWN if not partitions else Health.OK, 0
        for partition in sorted(partitions)[:MAX_PARTITIONS]:
            committed, end = partitions[partition]
            samples = self._samples.setdefault(partition, deque(maxlen=WINDOW))
            samples.append((time_ms, committed, end))
            worst = max(worst, judge_partition(samples, self._allowed))
            total += max(0, end - max(0, committed))
        for gone in self._samples.keys() - partitions.keys():
            del self._samples[gone]
        self._health, self._lag = worst, total
        if worst is Health.OK:
            self._not_ok_since_ms = 0
        elif not self._not_ok_since_ms:
            self._not_ok_since_ms = time_ms

    def _settle(self, now_ms: int) -> None:
        since_ms = now_ms - self._not_ok_since_ms if self._not_ok_since_ms else 0
        whom = f"{self.group} on {self.topic}"
        if self._not_ok_since_ms and since_ms >= self._behind_ms:
            self.status = Status.DEMANDS
            self.text = f"{whom} is {self._health.name.lower()}, {self._lag} records behind"
        elif self._health is Health.UNKNOWN:
            self.status, self.text = Status.INSUFFICIENT, f"{whom}: unknown"
        else:
            self.status, self.text = Status.HOLDS, f"{whom}: {self._lag} records behind"
