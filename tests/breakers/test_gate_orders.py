"""What operators, probes and time do to a gate's breaker, and everything that is refused."""

from __future__ import annotations

import pytest
from log import CONTROL, TELEMETRY, World, command, policy

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Decision, Kind

X = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
Y = 'conformance: {series: s/y, rule: "value < 100", window: 10, over: 0.05}'
PROBES = "{probes: 3, deadline: 10s}"
BAD, GOOD = [500.0], [48.0] * 10
BACK = [48.0] * 60
"""So many good readings from after a demand of a rule end it."""


def opened(*conditions: str, **more: str) -> World:
    world = World(policy(*(conditions or (X,)), **{"reset": PROBES} | more))
    world.samples(GOOD)
    world.samples(GOOD, "s/y")
    world.mark()
    assert world.is_open()
    return world


def tripped(*conditions: str, **more: str) -> World:
    """A gate that was tripped by s/x, whose cause has passed, with marks from after it."""
    world = opened(*conditions, **more)
    world.samples(BAD)
    world.mark()
    world.samples(BACK)
    world.marks(2_000)
    assert world.gate().breaker.state is State.TRIPPED
    return world


def epoch(world: World) -> int:
    return world.gate().epoch


def refusal(decisions: list[Decision]) -> str:
    assert [one.kind for one in decisions] == [Kind.NOTE], "a refused command is a note and changes nothing"
    assert decisions[0].by == "ada (kid-of-ada)"
    return decisions[0].because


class TestLock:
    """An operator's word."""

    def test_a_lock_closes_and_stays(self) -> None:
        """The closing names who and why, and neither time nor good evidence leads out of it."""
        world = opened(reset="{after: 1s, probes: 0}")
        world.command("lock", why="deploy")
        last = world.last()
        assert (last.kind, last.cause, last.breaker) == (Kind.CLOSE, Cause.LOCK, State.LOCKED)
        assert (last.because, last.by) == ("locked by ada: deploy", "ada (kid-of-ada): deploy")
        world.marks(60_000)
        assert world.last() == last

    def test_a_demand_while_locked_raises_the_epoch(self) -> None:
        """A reset of a lock that had not seen a later demand is void; the cause stays the operator's."""
        world = opened()
        world.command("lock")
        before = epoch(world)
        world.samples(BAD)
        world.samples(GOOD)
        world.marks(2_000)
        assert "something came after" in refusal(world.command("reset", epoch=before))
        assert world.last().cause is Cause.LOCK
        assert "500" not in world.last().because
        assert "do not conform" in world.last().because

    def test_a_lock_overrides_a_bypass_and_a_reset_of_the_same_moment(self) -> None:
        """Whatever is asked for in one record, a lock among it wins."""
        for before in ("bypass", "reset"):
            world = tripped()
            claims = {"conditions": ["conformance:s/x"], "until_ms": world.now_ms + 9_000} if before == "bypass" else {}
            world.control(command(before, epoch=epoch(world), **claims), command("lock"))
            assert (world.last().kind, world.gate().breaker.state) == (Kind.CLOSE, State.LOCKED)


