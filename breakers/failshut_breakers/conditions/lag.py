"""A watched consumer group that falls behind: Burrow's rules over sampled offsets, where unknown is never OK.

Source: LinkedIn Burrow, evaluator rules (`evaluator/caching.go`), restated as numbered pure functions over a window of samples
of one partition. Burrow reports OK if there are too few samples, or if the lag was zero or fell once in the window. These
rules do not. A lag beyond `allowed` is OK only while it shrinks over the whole window. Burrow reads commits, and these rules
read samples. So a commit that repeats an offset does not count.

A group's backlog begins at its commit, or at the first readable record behind that. Retention and compaction remove records,
and transactions leave offsets without records. Only commits show whether a group moves: retention may shrink a backlog that
the group does not work off.

The condition demands when the worst partition has not been OK for `behind`, from a sample on that was known. If samples stop,
the lag is UNKNOWN. It is also UNKNOWN if a partition is missing from a sample. UNKNOWN is not OK, so the gate lapses; but it
begins no time of being behind. A broker that is away for a while says nothing of a group, and must leave no gate tripped.
Silence longer than `stale` is no part of such a time. A partition that stays missing is forgotten, but not before it had the
time to demand, if it was behind.

Limits: offsets are counted, not records, so holes in the middle count as records. A recreated topic is recognised by its id
if samples carry one. Without an id, only commits beyond its end reveal it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.evidence.records import LagRow, Lags, Offsets, Reading
from failshut_breakers.policy.policy import Lag

WINDOW = 10
"""The number of samples kept of each partition, as in Burrow."""

PARTITIONS_MAX = 10_000
"""A sample with more partitions is not read, and the lag is UNKNOWN."""

TOLD_CHARS_MAX = 120
"""The most characters of the sampler's message that a condition's text repeats."""


class Health(IntEnum):
    """The health of a partition, from best to worst."""

    OK = 0
    BEHIND = 1
    STALLED = 2
    STOPPED = 3
    REWOUND = 4
    UNKNOWN = 5


class Sampled(NamedTuple):
    """One partition in one sample. `position` is the first offset that the group must still read; -1 if unknown."""

    time_ms: int
    committed: int
    end: int
    position: int


def never_committed(samples: Sequence[Sampled]) -> bool:
    """Rule 1: the partition is not empty, the group has committed nothing, and its position is unknown."""
    return samples[-1].position < 0 and samples[-1].end > 0


def beyond_the_end(samples: Sequence[Sampled]) -> bool:
    """Rule 2: the group's commit is beyond the end: the topic was recreated, or its end was lost."""
    return samples[-1].committed > samples[-1].end


def within(samples: Sequence[Sampled], allowed: int) -> bool:
    """Rule 3: the lag is at most `allowed` records, whatever came before."""
    return lag_of(samples[-1]) <= allowed


def rewound(samples: Sequence[Sampled]) -> bool:
    """Rule 4: a commit went back within the window, and the group has not caught up with its highest commit."""
    return samples[-1].committed < max(sample.committed for sample in samples)


def motionless(samples: Sequence[Sampled]) -> bool:
    """Rule 5: within the window, commits have not moved for longer than they moved before (Burrow's rule for "stopped")."""
    last = samples[-1]
    first_ms = samples[0].time_ms
    moved_ms = next(
        (samples[i + 1].time_ms for i in range(len(samples) - 2, -1, -1) if samples[i].committed != last.committed), first_ms
    )
    return last.time_ms - moved_ms > moved_ms - first_ms


def shrinking(samples: Sequence[Sampled]) -> bool:
    """Rule 6: the lag is less than at the window's beginning, also when counted by commits, without removed records."""
    first, last = samples[0], samples[-1]
    return lag_of(last) < lag_of(first) and last.end - last.committed < first.end - first.committed


def lag_of(sample: Sampled) -> int:
    """Return how many records a sample is behind. All up to the end count if the position is unknown."""
    return max(0, sample.end - max(0, sample.position))


def judge_partition(samples: Sequence[Sampled], allowed: int) -> Health:
    """Apply the rules, in order, to the samples of one partition (oldest first, at least one)."""
    if never_committed(samples) or beyond_the_end(samples):
        return Health.UNKNOWN
    if within(samples, allowed):
        return Health.OK
    if rewound(samples):
        return Health.REWOUND
    if motionless(samples):
        return Health.STALLED if samples[-1].end > samples[0].end else Health.STOPPED
    return Health.OK if shrinking(samples) else Health.BEHIND


