"""What every condition of a policy has in common.

A condition reads evidence of its own kind. At every moment of evidence time it says one of three things. It
holds, it demands (a trip or a lapse, as the policy says), or there is not enough evidence. It is fed whole
blocks, because that is fast, and returns only the moments at which it began a demand. A gate merges the moments
of all its conditions by their place. So the order between series counts, although they are fed one after the
other.

A demand lasts until its cause is gone. One that is due to missing evidence is `absent`: it closes the gate by itself
and is no vote. After a closing `news` says what the condition has yet to read before a reset may be believed.

Pure: no I/O, no clock, no randomness. Time comes in with the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Brief
from failshut_breakers.evidence.records import Reading


class Status(StrEnum):
    """What a condition says now."""

    HOLDS = "holds"
    DEMANDS = "demands"
    INSUFFICIENT = "insufficient"


class Moment(NamedTuple):
    """When evidence is read: the gate's evidence time, and the newest mark of any partition. Milliseconds; 0 is never.

    `routing` says in words which worker's runs do not count for the gate, once that holds its evidence time back for longer
    than its permit lives; else it is empty.
    """

    evidence_ms: int
    newest_ms: int
    routing: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Demand:
    """A demand that began (or was renewed) at a reading of the run, in words for a person on call."""

    offset: int
    index: int
    text: str


class Condition:
    """Base of all conditions. A subclass sets `status`, `text` and `absent` and nothing else of a gate.

    `lo` in `feed` is the first front-door offset that counts: rows before it were covered by an earlier run.
    """

    cause: Cause
    absent = False
    """Whether it demands because evidence is missing, unreadable, unknown or old."""
    needs_probes = False
    """Whether only executions can tell it anything, so that a reset without probes would be blind."""
    goes_on = False
    """Whether it took over all that a condition of its name had read, so that it reads on where that one stopped."""
    relapses = 0
    """How often in a row it demanded again before enough evidence had shown that a reset was right."""

    def __init__(self, name: str, action: str) -> None:
        self.name = name
        self.trips = action == "trip"
        self.status = Status.INSUFFICIENT
        self.text = "no evidence yet"
        self.held = False  # it held once: what demands from its first reading on has nothing to vote by

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        """Take the readings of one block in order and return the demands that they raised."""
        raise NotImplementedError

    def tick(self, moment: Moment) -> bool:
        """Take note of the time; return whether a demand began by it alone."""
        return False

    @property
    def interlocks(self) -> bool:
        """Whether it closes the gate by itself, whatever `trip_on` says: such a condition is no vote for or against."""
        if self.status is Status.INSUFFICIENT:
            return True
        return self.status is Status.DEMANDS and (self.absent or not self.trips or not self.held)

    def news(self, since_ms: int) -> str:
        """Return what it has yet to read from after a closing before a reset may be believed, or nothing."""
        return ""

    def accept(self, moment: Moment) -> str:
        """Take what is read now for normal, as an operator says; return why that cannot be, or nothing."""
        return f"{self.name} has no level that could be accepted: {self.text}"

    def inherit(self, before: Condition) -> None:
        """Take over what a condition of the same name knew under another policy: what it demanded still stands."""

    def gate_is_open(self, open_: bool, tripped: bool, moment: Moment) -> None:
        """Take note of whether the gate is open, and its breaker TRIPPED."""

    @property
    def score(self) -> float:
        """The part of its threshold that it has reached: 1 where it demands, less elsewhere; 0 where nothing is graded."""
        return 1.0 if self.status is Status.DEMANDS else min(self._grade(), 0.999)

    def _grade(self) -> float:
        return 0.0

    def brief(self) -> Brief:
        """Return the reading in brief."""
        return Brief(self.name, self.status.value, self.text)
