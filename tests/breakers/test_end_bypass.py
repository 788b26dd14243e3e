"""The early end of a bypass, and what decisions say of one for as long as it is in force."""

from __future__ import annotations

import msgspec
import pytest
from log import CONTROL, TELEMETRY, World, command, policy

from failshut.cause import Cause
from failshut_breakers.command import Bypass, CommandError, EndBypass, parse_command
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import (
    BypassInForce,
    Decision,
    Kind,
    Result,
    as_on_record,
    decode_decision,
    encode_decision,
)

X = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
Y = 'conformance: {series: s/y, rule: "value < 100", window: 10, over: 0.05}'
BAD, GOOD, BACK = [500.0], [48.0] * 10, [48.0] * 60
NAME = "conformance:s/x"


def opened(*conditions: str, **more: str) -> World:
    world = World(policy(*(conditions or (X, Y)), **{"reset": "{probes: 3, deadline: 60s}"} | more))
    world.samples(GOOD)
    world.samples(GOOD, "s/y")
    world.mark()
    assert world.is_open()
    return world


def bypass(world: World, for_ms: int = 60_000, *names: str, **claims: object) -> list[Decision]:
    given = {"epoch": world.gate().epoch, "until_ms": world.now_ms + for_ms} | claims
    return world.command("bypass", conditions=list(names or (NAME,)), **given)


def bypassed() -> World:
    """A gate that s/x has tripped, whose demand stands, and that an operator keeps open."""
    world = opened()
    world.samples(BAD)
    world.mark()
    assert bypass(world)[0].mode == "bypass"
    return world


def refusal(decisions: list[Decision]) -> str:
    assert [one.kind for one in decisions] == [Kind.NOTE], "a refused command is a note and changes nothing"
    assert decisions[0].answer is not None
    assert decisions[0].answer.result is Result.REFUSED
    return decisions[0].answer.because


class TestItCloses:
    """Whatever the bypass covered counts again, at once."""

    def test_what_still_demands_closes_the_gate(self) -> None:
        """CLOSE under a new epoch, TRIPPED, with who ended it and why; and it stays closed."""
        world = bypassed()
        before = world.gate().epoch
        (closing,) = world.command("end_bypass", why="the wrong gate")
        assert (closing.kind, closing.breaker, closing.cause) == (Kind.CLOSE, State.TRIPPED, Cause.BYPASS_ENDED)
        assert closing.because.startswith("bypass ended; ")
        assert (closing.by, closing.bypass) == ("ada (kid-of-ada): the wrong gate", None)
        assert int(closing.epoch) > before
        world.marks(5_000)
        assert not world.is_open()
        assert world.last() == closing

    def test_a_demand_that_came_under_it_trips_an_armed_breaker(self) -> None:
        """The bypass was given before the demand: without it the breaker trips on what stands."""
        world = opened()
        bypass(world)
        world.samples(BAD)
        world.mark()
        assert (world.gate().breaker.state, world.last().mode) == (State.ARMED, "bypass")
        (closing,) = world.command("end_bypass")
        assert (closing.kind, closing.breaker, closing.cause) == (Kind.CLOSE, State.TRIPPED, Cause.CONFORMANCE)

    def test_an_interlock_that_it_covered_closes_again(self) -> None:
        """A heartbeat that is missing closes the gate as if nobody had bypassed it."""
        world = World(policy(X, "heartbeat: {source: a, grace: 1s}"))
        world.send(("beat", "a", None))
        world.samples(GOOD)
        world.mark()
        bypass(world, 60_000, "heartbeat:a")
        world.marks(3_000)
        assert world.is_open()
        (closing,) = world.command("end_bypass")
        assert (closing.kind, closing.cause, closing.breaker) == (Kind.CLOSE, Cause.HEARTBEAT, State.ARMED)

    def test_what_holds_by_itself_stays_open_without_it(self) -> None:
        """Where nothing demands, the gate is open by its evidence: mode armed, and the cap of the bypass is gone with it."""
        world = opened()
        bypass(world)
        (opening,) = world.command("end_bypass")
        assert (opening.kind, opening.mode, opening.breaker, opening.bypass) == (Kind.OPEN, "armed", State.ARMED, None)

    def test_it_gives_proving_nothing(self) -> None:
        """While PROVING the probes go on, with the tokens that were handed out and no others."""
        world = opened()
        world.samples(BAD)
        world.mark()
        world.samples(BACK)
        world.marks(2_000)
        proving = world.command("reset", epoch=world.gate().epoch)[0]
        bypass(world, 60_000, "conformance:s/y")
        (again,) = world.command("end_bypass")
        assert (again.mode, again.breaker, again.tokens, again.probe_epoch) == ("proving", State.PROVING, 0, proving.epoch)

    def test_a_lapse_stays_a_lapse(self) -> None:
        """A gate that is closed for another reason under a bypass is not opened by the bypass's end."""
        world = World(policy(X, "heartbeat: {source: a, grace: 1s}"))
        world.send(("beat", "a", None))
        world.samples(GOOD)
        world.mark()
        world.samples(BAD)
        bypass(world)
        world.marks(3_000)
        assert not world.is_open()
        world.command("end_bypass")
        assert not world.is_open()
        assert world.gate().breaker.state is State.TRIPPED


