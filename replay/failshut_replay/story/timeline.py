"""When each gate was open and when it was closed, and why: what decisions mean over time.

A permit opens a gate until the next decision, or until it runs out. If a permit was not renewed in time, the gate was
closed meanwhile, with cause `lapsed`, although no decision says so. Renewals leave no trace, so a timeline is as long
as the gate's changes, not as its recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from failshut.cause import Cause
from failshut.seal import Seal, name_of
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.decisions.permits import lives_by_seals
from failshut_replay.replay.replay import Step

SPANS_MAX = 200_000
"""Changes of one gate that are kept; a gate that changes more often than that has another problem."""

DEMANDING = frozenset(
    {
        Cause.DRIFT,
        Cause.ANOMALY,
        Cause.CONFORMANCE,
        Cause.HEARTBEAT,
        Cause.LAG,
        Cause.FAILURE_RATE,
        Cause.UNREADABLE,
        Cause.NONCONFORMING,
    }
)
"""Causes by which a condition closes a gate: what noticing an incident means."""


@dataclass(slots=True)
class Span:
    """From `start_ms` to `end_ms` the gate was open, or closed over `cause`."""

    start_ms: int
    end_ms: int
    open: bool
    cause: str
    breaker: str
    because: str


@dataclass(slots=True)
class Trip:
    """A condition closed the gate, or asked for it again while it was closed."""

    at_ms: int
    cause: str
    because: str
    latched: bool  # the breaker tripped; otherwise an interlock
    closed_it: bool  # the gate was open until then, or only waited for its permit to be renewed


@dataclass(slots=True)
class Timeline:
    """One gate's spans, without holes, and its trips."""

    gate: str
    spans: list[Span] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    _exp_ms: int = 0
    _ttl_ms: int = 0
    _name: bytes = b""  # what seals call its permit

    def renew(self, seal: Seal, at_ms: int) -> None:
        """Take the next seal of the gate's evidence partition, made at `at_ms`."""
        evidence_ms = seal.time_of(self._name) if self._name else 0
        if not evidence_ms:
            return
        self._lapse(at_ms)
        last = self.spans[-1]
        if not last.open and len(self.spans) < SPANS_MAX:  # it had lapsed
            last.end_ms = max(last.end_ms, at_ms)
            self.spans.append(Span(at_ms, at_ms, True, "", last.breaker, "a seal renewed its permit"))
        self._exp_ms = max(self._exp_ms, evidence_ms + self._ttl_ms)

    def take(self, decision: Decision, at_ms: int) -> None:
        """Take the next decision, taken at `at_ms`."""
        if decision.kind is Kind.NOTE:
            return
        self._lapse(at_ms)
        cause = str(decision.cause or "")
        is_open = decision.kind is not Kind.CLOSE
        last = self.spans[-1] if self.spans else None
        if last is not None:
            last.end_ms = max(last.end_ms, at_ms)
        if decision.kind is Kind.CLOSE and decision.cause in DEMANDING and len(self.trips) < SPANS_MAX:
            latched = decision.breaker.value == "TRIPPED"
            armed = last is not None and (last.open or last.cause == Cause.LAPSED)
            self.trips.append(Trip(at_ms, cause, decision.because, latched, armed))
        state = (is_open, cause, decision.breaker.value)
        changed = last is None or (last.open, last.cause, last.breaker) != state
        if changed and len(self.spans) < SPANS_MAX:
            self.spans.append(Span(at_ms, at_ms, *state, decision.because))
        self._exp_ms, self._ttl_ms = (decision.exp_ms, decision.ttl_ms) if is_open else (0, 0)
        sealed = is_open and lives_by_seals(decision.mode)
        self._name = name_of(decision.gate, decision.epoch, decision.policy, decision.mode) if sealed else b""

    def end(self, at_ms: int) -> None:
        """End with the recording."""
        self._lapse(at_ms)
        if self.spans:
            self.spans[-1].end_ms = max(at_ms, self.spans[-1].start_ms)

    def _lapse(self, at_ms: int) -> None:
        last = self.spans[-1] if self.spans else None
        if last is not None and last.open and self._exp_ms < at_ms and len(self.spans) < SPANS_MAX:
            end_ms = max(last.start_ms, self._exp_ms)
            last.end_ms = end_ms
            self.spans.append(Span(end_ms, at_ms, False, Cause.LAPSED.value, last.breaker, "its permit ran out"))

    def closed_ms(self, from_ms: int, to_ms: int) -> int:
        """Return for how long it was closed between two times."""
        return sum(max(0, min(to_ms, span.end_ms) - max(from_ms, span.start_ms)) for span in self.spans if not span.open)

    def open_ms(self, from_ms: int, to_ms: int) -> int:
        """Return for how long it was open between two times."""
        return sum(max(0, min(to_ms, span.end_ms) - max(from_ms, span.start_ms)) for span in self.spans if span.open)

    def first_open_ms(self) -> int | None:
        """Return when it opened first: what comes before is the time that evidence needs to be enough."""
        return next((span.start_ms for span in self.spans if span.open), None)


def timelines(steps: Iterable[Step], gates: Iterable[str]) -> dict[str, Timeline]:
    """Return the timeline of each gate."""
    found = {gate: Timeline(gate) for gate in gates}
    last_ms = 0
    for step in steps:
        last_ms = max(last_ms, step.time_ms)
        for decision in step.decisions:
            if decision.gate in found:
                found[decision.gate].take(decision, step.time_ms)
        if step.seal is not None:
            for timeline in found.values():
                timeline.renew(step.seal, step.time_ms)
    for timeline in found.values():
        timeline.end(last_ms)
    return found
