"""False trips: what a policy allows stands beside what there was, and only an operator's word makes a trip a true one."""

from __future__ import annotations

import pickle
import random

import pytest
from log import World, policy

from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.gate.tally import TRIPS_KEPT, Tally

DAY_MS = 86_400_000
BUDGETED = "drift: {series: s/x, detector: cusum, false_trips: 1 per 1h, learn: 100}"
RULED = 'conformance: {series: s/y, rule: "value < 200", window: 10, over: 0.05}'
RNG = random.Random(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    RNG.seed(1)


def normal(count: int, level: float = 50.0) -> list[float]:
    return [RNG.gauss(level, 2.0) for _ in range(count)]


def quiet(world: World, seconds: int, level: float = 50.0) -> None:
    """A record every 200 ms and marks between them."""
    for value in normal(5 * seconds, level):
        world.samples([value], flush=False)
        world.samples([value], "s/y")
        world.mark()


def armed(*conditions: str) -> World:
    world = World(policy(*(conditions or (BUDGETED,)), reset="{after: 1s, probes: 0}"))
    quiet(world, 45)
    assert world.is_open()
    return world


def trip(world: World) -> int:
    """Make the detector speak, and return the epoch of the closing."""
    for value in normal(10, 90.0):
        world.samples([value])
        world.mark()
    closing = next(one for one in reversed(world.said) if one.kind is Kind.CLOSE and one.breaker is State.TRIPPED)
    return int(closing.epoch)


def tally(world: World) -> Tally:
    (one,) = world.gate().tallies.values()
    return one


def note(decisions: list[Decision]) -> Decision:
    (one,) = [one for one in decisions if one.kind is Kind.NOTE]
    return one


def test_a_trip_counts_until_somebody_confirms_it() -> None:
    """A trip counts as false until an operator confirms its epoch, once; nothing else of the gate changes."""
    world = armed()
    epoch = trip(world)
    assert (tally(world).trips, tally(world).unconfirmed) == (1, 1)
    before = (world.gate().epoch, world.gate().breaker.state)
    said = note(world.command("confirm", epoch=epoch, why="a bad release"))
    assert said.because == f"confirmed: the trip of epoch {epoch} had a cause: a bad release"
    assert said.by == "ada (kid-of-ada)"
    assert (world.gate().epoch, world.gate().breaker.state) == before
    assert (tally(world).trips, tally(world).unconfirmed) == (1, 0)
    assert "or it is confirmed already" in note(world.command("confirm", epoch=epoch)).because
    assert tally(world).unconfirmed == 0


def test_an_epoch_at_which_nothing_tripped_confirms_nothing() -> None:
    """A word for another epoch, such as one mistyped, is refused with a note."""
    world = armed()
    epoch = trip(world)
    assert "confirm refused: no condition" in note(world.command("confirm", epoch=epoch + 1)).because
    assert tally(world).unconfirmed == 1


def test_one_incident_is_one_trip() -> None:
    """A demand stands until it is over, so another level, or a fault that comes and goes while TRIPPED, is no further trip."""
    world = World(policy(BUDGETED))
    quiet(world, 45)
    first = trip(world)
    quiet(world, 25, 90.0)
    quiet(world, 5, 20.0)
    assert int(world.last().epoch) == first
    quiet(world, 20)
    quiet(world, 5, 20.0)
    assert world.gate().breaker.state is State.TRIPPED, "nobody resets it"
    assert int(world.last().epoch) > first, "a later demand renews the closing"
    assert tally(world).trips == 1


def test_a_trip_of_another_condition_is_not_counted_against_the_budget() -> None:
    """Only the condition that demanded is charged."""
    world = armed(BUDGETED, RULED)
    world.samples([300.0], "s/y")
    world.mark()
    assert world.last().cause == "conformance"
    assert tally(world).trips == 0


def test_time_counts_where_it_could_have_tripped() -> None:
    """While the detector learns, and while the breaker is TRIPPED, the budget allows nothing more."""
    world = World(policy(BUDGETED))
    quiet(world, 10)
    assert tally(world).watched_ms == 0, "it learns"
    quiet(world, 90)
    watched = tally(world).watched_ms
    assert 30_000 < watched < 90_000
    trip(world)
    after = tally(world).watched_ms
    quiet(world, 60)
    assert world.gate().breaker.state is State.TRIPPED, "nobody resets it"
    assert tally(world).watched_ms == after < watched + 3_000


def test_the_reading_says_nominal_beside_observed() -> None:
    """Whoever looks at the gate reads both in the condition's own words."""
    world = armed()
    trip(world)
    (reading,) = world.last().readings
    assert "; 1 false trip in less than 1m, 0.0" in reading.text
    assert reading.text.endswith(" allowed")


def test_another_policy_with_the_same_budget_goes_on_counting() -> None:
    """An activation starts the detector anew, and not the count; another budget begins at nothing."""
    world = armed()
    trip(world)
    watched = tally(world).watched_ms
    world.activate(policy(BUDGETED, ttl="4s", reset="{after: 1s, probes: 0}"))
    assert (tally(world).trips, tally(world).watched_ms) == (1, watched)
    world.activate(policy(BUDGETED.replace("1h", "2h")))
    assert (tally(world).trips, tally(world).watched_ms) == (0, 0)


def test_what_is_kept_of_trips_is_bounded() -> None:
    """The newest trips can be confirmed; older ones keep counting."""
    one = Tally(per_ms=30 * DAY_MS)
    for epoch in range(TRIPS_KEPT + 5):
        one.trip(epoch)
    one = pickle.loads(pickle.dumps(one))
    assert not one.confirm(0)
    assert one.confirm(TRIPS_KEPT)
    assert (one.trips, one.unconfirmed) == (TRIPS_KEPT + 5, TRIPS_KEPT + 4)


def test_time_that_goes_back_takes_nothing_away() -> None:
    """Evidence time of a lagging partition after a restart is no time watched, forwards or backwards."""
    one = Tally(per_ms=1_000.0)
    for at_ms in (0, 1_000, 2_000, 500, 2_500):
        one.watch(at_ms, True)
    assert one.watched_ms == 1_500
    assert one.allowed == 1.5