class TestReset:
    """What a reset must answer."""

    def test_it_leads_to_proving(self) -> None:
        """A reset that answers the closing hands out probe tokens of a new epoch."""
        world = tripped()
        decisions = world.command("reset", epoch=epoch(world))
        assert [(one.kind, one.mode, one.breaker, one.tokens) for one in decisions] == [
            (Kind.OPEN, "proving", State.PROVING, 3)
        ]
        assert decisions[0].probe_epoch == decisions[0].epoch

    def test_without_probes_it_arms(self) -> None:
        """A policy that asks for no probes arms at once."""
        world = tripped(reset="{probes: 0}")
        decisions = world.command("reset", epoch=epoch(world))
        assert [(one.kind, one.mode, one.breaker) for one in decisions] == [(Kind.OPEN, "armed", State.ARMED)]

    def test_a_gate_that_is_not_closed_has_nothing_to_reset(self) -> None:
        """A reset of an armed gate is refused."""
        world = opened()
        assert refusal(world.command("reset", epoch=epoch(world))) == "reset refused: the breaker is ARMED"

    def test_another_epoch_is_refused(self) -> None:
        """I7: a reset names the closing that it answers, no older and no newer one."""
        world = tripped()
        for other in (epoch(world) - 1, epoch(world) + 1, 0):
            assert "it answers epoch" in refusal(world.command("reset", epoch=other))

    def test_it_is_refused_while_the_cause_persists(self) -> None:
        """A condition that still demands is not reset away."""
        world = opened()
        world.samples(BAD)
        world.marks(2_000)
        assert "the cause persists" in refusal(world.command("reset", epoch=epoch(world)))

    def test_it_needs_evidence_from_after_the_closing(self) -> None:
        """I7: the oldest partition must have passed the newest mark that stood when the gate closed."""
        world = opened()
        world.mark(5_000, keys=[TELEMETRY])
        world.command("lock")
        world.now_ms -= 5_000
        world.mark(4_000, keys=[CONTROL, ("otlp_metrics", 0)])
        assert "no evidence from after the closing" in refusal(world.command("reset", epoch=epoch(world)))
        world.mark(1_200)
        assert world.command("reset", epoch=epoch(world))[0].breaker is State.PROVING

    def test_a_reset_that_waits_while_a_demand_arrives_is_void(self) -> None:
        """The operator answered the closing that she saw; a demand that is judged before her reset makes it another one."""
        world = tripped(X, Y)
        seen = epoch(world)
        world.door.append(CONTROL, world.now_ms, command("reset", epoch=seen))
        world.door.append(TELEMETRY, world.now_ms, ("sample", "s/y", 500.0))
        world.router.route(TELEMETRY)
        world.feed()
        world.router.route(CONTROL)
        assert "it answers epoch" in refusal(world.feed())
        assert world.last().kind is Kind.CLOSE

    def test_a_demand_that_follows_a_reset_trips_again(self) -> None:
        """PROVING is no protection from evidence."""
        world = tripped(X, Y)
        world.command("reset", epoch=epoch(world))
        world.samples(BAD, "s/y")
        assert (world.last().kind, world.last().breaker, world.last().cause) == (Kind.CLOSE, State.TRIPPED, Cause.CONFORMANCE)

    def test_a_command_for_another_gate_is_not_taken(self) -> None:
        """A command that was routed wrongly is noted."""
        world = opened()
        world.gate().name = "other"
        decisions = world.command("lock", gate="g")
        assert [(one.kind, one.because) for one in decisions] == [(Kind.NOTE, "lock refused: it is not for this gate")]


