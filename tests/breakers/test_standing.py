"""What a gate is, said in a form that later versions read: nothing of it is lost but what conditions remember."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from log import World, policy

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Kind
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


def upgraded(world: World) -> Gate:
    """Let another version go on with the world's governor."""
    world.governors[0] = again(world.governors[0])
    return world.gate()


def what_it_is(gate: Gate) -> tuple[object, ...]:
    breaker = gate.breaker
    state = (breaker.state, breaker.closing, breaker.proving, gate.bypass, gate.bypass_by, gate.epoch, gate.entry.digest)
    return *state, gate.shown, gate.said, gate.permit_ms, gate.waits, gate.taken, gate.tallies, gate.reach, gate.spans.all()


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_lost_but_memory(story: Callable[[World], None]) -> None:
    """Breaker, closing, probes, bypass, epoch, decision and commands are what they were; conditions have no evidence."""
    world = World(*ARMED)
    story(world)
    before = what_it_is(world.gate())
    gate = upgraded(world)
    assert what_it_is(gate) == before
    assert all(condition.text for condition in gate.conditions)
    assert not any(condition.held for condition in gate.conditions)


def test_an_armed_gate_closes_until_it_has_learnt_and_opens_by_itself() -> None:
    """No operator is asked for, and none of its readings is believed that another version judged."""
    world = World(*ARMED)
    _open(world)
    upgraded(world)
    said = world.mark()
    assert [(one.kind, one.cause, one.breaker) for one in said] == [(Kind.CLOSE, Cause.INSUFFICIENT, Breaker.ARMED)]
    assert int(said[0].epoch) > 0
    _steady(world)
    assert world.is_open()


def test_a_tripped_gate_needs_news_all_the_same() -> None:
    """It stays closed over readings that go on as they were, and proves itself once there is news."""
    world = World(*ARMED)
    _tripped(world)
    upgraded(world)
    for _ in range(20):
        world.send(("beat", "a", None))
        world.mark()
    assert world.last().breaker is Breaker.TRIPPED
    _steady(world, 60)
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


def test_a_bypass_goes_on_to_its_end_and_no_further() -> None:
    """An operator accepted what the conditions say, and what they lack."""
    world = World(*ARMED)
    _bypassed(world)
    ends_ms = world.gate().bypass.until_ms if world.gate().bypass else 0
    upgraded(world)
    world.mark()
    assert world.is_open()
    assert world.last().mode == "bypass"
    world.marks(ends_ms - world.now_ms + 1_000, step_ms=60_000)
    assert not world.is_open()


def test_proving_does_not_go_on_over_what_is_not_known() -> None:
    """It falls back to TRIPPED: its conditions have no evidence."""
    world = World(*ARMED)
    _proving(world)
    upgraded(world)
    world.mark()
    assert world.last().breaker is Breaker.TRIPPED
    assert not world.is_open()


def test_a_command_counts_once_across_it() -> None:
    """A copy of a lock that was taken before locks nothing again."""
    world = World(*ARMED)
    _open(world)
    world.command("lock", id="once", why="a drill")
    _steady(world, 3)
    world.command("unlock", epoch=world.gate().epoch)
    upgraded(world)
    world.command("lock", id="once", why="a drill")
    assert world.gate().breaker.state is not Breaker.LOCKED


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
        (msgspec.msgpack.encode(msgspec.structs.replace(msgspec.msgpack.decode(frame, type=PartitionStanding), form=FORM + 1)), gate),
        (frame, msgspec.msgpack.encode(msgspec.structs.replace(msgspec.msgpack.decode(gate, type=GateStanding), form=FORM + 1))),
    ]
    for one, other in newer:
        with pytest.raises(BadStanding, match="form"):
            governor_of(governor.partition, governor.log, lambda gate: True, one, activation, [other])


@pytest.mark.parametrize("change", [{"closing": None}, {"breaker": "OPEN"}, {"said": b"{}"}, {"bypass": b"x"}, {"epoch": "1"}])
def test_what_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    """A TRIPPED gate without a closing, an unknown state, a decision that is none."""
    world = World(*ARMED)
    _tripped(world)
    governor = world.governors[0]
    frame, activation, (gate,) = forms(governor)
    told = msgspec.to_builtins(msgspec.msgpack.decode(gate, type=GateStanding), builtin_types=(bytes,))
    with pytest.raises(BadStanding):
        governor_of(governor.partition, governor.log, lambda gate: True, frame, activation, [msgspec.msgpack.encode({**told, **change})])


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
