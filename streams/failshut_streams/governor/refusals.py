"""What the store refuses again and again, and what to do about it.

A write that is refused is nothing by itself: a standby that is a moment behind has its permits refused all day. But a fence
that no monitor wrote, or of a term that nobody opened, refuses a gate for ever. That must be reported by name. So a refusal
counts if the decision is fresh and one of three things is true. The store holds a fence that no monitor wrote. It holds a later
term than the decision's. Or its fence is further on in the same term, and has not moved for `REPEATED` decisions.

Limits: one entry for each gate of this worker that was refused. Which of two monitors is right, nobody here can know.
"""

from __future__ import annotations

from dataclasses import dataclass

from failshut.epoch import is_epoch, term_of
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.store.client import Answer

REPEATED = 8
"""Fresh decisions that one fence refuses before that is strange; a standby that is behind is refused by one that moves."""

FRESH_MS = 30_000
"""A closing of older evidence is told again by a worker that catches up; what the store says of it means nothing."""

FOREIGN, LATER_TERM, AHEAD, OLDER = "refused_foreign", "refused_later_term", "refused_ahead", "refused_older"


@dataclass(slots=True)
class _Refusal:
    fence: tuple[str, str]
    count: int = 0
    words: str = ""


class Refusals:
    """Takes note of what the store answered; `words` says by gate what is strange."""

    def __init__(self) -> None:
        self._by_gate: dict[str, _Refusal] = {}

    @property
    def gates(self) -> list[str]:
        """Gates whose last statement the store refused, for a reason that does not pass by itself."""
        return list(self._by_gate)

    @property
    def words(self) -> dict[str, str]:
        """What refuses a gate for good, by gate."""
        return {gate: refusal.words for gate, refusal in sorted(self._by_gate.items()) if refusal.words}

    def forget(self, gate: str) -> None:
        """Let go of a gate: it was written, or is another worker's."""
        self._by_gate.pop(gate, None)

    def note(self, decision: Decision, answer: Answer, now_ms: int) -> tuple[str, str]:
        """Take note of a refusal; return which kind it is, and the words for the log when they are new."""
        kind = _kind_of(decision, answer)
        if kind == OLDER or (decision.kind is Kind.CLOSE and decision.evidence_ms < now_ms - FRESH_MS):
            return OLDER, ""
        refusal = self._by_gate.get(decision.gate)
        if refusal is None or refusal.fence != (answer.epoch, answer.offset):
            refusal = self._by_gate[decision.gate] = _Refusal((answer.epoch, answer.offset))
        refusal.count += 1
        if refusal.words or refusal.count < {FOREIGN: 1, LATER_TERM: 2}.get(kind, REPEATED):
            return (OLDER if kind == AHEAD and not refusal.words else kind), ""
        refusal.words = _words(kind, decision, answer)
        return kind, refusal.words


def _kind_of(decision: Decision, answer: Answer) -> str:
    if not is_epoch(answer.epoch):
        return FOREIGN
    if term_of(answer.epoch) > term_of(decision.epoch):
        return LATER_TERM
    return AHEAD if answer.epoch > decision.epoch else OLDER


def _words(kind: str, decision: Decision, answer: Answer) -> str:
    gate = decision.gate
    if kind == FOREIGN:
        return (
            f"the store refuses {gate}: what stands at its fence was written by no monitor, and nothing opens over it. Its "
            f"next closing puts that right: `failshut lock {gate}`, then unlock it"
        )
    term, epoch = term_of(answer.epoch), int(answer.epoch)
    held = (
        f"the store refuses {gate}: it holds epoch {epoch} of term {term}, and this monitor is at epoch {int(decision.epoch)}"
    )
    if kind == LATER_TERM:
        held += f" of term {term_of(decision.epoch)}. If no monitor runs in term {term}"
    else:
        held += ", and that does not move. If no monitor is ahead of this one"
    return f"{held}, remove it: `failshut fence clear {gate} --epoch {epoch}`"
