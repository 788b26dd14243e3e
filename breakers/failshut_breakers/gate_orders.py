"""What operators, probes and time do to a gate's breaker: resets, holds, bypasses, outcomes of probes,
deadlines.

Each function takes the gate and changes it through `Gate.trip`, `Gate.prove` and `Breaker.move` alone. A
command that is refused says why, in words that go back to the operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failshut.cause import Cause
from failshut_breakers.breaker import Closing
from failshut_breakers.command import Bypass, Confirm, GateCommand, Hold, Reset
from failshut_breakers.conditions import Moment, Status
from failshut_breakers.decision import Breaker as State
from failshut_breakers.evidence import Place

if TYPE_CHECKING:
    from failshut_breakers.gate import Gate

MAX_BYPASS_MS = 24 * 3_600_000
"""A bypass ends within a day."""

OutcomeRow = tuple[int, int, int, int, str, str, int]


def take(gate: Gate, command: GateCommand, place: Place, moment: Moment) -> str:
    """Take a command; return why it is refused, or "" where it is not."""
    match command:
        case Hold():
            gate.hold(Cause.HOLD, f"held by {command.by}: {command.why}", place, moment.newest_ms)
            return ""
        case Reset():
            return _reset(gate, command, moment)
        case Bypass():
            return _bypass(gate, command, moment)
        case Confirm():
            return _confirm(gate, command)


def _reset(gate: Gate, command: Reset, moment: Moment) -> str:
    state, closing = gate.breaker.state, gate.breaker.closing
    if state not in (State.TRIPPED, State.HELD) or closing is None:
        return f"the breaker is {state}"
    if gate.renewed or command.epoch != gate.epoch:
        return f"it answers epoch {command.epoch}, the gate is at {gate.epoch}: something came after what you saw"
    if gate.persists():
        return f"the cause persists: {closing.because}"
    if moment.evidence_ms <= closing.at_ms:
        return "no evidence from after the closing yet"
    gate.prove_at_conclusion = True
    return ""


def _bypass(gate: Gate, command: Bypass, moment: Moment) -> str:
    known = {condition.name for condition in gate.conditions}
    unknown = sorted(set(command.conditions) - known)
    if gate.breaker.state is State.HELD:
        return "the breaker is HELD: a hold is reset, never bypassed"
    if unknown:
        return f"no condition is named {unknown[0]!r}"
    if gate.renewed or gate.prove_at_conclusion or command.epoch != gate.epoch:
        return f"it answers epoch {command.epoch}, the gate is at {gate.epoch}: something came after what you saw"
    if gate.breaker.state is State.TRIPPED and gate.breaker.closing is not None:
        left_out = sorted(gate.breaker.closing.conditions - set(command.conditions))
        if left_out:
            return f"it leaves out {left_out[0]!r}, which also demands"
        if not gate.breaker.closing.conditions:
            return f"no condition closed the gate: {gate.breaker.closing.because}"
    if not moment.newest_ms < command.until_ms <= moment.newest_ms + MAX_BYPASS_MS:
        return "its end is not within the next 24 hours"
    gate.bypass = command
    gate.renewed = True
    return ""


def _confirm(gate: Gate, command: Confirm) -> str:
    if not sum(tally.confirm(command.epoch) for tally in gate.tallies.values()):
        return f"no condition with a budget of false trips tripped at epoch {command.epoch}, or it is confirmed already"
    return ""


def on_outcome(gate: Gate, row: OutcomeRow, place: Place, moment: Moment) -> None:
    """Take the outcome of a probe: it counts with this PROVING's token alone, and once."""
    proving = gate.breaker.proving
    if gate.breaker.state is not State.PROVING or proving is None:
        return
    token, outcome = row[4], row[5]
    policy = gate.entry.policy
    ignored = {"cancelled", "interrupted"} if policy and policy.reset.interrupted == "ignored" else {"cancelled"}
    if not proving.knows(token) or outcome in ignored:
        return  # a probe that was not carried out proves nothing, and PROVING has a deadline
    if outcome != "ok":
        how = "was interrupted" if outcome == "interrupted" else "failed"
        _fall_back(gate, Cause.PROVING_FAILED, f"probe {token.partition(':')[2]} {how}", place, moment)
        return
    proving.passed.add(token)
    if len(proving.passed) >= proving.probes:
        gate.breaker.move(State.ARMED)
        gate.renewed, gate.origin = True, place


def on_time(gate: Gate, place: Place, moment: Moment) -> None:
    """Take note of the time: a bypass ends, PROVING runs out, a cooldown has passed."""
    if gate.bypass is not None and moment.newest_ms >= gate.bypass.until_ms:
        gate.bypass = None
        gate.renewed, gate.origin = True, place
        closing = gate.breaker.closing
        if closing is not None and gate.breaker.state is State.TRIPPED:
            closing.because, closing.cause = f"bypass ended; {closing.because}", Cause.BYPASS_ENDED
    proving, closing, policy = gate.breaker.proving, gate.breaker.closing, gate.entry.policy
    if proving is not None and moment.newest_ms >= proving.deadline_ms:
        because = f"{len(proving.passed)} of {proving.probes} probes came back before the deadline"
        _fall_back(gate, Cause.PROVING_DEADLINE, because, place, moment)
        return
    if policy is None or policy.reset.after is None or gate.breaker.state is not State.TRIPPED or closing is None:
        return
    cooled = moment.evidence_ms >= closing.at_ms + policy.reset.after
    sufficient = all(condition.status is not Status.INSUFFICIENT for condition in gate.conditions)
    if cooled and sufficient and gate.bypass is None and not gate.renewed and not gate.persists():
        gate.prove_at_conclusion, gate.origin = True, place


def interrupt(gate: Gate, because: str, place: Place | None, moment: Moment) -> None:
    """End a PROVING whose gate had to close meanwhile: its tokens went with the permit, and it begins anew."""
    _fall_back(gate, Cause.PROVING_FAILED, f"PROVING was interrupted: {because}", place, moment)


def _fall_back(gate: Gate, cause: Cause, because: str, place: Place | None, moment: Moment) -> None:
    """PROVING did not prove: back to TRIPPED, for the conditions that tripped it before."""
    before = gate.breaker.closing
    gate.trip(Closing(cause, because, place, before.conditions if before else frozenset(), moment.newest_ms))
