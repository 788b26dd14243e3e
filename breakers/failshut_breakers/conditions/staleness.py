"""How old the newest reading of a stream may be. The policy sets it, or it follows from the stream's own pace.

A detector that is fed nothing finds nothing, so a stream that stops must be noticed. Its newest reading, by the reading's own
time, may be no older than `stale` in evidence time. If it is older, there is not enough evidence. Without the setting the age
is ten times the median interval of the stream's last readings, and at least half a minute. That leaves room for a restart,
for retries and for readings that are sent in batches. It is at most an hour. For a slow stream it is three of its intervals
if that is longer, and at most a day. A slower stream needs the setting. Only intervals in which time moves on count. So a
batch with one time is one moment.

Limits: a stream that slows down for good is judged by its new pace after half of the intervals that are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median

from failshut_breakers.conditions.base import NEVER_MS

INTERVALS = 64
INTERVALS_TIMES = 10
LEAST_MS = 30_000
UNKNOWN_MS = 60_000
"""The age that is allowed before the pace is known."""
MOST_MS = 3_600_000
EVER_MS = 86_400_000


class Staleness:
    """The newest time of a stream, its pace, and the age at which evidence is too old."""

    def __init__(self, stale_ms: int | None) -> None:
        self._given_ms = stale_ms
        self._learnt_ms = UNKNOWN_MS
        self._intervals: deque[int] = deque(maxlen=INTERVALS)
        self._counted = True  # whether every interval is in `_learnt_ms`
        self.newest_ms = 0

    def take(self, times_ms: Sequence[int]) -> None:
        """Record the times (ms) of readings in order of arrival. A time that goes back makes no interval."""
        if len(times_ms) == 1:  # the usual case
            (time_ms,) = times_ms
            moved = [time_ms - self.newest_ms] if time_ms > self.newest_ms and self.newest_ms else []
        else:
            reached = list(accumulate(times_ms, max, initial=self.newest_ms))
            time_ms = reached[-1]
            moved = [after - before for before, after in pairwise(reached) if after > before and before]
        self.newest_ms = max(self.newest_ms, time_ms)
        if moved:
            self._intervals.extend(moved)
            self._counted = False

    def takes(self, time_ms: int, evidence_ms: int) -> bool:
        """Record the time (ms) of one reading. Return whether the reading is new enough to be judged."""
        late = self.known and time_ms < evidence_ms - self.stale_ms
        self.take((time_ms,))
        return not late

    @property
    def least_ms(self) -> int:
        """The age (ms) up to which no reading is old, whatever the pace."""
        return LEAST_MS if self._given_ms is None else self._given_ms

    def inherit(self, before: Staleness) -> None:
        """Take over the newest time and the pace of the same stream. So another setting makes no old evidence new."""
        self.newest_ms, self._counted = before.newest_ms, False
        self._intervals.extend(before._intervals)

    @property
    def stale_ms(self) -> int:
        """The age (ms) beyond which evidence is old."""
        if self._given_ms is not None:
            return self._given_ms
        if not self._counted and self._intervals:
            pace = int(median(self._intervals))
            most_ms = min(max(MOST_MS, 3 * pace), EVER_MS)
            self._learnt_ms, self._counted = min(max(INTERVALS_TIMES * pace, LEAST_MS), most_ms), True
        return self._learnt_ms

    @property
    def known(self) -> bool:
        """Whether the age is set, or the pace was seen."""
        return self._given_ms is not None or bool(self._intervals)

    def age_ms(self, evidence_ms: int) -> int:
        """Return the age (ms) of the newest reading."""
        return max(0, evidence_ms - self.newest_ms)

    def is_old(self, evidence_ms: int) -> bool:
        """Return whether the newest reading is too old. A stream that was never read is not old."""
        if not self.newest_ms:
            return False
        return self.is_too_much(evidence_ms - self.newest_ms)

    def old_from_ms(self, newest_ms: int, evidence_ms: int) -> int:
        """Return an evidence time (ms) before which a reading of `newest_ms` is not old, or NEVER_MS if it is old now."""
        if not newest_ms or self.is_too_much(evidence_ms - newest_ms):
            return NEVER_MS
        # The median is computed only if it could matter: not before the age that every stream is allowed.
        allowed_ms = self.least_ms if evidence_ms - newest_ms <= self.least_ms else self.stale_ms
        return newest_ms + allowed_ms + 1

    def is_too_much(self, age_ms: int) -> bool:
        """Return whether evidence of this age (ms) is old."""
        # Most streams are far from the bound. The median is computed only if it could matter.
        if self._given_ms is None and age_ms <= LEAST_MS:
            return False
        return age_ms > self.stale_ms
