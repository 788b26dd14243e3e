"""What a gate is, said in a form that later versions read: nothing of it is lost but what conditions remember."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from log import World, policy

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.gate.state import Gate
from failshut_breakers.governor import Governor
from failshut_breakers.standing import (
    FORM,
    BadStanding,
    GateStanding,
    PartitionStanding,
    activation_standing,
    gate_standing,
    governor_of,
    partition_standing,
    settle,
)

DRIFT = "drift: {series: s/x, detector: adwin, warm_up: 20}"
BEAT = "heartbeat: {source: a, grace: 3s}"
FAILURES = "failure_rate: {window: 60s, at_least: 4, over: 0.3}"
ARMED = (policy(BEAT, DRIFT, FAILURES, reset="{after: 2s, probes: 2}"),)


def _steady(world: World, count: int = 30, level: float = 48.0) -> None:
    for n in range(count):
        world.samples([level + n % 3], flush=False)
        world.send(("beat", "a", None))
        world.mark()


def _open(world: World) -> None:
    _steady(world)
    assert world.is_open()


def _tripped(world: World) -> None:
    _open(world)
    world.samples([97.0] * 60)
    world.mark()
    assert world.last().breaker is Breaker.TRIPPED


def _locked(world: World) -> None:
    _open(world)
    world.command("lock", why="a drill")
    assert world.last().breaker is Breaker.LOCKED


def _bypassed(world: World) -> None:
    _tripped(world)
    until_ms = world.now_ms + 600_000
    world.command("bypass", epoch=int(world.last().epoch), conditions=[DRIFT_NAME, BEAT_NAME], until_ms=until_ms)
    world.mark()
    assert world.last().mode == "bypass"


def _proving(world: World) -> None:
    _tripped(world)
    _steady(world, 60)
    assert world.last().breaker is Breaker.PROVING


DRIFT_NAME, BEAT_NAME = "drift:s/x", "heartbeat:a"
STORIES = [_open, _tripped, _locked, _bypassed, _proving]


def forms(governor: Governor) -> tuple[bytes, bytes, list[bytes]]:
    gates = [gate_standing(gate) for gate in governor.gates.values()]
    return partition_standing(governor), activation_standing(governor.activation), gates


def again(governor: Governor) -> Governor:
    """The governor that another version would go on with."""
    found = governor_of(governor.partition, governor.log, lambda gate: True, *forms(governor))
    assert found is not None
    return found


def judged_again(world: World, told: tuple[bytes, bytes, list[bytes]]) -> tuple[Governor, list[Decision]]:
    """Let another version go on from forms of before, up to where the former version is; return what it said."""
    former, runs, said = world.governors[0], world.log.runs(), list[Decision]()
    found = governor_of(former.partition, former.log, lambda gate: True, *told)
    assert found is not None
    for at in range(found.offset + 1, former.offset + 1):
        said += found.step(at, runs[at])
    return found, said


def upgraded(world: World, settled: bool = True) -> Gate:
    """Let another version go on with the world's governor; it has judged the end of the log if `settled`."""
    world.governors[0] = again(world.governors[0])
    if settled:
        settle(world.governors[0])
    return world.gate()


def what_it_is(gate: Gate) -> tuple[object, ...]:
    state = (gate.epoch, gate.entry.digest, gate.shown, gate.said, gate.permit_ms, gate.waits)
    return *state, gate.taken, gate.tallies, gate.reach


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_lost_but_memory_and_no_gate_is_open(story: Callable[[World], None]) -> None:
    """Epoch, decision, commands and tally are what they were; a lock stays one; everything else is TRIPPED."""
    world = World(*ARMED)
    story(world)
    before, locked = what_it_is(world.gate()), world.gate().breaker.state is Breaker.LOCKED
    gate = upgraded(world)
    assert what_it_is(gate) == before
    assert gate.breaker.state is (Breaker.LOCKED if locked else Breaker.TRIPPED)
    assert gate.breaker.closing is not None
    assert gate.breaker.closing.conditions == {condition.name for condition in gate.conditions}
    assert gate.bypass is None
    assert not any(condition.held for condition in gate.conditions)
    world.mark()
    assert not world.is_open()


