"""The base of all conditions of a policy.

A condition reads evidence of its own kind. At every moment of evidence time it has one of three states. It
holds, it demands (a trip or a lapse, as the policy says), or there is not enough evidence. It is fed whole
blocks, because that is fast, and returns only the places at which it began a demand. A gate merges the demands
of all its conditions by their place. So the order between series counts, although they are fed one after the
other.

A demand lasts until its cause is gone. A demand because of missing evidence is `absent`: it closes the gate by itself and
is no vote. After a closing, `news` returns what the condition must still read before a reset may be believed.

Pure: no I/O, no clock, no randomness. Every time is read from the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Brief
from failshut_breakers.evidence.records import Reading

NEVER_MS = 2**62
"""Evidence time (ms) that no log reaches: time alone changes nothing."""


class Status(StrEnum):
    """The state of a condition now."""

    HOLDS = "holds"
    DEMANDS = "demands"
    INSUFFICIENT = "insufficient"


class Moment(NamedTuple):
    """When evidence is read: the gate's evidence time and the newest mark of any partition, in ms. 0 means never.

    `routing` names in words the worker whose runs do not count for the gate. It is set once that delays the gate's evidence
    time for longer than its permit lives. Otherwise it is empty.
    """

    evidence_ms: int
    newest_ms: int
    routing: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Demand:
    """A demand that began (or was renewed) at a reading of the run. `text` is for a person on call."""

    offset: int
    index: int
    text: str


class Condition:
    """Base of all conditions. A subclass sets `status`, `text` and `absent`, and changes nothing else of a gate.

    `lo` in `feed` is the first front-door offset that counts. An earlier run has covered the rows before it.
    """

    cause: Cause
    absent = False
    """Whether it demands because evidence is missing, unreadable, unknown or old."""
    needs_probes = False
    """Whether its only evidence is executions, so that a reset without probes would be blind."""
    goes_on = False
    """Whether it took over what its predecessor of the same name had read, and continues from there."""
    relapses = 0
    """How often in a row it demanded again before enough evidence showed that a reset was right."""

    def __init__(self, name: str, action: str) -> None:
        self.name = name
        self.trips = action == "trip"
        self.status = Status.INSUFFICIENT
        self.text = "no evidence yet"
        self.held = False  # whether it held once: a condition that demands from its first reading on has no vote

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        """Read one block in order. Return the demands that its readings raised."""
        raise NotImplementedError

    def tick(self, moment: Moment) -> bool:
        """Apply the time of a mark. Return whether the time alone began a demand."""
        return False

    def wakes_ms(self, moment: Moment) -> int:
        """Return the evidence time (ms) before which no tick changes more than words and ages. 0 asks for every tick.

        It is called after a tick at `moment`, and counts until the condition is fed. A tick in between may be left out if
        another one follows: whatever a condition does before this time, the last tick does alone.
        """
        return 0

    @property
    def interlocks(self) -> bool:
        """Whether it closes the gate by itself, whatever `trip_on` says. It then has no vote for or against."""
        if self.status is Status.INSUFFICIENT:
            return True
        return self.status is Status.DEMANDS and (self.absent or not self.trips or not self.held)

    def news(self, since_ms: int) -> str:
        """Return what it must still read from after a closing before a reset may be believed. Return "" if nothing."""
        return ""

    def accept(self, moment: Moment) -> str:
        """Accept the present level as normal, as an operator ordered. Return why that is impossible, or ""."""
        return f"{self.name} has no level that could be accepted: {self.text}"

    def inherit(self, before: Condition) -> None:
        """Take over what a condition of the same name knew under another policy. Its demand lasts. Set `goes_on` if it did."""

    def gate_is_open(self, open_: bool, tripped: bool, moment: Moment) -> None:
        """Receive whether the gate is open, and whether its breaker is TRIPPED."""

    @property
    def score(self) -> float:
        """The reached part of its threshold: 1 if it demands, otherwise less. It is 0 if the condition has no grades."""
        return 1.0 if self.status is Status.DEMANDS else min(self._grade(), 0.999)

    def _grade(self) -> float:
        return 0.0

    def brief(self) -> Brief:
        """Return its name, state and text, for a decision."""
        return Brief(self.name, self.status.value, self.text)
