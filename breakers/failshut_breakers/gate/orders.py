"""What operators, probes and time do to a gate's breaker: resets, locks, bypasses, outcomes of probes,
deadlines.

Each function takes the gate and the record's turn. It changes the breaker through `Gate.lock`, `Gate.trip`, `Breaker.move`
and `Breaker.amend` alone, and writes into the turn what happened. A reset that it grants begins PROVING when the turn is
concluded. A command that is refused says why, in words that go back to the operator.
"""

from __future__ import annotations

from dataclasses import replace

from failshut.cause import Cause
from failshut_breakers.command import Accept, Bypass, Confirm, EndBypass, GateCommand, Lock, Reset, Unlock
from failshut_breakers.conditions import Moment
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.evidence.records import OutcomeRow, Place
from failshut_breakers.gate.breaker import Closing
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.turn import Turn

BYPASS_MS_MAX = 24 * 3_600_000
"""A bypass ends within a day."""

ENDED = "bypass ended; "
"""Before the reason for which a gate is closed again, once: however often it was bypassed over the same closing."""

DOUBLED_MAX = 6
"""A cooldown doubles for each time that probes succeeded and executions failed again, so often at most."""


def take(gate: Gate, turn: Turn, command: GateCommand, place: Place, moment: Moment) -> str:
    """Take a command; return why it is refused, or "" where it is not."""
    match command:
        case Lock():
            gate.lock(Cause.LOCK, f"locked by {command.by}: {command.why}", place, moment.newest_ms, turn)
            return ""
        case Reset() | Unlock():
            return _reset(gate, turn, command, moment)
        case Bypass():
            return _bypass(gate, turn, command, moment)
        case EndBypass():
            return _end_bypass(gate, turn, place)
        case Confirm():
            return _confirm(gate, command)
        case Accept():
            return _accept(gate, turn, command, moment)


def _reset(gate: Gate, turn: Turn, command: Reset | Unlock, moment: Moment) -> str:
    state, closing = gate.breaker.state, gate.breaker.closing
    if isinstance(command, Unlock) and state is not State.LOCKED:
        return f"the breaker is {state}, and only a LOCKED one is unlocked"
    if state not in (State.TRIPPED, State.LOCKED) or closing is None:
        return f"the breaker is {state}"
    if turn.renewed or command.epoch != gate.epoch:
        return f"it answers epoch {command.epoch}, the gate is at {gate.epoch}: something came after what you saw"
    standing = cause_of(gate)
    if standing:
        return f"the cause persists: {standing}"
    if moment.evidence_ms <= closing.at_ms:
        return "no evidence from after the closing yet"
    lacking = lacks_news(gate, closing) or could_not_open(gate, moment)
    if lacking:
        return f"nothing reopens without news: it waits for {lacking}"
    turn.prove = True
    return ""


def cause_of(gate: Gate) -> str:
    """Return why the breaker is tripped where that stands, bypassed or not; or nothing."""
    if gate.entry.policy is None:
        return gate.entry.fault
    votes = gate.votes(bypassed=True)
    return votes[0].text if len(votes) >= gate.entry.policy.demands_to_trip else ""


def lacks_news(gate: Gate, closing: Closing) -> str:
    """Return what a condition that closed the gate has yet to read from after the closing, or nothing."""
    probes = gate.entry.policy.reset.probes if gate.entry.policy else 0
    for condition in gate.conditions:
        if condition.name not in closing.conditions:
            continue
        if condition.needs_probes and not probes:
            return f"executions, which alone can tell {condition.name} anything, and reset.probes is 0: accept it, or bypass it"
        news = condition.news(closing.at_ms)
        if news:
            return news
    return ""


def could_not_open(gate: Gate, moment: Moment) -> str:
    """Return what would keep the gate closed although its breaker did not, or nothing."""
    if not moment.evidence_ms:
        return "evidence time"
    condition = gate.interlock(bypassed=True)  # a reset ends the bypass
    return condition.text if condition is not None else ""


def waits_for(gate: Gate, closing: Closing, moment: Moment) -> tuple[str, str]:
    """Return why a cooled breaker cannot reset itself yet, as a key that does not change with every reading, and in words."""
    standing = cause_of(gate)
    if standing:
        return "cause", f"the cause to be gone: {standing}"
    gone = sorted(closing.conditions - {condition.name for condition in gate.conditions})
    if gone:
        return "operator", f"an operator's reset: no policy has {gone[0]!r}, which closed the gate, any more"
    lacking = lacks_news(gate, closing)
    if lacking:
        return "news", lacking
    lacking = could_not_open(gate, moment)
    return ("open", lacking) if lacking else ("", "")


def _accept(gate: Gate, turn: Turn, command: Accept, moment: Moment) -> str:
    condition = next((one for one in gate.conditions if one.name == command.condition), None)
    if condition is None:
        return f"no condition is named {command.condition!r}"
    if turn.renewed or turn.prove or command.epoch != gate.epoch:
        return f"it answers epoch {command.epoch}, the gate is at {gate.epoch}: something came after what you saw"
    refusal = condition.accept(moment)
    closing = gate.breaker.closing
    if not refusal and closing is not None and condition.needs_probes:
        # The operator's word stands in for executions, which a closed gate has none of.
        gate.breaker.amend(closing=replace(closing, conditions=closing.conditions - {condition.name}))
    return refusal


