"""What a gate would have done on a series: when it opened and closed, and whether it hears incidents that are put into it.

It is the gate that a governor runs, with a mark behind each reading. So time goes at the series' own pace. Where readings are
missing, marks go on at that pace, and a heartbeat notices. Probes are assumed to succeed. Lag and lapse are left out: they
depend on the monitor, not on the series.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from failshut_breakers.conditions import Moment
from failshut_breakers.evidence.records import FaultRow, Faults, Place, Samples
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Record, Step
from failshut_breakers.gate.turn import Turn
from failshut_breakers.policy.policy import Entry, parse_policy
from failshut_replay.trial.injected import KINDS, SHARES, begins, injected, length_of
from failshut_replay.trial.series import Series
from failshut_replay.trial.suggested import Tried, are_events

GATE = "trial"
POINTS = 5
QUIET_FROM = 0.4
"""Incidents begin in the last part of a series, from this share of it on, so that a detector has learnt by then."""

INCIDENT_MS, READINGS_MIN, READINGS_MAX = 3_600_000, 30, 120
"""An incident lasts an hour, and between so many readings."""

GAP_MARKS_MAX = 200
WEEK_MS = 604_800_000


@dataclass(slots=True)
class Closed:
    """The gate was closed from `start_ms` to `end_ms`."""

    start_ms: int
    end_ms: int
    cause: str
    because: str
    tripped: bool


@dataclass(slots=True)
class Lived:
    """What one policy came to."""

    tried: Tried
    opened_ms: int = 0  # when it opened first; 0 if it never did
    end_ms: int = 0
    closed: list[Closed] = field(default_factory=list)  # after it opened first
    heard_ms: dict[str, list[int | None]] = field(default_factory=dict)  # by kind: after how long at each point; None: never

    @property
    def open_for_ms(self) -> int:
        return self.end_ms - self.opened_ms if self.opened_ms else 0

    @property
    def closed_share(self) -> float:
        """The share of the time since it first opened for which it was closed: 1 if it never opened."""
        if not self.open_for_ms:
            return 1.0
        return sum(one.end_ms - one.start_ms for one in self.closed) / self.open_for_ms

    @property
    def closings_a_week(self) -> float:
        return len(self.closed) * WEEK_MS / self.open_for_ms if self.open_for_ms else 0.0

    def told(self, kind: str) -> tuple[int, int, int | None]:
        """Return of how many incidents of a kind it heard how many, and the median delay in milliseconds."""
        delays = self.heard_ms.get(kind, [])
        heard = [one for one in delays if one is not None]
        return len(delays), len(heard), int(median(heard)) if heard else None


class _OneGate:
    """A gate under one policy, that is told readings."""

    def __init__(self, policy: str, series: str) -> None:
        self.series, self.offset = series, 0
        self.gate = Gate(GATE)
        entry = Entry(GATE, f"{GATE}.yaml", "", parse_policy(policy), "")
        self.gate.activate(entry, 0, Place("control", 0, 0, 0), GATE, Turn())

    @property
    def is_open(self) -> bool:
        return bool(self.gate.shown.mode)

    def read(self, time_ms: int, value: float | None) -> None:
        """Take a reading, and a mark behind it."""
        if value is None:
            self._step(time_ms, Faults(self.series, [FaultRow(self.offset, 0, time_ms, "it could not be read")]))
        else:
            self._step(time_ms, Samples.of(self.series, [(self.offset, 0, time_ms, value)]))

    def mark(self, time_ms: int) -> None:
        """Take a mark alone."""
        self._step(time_ms)

    def _step(self, time_ms: int, *readings: Samples | Faults) -> None:
        step = Step(self.gate, Turn(), Record(GATE, 1, 0, self.offset, "telemetry", 0), Moment(time_ms, time_ms))
        step.read(list(readings), 0)
        step.tick(Place("telemetry", 0, self.offset, 0))
        step.conclude()
        self.offset += 1


def an_incident_of(series: Series) -> int:
    """Return for how many readings an incident lasts."""
    return min(READINGS_MAX, max(READINGS_MIN, INCIDENT_MS // series.pace_ms))


def points_of(series: Series) -> list[int]:
    """Return where incidents are put in: readings that lie apart, at different hours; none if the series is too short."""
    room = 3 * an_incident_of(series)
    first, last = int(len(series) * QUIET_FROM), len(series) - room
    if last <= first:
        return []
    return sorted({first + (last - first) * number // POINTS for number in range(POINTS)})


def live(tried: Tried, series: Series) -> Lived:
    """Return what a policy comes to on a series."""
    one, lived = _OneGate(tried.policy(GATE), series.name), Lived(tried)
    kinds = SHARES if are_events(series.read()) else KINDS
    lived.heard_ms = {kind: [] for kind in kinds}
    points, pace_ms, before_ms = set(points_of(series)), series.pace_ms, series.times_ms[0]
    for at, (time_ms, value) in enumerate(zip(series.times_ms, series.values, strict=True)):
        for mark_ms in _marks_between(before_ms, time_ms, pace_ms):
            one.mark(mark_ms)
            _note(lived, one, mark_ms)
        if at in points and one.is_open:
            _hear(lived, one, series, at)
        one.read(time_ms, value)
        _note(lived, one, time_ms)
        before_ms = time_ms
    if lived.closed and not lived.closed[-1].end_ms:
        lived.closed[-1].end_ms = lived.end_ms
    return lived


def _marks_between(before_ms: int, time_ms: int, pace_ms: int) -> range:
    """Return the times at which marks go on while readings are missing."""
    every_ms = max(pace_ms, (time_ms - before_ms) // GAP_MARKS_MAX)
    return range(before_ms + every_ms, time_ms - every_ms // 2, every_ms)


def _note(lived: Lived, one: _OneGate, time_ms: int) -> None:
    shown, closed = one.gate.shown, lived.closed
    lived.end_ms = time_ms
    if shown.mode and not lived.opened_ms:
        lived.opened_ms = time_ms
    if closed and not closed[-1].end_ms:
        if shown.mode:
            closed[-1].end_ms = time_ms
        return
    if lived.opened_ms and not shown.mode:
        tripped = one.gate.breaker.closing is not None
        closed.append(Closed(time_ms, 0, str(shown.cause), shown.because, tripped))


def _hear(lived: Lived, one: _OneGate, series: Series, at: int) -> None:
    """Put an incident of each kind into a copy of the series, and let copies of the gate go on with it."""
    an_hour = an_incident_of(series)
    before = [value for value in series.values[:at] if value is not None]
    last = before[-1] if before else 0.0
    values = np.array([last if value is None else value for value in series.values[: at + 4 * an_hour]])
    for kind, delays in lived.heard_ms.items():
        copy = deepcopy(one)
        changed = injected(kind, values, at, an_hour)
        first = begins(kind, an_hour)
        delays.append(None)
        for number in range(min(length_of(kind, an_hour), len(changed))):
            time_ms = series.times_ms[at + number]
            copy.read(time_ms, float(changed[number]))
            if number >= first and not copy.is_open:
                delays[-1] = time_ms - series.times_ms[at + first]
                break
