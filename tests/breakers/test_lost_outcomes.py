"""Executions of which nobody knows whether they succeeded: they count against the gate unless the policy says otherwise."""

from __future__ import annotations

import copy
import itertools
import pickle
import random

import pytest
from log import World, policy
from test_conditions import NOW, condition, later

from failshut.cause import Cause
from failshut_breakers.conditions import Condition, Status
from failshut_breakers.conditions.sent import GRACE_MS, GUARDS_MAX, HOLES_MAX, LOST_MAX, Holes
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.evidence.records import OutcomeRow, Outcomes, Sent
from failshut_breakers.policy.policy import PolicyError, parse_policy

RATE = "window: 120s, at_least: 4, over: 0.5"


def outcomes(one: Condition, outcome: str, count: int, ms: int = 0) -> None:
    one.feed(Outcomes([OutcomeRow(1, 0, NOW.evidence_ms + ms, 1, "", outcome, count)]), 0, later(ms))


def sent(one: Condition, total: int, count: int, *, lost: int = 0, guard: str = "a", ms: int = 0, offset: int = 2) -> int:
    """How many demands an entry of a guard raises."""
    return len(one.feed(Sent([(offset, 0, NOW.evidence_ms + ms, guard, total, count, lost)]), 0, later(ms)))


# --- Interrupted ---


@pytest.mark.parametrize(("setting", "status"), [("", Status.DEMANDS), (", interrupted: ignored", Status.HOLDS)])
def test_interrupted_executions_count_as_failed(setting: str, status: Status) -> None:
    """A dependency that hangs until somebody else's timeout is a failure; a policy may leave it out."""
    one = condition(f"failure_rate: {{{RATE}{setting}}}")
    outcomes(one, "ok", 3)
    outcomes(one, "cancelled", 99)
    outcomes(one, "interrupted", 4)
    assert one.status is status


@pytest.mark.parametrize(("setting", "state"), [("", State.TRIPPED), (", interrupted: ignored", State.PROVING)])
def test_an_interrupted_probe_is_a_failed_one(setting: str, state: State) -> None:
    """It did not show that the action works; a policy may wait for another probe instead, until the deadline."""
    world = World(policy("heartbeat: {source: a, grace: 1s, action: trip}", reset=f"{{probes: 2, deadline: 10s{setting}}}"))
    world.send(("beat", "a", None))
    world.mark()
    world.marks(2_000)
    assert world.gate().breaker.state is State.TRIPPED
    world.marks(400, beat="a")
    world.command("reset", epoch=world.gate().epoch)
    world.marks(400, beat="a")
    epoch = world.last().probe_epoch or world.gate().breaker.proving.epoch  # type: ignore[union-attr]
    token = f"{int(epoch):016d}:0"
    world.send(("outcome", "g", int(epoch), token, "interrupted", 1))
    assert world.gate().breaker.state is state
    if state is State.TRIPPED:
        assert world.last().cause is Cause.PROVING_FAILED
        assert world.last().because == "probe 0 was interrupted"


# --- Lost ---


def test_lost_outcomes_count_as_failed() -> None:
    """A service whose failures overflow its queue shows no clean rate."""
    one = condition(f"failure_rate: {{{RATE}}}")
    outcomes(one, "ok", 5)
    assert sent(one, 5, 5, lost=4) == 0
    assert sent(one, 6, 1, lost=2) == 1
    assert one.status is Status.DEMANDS
    assert one.text == "6 of 11 executions failed in 120 s, 6 outcomes lost (counted as failed)"


def test_lost_outcomes_may_be_ignored_and_are_still_said() -> None:
    """The reading names their number, whatever the policy makes of it."""
    one = condition(f"failure_rate: {{{RATE}, lost: ignored}}")
    outcomes(one, "ok", 5)
    sent(one, 5, 5, lost=5000)
    assert (one.status, one.text) == (Status.HOLDS, "0 of 5 executions failed in 120 s, 5000 outcomes lost")


def test_lost_outcomes_have_no_place_in_a_row() -> None:
    """Nobody knows when they were: an hour of successes outvotes twenty of them, and a row of interrupted ones is a row."""
    one = condition("failure_rate: {window: 1h, at_least: 20, over: 0.5}")
    outcomes(one, "ok", 1000)
    assert sent(one, 1020, 20, lost=20) == 0
    outcomes(one, "interrupted", 13)
    assert one.status is Status.HOLDS
    outcomes(one, "interrupted", 1)
    assert one.status is Status.DEMANDS
    assert one.text == "14 executions in a row failed, 20 outcomes lost (counted as failed)"


def test_too_many_lost_ones_are_a_demand_by_themselves() -> None:
    """`lost_at_most` needs no executions beside them, and passes with the window."""
    one = condition(f"failure_rate: {{{RATE}, lost: ignored, lost_at_most: 10}}")
    assert sent(one, 5, 5, lost=10) == 0
    assert sent(one, 6, 1, lost=1) == 1
    one.tick(later(121_000))
    assert one.status is Status.HOLDS


def test_rows_that_an_earlier_run_covered_are_lost_once() -> None:
    """What stands before `lo` was counted already."""
    one = condition(f"failure_rate: {{{RATE}, lost_at_most: 0}}")
    assert one.feed(Sent([(2, 0, NOW.evidence_ms, "a", 5, 5, 7)]), 3, NOW) == []
    assert one.status is Status.HOLDS


@pytest.mark.parametrize("setting", ["lost: maybe", "interrupted: ok", "lost_at_most: -1", "lost_at_most: many", "lost: 3"])
def test_a_policy_says_one_of_the_words(setting: str) -> None:
    """Anything else is a fault."""
    with pytest.raises(PolicyError):
        parse_policy(policy(f"failure_rate: {{{RATE}, {setting}}}"))


