"""Conditions on one series: what they share, and drift and anomaly of the values.

They stand on a detector, which speaks of single records. A demand therefore stands for `demand_for` after the
last alarm. Readings that no detector may see (NaN, infinity, a wrong type) count too: so many in a row and
the condition demands, because a detector that is fed nothing finds nothing.
"""

from __future__ import annotations

from itertools import groupby

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Faults, Reading, Samples
from failshut_breakers.policy import Anomaly, Conformance, Drift
from failshut_detectors.contract import MAGNITUDE_MAX, Unfit


class OnSeries(Condition):
    """A condition that feeds the readings of one series to a detector; a subclass says how in `_values`."""

    def __init__(self, policy: Drift | Anomaly | Conformance) -> None:
        super().__init__(policy.name, policy.action)
        (self.series,) = policy.all_series
        self._metric = self.series.split("/", 1)[-1]
        self._detector = policy.build_detector()
        self._demand_for_ms = policy.demand_for
        self._in_a_row_max = policy.unreadable_in_a_row
        self._in_a_row = 0
        self._demand_until_ms = 0
        self._alarm_text = ""

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        demands: list[Demand] = []
        if isinstance(reading, Samples):
            skip = reading.before(lo)
            if skip < reading.count:
                demands = self._values(reading, skip)
        elif isinstance(reading, Faults):
            demands = self._faults([row for row in reading.rows if row[0] >= lo])
        if demands:
            self._alarm_text = demands[-1].text
            self._demand_until_ms = moment.newest_ms + self._demand_for_ms
        self._settle(moment)
        return demands

    def tick(self, moment: Moment) -> bool:
        self._settle(moment)
        return False

    def _values(self, samples: Samples, skip: int) -> list[Demand]:
        raise NotImplementedError

    def _grade(self) -> float:
        return self._detector.score if self._detector.ready else 0.0

    def _standing(self) -> str:
        """Return why the condition demands whatever the detector says, or nothing."""
        return ""

    def _faults(self, rows: list[tuple[int, int, int, str]]) -> list[Demand]:
        demands = []
        for offset, index, _, reason in rows:
            self._in_a_row += 1
            if self._in_a_row == self._in_a_row_max:
                demands.append(Demand(offset, index, f"{self._in_a_row} readings of {self._metric} in a row are {reason}"))
        return demands

    def _settle(self, moment: Moment) -> None:
        standing = self._standing()
        if standing:
            self.status, self.text = Status.DEMANDS, standing
        elif self._in_a_row >= self._in_a_row_max or moment.evidence_ms < self._demand_until_ms:
            self.status, self.text = Status.DEMANDS, self._alarm_text
        elif not self._detector.ready:
            self.status = Status.INSUFFICIENT
            self.text = f"not enough readings of {self._metric} yet: {self._detector.summary()}"
        else:
            self.status, self.text = Status.HOLDS, f"{self._metric}: {self._detector.summary()}"


class _OnValues(OnSeries):
    def _values(self, samples: Samples, skip: int) -> list[Demand]:
        values = samples.values(skip)
        times_ms = samples.times_ms(skip) if self._detector.uses_times else None
        try:
            alarms = self._detector.feed(values, times_ms)
        except Unfit:
            return self._in_parts(samples, skip)
        self._in_a_row = 0
        return [Demand(*samples.place(skip + alarm.index), f"{self.cause} in {self._metric}: {alarm.text}") for alarm in alarms]

    def _in_parts(self, samples: Samples, skip: int) -> list[Demand]:
        """Feed what a detector may see, and count the rest as faults."""
        demands: list[Demand] = []
        for fits, some in groupby(samples.rows[skip:], lambda row: abs(row[3]) <= MAGNITUDE_MAX):
            rows = list(some)
            if fits:
                demands += self._values(Samples.of(self.series, rows), 0)
            else:
                demands += self._faults([(offset, index, time_ms, "too large") for offset, index, time_ms, _ in rows])
        return demands


class DriftCondition(_OnValues):
    """The values drift."""

    cause = Cause.DRIFT


class AnomalyCondition(_OnValues):
    """The values are such as were never seen."""

    cause = Cause.ANOMALY
