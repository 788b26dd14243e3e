"""A turn: what happened to one gate in one evidence record.

A gate concludes once for a record: at most one decision about its state. What led there (a closing that must be said again,
a reset that was granted, who did it, what was refused) belongs to that record alone. So it stands here and not in the gate:
the next record begins with a new turn, and nothing has to be reset.

A turn begins where a notice or a reading first concerns the gate, and ends with its conclusion. The functions that change a
gate take it as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Answer
from failshut_breakers.evidence.records import Place


class Note(NamedTuple):
    """What is said of a record beside the gate's state: a refused command, an answer, what a reset waits for."""

    cause: Cause | None
    words: str
    place: Place
    by: str
    answer: Answer | None = None  # to the operator's command that stands at `place`


@dataclass(slots=True)
class Turn:
    """What happened to a gate in one record so far."""

    edited: bool = False  # another policy came
    renewed: bool = False  # its closing or its permit must be said again: a later demand, a new policy
    tripped: bool = False  # a demand closed the gate
    counts: bool = False  # that demand met an ARMED breaker
    prove: bool = False  # a reset was granted
    origin: Place | None = None  # what moved the gate
    by: str = ""  # whose word that was
    notes: list[Note] = field(default_factory=list)

    def renew(self, origin: Place | None) -> None:
        """Take note of what moved the gate, so that the decision is said again under a new epoch."""
        self.renewed, self.origin = True, origin

    def note(self, cause: Cause | None, words: str, place: Place, by: str, answer: Answer | None = None) -> None:
        """Say something beside the gate's state; where that answers a command, with the answer."""
        self.notes.append(Note(cause, words, place, by, answer))