def _bypass(gate: Gate, turn: Turn, command: Bypass, moment: Moment) -> str:
    known = {condition.name for condition in gate.conditions}
    unknown = sorted(set(command.conditions) - known)
    if gate.breaker.state is State.LOCKED:
        return "the breaker is LOCKED: a lock is unlocked, never bypassed"
    if unknown:
        return f"no condition is named {unknown[0]!r}"
    if turn.renewed or turn.prove or command.epoch != gate.epoch:
        return f"it answers epoch {command.epoch}, the gate is at {gate.epoch}: something came after what you saw"
    if gate.breaker.state is State.TRIPPED and gate.breaker.closing is not None:
        left_out = sorted(gate.breaker.closing.conditions - set(command.conditions))
        if left_out:
            return f"it leaves out {left_out[0]!r}, which also demands"
        if not gate.breaker.closing.conditions:
            return f"no condition closed the gate: {gate.breaker.closing.because}"
    if not moment.newest_ms < command.until_ms <= moment.newest_ms + BYPASS_MS_MAX:
        return "its end is not within the next 24 hours"
    gate.bypass = command
    turn.renewed = True
    return ""


def _end_bypass(gate: Gate, turn: Turn, place: Place) -> str:
    if gate.bypass is None:
        return "no bypass is in force"
    _bypass_ends(gate, turn, place)
    return ""


def _bypass_ends(gate: Gate, turn: Turn, place: Place) -> None:
    """Let what the bypass covered count again. What still stands closes the gate when the turn is concluded."""
    gate.bypass = None
    turn.renew(place)
    closing = gate.breaker.closing
    if closing is not None and gate.breaker.state is State.TRIPPED:
        because = ENDED + closing.because.removeprefix(ENDED)
        gate.breaker.amend(closing=replace(closing, cause=Cause.BYPASS_ENDED, because=because))


def _confirm(gate: Gate, command: Confirm) -> str:
    if not sum(tally.confirm(command.epoch) for tally in gate.tallies.values()):
        return f"no condition with a budget of false trips tripped at epoch {command.epoch}, or it is confirmed already"
    return ""


def on_outcome(gate: Gate, turn: Turn, row: OutcomeRow, place: Place, moment: Moment) -> None:
    """Take the outcome of a probe: it counts with this PROVING's token alone, and once."""
    proving = gate.breaker.proving
    if gate.breaker.state is not State.PROVING or proving is None:
        return
    policy = gate.entry.policy
    ignored = {"cancelled", "interrupted"} if policy and policy.reset.interrupted == "ignored" else {"cancelled"}
    if not proving.knows(row.token) or row.outcome in ignored:
        return  # a probe that was not carried out proves nothing, and PROVING has a deadline
    if row.outcome != "ok":
        how = "was interrupted" if row.outcome == "interrupted" else "failed"
        _fall_back(gate, turn, Cause.PROVING_FAILED, f"probe {row.token.partition(':')[2]} {how}", place, moment)
        return
    proving = proving.passed_by(row.token)
    gate.breaker.amend(proving=proving)
    if len(proving.passed) >= proving.probes:
        gate.breaker.move(State.ARMED)
        turn.renew(place)


def on_time(gate: Gate, turn: Turn, place: Place, moment: Moment) -> None:
    """Take note of the time: a bypass ends, PROVING runs out, a cooldown has passed."""
    if gate.bypass is not None and moment.newest_ms >= gate.bypass.until_ms:
        _bypass_ends(gate, turn, place)
    proving, closing, policy = gate.breaker.proving, gate.breaker.closing, gate.entry.policy
    if proving is not None and moment.newest_ms >= proving.deadline_ms:
        because = f"{len(proving.passed)} of {proving.probes} probes came back before the deadline"
        _fall_back(gate, turn, Cause.PROVING_DEADLINE, because, place, moment)
        return
    if policy is None or policy.reset.after is None or gate.breaker.state is not State.TRIPPED or closing is None:
        return
    relapses = max((one.relapses for one in gate.conditions if one.name in closing.conditions), default=0)
    cooled_ms = closing.at_ms + policy.reset.after * 2 ** min(relapses, DOUBLED_MAX)
    if moment.evidence_ms < cooled_ms or gate.bypass is not None or turn.renewed:
        return
    key, words = waits_for(gate, closing, moment)
    if not key:
        turn.prove, turn.origin = True, place
    elif key != gate.waits:
        turn.note(closing.cause, f"a reset waits for {words}", place, "")
    gate.waits = key


def interrupt(gate: Gate, turn: Turn, because: str, moment: Moment) -> None:
    """End a PROVING whose gate had to close meanwhile: its tokens went with the permit, and it begins anew."""
    _fall_back(gate, turn, Cause.PROVING_FAILED, f"PROVING was interrupted: {because}", turn.origin, moment)


def _fall_back(gate: Gate, turn: Turn, cause: Cause, because: str, place: Place | None, moment: Moment) -> None:
    """Go back to TRIPPED, for the conditions that tripped it before: PROVING did not prove."""
    before = gate.breaker.closing
    gate.trip(Closing(cause, because, place, before.conditions if before else frozenset(), moment.newest_ms), turn)