@dataclass(slots=True)
class _Partition:
    """What is kept of a partition. `base` is the known position of a group that never committed, or -1."""

    samples: deque[Sampled] = field(default_factory=lambda: deque(maxlen=WINDOW))
    base: int = -1

    def position(self, at: Offsets, without_commit: str, seen: bool) -> int:
        """Return the first offset that the group must still read, or -1 if it is unknown.

        `seen`: the group has committed somewhere in the topic. Before its first commit nobody knows where it begins.
        """
        floor = max(at.start, at.readable)
        if at.committed >= 0:
            # If commits vanish later, the position is unknown, unless the policy says what a missing commit means.
            self.base = -1 if without_commit == "unknown" else at.committed
            return max(at.committed, floor)
        if floor >= at.end:  # nothing to read: the lag of a group that reads counts from here on
            self.base = at.end if seen else self.base
            return at.end
        if self.base < 0 and without_commit == "earliest":
            self.base = at.start
        elif self.base < 0 and without_commit == "latest" and seen:
            self.base = at.end
        return -1 if self.base < 0 else max(self.base, floor)


@dataclass(slots=True)
class _Verdict:
    """The result of the newest sample: the health of its worst partition, and the lag of all partitions."""

    health: Health = Health.UNKNOWN
    lag: int = 0
    why: str = ""
    notes: str = ""


