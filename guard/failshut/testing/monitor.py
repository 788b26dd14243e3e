"""The monitor of one gate as a rehearsal plays it: what it decides, signs and writes, one step at a time.

These are the steps of which everything consists that a test does to a gate (control.py) and that can befall one (scenes.py).
Each is taken inside one change of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from failshut.cause import Cause
from failshut.permit import InFlight, Permit
from failshut.testing.stage import Stage
from failshut.testing.statements import POLICY, TTL_MS, Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a gate's permits say, as its policy would. Without any, all subjects may do everything everywhere."""

    subjects: tuple[str, ...] = ("*",)
    operations: tuple[str, ...] = ("*",)
    context: Mapping[str, str] = field(default_factory=dict)
    policy: str = POLICY
    """The policy's digest, for gates that accept one alone."""
    in_flight: InFlight = "cancel"
    ttl_ms: int = TTL_MS

    def fields(self) -> dict[str, Any]:
        """Return them as fields of a permit."""
        return {
            "subjects": self.subjects,
            "operations": self.operations,
            "context": dict(self.context),
            "policy": self.policy,
            "in_flight": self.in_flight,
            "ttl_ms": self.ttl_ms,
        }


class PlayedMonitor:
    """Decides what it is told about one gate.

    Attributes:
        stage: what the gate shares with others.
        gate: its name.
        terms: what its permits say.
        says: its statements, which carry its epoch.
    """

    def __init__(self, stage: Stage, gate: str, terms: Terms) -> None:
        self.stage = stage
        self.gate = gate
        self.terms = terms
        self.says = Statements(stage.installation, gate)
        self.is_open = False
        """Whether it renews a permit for all that the terms admit."""

    def decide(self) -> None:
        """Begin a new decision, on a store that answers, with nothing to be renewed."""
        kept = self.stage.store.of(self.gate)
        kept.away = kept.stalled = False
        kept.probes = []
        self.fall_silent()
        self.says.decide()

    def open(self) -> None:
        """Decide that the gate is open."""
        self.decide()
        self.issue()
        self.is_open = True

    def be_open(self) -> None:
        """Open the gate unless it is open."""
        if not self.is_open:
            self.open()
        self.is_open = False  # for whoever goes on to take something of it away

    def prove(self, probes: int) -> None:
        """Decide that the gate proves itself, with so many probe tokens."""
        self.decide()
        self.stage.store.of(self.gate).probes = [self.says.probe_token(number) for number in range(probes)]
        self.issue(mode="proving")

    def close(self, cause: Cause, because: str) -> None:
        """Decide that the gate is closed: a closing, which stays."""
        self.decide()
        terms = self.terms
        said = {"in_flight": terms.in_flight, "policy": terms.policy}
        self.stage.write(self.gate, self.says.closing_at(self.stage.clock.now_ms, cause, because, **said))

    def permit(self, **changes: Any) -> Permit:
        """Return a permit of now under the terms, not written."""
        evidence_ms = changes.pop("evidence_ms", self.stage.clock.now_ms)
        return self.says.permit_at(evidence_ms, **(self.terms.fields() | changes))

    def issue(self, **changes: Any) -> None:
        """Write a permit, and again as time goes on."""

        def write() -> None:
            self.stage.write(self.gate, self.permit(**changes))

        write()
        self.stage.renewals[self.gate] = write

    def fall_silent(self) -> None:
        """Renew nothing from now on."""
        self.is_open = False
        self.stage.renewals.pop(self.gate, None)
