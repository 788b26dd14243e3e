"""Control that is told again, as each router does that starts, changes nothing a second time."""

from __future__ import annotations

from log import CONTROL, EVIDENCE_ID, TELEMETRY, World, policy

from failshut_breakers.decisions.decision import Breaker
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Mark, Reading, Run, encode_run
from failshut_breakers.governor import Governor

BEAT = "heartbeat: {source: a, grace: 3s}"
QUICK = {"reset": "{probes: 0}"}


def whole_of_control(world: World) -> Run:
    """All of control in one run, as a router tells it that has just started."""
    runs = [run for run in world.log.runs() if (run.topic, run.partition) == CONTROL]
    readings: dict[str, list[Reading]] = {}
    for run in runs:
        for gate, held in run.readings.items():
            readings.setdefault(gate, []).extend(held)
    notices = [notice for run in runs for notice in run.notices]
    world.now_ms += 200
    world.door.mark(CONTROL, world.now_ms)
    upto = len(world.door.logs[CONTROL])
    world.router.position[CONTROL] = world.router.told[CONTROL, 0] = upto
    mark, last = Mark(world.now_ms, 1), runs[-1]
    return Run(
        *(last.schema, last.evidence_id, last.evidence_partitions, last.term, world.router.routes.routing, "new", *CONTROL),
        *(0, upto, world.now_ms, mark, readings, notices, last.made, last.operators, last.feeds),
    )


def told_again(world: World) -> None:
    """A router that has just started tells all of control, and goes on."""
    world.log.records[0].append(encode_run(whole_of_control(world)))
    world.said += world.feed()


def test_an_old_lock_locks_nothing_again() -> None:
    """A gate that was locked and reset stays as it is when control is told again."""
    world = World(policy(BEAT, **QUICK))
    world.marks(2_000, beat="a")
    world.command("lock")
    assert world.gate().breaker.state is Breaker.LOCKED
    world.marks(1_000, beat="a")
    world.command("reset", epoch=int(world.last().epoch))
    world.marks(1_000, beat="a")
    assert world.is_open()
    epoch, said = world.last().epoch, len(world.said)
    told_again(world)
    world.marks(1_000, beat="a")
    assert world.gate().breaker.state is Breaker.ARMED
    assert world.last().epoch == epoch
    assert world.said[said:] == []
    assert world.is_open()


def test_an_old_activation_is_not_taken_up_again() -> None:
    """No coverage is begun, and no gate starts without evidence, for bundles that are in force already: not by their version,
    which a term that went on over a replaced control would let pass, but by their place."""
    world = World(policy(BEAT))
    world.activate(policy(BEAT), policy(BEAT, gate="h"))
    world.marks(4_000, beat="a")
    (governor,) = world.governors
    gate, version = world.gate(), world.gate().version
    applied: list[int] = []
    apply = governor.book.apply
    governor.book.apply = lambda offset, *rest: applied.append(offset) or apply(offset, *rest)  # type: ignore[method-assign,func-returns-value]
    told_again(world)
    assert applied == []
    assert world.gate() is gate
    assert (gate.version, len(governor.coverages)) == (version, 1)
    assert world.is_open()


def test_an_old_fault_closes_nothing_again() -> None:
    """A bundle that was not to be trusted closed its gate once; the signed one behind counts, however often they are told."""
    world = World(policy(BEAT))
    world.activate(version=9, fault="unsigned", evil="gate: g")
    world.version = 1
    world.activate(policy(BEAT))
    world.marks(4_000, beat="a")
    assert world.is_open()
    said = len(world.said)
    told_again(world)
    world.marks(1_000, beat="a")
    assert world.said[said:] == []
    assert world.is_open()


def test_an_old_gap_is_not_signed_for_again() -> None:
    """A gap that was signed for in one term says nothing of the next, whose offsets may be another log's."""
    world = World(policy(BEAT))
    world.control(("accept_gap", "telemetry", 0, 5_000))
    (governor,) = world.governors
    assert governor.coverages[-1].covered[TELEMETRY] == 5_000
    starts = {topic: dict.fromkeys(range(count), 0) for topic, count in world.door.counts.items()}
    world.open_term(2, starts)
    assert governor.coverages[-1].covered[TELEMETRY] == 0
    told_again(world)
    assert governor.coverages[-1].covered.get(TELEMETRY, 0) < 5_000
    new = Governor(0, EvidenceLog(EVIDENCE_ID, 1), lambda gate: True)
    new.step(0, whole_of_control(world))
    assert new.term == 2
    assert new.coverages[-1].covered[TELEMETRY] == 0


def test_a_gap_counts_once_in_its_term() -> None:
    """Told again, it is not applied: only what stands behind what is covered of control counts."""
    world = World(policy(BEAT))
    world.control(("accept_gap", "telemetry", 0, 7))
    (governor,) = world.governors
    coverage = governor.coverages[-1]
    accepted: list[tuple[str, int, int]] = []
    coverage_type = type(coverage)
    before = coverage_type.accept_gap
    try:
        coverage_type.accept_gap = lambda self, *gap: accepted.append(gap)  # type: ignore[method-assign,assignment,misc]
        told_again(world)
    finally:
        coverage_type.accept_gap = before  # type: ignore[method-assign]
    assert accepted == []


def test_an_accepted_gap_joins_however_far_routers_have_read() -> None:
    """Routers go back to where it was signed up to: their next run begins there, and nothing behind it is lost."""
    world = World(policy(BEAT))
    world.marks(1_000, beat="a")
    (governor,) = world.governors
    for _ in range(5):  # what nobody tells
        world.door.append(TELEMETRY, world.now_ms, ("beat", "a", None))
    position = len(world.door.logs[TELEMETRY])
    world.router.position[TELEMETRY] = world.router.told[TELEMETRY, 0] = position
    world.marks(2_000, beat="a")
    assert TELEMETRY in governor.coverages[-1].gaps
    assert not world.is_open() or world.now_ms - world.last().evidence_ms >= 2_000
    world.control(("accept_gap", "telemetry", 0, position))
    world.router.position[TELEMETRY] = world.router.told[TELEMETRY, 0] = position  # as router/agent.py does
    world.marks(1_000, beat="a")
    assert governor.coverages[-1].covered[TELEMETRY] == len(world.door.logs[TELEMETRY])
    assert governor.coverages[-1].gaps == {}
    assert world.is_open()
