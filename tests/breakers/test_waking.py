"""A gate that sleeps decides what one decides that is ticked at every mark: the same bytes and seals, at the same records.

FAILSHUT_LOGS says how many random logs are judged (`make simulate`: ten thousand).
"""

from __future__ import annotations

import os
import pickle
import random
from collections import Counter
from typing import Any

import pytest
from draws import draws
from log import TELEMETRY, Log, World, policy
from stories import Fleet
from stories import Story as FrontDoorStory
from telling import Level, drawn

from failshut_breakers.conditions import NEVER_MS, Condition, Moment
from failshut_breakers.conditions.heartbeat import HeartbeatCondition
from failshut_breakers.decisions.decision import Breaker, Kind, encode_decision
from failshut_breakers.evidence.records import decode_run
from failshut_breakers.gate.step import Step
from failshut_breakers.governor import Governor
from failshut_breakers.waking import Sweep, Waking
from failshut_detectors.registry import OURS

LOGS = int(os.environ.get("FAILSHUT_LOGS", "100"))
SHARDS = 5
STEPS = 100
FLEET = (
    "conformance: {series: s/m, rule: 'value <= 100', window: 6, over: 0.4, confidence: 1e-9, by: instance, judged: at least 2,"
    " newcomer: 5s, forget: 8s, stale: 4s}"
)
PAIR = "drift: {series: [s/x, s/y], detector: mewma, every: 1s, warm_up: 10, stale: 20s}"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OURS, "level", Level)


def governors(log: Log, partition: int = 0) -> tuple[Governor, Governor]:
    """One that lets gates sleep, and one that ticks all of them at every mark."""
    sleeps, sweeps = log.governor(partition), log.governor(partition)
    sweeps.waking = Sweep()
    return sleeps, sweeps


def agree(log: Log, partition: int = 0, pickled_every: int = 0) -> Counter[str]:
    """Judge a log twice, and compare everything that is said; return how often what was seen."""
    seen: Counter[str] = Counter()
    sleeps, sweeps = governors(log, partition)
    for offset, data in enumerate(log.records[partition]):
        said = [[encode_decision(one) for one in governor.step(offset, decode_run(data))] for governor in (sleeps, sweeps)]
        assert said[0] == said[1], offset
        assert sleeps.seal == sweeps.seal, offset
        seen["asleep"] += len(sleeps.gates) - len(sleeps.waking.awake)
        seen["gates"] += len(sleeps.gates)
        seen["decisions"] += len(said[0])
        seen["seals"] += sleeps.seal is not None
        for gate in sleeps.gates.values():
            seen[gate.breaker.state.value] += 1
            assert sleeps.judged_ms(gate) == sweeps.judged_ms(sweeps.gates[gate.name]), (offset, gate.name)
        if pickled_every and offset % pickled_every == 0:
            owns = sleeps.owns
            sleeps = pickle.loads(pickle.dumps(sleeps))
            sleeps.owns = owns
    for name in sleeps.gates:
        one, other = sleeps.look(name), sweeps.look(name)
        assert one is not None
        assert other is not None
        assert [vars_of(condition) for condition in one.conditions] == [vars_of(condition) for condition in other.conditions]
    return seen


def vars_of(condition: Condition) -> tuple[Any, ...]:
    return condition.brief(), condition.absent, condition.held, condition.score


# --- random logs ---


