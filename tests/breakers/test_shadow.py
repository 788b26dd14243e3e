"""A gate in shadow decides and says so, and withholds nothing by its own judgement."""

from __future__ import annotations

from breakers.log import World, policy

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.gate.step import WOULD_CLOSE, WOULD_OPEN

ADWIN = "drift: {series: s/x, detector: adwin}"
RULE = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
RESET = "{after: 5s, probes: 3}"


def shadow(*conditions: str, **more: str) -> str:
    return policy(*conditions, mode="shadow", **{"reset": RESET, **more})


def opened(text: str) -> World:
    """Return a world whose gate has read enough."""
    world = World(text)
    world.mark()
    world.samples([48.0] * 40)
    world.marks(1_000)
    assert world.is_open()
    return world


def notes(world: World) -> list[Decision]:
    """Return what was said of the gate in shadow."""
    return [one for one in world.said if one.kind is Kind.NOTE and one.because.startswith("in shadow: it would")]


def test_it_is_open_before_it_knows_anything() -> None:
    """Where an enforced gate is closed as insufficient, one in shadow admits and says so."""
    world = World(shadow(ADWIN))
    world.mark()
    assert world.is_open()
    assert notes(world)[-1].cause is Cause.INSUFFICIENT
    assert notes(world)[-1].because.startswith(WOULD_CLOSE)


def test_a_trip_is_said_and_closes_nothing() -> None:
    """The breaker trips, the epoch stays, what runs goes on; and it resets without probes, which nobody would run."""
    world = opened(shadow(RULE))
    epoch = world.gate().epoch
    world.samples([400.0] * 10)
    world.marks(2_000)
    assert world.is_open()
    assert world.gate().epoch == epoch
    said = notes(world)[-1]
    assert (said.cause, said.breaker) == (Cause.CONFORMANCE, Breaker.TRIPPED)
    world.samples([48.0] * 100)
    world.marks(8_000)
    assert world.gate().breaker.state is Breaker.ARMED
    assert notes(world)[-1].because.startswith(WOULD_OPEN)
    assert world.gate().epoch == epoch
    assert world.is_open()


def test_each_change_is_said_once() -> None:
    """A fault that lasts is not said at every mark."""
    world = opened(shadow(RULE))
    before = len(notes(world))
    world.samples([400.0] * 10)
    world.marks(4_000)
    assert len(notes(world)) == before + 1


def test_with_warn_the_permit_says_so() -> None:
    """It is signed again under the same epoch: whoever executes reads which condition does not hold, and when it does again."""
    world = opened(policy(RULE, mode="warn", reset=RESET))
    epoch = world.gate().epoch
    world.samples([400.0] * 10)
    world.mark()
    said = world.last()
    assert (said.kind, int(said.epoch), said.mode) == (Kind.RENEW, epoch, "armed")
    assert [one.status for one in said.readings] == ["demands"]
    world.samples([48.0] * 100)
    world.marks(8_000)
    assert [one.status for one in world.last().readings] == ["holds"]
    assert world.gate().epoch == epoch
    assert world.is_open()


def test_a_lock_closes_a_gate_in_shadow() -> None:
    """It is an operator's order, and no judgement of the gate; the unlock opens it again at once."""
    world = opened(shadow(RULE))
    world.command("lock", why="a deploy", by="ann")
    world.mark()
    assert not world.is_open()
    assert world.last().cause is Cause.LOCK
    world.samples([48.0] * 20)
    world.marks(1_000)
    world.command("unlock", epoch=world.last().epoch, why="done", by="ann")
    world.marks(1_000)
    assert world.is_open()


def test_silence_of_the_monitor_closes_it() -> None:
    """Nobody renews a permit that nobody can vouch for."""
    world = opened(shadow(RULE))
    world.now_ms += 10_000
    assert not world.is_open()


def test_a_bad_policy_closes_it() -> None:
    """There is no policy that would say shadow."""
    world = opened(shadow(RULE))
    world.activate("gate: g\nmode: shadow\npermit: {ttl")
    world.mark()
    assert not world.is_open()


def test_promotion_keeps_what_was_learnt_and_closes_nothing() -> None:
    """The conditions are the same: the gate goes on open, and the next fault closes it."""
    world = opened(shadow(ADWIN, RULE))
    text = world.gate().conditions[0].text
    world.activate(policy(ADWIN, RULE, reset=RESET))
    world.marks(1_000)
    assert world.is_open()
    assert world.gate().conditions[0].text == text
    assert Kind.CLOSE not in {one.kind for one in world.said if one.offset > 0 and one.kind is not Kind.NOTE and one.mode}
    world.samples([400.0] * 10)
    world.marks(1_000)
    assert not world.is_open()


def test_promotion_of_a_tripped_gate_closes_it() -> None:
    """What would have closed it does."""
    world = opened(shadow(RULE, reset="{after: 1h, probes: 3}"))
    world.samples([400.0] * 10)
    world.mark()
    assert world.is_open()
    world.activate(policy(RULE, reset="{after: 1h, probes: 3}"))
    world.mark()
    assert not world.is_open()
    assert world.last().cause is Cause.CONFORMANCE