def test_an_armed_gate_proves_itself_once_it_has_learnt() -> None:
    """No operator is asked for: the policy resets it after its cooldown, when each condition has given news."""
    world = World(*ARMED)
    _open(world)
    epoch = world.gate().epoch
    upgraded(world)
    said = world.mark()
    assert [(one.kind, one.cause, one.breaker) for one in said] == [(Kind.CLOSE, Cause.TERM, Breaker.TRIPPED)]
    assert int(said[0].epoch) > epoch
    _steady(world, 10)
    assert world.last().breaker is Breaker.TRIPPED
    _steady(world, 50)
    assert world.last().breaker is Breaker.PROVING


def test_a_trip_that_the_form_does_not_know_opens_nothing() -> None:
    """The form is of before the trip. What came before the end of the log is no news, however long it was good."""
    world = World(*ARMED)
    _open(world)
    told = forms(world.governors[0])
    _steady(world, 200)
    world.samples([97.0] * 60)
    world.mark()
    assert world.last().breaker is Breaker.TRIPPED
    found, said = judged_again(world, told)
    assert Kind.OPEN not in {one.kind for one in said}
    world.governors[0] = found
    settle(found)
    for _ in range(60):  # beats alone: the series gives no news
        world.send(("beat", "a", None))
        world.mark()
    assert world.last().breaker is Breaker.TRIPPED


def test_what_was_sent_before_the_takeover_teaches_nothing() -> None:
    """It may be the fault: learnt as normal, the level that is normal would be a drift."""
    world = World(*ARMED)
    _open(world)
    upgraded(world, settled=False)
    _steady(world, 60, level=97.0)
    settle(world.governors[0])
    _steady(world, 80)
    assert world.last().breaker is Breaker.PROVING


def test_until_the_end_of_the_log_is_judged_nobody_resets() -> None:
    """Neither the policy nor an operator."""
    world = World(*ARMED)
    _open(world)
    upgraded(world, settled=False)
    _steady(world, 80)
    assert world.last().breaker is Breaker.TRIPPED
    world.command("reset", epoch=world.gate().epoch)
    assert world.gate().breaker.state is Breaker.TRIPPED
    settle(world.governors[0])
    _steady(world, 80)
    assert world.last().breaker is Breaker.PROVING


def test_a_locked_gate_needs_its_operator() -> None:
    """Whatever its conditions say."""
    world = World(*ARMED)
    _locked(world)
    upgraded(world)
    _steady(world, 60)
    assert world.last().breaker is Breaker.LOCKED
    world.command("unlock", epoch=world.gate().epoch)
    assert world.last().breaker is Breaker.PROVING


def test_a_condition_that_came_behind_the_form_must_give_news_as_well() -> None:
    """Its trip may be the one that is forgotten."""
    world = World(*ARMED)
    _open(world)
    told = forms(world.governors[0])
    world.activate(policy(BEAT, DRIFT, FAILURES, "heartbeat: {source: b, grace: 3s}"))
    found, _ = judged_again(world, told)
    settle(found)
    closing = found.gates["g"].breaker.closing
    assert closing is not None
    assert "heartbeat:b" in closing.conditions


def test_an_order_behind_the_form_is_judged_again() -> None:
    """A lock that the form does not know is in the log."""
    world = World(*ARMED)
    _open(world)
    told = forms(world.governors[0])
    world.command("lock", why="a drill")
    found, _ = judged_again(world, told)
    assert found.gates["g"].breaker.state is Breaker.LOCKED


def test_a_command_counts_once_across_it() -> None:
    """A copy of a lock that was taken before locks nothing again."""
    world = World(*ARMED)
    _open(world)
    world.command("lock", id="once", why="a drill")
    _steady(world, 3)
    world.command("unlock", epoch=world.gate().epoch)
    upgraded(world)
    world.command("lock", id="once", why="a drill")
    assert world.gate().breaker.state is Breaker.TRIPPED


