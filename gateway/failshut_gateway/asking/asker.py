"""Asks the guard on behalf of callers, without ever blocking the event loop.

First the key: is it for this gate, and for this subject? Then the guard: the hot path of `Gate.check`, or a wait of at most
the guard's deadline. A question that a key does not cover never reaches the guard. So nobody learns of a gate that is not his,
and nobody can have the guard watch it.

The guard watches each gate that was once asked for, up to 4,096. A key with a wide pattern could fill that table with names
that are no gates. So each key brings in at most `GATES_OF_KEY_MAX` names by its patterns, and all keys together `GATES_MAX`;
further names are denied. A gate that a key names without a pattern does not count: it has the rest of the table.

Limit: a gate that is PROVING admits nobody here, because a question takes no probe token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from failshut import Gate, Guard, Withheld
from failshut.admission.checks import Question, decide, refuse_names
from failshut.admission.denial import Denial
from failshut.cause import Cause
from failshut.execution import key_of
from failshut.store.names import check_gate
from failshut_gateway.access.grant import Grant
from failshut_gateway.asking.verdict import Verdict, withheld

GATES_MAX: Final = 3_500
GATES_OF_KEY_MAX: Final = 2_000
#: Pairs of gate and subject that are remembered as covered by a key. At the bound it forgets them all and matches anew.
COVERED_MAX: Final = 10_000


#: What a caller that may not ask gets, whatever the gate would say: the guard is not asked.
NOT_COVERED: Final = Denial(Cause.IDENTITY, "the caller may not ask for this gate and subject")
NOT_ASKED: Final = Denial(Cause.NO_PERMIT, "the guard was not asked")


@dataclass(slots=True)
class _Covered:
    """What one entry of the file of keys covers, as far as it was asked. Another entry begins anew."""

    grant: Grant
    pairs: set[tuple[str, str]] = field(default_factory=set)


class Asker:
    """One guard's answers. Only in the event loop."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._gates: dict[str, Gate] = {}
        self._brought: dict[str, int] = {}
        self._covered: dict[str, _Covered] = {}

    async def ask(self, grant: Grant, name: str, subject: str, operation: str | None) -> Verdict:
        """Return whether `subject` may execute now. `name` is any text; what names no gate is denied."""
        if not self.covers(grant, name, subject):
            found = decide(Question(subject, operation, identity=NOT_COVERED), NOT_ASKED)
            return withheld(found.cause, found.because) if isinstance(found, Denial) else withheld(Cause.IDENTITY)
        gate = self._gates.get(name)
        if gate is None:
            gate = self._bring_in(grant, name)
            if gate is None:
                return withheld(Cause.UNKNOWN_GATE, "no gate has this name, or too many gates were asked for")
        lease = gate.lease_for(key_of(subject, operation))
        if lease is not None:
            return Verdict(lease.permit)
        return await self._ask_guard(gate, subject, operation)

    def covers(self, grant: Grant, gate: str, subject: str) -> bool:
        """Return whether the key is for this gate and this subject."""
        known = self._covered.get(grant.id)
        if known is None or known.grant is not grant:
            if len(self._covered) >= COVERED_MAX:
                self._covered.clear()
            known = self._covered[grant.id] = _Covered(grant)
        pair = (gate, subject)
        if pair in known.pairs:
            return True
        if not (grant.covers_gate(gate) and grant.covers_subject(subject)):
            return False
        if len(known.pairs) >= COVERED_MAX:
            known.pairs.clear()
        known.pairs.add(pair)
        return True

    def gate(self, grant: Grant, name: str) -> Gate | None:
        """Return the gate of a name that the key covers; None if it names no gate, or there is no room for another one."""
        return self._gates.get(name) or self._bring_in(grant, name)

    async def look(self, grant: Grant, name: str) -> Verdict:
        """Return what a gate does, whoever asks to execute: its permit if there is one in force, PROVING included."""
        if not grant.covers_gate(name):
            return withheld(Cause.IDENTITY, "the access key is not for this gate")
        gate = self._gates.get(name) or self._bring_in(grant, name)
        if gate is None:
            return withheld(Cause.UNKNOWN_GATE, "no gate has this name, or too many gates were asked for")
        try:
            guard, slot = gate.bind()
        except Withheld as denial:
            return withheld(denial.cause, denial.because)
        found = await guard.obtain_async(slot, guard.deadline())
        return withheld(found.cause, found.because) if isinstance(found, Denial) else Verdict(found.permit)

    async def _ask_guard(self, gate: Gate, subject: str, operation: str | None) -> Verdict:
        if refused := refuse_names(subject, operation):
            return withheld(refused.cause, refused.because)
        try:
            guard, slot = gate.bind()
        except Withheld as denial:
            return withheld(denial.cause, denial.because)
        found = guard.admit(slot, await guard.obtain_async(slot, guard.deadline()), subject, operation, probing=False)
        return withheld(found.cause, found.because) if isinstance(found, Denial) else Verdict(found.permit)

    def _bring_in(self, grant: Grant, name: str) -> Gate | None:
        brought = self._brought.get(grant.payer, 0)
        named = name in grant.gates
        if not named and (len(self._gates) >= GATES_MAX or brought >= GATES_OF_KEY_MAX):
            return None
        try:
            check_gate(name)
        except ValueError:
            return None
        if not named:
            self._brought[grant.payer] = brought + 1
        gate = self._gates[name] = Gate(name, guard=self.guard)
        return gate