def life(rng: random.Random) -> World:
    """Some gates with drawn policies; streams that come, go wrong and stop; orders, activations, and time that jumps."""
    names = [f"g{number}" for number in range(rng.randint(1, 5))]

    def text(name: str) -> str:
        if rng.random() < 0.25:
            return policy(*rng.sample([FLEET, PAIR, "heartbeat: {source: a, every: 100ms, grace: 2s}"], 2), gate=name)
        return drawn(rng).text.replace("gate: g\n", f"gate: {name}\n")

    policies = {name: text(name) for name in names}
    world = World(*policies.values())
    modes = dict.fromkeys(("x", "y", "z", "w", "m", "a", "lag", "executions", "unreadable"), "good")
    committed = 0
    for _ in range(rng.choice((10, STEPS))):
        for source, mode in modes.items():
            if rng.random() < (0.2 if mode != "good" else 0.03):
                modes[source] = rng.choice(("good", "bad", "silent", "unreadable"))
        committed += 10
        for source, mode in modes.items():
            items = _sent(rng, source, mode, committed, world, names)
            if items:
                world.door.append(TELEMETRY, world.now_ms, *items)
                if rng.random() < 0.3:
                    world.flush()  # a run without a mark
        if rng.random() < 0.15:
            _order(rng, world, rng.choice(names))
        if rng.random() < 0.04:
            changed = rng.choice(names)
            policies[changed] = text(changed)
            world.activate(*policies.values())
        if rng.random() < 0.01:
            world.open_term(1 + sum(governor.term for governor in world.governors))
        keys = None if rng.random() < 0.8 else rng.sample(sorted(world.door.logs), 2)
        world.mark(rng.choice((100, 200, 200, 1_000, 1_000, 4_000, 30_000)), keys=keys)
    return world


def _sent(rng: random.Random, source: str, mode: str, committed: int, world: World, names: list[str]) -> list[tuple[Any, ...]]:
    if mode == "silent" or rng.random() < 0.3:
        return []
    value = (900.0 if mode == "bad" else 10.0) + rng.random()
    match source:
        case "a":
            return [("beat", "a", None, instance) for instance in ("i1", "i2")[: 1 if mode == "bad" else 2]]
        case "lag":
            end = committed + (500 if mode == "bad" else 5)
            return [("lag", "w", "r", {0: (-1 if mode == "unreadable" else committed, end)})]
        case "executions":
            proving = [one for one in world.said[-5:] if one.tokens]
            probes = [
                ("outcome", one.gate, 0, f"{one.probe_epoch}:{at}", mode, 1) for one in proving for at in range(one.tokens)
            ]
            outcome = {"bad": "failed", "unreadable": "interrupted"}.get(mode, "ok")
            sent = [("sent", rng.choice(names), "guard", committed, rng.choice((10, 9)), 0)] if rng.random() < 0.2 else []
            kinds = [(*item[:4], outcome, 1) for item in probes]
            return [
                *kinds,
                *sent,
                *(("outcome", name, 0, "", outcome, rng.randint(1, 4)) for name in names if rng.random() < 0.7),
            ]
        case "unreadable":
            return [("unreadable", "no json")] if mode == "bad" else []
        case "m":
            return [("from", "s/m", f"i{number}", value) for number in range(rng.randint(1, 3))]
    if mode == "unreadable":
        return [("fault", f"s/{source}", "nan")]
    return [("sample", f"s/{source}", value + 0.1 * number) for number in range(rng.choice((1, 3, 8)))]


