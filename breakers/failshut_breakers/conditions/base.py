"""What every condition of a policy has in common.

A condition reads evidence of its own kind and says, at every moment of evidence time, one of three things: it
holds, it demands (a trip or a lapse, as the policy says), or there is not enough evidence yet. It is fed
whole blocks, because that is what is fast, and returns only the moments at which it began or renewed a
demand; a gate merges those of all its conditions by their place, so that order between series counts although
they are fed one after the other.

Pure: no I/O, no clock, no randomness. Time comes in with the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers.decision import Brief
from failshut_breakers.evidence import Reading


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
    """Base of all conditions. A subclass sets `status` and `text` and nothing else of a gate.

    `lo` in `feed` is the first front-door offset that counts: rows before it were covered by an earlier run.
    """

    cause: Cause

    def __init__(self, name: str, action: str) -> None:
        self.name = name
        self.trips = action == "trip"
        self.status = Status.INSUFFICIENT
        self.text = "no evidence yet"

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        """Take the readings of one block in order and return the demands that they raised."""
        raise NotImplementedError

    def tick(self, moment: Moment) -> bool:
        """Take note of the time; return whether a demand began by it alone."""
        return False

    @property
    def score(self) -> float:
        """The part of its threshold that it has reached: 1 where it demands, less elsewhere; 0 where nothing is graded."""
        return 1.0 if self.status is Status.DEMANDS else min(self._grade(), 0.999)

    def _grade(self) -> float:
        return 0.0

    def brief(self) -> Brief:
        """Return the reading in brief."""
        return Brief(self.name, self.status.value, self.text)