class LagCondition(Condition):
    """Demands if the group has been behind for longer than the policy allows."""

    cause = Cause.LAG

    def __init__(self, policy: Lag) -> None:
        super().__init__(policy.name, policy.action)
        self.group, self.topic = policy.group, policy.topic
        self._allowed = policy.allowed
        self._behind_ms = policy.behind
        self._stale_ms = policy.stale
        self._without_commit = policy.without_commit
        self._partitions: dict[int, _Partition] = {}  # twice PARTITIONS_MAX at most
        self._topic_id = ""
        self._told = ""
        self._last_ms = 0
        self._not_ok_since_ms = 0
        self._verdict = _Verdict()
        self._since_ms = 0
        self.text = f"no sample of {self.group} on {self.topic} yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, Lags):
            return []
        demands = []
        for row in reading.rows:
            sample = LagRow(*row)
            if sample.offset < lo or sample.time_ms < self._last_ms:
                continue
            self._told = sample.told[:TOLD_CHARS_MAX]
            if not sample.partitions and sample.told:
                self._tell()  # no sample, only a reason: what was known of the group stays until it is stale
                continue
            demanded = self.status is Status.DEMANDS
            self._take(sample)
            self._settle(sample.time_ms)
            if self.status is Status.DEMANDS and not demanded:
                demands.append(Demand(sample.offset, sample.item, self.text))
        return demands

    def tick(self, moment: Moment) -> bool:
        if not self._last_ms:
            return False
        demanded = self.status is Status.DEMANDS
        silent_ms = moment.evidence_ms - self._last_ms
        if silent_ms > self._stale_ms:
            why = f"no sample for {silent_ms // 1000} s" + (f", the sampler was told: {self._told}" if self._told else "")
            self._verdict = _Verdict(Health.UNKNOWN, self._verdict.lag, why)
            self._say(demands=demanded)  # silence begins no demand, and ends none
        else:
            self._settle(max(self._last_ms, moment.evidence_ms))
        return self.status is Status.DEMANDS and not demanded

    def wakes_ms(self, moment: Moment) -> int:
        if not self._last_ms:
            return NEVER_MS
        silent_ms = self._last_ms + self._stale_ms + 1
        behind_ms = self._not_ok_since_ms + self._behind_ms if self._not_ok_since_ms else NEVER_MS
        return min((at_ms for at_ms in (silent_ms, behind_ms) if at_ms > moment.evidence_ms), default=NEVER_MS)

    def inherit(self, before: Condition) -> None:
        if isinstance(before, LagCondition) and (before.group, before.topic) == (self.group, self.topic):
            self._not_ok_since_ms = before._not_ok_since_ms

    def _tell(self) -> None:
        if not self._last_ms:
            self.text = f"no sample of {self.group} on {self.topic}: {self._told}"

    def _take(self, sample: LagRow) -> None:
        silent_ms, self._last_ms = sample.time_ms - (self._last_ms or sample.time_ms), sample.time_ms
        if self._not_ok_since_ms and silent_ms > self._stale_ms and self.status is not Status.DEMANDS:
            self._not_ok_since_ms += silent_ms
        if sample.topic_id and self._topic_id and sample.topic_id != self._topic_id:
            self._partitions.clear()  # a recreated topic: earlier samples belong to another log
        self._topic_id = sample.topic_id or self._topic_id
        self._verdict = self._judge(sample.time_ms, {number: Offsets(*at) for number, at in sample.partitions.items()})
        if self._verdict.health is Health.OK:
            self._not_ok_since_ms = 0
        elif self._verdict.health is not Health.UNKNOWN and not self._not_ok_since_ms:
            self._not_ok_since_ms = sample.time_ms

    def _judge(self, time_ms: int, partitions: Mapping[int, Offsets]) -> _Verdict:
        """Return the health of the worst partition and the lag of all partitions."""
        if not 0 < len(partitions) <= PARTITIONS_MAX:
            return _Verdict(why=f"a sample of {len(partitions)} partitions, 1 to {PARTITIONS_MAX} are read")
        missing = self._missing(time_ms, partitions)
        seen = any(at.committed >= 0 for at in partitions.values())
        worst, where = Health.OK, -1
        for number in sorted(partitions):
            at, kept = partitions[number], self._partitions.setdefault(number, _Partition())
            kept.samples.append(Sampled(time_ms, at.committed, at.end, kept.position(at, self._without_commit, seen)))
            health = judge_partition(kept.samples, self._allowed)
            if health > worst:
                worst, where = health, number
        why = self._why(worst, where, partitions) if where >= 0 else ""
        if not seen and any(at.behind for at in partitions.values()):
            worst, why = Health.UNKNOWN, "it has committed nothing at all (is this the group's name?)"
        elif missing and worst is not Health.UNKNOWN:
            worst, why = Health.UNKNOWN, f"partition {missing[0]} is not in the sample"
        lag = sum(at.behind if self._lost(number) else lag_of(self._newest(number)) for number, at in partitions.items())
        return _Verdict(worst, lag, why, _notes(partitions))

    def _why(self, health: Health, number: int, partitions: Mapping[int, Offsets]) -> str:
        at = partitions[number]
        if health is not Health.UNKNOWN:
            return f"partition {number}" if len(partitions) > 1 else ""
        if at.committed > at.end:
            return f"it has committed {at.committed} in partition {number}, which ends at {at.end}"
        others = sum(self._lost(other) and partitions[other].behind > 0 for other in partitions) - 1
        return (
            f"never committed in partition {number}, where {at.behind} records stand"
            + (f", nor in {others} more" if others else "")
            + "; without_commit in the policy says what that means"
        )

    def _newest(self, number: int) -> Sampled:
        return self._partitions[number].samples[-1]

    def _lost(self, number: int) -> bool:
        """Return whether the group's position in a partition is unknown."""
        return self._newest(number).position < 0

    def _missing(self, time_ms: int, partitions: Mapping[int, Offsets]) -> list[int]:
        """Return the partitions that were sampled before and are not in this sample. Forget those missing for too long."""
        missing = self._partitions.keys() - partitions.keys()
        # By then a missing partition that was behind has been so for long enough to demand.
        kept_ms = self._behind_ms + self._stale_ms
        for number in sorted(missing, key=lambda number: (self._newest(number).time_ms, number)):
            if time_ms - self._newest(number).time_ms > kept_ms or len(self._partitions) > PARTITIONS_MAX:
                del self._partitions[number]
        return sorted(missing)

    def news(self, since_ms: int) -> str:
        if self._last_ms <= since_ms or self._verdict.health is Health.UNKNOWN:
            return f"a sample of {self.group} on {self.topic} from after the closing"
        return ""

    def _settle(self, now_ms: int) -> None:
        self._since_ms = now_ms - self._not_ok_since_ms if self._not_ok_since_ms else 0
        self._say(demands=bool(self._not_ok_since_ms) and self._since_ms >= self._behind_ms)

    def _say(self, *, demands: bool) -> None:
        whom, seen = f"{self.group} on {self.topic}", self._verdict
        if demands:
            self.status = Status.DEMANDS
            why = f" ({seen.why})" if seen.why else ""
            self.text = f"{whom} is {seen.health.name.lower()}, {seen.lag} records behind{why}{seen.notes}"
        elif seen.health is Health.UNKNOWN:
            self.status, self.text = Status.INSUFFICIENT, f"{whom}: unknown, {seen.why}"
        else:
            self.status, self.text = Status.HOLDS, f"{whom}: {seen.lag} records behind{seen.notes}"
        if self._told and seen.lag and seen.health is not Health.UNKNOWN:
            self.text += f" ({self._told})"

    def _grade(self) -> float:
        return self._since_ms / self._behind_ms


def _notes(partitions: Mapping[int, Offsets]) -> str:
    """Return details for whoever is on call: how many records were removed unread, and which transaction is open."""
    removed = sum(max(0, at.start - at.committed) for at in partitions.values() if at.committed >= 0)
    notes = f", {removed} more were removed before it committed them" if removed else ""
    waiting = next(((number, at.stable) for number, at in sorted(partitions.items()) if 0 <= at.stable < at.end), None)
    if waiting is not None:
        notes += f", behind a transaction that is open in partition {waiting[0]} since offset {waiting[1]}"
    return notes