class TestBypass:
    """An operator keeps a gate open, by name, for a while."""

    def bypass(self, world: World, for_ms: int = 5_000, *conditions: str, **claims: object) -> list[Decision]:
        claims = {"epoch": epoch(world), "until_ms": world.now_ms + for_ms} | claims
        return world.command("bypass", conditions=list(conditions or ("conformance:s/x",)), **claims)

    def standing(self) -> World:
        """A gate that s/x has tripped, and whose demand still stands."""
        world = opened(X, Y)
        world.samples(BAD)
        world.mark()
        return world

    def test_it_opens_against_the_demand_and_says_so(self) -> None:
        """Mode bypass, breaker TRIPPED, no permit beyond its end, and closed again after it."""
        world = self.standing()
        end = world.now_ms + 5_000
        opening = self.bypass(world)[0]
        assert (opening.kind, opening.mode, opening.breaker) == (Kind.OPEN, "bypass", State.TRIPPED)
        assert opening.by == "ada (kid-of-ada): because"
        world.marks(4_800)
        assert world.is_open()
        assert max(one.exp_ms for one in world.said) == end
        world.mark()
        assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.BYPASS_ENDED)
        assert all(one.exp_ms <= end for one in world.said)

    def test_an_uncovered_demand_voids_it(self) -> None:
        """A demand of a condition that the bypass does not name closes the gate for good."""
        world = self.standing()
        self.bypass(world)
        world.samples(BAD, "s/y")
        assert (world.last().kind, world.last().breaker) == (Kind.CLOSE, State.TRIPPED)
        assert world.gate().bypass is None
        world.marks(2_000)
        assert not world.is_open()

    def test_a_voided_one_excuses_nothing(self) -> None:
        """What it named counts again: a reset is refused while that demand stands."""
        world = self.standing()
        self.bypass(world)
        world.samples(BAD, "s/y")
        world.samples(GOOD, "s/y")
        world.marks(2_000)
        assert "the cause persists" in refusal(world.command("reset", epoch=epoch(world)))

    def test_a_covered_demand_does_not(self) -> None:
        """What the bypass names may demand again."""
        world = self.standing()
        self.bypass(world)
        world.samples(GOOD)
        world.samples(BAD)
        assert world.is_open()

    def test_one_that_leaves_out_what_demands_is_refused(self) -> None:
        """A bypass of one of two demands opens nothing, and says so."""
        world = self.standing()
        world.samples(BAD, "s/y")
        assert "it leaves out 'conformance:s/y', which also demands" in refusal(self.bypass(world))
        assert not world.is_open()

    @pytest.mark.parametrize(("series", "other"), [("s/x", "conformance:s/y"), ("s/y", "conformance:s/x")])
    def test_two_demands_of_one_record_need_both_names(self, series: str, other: str) -> None:
        """The closing cites the first demand, and a bypass must cover the second too."""
        world = opened(X, Y)
        world.send(("sample", "s/x", 500.0), ("sample", "s/y", 500.0))
        assert world.last().because.endswith("of x do not conform to 'value < 100'")
        assert f"it leaves out {other!r}" in refusal(self.bypass(world, 5_000, f"conformance:{series}"))
        assert self.bypass(world, 5_000, "conformance:s/x", "conformance:s/y")[0].mode == "bypass"

    def test_an_interlock_is_not_bypassed_unless_named(self) -> None:
        """A heartbeat that goes missing closes a bypassed gate; it may be named."""
        beat = "heartbeat: {source: a, grace: 1s}"
        for names, mode in ((("conformance:s/x",), ""), (("conformance:s/x", "heartbeat:a"), "bypass")):
            world = World(policy(X, beat, reset=PROBES))
            world.send(("beat", "a", None))
            world.samples(GOOD)
            world.mark()
            world.samples(BAD)
            self.bypass(world, 5_000, *names)
            world.marks(2_000)
            assert world.last().mode == mode

    def test_it_does_not_widen_proving(self) -> None:
        """A bypass while PROVING leaves the probe budget in force."""
        world = tripped(X, Y)
        world.command("reset", epoch=epoch(world))
        self.bypass(world, 5_000, "conformance:s/y")
        assert world.last().mode == "proving"

    def test_it_is_refused_for_a_lock(self) -> None:
        """A lock is unlocked, never bypassed."""
        world = opened()
        world.command("lock")
        assert "a lock is unlocked, never bypassed" in refusal(self.bypass(world))

    @pytest.mark.parametrize(
        ("claims", "words"),
        [
            ({"epoch": 1}, "it answers epoch 1"),
            ({"until_ms": 1}, "not within the next 24 hours"),
            ({"until_ms": 2**50}, "not within the next 24 hours"),
        ],
    )
    def test_it_needs_the_epoch_and_an_end(self, claims: dict[str, object], words: str) -> None:
        """An old epoch, an end that has passed, and one beyond a day are refused."""
        world = self.standing()
        assert words in refusal(self.bypass(world, **claims))

    def test_it_names_conditions_of_the_gate(self) -> None:
        """A condition that the gate does not have is refused by its name."""
        assert "no condition is named 'drift:z'" in refusal(self.bypass(self.standing(), 5_000, "drift:z"))

    def test_an_activation_ends_it(self) -> None:
        """A bypass was for the policy that the operator saw."""
        world = self.standing()
        self.bypass(world)
        world.activate(policy(X, Y, ttl="5s"))
        assert (world.last().kind, world.gate().bypass) == (Kind.CLOSE, None)