class TestOrder:
    """Which order wins when several meet."""

    def test_without_a_bypass_it_is_refused_and_changes_nothing(self) -> None:
        """An operator who mistypes a gate is told."""
        world = opened()
        before = world.gate().epoch
        assert refusal(world.command("end_bypass")) == "no bypass is in force"
        assert world.gate().epoch == before
        assert world.is_open()

    def test_it_needs_no_epoch_and_takes_none(self) -> None:
        """It counts although the gate lapsed and came back since its operator looked: it can only close."""
        claims = {
            "installation": "i" * 32,
            "by": "ada",
            "why": "so",
            "id": "1",
            "signed_ms": 1,
            "gate": "g",
            "kind": "end_bypass",
        }
        assert isinstance(parse_command(claims), EndBypass)
        with pytest.raises(CommandError):
            parse_command(claims | {"epoch": 5})

    def test_a_bypass_of_the_same_moment_does_not_outlive_it(self) -> None:
        """Both in one record: the end wins, whichever stood first."""
        for first, second in (("bypass", "end_bypass"), ("end_bypass", "bypass")):
            world = bypassed()
            given = {"epoch": world.gate().epoch, "conditions": [NAME], "until_ms": world.now_ms + 9_000}
            orders = [command(kind, **(given if kind == "bypass" else {})) for kind in (first, second)]
            world.control(*orders)
            assert world.gate().bypass is None
            assert not world.is_open()

    def test_a_bypass_that_had_not_seen_the_end_is_refused(self) -> None:
        """It names the epoch from before the end: whoever gave it did not know that a colleague had ended the first one."""
        world = bypassed()
        seen = world.gate().epoch
        world.command("end_bypass")
        assert "something came after" in refusal(bypass(world, epoch=seen))
        assert not world.is_open()

    def test_a_reset_of_the_same_moment_opens_nothing(self) -> None:
        """A reset that was granted in the same record is void: it had not seen the end."""
        world = bypassed()
        world.samples(BACK)
        world.marks(2_000)
        world.control(command("reset", epoch=world.gate().epoch), command("end_bypass"))
        assert (world.gate().breaker.state, world.last().kind) == (State.TRIPPED, Kind.CLOSE)

    def test_a_copied_one_counts_once(self) -> None:
        """Whoever can write to control cannot end the next bypass with a command that was signed for this one."""
        world = bypassed()
        order = {"id": "once", "signed_ms": world.now_ms}
        world.command("end_bypass", **order)
        bypass(world)
        assert "was taken" in refusal(world.command("end_bypass", **order))
        assert world.is_open()

    def test_it_waits_for_nothing_in_other_partitions(self) -> None:
        """It counts when control brings it, although telemetry lags."""
        world = bypassed()
        world.mark(1_000, keys=[CONTROL])
        world.mark(0, keys=[TELEMETRY])
        world.command("end_bypass")
        assert world.gate().bypass is None


def test_the_reason_is_prefixed_once_however_often_it_was_bypassed() -> None:
    """Ten bypasses over the same closing do not grow what the closing says."""
    world = bypassed()
    first = world.command("end_bypass")[0].because
    for _ in range(3):
        bypass(world)
        assert world.command("end_bypass")[0].because == first
    bypass(world, 1_000)
    world.marks(2_000)
    assert world.last().because == first


class TestWhatDecisionsSay:
    """Who keeps a gate open, why, over what and until when: in every decision for as long as it is so."""

    def test_every_decision_names_the_bypass_in_force(self) -> None:
        """Renewals as well: the store shows the last one alone."""
        world = opened()
        world.samples(BAD)
        world.mark()
        bypass(world, 60_000, why="a known change")
        world.marks(3_000)
        inside = [one for one in world.said if one.mode == "bypass"]
        assert {one.kind for one in inside} == {Kind.OPEN, Kind.RENEW}
        until_ms = world.gate().bypass.until_ms  # type: ignore[union-attr]
        assert {encode_decision(one).partition(b'"bypass":')[2] for one in inside} == {
            msgspec.json.encode(BypassInForce("ada (kid-of-ada)", "a known change", [NAME], until_ms)) + b"}"
        }
        assert decode_decision(encode_decision(inside[-1])) == inside[-1]

    def test_a_closing_under_it_names_it_too(self) -> None:
        """A gate that has lapsed under a bypass comes back under it."""
        world = World(policy(X, "heartbeat: {source: a, grace: 1s}"))
        world.send(("beat", "a", None))
        world.samples(GOOD)
        world.mark()
        bypass(world)
        world.marks(3_000)
        assert world.last().kind is Kind.CLOSE
        assert world.last().bypass is not None

    def test_without_one_no_decision_has_the_field(self) -> None:
        """Decisions on record keep their bytes."""
        world = opened()
        world.samples(BAD)
        world.mark()
        assert all(b'"bypass":' not in encode_decision(one) for one in world.said)

    def test_a_note_does_not(self) -> None:
        """It says nothing about the gate's state."""
        world = bypassed()
        assert world.command("reset", epoch=1)[0].bypass is None

    def test_a_name_that_commands_a_terminal_is_escaped(self) -> None:
        """Names of conditions come from policies."""
        world = opened()
        gate = world.gate()
        gate.bypass = Bypass.model_construct(conditions=("a\x1b[2J",), why="so", until_ms=2**50)
        gate.bypass_by = "b\x1b"
        world.marks(2_000)
        said = world.last().bypass
        assert said is not None
        assert all(text.isprintable() for text in (said.by, *said.conditions))

    def test_decisions_of_before_the_field_are_compared_without(self) -> None:
        """A recording of an older monitor replays; where the field is on record, it must be the same."""
        said = next(one for one in bypassed().said if one.mode == "bypass")
        old = msgspec.structs.replace(said, bypass=None)
        assert as_on_record([said], [encode_decision(old)]) == [old]
        assert as_on_record([said], [encode_decision(said)]) == [said]
        quoting = msgspec.structs.replace(old, because='"bypass":{', context={"bypass": "x"})
        assert as_on_record([said], [encode_decision(quoting)]) == [old]
