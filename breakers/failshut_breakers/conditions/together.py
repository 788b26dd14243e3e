"""Several series of one service, judged together: drift or anomaly of their values at the same time.

Series arrive in blocks of their own, from several front-door partitions, early and late. So their values are combined by
their own time. In each period of `every`, the last value of a series to arrive is its element of the vector. It is the last
and not the mean, because its spread does not depend on how often a series is sampled.

Periods are judged in order, and only at marks. Then everything between two marks was read, whatever the order of blocks. So
the same log gives the same vectors, however it is cut into runs. A period is judged once every series has a value in a later
period. It is also judged once evidence time has passed its end by the wait (`WAIT_MS`, or `every` if that is longer). A period
that lacks a series is skipped. Without a whole period for longer than the wait plus `MISSED_MAX` periods, there is not enough
evidence.

Some values are dropped and counted. A value for a period that was judged is too late. A value whose period begins more
than `AHEAD_MS` beyond the newest mark has a wrong clock. And at most `PENDING_MAX` periods are kept. Times may repeat
and go back within the wait. After a gap the vectors go on. A series that sends less often than once a period is missing
in most periods. So choose `every` by the slowest series.

Limits: a change that begins and ends within one period is not seen. A demand begins at a mark and not at a reading,
unless its cause is unreadable readings.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from failshut.cause import Cause
from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.conditions.memory import Remembering
from failshut_breakers.conditions.reference import READINGS_MAX
from failshut_breakers.conditions.staleness import Staleness
from failshut_breakers.evidence.records import Faults, Reading, Samples
from failshut_breakers.policy.policy import Anomaly, Drift
from failshut_detectors.contract import MAGNITUDE_MAX

WAIT_MS = 60_000
"""How long after a period's end its values may arrive, in evidence time. It is `every` if that is longer."""

AHEAD_MS = 60_000
"""How far beyond the newest mark a period may begin."""

MISSED_MAX = 3
"""The most periods in a row, beyond the wait, that may lack a series."""

PENDING_MAX = 1_000
"""The most periods that wait to be judged."""


