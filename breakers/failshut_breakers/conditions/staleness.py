"""How old the newest reading of a stream may be: what the policy says, or what the stream's own pace says.

A stream that stops says nothing, and a detector that is fed nothing finds nothing. So its newest reading, by the reading's own
time, may be no older than `stale` against evidence time; then the evidence is not enough. Without the setting that is ten times
the median interval of the stream's last readings, at least half a minute. That leaves room for a restart, for retries and for
readings that are sent in batches. The bound is an hour. For a slower stream it is three of its intervals, and at most a day. A
stream slower than that needs the setting. Intervals count only where time moves on: a batch with one time is one moment.

Limits: a stream that slows down for good is judged by its new pace after half of the intervals that are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median

INTERVALS = 64
INTERVALS_TIMES = 10
LEAST_MS = 30_000
UNKNOWN_MS = 60_000
"""Before the pace is known."""
MOST_MS = 3_600_000
EVER_MS = 86_400_000


class Staleness:
    """The newest time of a stream, its pace, and what is too old."""

    def __init__(self, stale_ms: int | None) -> None:
        self._given_ms = stale_ms
        self._learnt_ms = UNKNOWN_MS
        self._intervals: deque[int] = deque(maxlen=INTERVALS)
        self._counted = True  # whether every interval is in `_learnt_ms`
        self.newest_ms = 0

    def take(self, times_ms: Sequence[int]) -> None:
        """Take note of the times of readings, in order of arrival; a time that goes back is no interval."""
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
        """Take note of the time of one reading; return whether it is new enough to be judged."""
        late = self.known and time_ms < evidence_ms - self.stale_ms
        self.take((time_ms,))
        return not late

    @property
    def least_ms(self) -> int:
        """Return the age (ms) up to which no reading is old, whatever the pace."""
        return LEAST_MS if self._given_ms is None else self._given_ms

    def inherit(self, before: Staleness) -> None:
        """Take over the newest time and the pace of the same stream: another setting makes no old evidence new."""
        self.newest_ms, self._counted = before.newest_ms, False
        self._intervals.extend(before._intervals)

    @property
    def stale_ms(self) -> int:
        """Return the age (ms) beyond which evidence is old."""
        if self._given_ms is not None:
            return self._given_ms
        if not self._counted and self._intervals:
            pace = int(median(self._intervals))
            most_ms = min(max(MOST_MS, 3 * pace), EVER_MS)
            self._learnt_ms, self._counted = min(max(INTERVALS_TIMES * pace, LEAST_MS), most_ms), True
        return self._learnt_ms

    @property
    def known(self) -> bool:
        """Whether the age is given, or the pace was seen."""
        return self._given_ms is not None or bool(self._intervals)

    def age_ms(self, evidence_ms: int) -> int:
        """Return the age of the newest reading."""
        return max(0, evidence_ms - self.newest_ms)

    def is_old(self, evidence_ms: int) -> bool:
        """Whether nothing new enough was read; what was never read is another matter."""
        if not self.newest_ms:
            return False
        return self.is_too_much(evidence_ms - self.newest_ms)

    def is_too_much(self, age_ms: int) -> bool:
        """Whether evidence of this age is old."""
        # Most streams are far from it: the median is asked for only where it could matter.
        if self._given_ms is None and age_ms <= LEAST_MS:
            return False
        return age_ms > self.stale_ms