def test_a_gate_trips_over_lost_outcomes() -> None:
    """From evidence to a closing, with words that say what happened."""
    world = World(policy("failure_rate: {window: 60s, at_least: 20, over: 0.5}"))
    world.send(("outcome", "g", 1, "", True, 20))
    world.mark()
    assert world.is_open()
    world.send(("sent", "g", "guard-1", 20, 20, 5_000))
    assert world.last().cause is Cause.FAILURE_RATE
    assert "5000 outcomes lost" in world.last().because


# --- Holes ---


def test_entries_that_do_not_come_are_lost_after_a_while() -> None:
    """The store's cap removed an entry of 40: nobody says so, and the next entry's total does."""
    one = condition(f"failure_rate: {{{RATE}}}")
    outcomes(one, "ok", 30)
    sent(one, 10, 10)
    sent(one, 70, 20)  # 40 between them never came
    assert not one.tick(later(GRACE_MS - 1))
    assert one.tick(later(GRACE_MS))
    assert one.text == "40 of 70 executions failed in 120 s, 40 outcomes lost (counted as failed)"
    assert not one.tick(later(2 * GRACE_MS))
    assert "40 outcomes lost" in one.text, "each is lost once"


def test_entries_that_come_in_another_order_are_not_lost() -> None:
    """Two workers move them; what comes within the while fills the hole."""
    for order in itertools.permutations([(10, 10), (15, 5), (40, 25), (41, 1)]):
        holes = Holes()
        holes.take("a", 5, 5, 0)
        for number, (total, count) in enumerate(order):
            holes.take("a", total + 5, count, number)
        assert holes.lost(10 * GRACE_MS) == 0, order


def test_what_is_always_on_its_way_is_not_lost() -> None:
    """Something is missing at every moment, and never the same for long."""
    rng = random.Random(1)
    holes, now_ms = Holes(), 0
    holes.take("a", 1, 1, 0)
    waiting = [(total, 1) for total in range(2, 400)]
    lost = 0
    while waiting:
        now_ms += 1_000
        holes.take("a", *waiting.pop(rng.randrange(min(5, len(waiting)))), now_ms)
        lost += holes.lost(now_ms)
    assert lost == 0


def test_a_hole_among_what_is_on_its_way_is_found() -> None:
    """What did not come is told from what came late."""
    rng = random.Random(2)
    holes, now_ms, lost = Holes(), 0, 0
    holes.take("a", 1, 1, 0)
    waiting = [(total, 1) for total in range(2, 400) if not 50 <= total < 57]
    while waiting:
        now_ms += 1_000
        holes.take("a", *waiting.pop(rng.randrange(min(4, len(waiting)))), now_ms)
        lost += holes.lost(now_ms)
    assert lost == 7


def test_an_entry_that_comes_twice_opens_no_hole() -> None:
    """A worker died between Kafka's acknowledgement and the store's."""
    holes = Holes()
    for total, count in ((5, 5), (10, 5), (10, 5), (15, 5)):
        holes.take("a", total, count, 0)
    assert holes.lost(10 * GRACE_MS) == 0


def test_each_guard_has_its_own_count() -> None:
    """A process that starts has another name; what it sent before it was first heard of is not known."""
    holes = Holes()
    holes.take("a", 5, 5, 0)
    holes.take("b", 900, 1, 0)
    holes.take("a", 10, 5, 0)
    holes.take("b", 902, 1, 0)
    assert holes.lost(GRACE_MS) == 1


def test_holes_are_bounded() -> None:
    """Whoever sends every second entry alone is waited for so often; the older holes are lost at once."""
    holes = Holes()
    for number in range(HOLES_MAX + 6):
        holes.take("a", 2 * number, 1, 0)
    assert holes.lost(0) == 5
    assert holes.lost(GRACE_MS) == HOLES_MAX


def test_guards_and_totals_are_bounded() -> None:
    """Whoever makes up names or totals fills no memory and overflows no number."""
    holes = Holes()
    for number in range(GUARDS_MAX + 50):
        holes.take(f"g{number}", 1, 1, 0)
    assert len(holes._counts) == GUARDS_MAX
    holes.take(f"g{GUARDS_MAX}", 2**53, 1, 0)
    assert holes.lost(GRACE_MS) == LOST_MAX


def test_what_is_missing_of_a_forgotten_guard_is_lost() -> None:
    """A service that forks for each request has more guards than are remembered: none takes its losses along."""
    holes = Holes()
    holes.take("a", 10, 10, 0)
    holes.take("a", 70, 20, 0)
    assert holes.lost(1) == 0
    for number in range(GUARDS_MAX):
        holes.take(f"g{number}", 1, 1, 1)
    assert holes.lost(1) == 40
    assert holes.lost(GRACE_MS) == 0


def test_an_edit_forgets_no_hole() -> None:
    """What a guard sent before the edit and the store dropped counts under the new settings."""
    one, other = condition(f"failure_rate: {{{RATE}}}"), condition("failure_rate: {window: 200s, at_least: 4, over: 0.4}")
    sent(one, 10, 10)
    sent(one, 70, 20)
    other.inherit(one)
    assert other.tick(later(GRACE_MS)) is True
    assert "40 outcomes lost" in other.text


def test_holes_are_a_part_of_the_gates_state() -> None:
    """A governor that goes on from a snapshot finds what the one before it would have found."""
    one = condition(f"failure_rate: {{{RATE}}}")
    sent(one, 10, 10)
    sent(one, 70, 20)
    other = pickle.loads(pickle.dumps(copy.copy(one)))
    assert one.tick(later(GRACE_MS)) is other.tick(later(GRACE_MS)) is True
    assert one.text == other.text
