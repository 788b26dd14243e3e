"""What the guards in the services answered, and what follows from it: when a gate closed, and whether anything slipped through.

Pure: answers in, numbers out. Times are seconds of the machine's monotonic clock, as the services took them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

KEPT_MAX = 100_000
"""Answers that are kept of one gate: half an hour at fifty a second."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a guard. `cause` is empty where it admitted; `mode` and `evidence_ms` are the permit's."""

    at: float
    cause: str = ""
    mode: str = ""
    evidence_ms: int = 0

    @property
    def admitted(self) -> bool:
        """Whether the execution began."""
        return not self.cause


@dataclass(slots=True)
class GateAnswers:
    """All answers about one gate, by the one service that asks."""

    gate: str
    admitted: int = 0
    withheld: int = 0
    because: str = ""
    heard_at: float = 0.0
    answers: deque[Answer] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))

    def take(self, answers: Iterable[Answer], because: str, heard_at: float) -> None:
        """Take a report: answers in the order of their times."""
        for answer in sorted(answers, key=lambda answer: answer.at):
            self.answers.append(answer)
            if answer.admitted:
                self.admitted += 1
            else:
                self.withheld += 1
        self.because, self.heard_at = because, heard_at

    @property
    def last(self) -> Answer | None:
        """The newest answer."""
        return self.answers[-1] if self.answers else None

    def since(self, start: float) -> list[Answer]:
        """Return the answers from a moment on, oldest first."""
        found = []
        for answer in reversed(self.answers):
            if answer.at < start:
                break
            found.append(answer)
        return found[::-1]


def closed_at(answers: Iterable[Answer], causes: frozenset[str]) -> Answer | None:
    """Return the first denial for one of these causes; None if there was none."""
    return next((answer for answer in answers if answer.cause in causes), None)


def closed_for_good(answers: Iterable[Answer], causes: frozenset[str]) -> Answer | None:
    """Return the first denial for one of these causes after the last execution that was admitted; None if there was none."""
    after: list[Answer] = []
    for answer in answers:
        after = [] if answer.admitted else [*after, answer]
    return closed_at(after, causes)


def slipped(answers: Iterable[Answer], after: float, before: float, stale_ms: int | None = None) -> int:
    """Return how many executions were admitted between two moments.

    With `stale_ms` only those count whose permit rests on evidence from before that wall-clock time: what a monitor has proved
    anew is no slip.
    """
    return sum(
        answer.admitted and after < answer.at < before and (stale_ms is None or answer.evidence_ms < stale_ms)
        for answer in answers
    )


def steady_since(answers: Iterable[Answer]) -> float | None:
    """Return since when every execution has been admitted by an armed breaker; None if the last one was not."""
    start = None
    for answer in answers:
        start = (start or answer.at) if answer.admitted and answer.mode == "armed" else None
    return start