class TestCooldown:
    """The policy's own reset."""

    COOL = "{after: 10s, probes: 3, deadline: 10s}"

    def test_it_counts_from_the_closings_newest_mark(self) -> None:
        """I7: where a partition lagged when the gate closed, a cooldown begins at the newest mark of any."""
        world = opened(reset=self.COOL)
        world.mark(8_000, keys=[CONTROL])
        newest = world.now_ms
        world.samples(BAD)
        world.now_ms = newest + 200
        world.samples(BACK)
        world.now_ms = newest - 7_800
        for _ in range(9):
            world.mark(1_000, keys=[TELEMETRY, ("otlp_metrics", 0)])
        world.mark(8_700)
        assert world.now_ms == newest + 9_900
        assert world.gate().breaker.state is State.TRIPPED
        world.mark(100)
        assert (world.last().breaker, world.last().mode) == (State.PROVING, "proving")

    def test_it_waits_while_the_cause_persists(self) -> None:
        """A cooldown that has passed proves nothing while the condition still demands."""
        world = opened(reset=self.COOL)
        world.samples(BAD)
        closing = world.last()
        world.marks(20_000)
        assert world.gate().breaker.state is State.TRIPPED
        assert world.last() == closing, "nothing began meanwhile, nor ended"
        world.samples(BACK)
        world.marks(400)
        assert world.gate().breaker.state is State.PROVING

    def test_a_lock_does_not_cool_down(self) -> None:
        """Only an operator leads out of LOCKED."""
        world = opened(reset=self.COOL)
        world.command("lock")
        world.marks(60_000)
        assert world.gate().breaker.state is State.LOCKED


