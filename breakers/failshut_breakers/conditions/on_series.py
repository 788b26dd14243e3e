"""Conditions on one series: their common base, and drift and anomaly of the values.

They use a detector that remembers what was normal (memory.py). Its demand lasts until the series is back there. Readings
that no detector may read (NaN, infinity, a wrong type) count too. Several in a row, or more than half of the last ones, are a
demand, because a detector that is fed nothing finds nothing. Readings that are older than `stale` on arrival are dropped. A
series whose newest reading is older than that has not enough evidence.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.conditions.memory import Remembering
from failshut_breakers.conditions.reference import EVENTS
from failshut_breakers.conditions.staleness import Staleness
from failshut_breakers.evidence.records import FaultRow, Faults, Reading, Samples
from failshut_breakers.policy.policy import Anomaly, Conformance, Drift
from failshut_breakers.policy.units import format_ms
from failshut_detectors.contract import MAGNITUDE_MAX, Unfit

NEWS = 10
"""A reset may be believed after this many readings from after the closing, or after as many as end a demand, if more."""

SHARE_MIN = 40
"""At most half of the last readings may be unreadable: of this many, or of four times the allowed row, if that is more."""


class OnSeries(Condition):
    """A condition that feeds the readings of one series to a detector. A subclass implements that in `_values`."""

    events = False

    def __init__(self, policy: Drift | Anomaly | Conformance) -> None:
        super().__init__(policy.name, policy.action)
        (self.series,) = policy.all_series
        self._metric = self.series.split("/", 1)[-1]
        self._memory = Remembering(policy.detector, self.events)
        self._adopt_ms = policy.adopt
        self._staleness = Staleness(policy.stale)
        self._in_a_row_max = policy.unreadable_in_a_row
        self._share_of = max(SHARE_MIN, 4 * policy.unreadable_in_a_row)
        self._in_a_row = 0
        self._count = 0  # readings and faults
        self._unread: deque[int] = deque(maxlen=self._share_of // 2 + 1)  # the numbers of the last faults among them
        self._unread_text = ""
        self._judged: deque[int] = deque(maxlen=EVENTS)  # times (ms) of the last judged readings
        self.late = 0  # readings that were dropped because they were old on arrival
        self.text = f"no reading of {self._metric} yet"

    @property
    def detector_ready(self) -> bool:
        """Whether its detector has read enough."""
        return self._memory.ready

    @property
    def stale_ms(self) -> int:
        """The age (ms) beyond which its newest reading is too old."""
        return self._staleness.stale_ms

    def old_from_ms(self, newest_ms: int, evidence_ms: int) -> int:
        """Return an evidence time (ms) before which a reading of `newest_ms` is not too old, or NEVER_MS if it is now."""
        return self._staleness.old_from_ms(newest_ms, evidence_ms)

    def is_too_old(self, age_ms: int) -> bool:
        """Return whether this age (ms) is too old for its newest reading."""
        return self._staleness.is_too_much(age_ms)

    @property
    def demands_level(self) -> bool:
        """Whether it demands because of a level, which an operator may accept."""
        return self._memory.stands and not self._unread_text and not self._limit()

    def only_learn(self, only: bool) -> None:
        """Let it read without demanding anything (history), or no longer: then nothing of it is news."""
        self._memory.deaf = only
        if not only:
            self._judged.clear()

    def take_over_from(self, before: OnSeries) -> None:
        """Take the place of a condition of the same policy that has read everything live: what it counted counts on."""
        self.held, self.late = before.held, before.late
        self._in_a_row, self._count, self._unread_text = before._in_a_row, before._count, before._unread_text
        self._unread = before._unread.copy()

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        demands: list[Demand] = []
        if isinstance(reading, Samples):
            skip = reading.before(lo)
            if skip < reading.count:
                demands = self._samples(reading, skip, moment)
        elif isinstance(reading, Faults):
            demands = self._faults([row for row in reading.rows if row.offset >= lo], moment)
        self._settle(moment)
        return demands

    def tick(self, moment: Moment) -> bool:
        before = self.status
        self._adopt(moment)
        self._settle(moment)
        return self.status is Status.DEMANDS and before is not Status.DEMANDS

    def wakes_ms(self, moment: Moment) -> int:
        old_ms = self._staleness.old_from_ms(self._staleness.newest_ms, moment.evidence_ms)
        return min(old_ms, self._memory.adopts_ms(self._adopt_ms))

    def _samples(self, samples: Samples, skip: int, moment: Moment) -> list[Demand]:
        times_ms = samples.times_ms(skip)
        # The age is in evidence time. So readings that wait in the log behind a lagging partition are not old by that alone.
        if min(times_ms) >= moment.evidence_ms - self._staleness.least_ms:  # the usual case
            self._staleness.take(times_ms)
        else:  # one by one: the bound depends on the pace of the readings before, however blocks are cut
            rows = [row for row in samples.rows[skip:] if self._staleness.takes(row[2], moment.evidence_ms)]
            self.late += len(times_ms) - len(rows)
            if not rows:
                return []
            samples, skip = Samples.of(self.series, rows), 0
            times_ms = samples.times_ms()
        self._judged.extend(times_ms[-EVENTS:])
        return self._values(samples, skip, times_ms, moment)

    def _values(self, samples: Samples, skip: int, times_ms: tuple[int, ...], moment: Moment) -> list[Demand]:
        raise NotImplementedError

    def _grade(self) -> float:
        return self._memory.detector.score if self._memory.ready else 0.0

    def _limit(self) -> str:
        """Return why the condition demands whatever the detector finds. Return "" if it does not."""
        return ""

    def _faults(self, rows: list[FaultRow], moment: Moment) -> list[Demand]:
        demands = []
        for offset, index, _, reason in rows:
            demanded = self._cannot_read()
            self._count += 1
            self._in_a_row += 1
            self._unread.append(self._count)
            if self._cannot_read() and not demanded:
                # The text stays as it was at the beginning: one that changed with every reading would be noise.
                row = self._in_a_row >= self._in_a_row_max
                which = f"{self._in_a_row} readings" if row else f"more than half of the last {self._share_of} readings"
                self._unread_text = f"{which} of {self._metric}{' in a row' if row else ''} are {reason}"
                demands.append(Demand(offset, index, self._unread_text))
        return demands

    def _can_read(self, count: int) -> None:
        """Count readable readings, which end a row of unreadable ones."""
        self._in_a_row = 0
        self._count += count

    def _cannot_read(self) -> bool:
        """Return whether so many readings were unreadable that the detector's result means nothing."""
        if self._in_a_row >= self._in_a_row_max:
            return True
        return len(self._unread) == self._unread.maxlen and self._unread[0] > self._count - self._share_of

    def _settle(self, moment: Moment) -> None:
        if not self._cannot_read():
            self._unread_text = ""
        limit, memory = self._limit(), self._memory
        is_old = self._staleness.is_old(moment.evidence_ms)
        self.absent = bool(self._unread_text) or is_old
        if self._unread_text:
            self.status, self.text = Status.DEMANDS, self._unread_text
        elif limit:
            self.status, self.text = Status.DEMANDS, limit
        elif memory.stands:
            self.status, self.text = Status.DEMANDS, self._told()
        elif is_old:
            self.status, self.text = Status.INSUFFICIENT, self._old(moment)
        elif not memory.ready:
            self.status = Status.INSUFFICIENT
            if self._count:
                self.text = f"not enough readings of {self._metric} yet: {memory.detector.summary()}"
        else:
            self.status, self.text = Status.HOLDS, f"{self._metric}: {memory.detector.summary()}"

    def _told(self) -> str:
        return self._memory.text

    def _old(self, moment: Moment) -> str:
        age = self._staleness.age_ms(moment.evidence_ms) / 1000
        return f"no reading of {self._metric} for {age:.1f} s, {format_ms(self._staleness.stale_ms)} is allowed"

    def news(self, since_ms: int) -> str:
        wanted = max(NEWS, self._window_of())
        since = sum(time_ms > since_ms for time_ms in list(self._judged)[-wanted:])
        if since < wanted:
            return f"{since} of {wanted} readings of {self._metric} from after the closing"
        return ""

    def _window_of(self) -> int:
        """Return how many readings end a demand."""
        return self._memory.window

    def accept(self, moment: Moment) -> str:
        limit = self._limit()
        if limit:
            return f"a rule is a limit, which a policy sets and nobody accepts away: {limit}"
        if not self.demands_level:
            return f"{self.name} has no level that could be accepted: {self.text}"
        self._memory.adopt()
        self._settle(moment)
        return ""

    def _adopt(self, moment: Moment) -> None:
        if moment.evidence_ms >= self._memory.adopts_ms(self._adopt_ms):
            self._memory.adopt()

    def inherit(self, before: Condition) -> None:
        if isinstance(before, OnSeries) and before.cause is self.cause and before.series == self.series:
            self._memory.inherit(before._memory)
            self._staleness.inherit(before._staleness)
            self.goes_on = True
            self._in_a_row, self._count = before._in_a_row, before._count
            self._unread.extend(before._unread)
            if self._cannot_read():
                self._unread_text = before._unread_text or f"the last readings of {self._metric} are unreadable"