def _order(rng: random.Random, world: World, gate: str) -> None:
    found = world.governors[0].gates[gate]
    kind = rng.choice(("reset", "reset", "unlock", "bypass", "end_bypass", "lock", "accept"))
    claims: dict[str, Any] = {} if kind in ("lock", "end_bypass") else {"epoch": found.epoch}
    named = [condition.name for condition in found.conditions]
    if kind == "bypass":
        claims |= {"conditions": named, "until_ms": world.now_ms + rng.choice((500, 5_000, 60_000))}
    if kind == "accept":
        claims["condition"] = rng.choice(named or ["none"])
    world.command(kind, gate, **claims)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_sleeping_and_sweeping_agree_on_random_logs(shard: int) -> None:
    """Every kind of condition, orders, activations, new terms, jumps, snapshots; and many gates do sleep meanwhile."""
    seen: Counter[str] = Counter()
    for number in range(draws(LOGS // SHARDS)):
        seen += agree(life(random.Random(f"life {shard} {number}")).log, pickled_every=number % 3 * 7)
    assert seen["asleep"] > 0.1 * seen["gates"]
    assert seen["seals"]
    assert {"ARMED", "TRIPPED", "LOCKED"} <= seen.keys()
    assert draws(LOGS) < LOGS or seen["PROVING"]


@pytest.mark.parametrize("seed", range(4))
def test_they_agree_where_routers_restart_and_misread(seed: int) -> None:
    """Coverages that are forked, joined again, and succeeded by others."""
    story, rng = FrontDoorStory(seed), random.Random(f"routers {seed}")
    fleet = Fleet(story, 2, 2)
    fleet.misreads = 0.5 if seed % 2 else 0.0
    governor = fleet.governor()
    for step in range(200):
        story.step()
        for _ in range(rng.randint(0, 8)):
            fleet.turn(rng)
        if step % 20 == 0:
            for offset in range(governor.offset + 1, len(fleet.log.records[0])):
                governor.step(offset, decode_run(fleet.log.records[0][offset]))
            fleet.tell_again(governor, rng)
    fleet.finish()
    seen = agree(fleet.log) + agree(fleet.log, 1)
    assert seen["decisions"]


# --- one gate ---


def test_a_mark_touches_only_who_asked_to_be_woken() -> None:
    """Of a hundred gates that are open, a mark ticks the one whose time has come."""
    quiet = [policy("unreadable: {at_least: 1, window: 10s}", gate=f"quiet{number}") for number in range(99)]
    world = World(*quiet, policy("heartbeat: {source: a, every: 1s, grace: 5s}"))
    world.send(("beat", "a", None))
    world.marks(1_000)
    governor = world.governors[0]
    assert all(world.is_open(name) for name in governor.gates)
    ticked: Counter[str] = Counter()
    for gate in governor.gates.values():
        for condition in gate.conditions:
            _count_ticks(condition, gate.name, ticked)
    world.marks(10_000, 1_000)
    assert set(ticked) == {"g"}
    assert ticked["g"] <= 4
    assert not world.is_open()
    assert all(world.is_open(name) for name in governor.gates if name != "g")


def _count_ticks(condition: Condition, gate: str, ticked: Counter[str]) -> None:
    tick = condition.tick

    def counted(moment: Any) -> bool:
        ticked[gate] += 1
        return tick(moment)

    condition.tick = counted  # type: ignore[method-assign]


def test_a_sleeper_is_judged_up_to_the_last_mark() -> None:
    """What nobody touches is renewed by seals all the same."""
    world = World(policy("unreadable: {at_least: 1, window: 10s}"))
    world.marks(20_000, 500)
    governor = world.governors[0]
    assert "g" not in governor.waking.awake
    assert governor.judged_ms(governor.gates["g"]) == governor.coverages[-1].evidence_ms
    assert world.seals[-1].open[-1][0] > world.now_ms - 1_000


def test_a_gate_that_was_woken_too_late_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition that asks for too late a time is a fault of ours: its gate closes, and no other."""
    world = World(policy("heartbeat: {source: a, every: 1s, grace: 5s}"), policy("unreadable: {}", gate="h"))
    monkeypatch.setattr(HeartbeatCondition, "wakes_ms", lambda self, moment: NEVER_MS)
    world.send(("beat", "a", None))
    world.marks(30_000, 1_000)
    assert world.is_open()  # the fault: it should have been closed for long
    said = world.send(("beat", "a", None))
    assert [(one.kind, one.breaker, one.gate) for one in said] == [(Kind.CLOSE, Breaker.LOCKED, "g")]
    assert "Overslept" in said[0].because
    assert world.is_open("h")


def test_a_gate_in_the_middle_of_something_does_not_sleep() -> None:
    """While a cooldown, probes or a bypass run, every mark counts."""
    world = World(policy("unreadable: {at_least: 1, window: 1s}", reset="{after: 3s, probes: 2, deadline: 60s}"))
    world.marks(2_000)
    awake = world.governors[0].waking.awake
    assert not awake
    world.send(("unreadable", "no json"))
    world.marks(1_000)
    assert world.gate().breaker.state is Breaker.TRIPPED
    assert awake == {"g"}
    world.marks(4_000)
    assert world.gate().breaker.state is Breaker.PROVING
    assert awake == {"g"}


# --- what time alone changes, condition by condition: nothing else touches the gate ---


def alone(condition: str, *happens: tuple[int, tuple[Any, ...]], seconds: int = 40) -> list[tuple[int, str]]:
    """When a gate with one condition changes, in seconds since its beginning; a swept one must change at the same records."""
    world, at, due = World(policy(condition)), 0, dict[int, list[tuple[Any, ...]]]()
    for second, item in happens:
        due.setdefault(second, []).append(item)
    seen = []
    for at in range(seconds):
        items = due.get(at, [])
        if items:
            world.door.append(TELEMETRY, world.now_ms, *items)
        seen += [(at, one.kind.value) for one in world.mark(1_000) if one.kind is not Kind.NOTE]
    agree(world.log)
    return seen


def test_a_window_without_unreadable_records_opens_by_itself() -> None:
    """The lapse ends when its window has passed."""
    said = alone("unreadable: {at_least: 1, window: 10s, action: lapse}", (5, ("unreadable", "no json")))
    assert said == [(0, "open"), (5, "close"), (14, "open")]


def test_a_share_that_grows_because_old_executions_leave_the_window_trips() -> None:
    """Nothing is sent any more; the successes leave the window first."""
    failing = [("outcome", "g", 0, "", ok, 1) for ok in (False, False, True, False, False)]
    rate = "failure_rate: {window: 10s, at_least: 4, over: 0.5}"
    said = alone(rate, (2, ("outcome", "g", 0, "", True, 8)), *((7, one) for one in failing))
    assert said[0] == (0, "open")
    assert said[1][1] == "close"
    assert 11 <= said[1][0] <= 12


def test_a_level_is_adopted_by_time_alone() -> None:
    """The readings of the new level came before; that they are normal now follows from the time."""
    normal = [(second, ("sample", "s/x", 10.0)) for second in range(8)]
    other = [(second, ("sample", "s/x", 900.0)) for second in range(8, 20)]
    said = alone("drift: {series: s/x, detector: level, adopt: after 15s, action: lapse}", *normal, *other)
    assert [kind for _, kind in said] == ["close", "open", "close", "open"]  # at first it has to learn
    assert said[2][0] == 8
    assert 22 <= said[3][0] <= 24


def test_a_heartbeat_a_sample_and_a_quiet_gate_run_out() -> None:
    """Each at the second at which it is missing."""
    beat = alone("heartbeat: {source: a, every: 1s, grace: 5s}", (2, ("beat", "a", None)))
    assert [kind for _, kind in beat] == ["close", "open", "close"]
    assert beat[-1][0] in (7, 8)
    lag = alone("lag: {group: w, topic: r, allowed: 1, behind: 5s, stale: 9s}", (2, ("lag", "w", "r", {0: (5, 5)})))
    assert lag[-1][1] == "close"
    assert lag[-1][0] >= 11
    quiet = alone("failure_rate: {window: 10s, at_least: 4, over: 0.5, quiet: closes}")
    assert quiet[-1][1] == "close"


def test_a_fault_behind_the_conclusion_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is locked, and the operator whose command was judged in the same record is answered all the same."""
    world = World(policy("unreadable: {at_least: 1, window: 10s}"))
    world.marks(1_000)

    def broken(*_: object) -> int:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(Step, "wakes_ms", broken)
    said = world.command("reset", epoch=1)
    assert [(one.kind, one.breaker) for one in said] == [(Kind.NOTE, Breaker.ARMED), (Kind.CLOSE, Breaker.LOCKED)]
    assert "refused" in said[0].because


def test_no_sleeper_is_judged_up_to_a_time_of_a_former_coverage() -> None:
    """A lane's name may come again, with another term's time."""
    waking, lane = Waking(), (3, 0)
    waking.passes(lane, Moment(900, 900))
    waking.sleep("g", lane, 200, Moment(100, 100))
    assert waking.judged_ms("g", 100) == 100
    waking.passes(lane, Moment(150, 150))
    assert waking.judged_ms("g", 100) == 150
