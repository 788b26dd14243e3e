"""A watched consumer group that falls behind: Burrow's rules over sampled offsets, with unknown never OK.

Source: LinkedIn Burrow, evaluator rules (`evaluator/caching.go`), restated as numbered pure functions over a window of
samples of one partition: time, committed offset, end offset. Where Burrow gives a group the benefit of the doubt (too few
samples, a lag that was zero or fell once in the window), these do not: a lag beyond `allowed` is OK only while it shrinks over
the whole window. Burrow sees commits, these see samples: a commit that repeats an offset is none.

The condition demands when the worst partition has been anything but OK for `behind`. Samples that stop coming are UNKNOWN, and
so is a partition that is missing from a sample; one that stays away is forgotten, but not before it has had the time to demand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Lags, Reading
from failshut_breakers.policy import Lag

WINDOW = 10
"""Samples kept of each partition, as in Burrow."""

MAX_PARTITIONS = 10_000
"""A sample with more partitions is not read: UNKNOWN."""


class Health(IntEnum):
    """How a partition does, from well to worst."""

    OK = 0
    BEHIND = 1
    STALLED = 2
    STOPPED = 3
    REWOUND = 4
    UNKNOWN = 5


Sampled = tuple[int, int, int]
"""time_ms, committed (-1: never), end"""


def never_committed(samples: Sequence[Sampled]) -> bool:
    """Rule 1: the group has committed nothing where there is something to read."""
    return samples[-1][1] < 0 and samples[-1][2] > 0


def beyond_the_end(samples: Sequence[Sampled]) -> bool:
    """Rule 2: the group has committed what the topic does not hold: the topic was made anew, or its end was lost."""
    return samples[-1][1] > samples[-1][2]


def within(samples: Sequence[Sampled], allowed: int) -> bool:
    """Rule 3: the lag is no more than allowed, whatever came before."""
    return samples[-1][2] - max(0, samples[-1][1]) <= allowed


def rewound(samples: Sequence[Sampled]) -> bool:
    """Rule 4: a commit went back within the window, and the group is not yet where it was."""
    return samples[-1][1] < max(committed for _, committed, _ in samples)


def motionless(samples: Sequence[Sampled]) -> bool:
    """Rule 5: commits have stood still for longer than they moved before, within the window (Burrow's rule for "stopped")."""
    last_ms, committed, _ = samples[-1]
    moved_ms = next((samples[i + 1][0] for i in range(len(samples) - 2, -1, -1) if samples[i][1] != committed), samples[0][0])
    return last_ms - moved_ms > moved_ms - samples[0][0]


def shrinking(samples: Sequence[Sampled]) -> bool:
    """Rule 6: the lag is less than at the window's beginning."""
    return len(samples) > 1 and lag_of(samples[-1]) < lag_of(samples[0])


def lag_of(sample: Sampled) -> int:
    """Return how many records a sample is behind; all of them where nothing was committed."""
    return max(0, sample[2] - max(0, sample[1]))


def judge_partition(samples: Sequence[Sampled], allowed: int) -> Health:
    """Apply the rules, in order, to the samples of one partition (oldest first, at least one)."""
    if never_committed(samples) or beyond_the_end(samples):
        return Health.UNKNOWN
    if within(samples, allowed):
        return Health.OK
    if rewound(samples):
        return Health.REWOUND
    if motionless(samples):
        return Health.STALLED if samples[-1][2] > samples[0][2] else Health.STOPPED
    return Health.OK if shrinking(samples) else Health.BEHIND


class LagCondition(Condition):
    """The group has been behind for longer than the policy lets it."""

    cause = Cause.LAG

    def __init__(self, policy: Lag) -> None:
        super().__init__(policy.name, policy.action)
        self.group, self.topic = policy.group, policy.topic
        self._allowed = policy.allowed
        self._behind_ms = policy.behind
        self._stale_ms = policy.stale
        self._samples: dict[int, deque[Sampled]] = {}  # of twice MAX_PARTITIONS partitions at most
        self._last_ms = 0
        self._not_ok_since_ms = 0
        self._health = Health.UNKNOWN
        self._lag = 0
        self._since_ms = 0
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
        self._health, self._lag = self._judge(time_ms, partitions)
        if self._health is Health.OK:
            self._not_ok_since_ms = 0
        elif not self._not_ok_since_ms:
            self._not_ok_since_ms = time_ms

    def _judge(self, time_ms: int, partitions: dict[int, tuple[int, int]]) -> tuple[Health, int]:
        """Return the health of the worst partition and the lag of all."""
        if not 0 < len(partitions) <= MAX_PARTITIONS:
            return Health.UNKNOWN, 0
        worst, total = self._missing(time_ms, partitions), 0
        for partition in sorted(partitions):
            sample = (time_ms, *partitions[partition])
            samples = self._samples.setdefault(partition, deque(maxlen=WINDOW))
            samples.append(sample)
            worst = max(worst, judge_partition(samples, self._allowed))
            total += lag_of(sample)
        return worst, total

    def _missing(self, time_ms: int, partitions: dict[int, tuple[int, int]]) -> Health:
        """Return UNKNOWN if a partition that was sampled before is not in this sample."""
        missing = self._samples.keys() - partitions.keys()
        # Whatever stays away has made the group UNKNOWN for long enough to demand; a topic made anew may be smaller.
        kept_ms = self._behind_ms + self._stale_ms
        for partition in sorted(missing, key=lambda partition: self._samples[partition][-1][0]):
            if time_ms - self._samples[partition][-1][0] > kept_ms or len(self._samples) > MAX_PARTITIONS:
                del self._samples[partition]
        return Health.UNKNOWN if missing else Health.OK

    def news(self, since_ms: int) -> str:
        if self._last_ms <= since_ms or self._health is Health.UNKNOWN:
            return f"a sample of {self.group} on {self.topic} from after the closing"
        return ""

    def _settle(self, now_ms: int) -> None:
        self._since_ms = since_ms = now_ms - self._not_ok_since_ms if self._not_ok_since_ms else 0
        whom = f"{self.group} on {self.topic}"
        if self._not_ok_since_ms and since_ms >= self._behind_ms:
            self.status = Status.DEMANDS
            self.text = f"{whom} is {self._health.name.lower()}, {self._lag} records behind"
        elif self._health is Health.UNKNOWN:
            self.status, self.text = Status.INSUFFICIENT, f"{whom}: unknown"
        else:
            self.status, self.text = Status.HOLDS, f"{whom}: {self._lag} records behind"
        self.absent = self._health is Health.UNKNOWN

    def _grade(self) -> float:
        return self._since_ms / self._behind_ms
