"""What gates in shadow would have done: how long each would have been closed, how often, and over what. Pure.

It is fed what happened (log_entries.py), in the order of the log. Times are of evidence: a decision that was written late
counts for the time that it is about.

Limits: of a gate that entered shadow before the span, what it would have been at the beginning is known from its first word on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from failshut_console.monitor.log_entries import ACTIVATED, WOULD_CLOSE, WOULD_OPEN, Entry

WEEK_MS = 7 * 86_400_000
GATES_MAX = 20_000


@dataclass
class Shadow:
    """One gate in shadow, in the span of the report."""

    gate: str
    from_ms: int  # of evidence: its first word in the span
    upto_ms: int
    closed_ms: int = 0  # it would have been closed for so long
    closings: int = 0
    trips: int = 0  # of them, those over which the breaker tripped
    longest_ms: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    _since_ms: int = 0  # it would be closed, and is counted up to then; 0 if it would be open
    _began_ms: int = 0

    def take(self, entry: Entry) -> None:
        """Take the next word about it."""
        at_ms = max(self.upto_ms, entry.evidence_ms)
        self._end(at_ms)
        if entry.what == WOULD_CLOSE:
            if not self._since_ms:
                self._began_ms = at_ms
                self.closings += 1
                self.causes[entry.cause] += 1
                self.trips += entry.breaker == "TRIPPED"
            self._since_ms = at_ms
        else:
            self._since_ms = 0

    def end(self, at_ms: int) -> None:
        """Let the span end at a time."""
        self._end(max(self.upto_ms, at_ms))

    def _end(self, at_ms: int) -> None:
        if self._since_ms:
            self.closed_ms += at_ms - self._since_ms
            self.longest_ms = max(self.longest_ms, at_ms - self._began_ms)
            self._since_ms = at_ms
        self.upto_ms = at_ms

    @property
    def open_share(self) -> float:
        """The share of the time for which it would have been open."""
        length_ms = self.upto_ms - self.from_ms
        return 1.0 - self.closed_ms / length_ms if length_ms else float(not self._since_ms)

    @property
    def trips_a_week(self) -> float:
        """How often it would have tripped, for a week. Each is a false one, if nothing was wrong."""
        length_ms = self.upto_ms - self.from_ms
        return self.trips * WEEK_MS / length_ms if length_ms else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return {
            "gate": self.gate,
            "from_ms": self.from_ms,
            "upto_ms": self.upto_ms,
            "would_open_share": round(self.open_share, 6),
            "would_close": self.closings,
            "would_trip": self.trips,
            "would_trip_a_week": round(self.trips_a_week, 3),
            "longest_ms": self.longest_ms,
            "causes": dict(sorted(self.causes.items())),
        }


class ShadowReport:
    """Gates in shadow, by name."""

    def __init__(self) -> None:
        self.gates: dict[str, Shadow] = {}

    def take(self, entry: Entry) -> None:
        """Take what happened next."""
        known = self.gates.get(entry.gate)
        if entry.what in (WOULD_CLOSE, WOULD_OPEN):
            if known is None and len(self.gates) < GATES_MAX:
                known = self.gates[entry.gate] = Shadow(entry.gate, entry.evidence_ms, entry.evidence_ms)
            if known is not None:
                known.take(entry)
        elif known is not None and entry.what == ACTIVATED:
            known.end(entry.evidence_ms)  # whether it is still in shadow, its next word says

    def end(self, at_ms: int) -> list[Shadow]:
        """Let the span end; return the gates by name."""
        for gate in self.gates.values():
            gate.end(at_ms)
        return [self.gates[name] for name in sorted(self.gates)]
