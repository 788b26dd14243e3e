"""Conditions on the values of one series: drift of the values, and conformance of events.

Both stand on a detector, which speaks of single records. A demand therefore stands for `demand_for` after the
last alarm. Readings that no detector may see (NaN, infinity, a wrong type) count too: so many in a row and
the condition demands, because a detector that is fed nothing finds nothing.
"""

from __future__ import annotations

from collections import deque

from failshut.cause import Cause
from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.evidence import Faults, Reading, Samples
from failshut_breakers.policy import Conformance, Drift
from failshut_detectors import Adwin, Detector, Fhddm, PageHinkley


class _OnSeries(Condition):
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
            rows = reading.rows if reading.rows[0][0] >= lo else [row for row in reading.rows if row[0] >= lo]
            if rows:
                self._in_a_row = 0
                demands = self._values(rows)
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

    def _values(self, rows: list[tuple[int, int, int, float]]) -> list[Demand]:
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


class DriftCondition(_OnSeries):
    """The values drift."""

    cause = Cause.DRIFT

    def __init__(self, policy: Drift) -> None:
        super().__init__(policy, _drift_detector(policy))

    def _values(self, rows: list[tuple[int, int, int, float]]) -> list[Demand]:
        alarms = self._detector.feed([row[3] for row in rows])
        return [
            Demand(rows[alarm.index][0], rows[alarm.index][1], f"drift in {self._metric}: {alarm.text}") for alarm in alarms
        ]


class ConformanceCondition(_OnSeries):
    """Fewer events conform to the rule than did, or than must."""

    cause = Cause.CONFORMANCE

    def __init__(self, policy: Conformance) -> None:
        super().__init__(policy, Fhddm(window=policy.window, confidence=policy.confidence))
        self._rule = policy.rule
        self._window: deque[float] = deque(maxlen=policy.window)
        self._misses = 0.0
        self._misses_max = policy.over * policy.window

    def _values(self, rows: list[tuple[int, int, int, float]]) -> list[Demand]:
        rule = self._rule
        return self._events([(row[0], row[1], 1.0 if rule(row[3]) else 0.0) for row in rows])

    def _faults(self, rows: list[tuple[int, int, int, str]]) -> list[Demand]:
        # Unreadable readings are non-conforming events, on top of counting in a row.
        return super()._faults(rows) + self._events([(row[0], row[1], 0.0) for row in rows])

    def _events(self, events: list[tuple[int, int, float]]) -> list[Demand]:
        alarms = self._detector.feed([event[2] for event in events])
        demands = [Demand(*events[alarm.index][:2], f"{self._metric}: {alarm.text} to {self._rule.text!r}") for alarm in alarms]
        window = self._window
        for offset, index, conforms in events:
            below = self._misses <= self._misses_max
            self._misses += (1.0 - conforms) - (1.0 - window[0] if len(window) == window.maxlen else 0.0)
            window.append(conforms)
            if below and self._misses > self._misses_max:
                demands.append(Demand(offset, index, self._standing()))
        demands.sort()
        return demands

    def _standing(self) -> str:
        if self._misses <= self._misses_max:
            return ""
        return f"{int(self._misses)} of the last {len(self._window)} of {self._metric} do not conform to {self._rule.text!r}"


def _drift_detector(policy: Drift) -> Detector:
    if policy.detector == "adwin":
        return Adwin(delta=0.002 if policy.delta is None else policy.delta, warm_up=policy.warm_up)
    return PageHinkley(
        threshold=50.0 if policy.threshold is None else policy.threshold,
        delta=0.005 if policy.delta is None else policy.delta,
        min_instances=policy.warm_up,
    )