def test_a_gate_that_no_policy_speaks_of_is_still_to_be_answered() -> None:
    """Its policy went while it was TRIPPED; where it comes back it is TRIPPED."""
    world = World(*ARMED)
    _tripped(world)
    world.activate(policy(BEAT, gate="other"))
    world.activate(policy(BEAT, gate="other2"))
    upgraded(world)
    world.activate(*ARMED)
    world.mark()
    assert world.last().breaker is Breaker.TRIPPED


def test_what_a_policy_authority_withdrew_stays_withdrawn() -> None:
    """Its gate is closed for the reason that was given, and not for want of evidence."""
    world = World(*ARMED)
    _open(world)
    world.activate(*ARMED, fault="a policy key was taken out")
    gate = upgraded(world)
    world.mark()
    assert (gate.entry.policy, world.last().cause) == (None, Cause.BAD_POLICY)


# --- what cannot be read ---


def test_a_gate_of_which_nothing_is_said_is_locked() -> None:
    """A policy speaks of it: so somebody must trust it first."""
    world = World(*ARMED)
    _open(world)
    frame, activation, _ = forms(world.governors[0])
    governor = world.governors[0]
    found = governor_of(governor.partition, governor.log, lambda gate: True, frame, activation, [])
    assert found is not None
    assert found.gates["g"].breaker.state is Breaker.LOCKED


def test_a_newer_form_is_refused() -> None:
    """Nobody guesses what it means."""
    world = World(*ARMED)
    _tripped(world)
    governor = world.governors[0]
    frame, activation, (gate,) = forms(governor)
    newer = [
        (
            msgspec.msgpack.encode(
                msgspec.structs.replace(msgspec.msgpack.decode(frame, type=PartitionStanding), form=FORM + 1)
            ),
            gate,
        ),
        (
            frame,
            msgspec.msgpack.encode(msgspec.structs.replace(msgspec.msgpack.decode(gate, type=GateStanding), form=FORM + 1)),
        ),
    ]
    for one, other in newer:
        with pytest.raises(BadStanding, match="form"):
            governor_of(governor.partition, governor.log, lambda gate: True, one, activation, [other])


@pytest.mark.parametrize("change", [{"closing": None}, {"breaker": "OPEN"}, {"said": b"{}"}, {"epoch": "1"}])
def test_what_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    """A TRIPPED gate without a closing, an unknown state, a decision that is none."""
    world = World(*ARMED)
    _tripped(world)
    governor = world.governors[0]
    frame, activation, (gate,) = forms(governor)
    told = msgspec.to_builtins(msgspec.msgpack.decode(gate, type=GateStanding), builtin_types=(bytes,))
    with pytest.raises(BadStanding):
        governor_of(
            governor.partition, governor.log, lambda gate: True, frame, activation, [msgspec.msgpack.encode({**told, **change})]
        )


def test_before_a_term_there_is_nothing() -> None:
    """And so there is no governor to go on with."""
    world = World(*ARMED)
    governor = Governor(0, world.governors[0].log, lambda gate: True)
    assert partition_standing(governor) == b""
    assert governor_of(0, governor.log, lambda gate: True, *forms(governor)) is None


def test_a_field_that_a_later_version_adds_is_passed_over() -> None:
    """The form only grows."""
    world = World(*ARMED)
    _tripped(world)
    governor = world.governors[0]
    frame, activation, (gate,) = forms(governor)
    told = msgspec.to_builtins(msgspec.msgpack.decode(gate, type=GateStanding), builtin_types=(bytes,))
    found = governor_of(
        governor.partition, governor.log, lambda gate: True, frame, activation, [msgspec.msgpack.encode({**told, "more": 1})]
    )
    assert found is not None
    assert what_it_is(found.gates["g"]) == what_it_is(world.gate())