class TestProving:
    """A bounded number of probe executions, whose outcomes decide."""

    def proving(self) -> tuple[World, str]:
        world = tripped()
        return world, world.command("reset", epoch=epoch(world))[0].epoch

    def outcome(self, world: World, token: str, ok: bool = True) -> list[Decision]:
        return world.send(("outcome", "g", epoch(world), token, ok, 1))

    def test_all_tokens_arm(self) -> None:
        """Three successes of three arm the breaker, at the third, under a new epoch."""
        world, at = self.proving()
        assert self.outcome(world, f"{at}:0") == []
        assert self.outcome(world, f"{at}:2") == []
        armed = self.outcome(world, f"{at}:1")
        assert [(one.kind, one.mode, one.breaker) for one in armed] == [(Kind.OPEN, "armed", State.ARMED)]
        assert armed[0].epoch > at

    def test_tokens_are_handed_out_once(self) -> None:
        """Renewals while PROVING bring none: what is lost is not issued again."""
        world, _ = self.proving()
        world.marks(5_000)
        renewals = [one for one in world.said if one.mode == "proving"][1:]
        assert renewals
        assert {one.tokens for one in renewals} == {0}

    def test_a_token_counts_once(self) -> None:
        """One token three times, or in three spellings, proves nothing."""
        world, at = self.proving()
        for number in ("0", "0", "00", "000", "+0", " 0", "3", "\u0660"):
            assert self.outcome(world, f"{at}:{number}") == []
        assert world.gate().breaker.proving.passed == {f"{at}:0"}  # type: ignore[union-attr]

    def test_tokens_of_another_proving_count_for_nothing(self) -> None:
        """Neither as successes nor as failures: the epoch of this PROVING stands in them, not the one that was closed."""
        world, at = self.proving()
        for token in ("", "x", f"{int(at) - 1:016d}:1", f"{int(at) + 1:016d}:1", ":1"):
            self.outcome(world, token)
            self.outcome(world, token, ok=False)
        assert world.gate().breaker.state is State.PROVING
        assert not world.gate().breaker.proving.passed  # type: ignore[union-attr]

    def test_one_failure_fails(self) -> None:
        """A probe that fails leads back to TRIPPED, at its outcome."""
        world, at = self.proving()
        self.outcome(world, f"{at}:0")
        first = len(world.door.logs[TELEMETRY])
        self.outcome(world, f"{at}:1", ok=False)
        last = world.last()
        assert (last.kind, last.cause, last.breaker) == (Kind.CLOSE, Cause.PROVING_FAILED, State.TRIPPED)
        assert (last.because, last.origin.offset) == ("probe 1 failed", first)  # type: ignore[union-attr]

    def test_it_ends_at_its_deadline(self) -> None:
        """Probes that do not come back in time lead back to TRIPPED; a token that comes later proves nothing."""
        world, at = self.proving()
        self.outcome(world, f"{at}:0")
        world.marks(4_000)
        world.samples(GOOD)
        world.marks(5_800)
        assert world.is_open()
        world.mark()
        assert (world.last().cause, world.last().because) == (
            Cause.PROVING_DEADLINE,
            "1 of 3 probes came back before the deadline",
        )
        for number in (1, 2):
            self.outcome(world, f"{at}:{number}")
        assert world.gate().breaker.state is State.TRIPPED

    def test_a_cancelled_probe_proves_nothing(self) -> None:
        """A probe that was not carried out counts neither for nor against, and its token is not spent."""
        world, at = self.proving()
        world.send(("outcome", "g", epoch(world), f"{at}:0", "cancelled", 1))
        assert world.gate().breaker.state is State.PROVING
        assert not world.gate().breaker.proving.passed  # type: ignore[union-attr]

    def test_an_interrupted_proving_begins_anew(self) -> None:
        """A lapse while PROVING leads back to TRIPPED, names itself, and later tokens of that PROVING prove nothing."""
        world = World(policy(X, "heartbeat: {source: a, grace: 3s}", reset=PROBES))
        world.send(("beat", "a", None))
        world.samples(GOOD)
        world.mark()
        world.samples(BAD)
        world.mark()
        world.samples(BACK)
        world.marks(2_000, beat="a")
        at = world.command("reset", epoch=epoch(world))[0].epoch
        assert world.gate().breaker.state is State.PROVING
        world.marks(4_000)
        last = world.last()
        assert (last.kind, last.cause, last.breaker) == (Kind.CLOSE, Cause.PROVING_FAILED, State.TRIPPED)
        assert "interrupted: no heartbeat from a" in last.because
        for number in range(3):
            self.outcome(world, f"{at}:{number}")
        assert world.gate().breaker.state is State.TRIPPED

    def test_a_closing_of_proving_can_be_reset(self) -> None:
        """And its tokens are new ones."""
        world, at = self.proving()
        self.outcome(world, f"{at}:0", ok=False)
        world.marks(400)
        assert "0 of 10 readings" in refusal(world.command("reset", epoch=epoch(world)))
        world.samples(GOOD)
        world.marks(2_000)
        again = world.command("reset", epoch=epoch(world))
        assert again[0].tokens == 3
        assert again[0].probe_epoch > at

    @pytest.mark.parametrize("kind", ["TRIPPED", "LOCKED"])
    def test_an_activation_keeps_tripped_and_locked(self, kind: str) -> None:
        """A new policy does not reset the breaker, and raises the epoch."""
        world = tripped()
        if kind == "LOCKED":
            world.command("lock")
        before = epoch(world)
        world.activate(policy("failure_rate: {window: 60s, at_least: 2, over: 0.5}"))
        assert (world.last().kind, world.last().breaker) == (Kind.CLOSE, kind)
        assert epoch(world) > before
        world.marks(4_000)
        assert not world.is_open()
