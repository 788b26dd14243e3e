"""Conditions on one series: what they share, and drift of the values.

They stand on a detector, which speaks of single records. A demand therefore stands for `demand_for` after the
last alarm. Readings that no detector may see (NaN, infinity, a wrong type) count too: so many in a row and
the condition demands, because a detector that is fed nothing finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Faults, Reading, Samples
from failshut_breakers.policy import Conformance, Drift
from failshut_detectors import Adwin, Detector, PageHinkley

MAGNITUDE_MAX = 1e100
"""Beyond it a detector's sums of squares overflow and it never detects again: such a value counts as a fault instead."""


class OnSeries(Condition):
    """A condition that feeds the readings of one series to a detector; a subclass says how in `_values`."""

    def __init__(self, policy: Drift | Conformance, detector: Detector) -> None:
        super().__init__(policy.name, policy.action)
        self.series = policy.series
        self._metric = policy.series.split("/", 1)[-1]
        self._detector = detector
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
            self.status, self.text = Status.INSUFFICIENT, f"not enough readings of {self._metric} yet"
        else:
            self.status, self.text = Status.HOLDS, f"{self._metric}: {self._detector.summary()}"


class DriftCondition(OnSeries):
    """The values drift."""

    cause = Cause.DRIFT

    def __init__(self, policy: Drift) -> None:
        super().__init__(policy, _drift_detector(policy))

    def _values(self, samples: Samples, skip: int) -> list[Demand]:
        values = samples.values(skip)
        if min(values) >= -MAGNITUDE_MAX and max(values) <= MAGNITUDE_MAX:
            return self._detect(samples, skip, values)
        demands: list[Demand] = []
        for fits, some in groupby(values, lambda value: abs(value) <= MAGNITUDE_MAX):
            part = list(some)
            if fits:
                demands += self._detect(samples, skip, part)
            else:
                rows = range(skip, skip + len(part))
                demands += self._faults([(*samples.place(row), 0, "too large") for row in rows])
            skip += len(part)
        return demands

    def _detect(self, samples: Samples, skip: int, values: Sequence[float]) -> list[Demand]:
        self._in_a_row = 0
        times_ms = samples.times_ms(skip)[: len(values)] if self._detector.uses_times else None
        return [
            Demand(*samples.place(skip + alarm.index), f"drift in {self._metric}: {alarm.text}")
            for alarm in self._detector.feed(values, times_ms)
        ]


def _drift_detector(policy: Drift) -> Detector:
    if policy.detector == "adwin":
        return Adwin(delta=0.002 if policy.delta is None else policy.delta, warm_up=policy.warm_up)
    return PageHinkley(
        threshold=50.0 if policy.threshold is None else policy.threshold,
        delta=0.005 if policy.delta is None else policy.delta,
        min_instances=policy.warm_up,
    )