class TogetherCondition(Condition):
    """Demands if a detector finds drift or an anomaly in vectors of several series' values.

    `skipped` counts periods that lacked a series. The others count dropped values. `late`: the value's period was judged
    already. `ahead`: its period is too far ahead. `crowded`: too many periods wait already.
    """

    def __init__(self, policy: Drift | Anomaly) -> None:
        super().__init__(policy.name, policy.action)
        if policy.every is None:
            raise ValueError("several series are judged together every so often: every is not given")
        self.cause = Cause(policy.kind.value)
        self.series = policy.all_series
        self.skipped = self.late = self.ahead = self.crowded = 0
        self._metrics = _short(self.series)
        self._place_of = {series: index for index, series in enumerate(self.series)}
        self._memory = Remembering(policy.detector)
        self._adopt_ms = policy.adopt
        self._every_ms = policy.every
        self._wait_ms = max(WAIT_MS, policy.every)
        self._staleness = [Staleness(policy.stale) for _ in self.series]
        self._in_a_row_max = policy.unreadable_in_a_row
        self._in_a_row = [0] * len(self.series)
        self._pending: dict[int, list[float | None]] = {}  # by period: time // every
        self._newest = [-1] * len(self.series)  # the newest period of each series
        self._judged = -1  # every period up to here was judged
        self._whole = -1  # the last period that lacked no series
        self._lacked: set[int] = set()  # the series that periods lacked since
        self._unread_text = ""
        self._judged_ms: deque[int] = deque(maxlen=READINGS_MAX)  # ends (ms) of the last whole periods
        self.text = f"no evidence of {', '.join(self._metrics)} together yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        demands: list[Demand] = []
        if isinstance(reading, Samples) and reading.series in self._place_of:
            demands = self._values(self._place_of[reading.series], reading, reading.before(lo))
        elif isinstance(reading, Faults) and reading.series in self._place_of:
            index = self._place_of[reading.series]
            for offset, within, _, reason in reading.rows:
                if offset >= lo:
                    demands += self._fault(index, offset, within, reason)
        self._settle(moment)
        return demands

    def tick(self, moment: Moment) -> bool:
        before = self.status
        self._judge(moment)
        if moment.evidence_ms >= self._memory.adopts_ms(self._adopt_ms):
            self._memory.adopt()
        self._settle(moment)
        return self.status is Status.DEMANDS and before is not Status.DEMANDS

    def wakes_ms(self, moment: Moment) -> int:
        if self._pending:
            return 0
        old_ms = min(one.old_from_ms(one.newest_ms, moment.evidence_ms) for one in self._staleness)
        return min(old_ms, self._lacks_from_ms(moment), self._memory.adopts_ms(self._adopt_ms))

    def _lacks_from_ms(self, moment: Moment) -> int:
        """Return from which evidence time (ms) on a whole period is missing, or NEVER_MS if one is missing now."""
        allowed_ms = (self._whole + 1 + MISSED_MAX) * self._every_ms + self._wait_ms
        return NEVER_MS if moment.evidence_ms > allowed_ms else allowed_ms + 1

    def _values(self, index: int, samples: Samples, skip: int) -> list[Demand]:
        demands: list[Demand] = []
        every_ms, pending = self._every_ms, self._pending
        if skip < samples.count:
            self._staleness[index].take(samples.times_ms(skip))
        for row, (time_ms, value) in enumerate(zip(samples.times_ms(skip), samples.values(skip), strict=True), skip):
            if not -MAGNITUDE_MAX <= value <= MAGNITUDE_MAX:
                demands += self._fault(index, *samples.place(row), "too large")
                continue
            self._in_a_row[index] = 0
            period = time_ms // every_ms
            if period <= self._judged:
                self.late += 1
            elif period in pending:
                pending[period][index] = value
            elif len(pending) < PENDING_MAX:
                pending[period] = [None] * len(self.series)
                pending[period][index] = value
            else:
                self.crowded += 1
        return demands

    def _fault(self, index: int, offset: int, within: int, reason: str) -> list[Demand]:
        self._in_a_row[index] = in_a_row = self._in_a_row[index] + 1
        if in_a_row != self._in_a_row_max:
            return []
        self._unread_text = f"{in_a_row} readings of {self._metrics[index]} in a row are {reason}"
        return [Demand(offset, within, self._unread_text)]

    def _judge(self, moment: Moment) -> None:
        """Judge the periods that are over."""
        self._drop_ahead((moment.newest_ms + AHEAD_MS) // self._every_ms)
        for period, values in self._pending.items():
            for index, value in enumerate(values):
                if value is not None and period > self._newest[index]:
                    self._newest[index] = period
        waited_for = (moment.evidence_ms - self._wait_ms) // self._every_ms
        over = max(self._judged + 1, min(self._newest), waited_for)  # every period before this one
        vectors: list[Sequence[float]] = []
        times_ms = []
        for period in sorted(period for period in self._pending if period < over):
            values = self._pending.pop(period)
            vector = [value for value in values if value is not None]
            if len(vector) < len(values):
                self.skipped += 1
                self._lacked.update(index for index, value in enumerate(values) if value is None)
            else:
                vectors.append(vector)
                times_ms.append((period + 1) * self._every_ms)
                self._whole = period
                self._lacked = set()
        self._judged = over - 1
        self._judged_ms.extend(times_ms[-READINGS_MAX:])
        self._memory.take(vectors, times_ms, moment.newest_ms, moment.evidence_ms)

    def _drop_ahead(self, horizon: int) -> None:
        for period in [period for period in self._pending if period > horizon]:
            self.ahead += sum(value is not None for value in self._pending.pop(period))

    def _settle(self, moment: Moment) -> None:
        whom, memory = ", ".join(self._metrics), self._memory
        lacks = self._lacks_from_ms(moment) == NEVER_MS
        old = next((at for at, one in enumerate(self._staleness) if one.is_old(moment.evidence_ms)), None)
        unread = max(self._in_a_row) >= self._in_a_row_max
        self.absent = unread or lacks or old is not None
        if unread:
            self.status, self.text = Status.DEMANDS, self._unread_text
        elif memory.stands:
            told = self._named(memory.text)
            self.status, self.text = Status.DEMANDS, f"{self.cause.value} of {len(self.series)} series together: {told}"
        elif old is not None:
            self.status = Status.INSUFFICIENT
            age_s = self._staleness[old].age_ms(moment.evidence_ms) / 1000
            self.text = f"no reading of {self._metrics[old]} for {age_s:.1f} s: {whom} are judged together"
        elif lacks:
            self.status = Status.INSUFFICIENT
            self.text = f"periods of {self._every_ms / 1000:g} s lack {self._lacking()}: {whom} are judged together"
        elif not memory.ready:
            self.status = Status.INSUFFICIENT
            self.text = f"not enough readings of {whom} together yet: {self._named(memory.detector.summary())}"
        else:
            self.status, self.text = Status.HOLDS, f"{whom}: {self._named(memory.detector.summary())}"

    def news(self, since_ms: int) -> str:
        wanted = self._memory.window
        since = sum(time_ms > since_ms for time_ms in list(self._judged_ms)[-wanted:])
        if since < wanted:
            return f"{since} of {wanted} periods of {', '.join(self._metrics)} from after the closing"
        return ""

    def accept(self, moment: Moment) -> str:
        if max(self._in_a_row) >= self._in_a_row_max or not self._memory.stands:
            return f"{self.name} has no level that could be accepted: {self.text}"
        self._memory.adopt()
        self._settle(moment)
        return ""

    def inherit(self, before: Condition) -> None:
        if isinstance(before, TogetherCondition) and (self.series, self._every_ms) == (before.series, before._every_ms):
            self._memory.inherit(before._memory)

    def _grade(self) -> float:
        return self._memory.detector.score if self._memory.ready else 0.0

    def _lacking(self) -> str:
        behind = {index for index, newest in enumerate(self._newest) if newest <= self._whole} | self._lacked
        return ", ".join(self._metrics[index] for index in sorted(behind)) or "a value of each"

    def _named(self, text: str) -> str:
        """Replace the detector's metric numbers by the metrics' names."""
        return re.sub(r"\bmetric (\d{1,2})\b", self._name, text)

    def _name(self, match: re.Match[str]) -> str:
        index = int(match[1])
        return self._metrics[index] if index < len(self._metrics) else match[0]


def _short(series: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics' names without their source, if they are still different. Otherwise return the full names."""
    short = tuple(name.split("/", 1)[-1] for name in series)
    return short if len(set(short)) == len(short) else series