class _OnValues(OnSeries):
    def _values(self, samples: Samples, skip: int, times_ms: tuple[int, ...], moment: Moment) -> list[Demand]:
        try:
            alarms = self._memory.take(samples.values(skip), times_ms, moment.newest_ms, moment.evidence_ms)
        except Unfit:
            return self._in_parts(samples, skip, moment)
        self._can_read(len(times_ms))
        return [Demand(*samples.place(skip + alarm.index), self._words(alarm.text)) for alarm in alarms]

    def _words(self, text: str) -> str:
        return f"{self.cause} in {self._metric}: {text}"

    def _told(self) -> str:
        return self._words(self._memory.text)

    def _in_parts(self, samples: Samples, skip: int, moment: Moment) -> list[Demand]:
        """Feed the readings that a detector may read. Count the others as faults."""
        demands: list[Demand] = []
        for fits, some in groupby(samples.rows[skip:], lambda row: abs(row[3]) <= MAGNITUDE_MAX):
            rows = list(some)
            if fits:
                part = Samples.of(self.series, rows)
                demands += self._values(part, 0, part.times_ms(), moment)
            else:
                demands += self._faults([FaultRow(*row[:3], "too large") for row in rows], moment)
        return demands


class DriftCondition(_OnValues):
    """Demands if the values drift."""

    cause = Cause.DRIFT


class AnomalyCondition(_OnValues):
    """Demands if the values are unlike any that were read before."""

    cause = Cause.ANOMALY
