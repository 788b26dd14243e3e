"""Commands by nobody known: they close the gates in force that they name, and cost everybody else nothing."""

from __future__ import annotations

from log import CONTROL, TELEMETRY, World, policy
from msgspec.structs import replace

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Kind
from failshut_breakers.evidence.records import decode_run, encode_run

BEAT = "heartbeat: {source: a, grace: 3s}"
RULE = 'conformance: {series: s/x, rule: "value < 3", window: 2, over: 0.4}'
OTHER = policy(BEAT, gate="h")


def fresh(world: World, for_ms: int = 2_000) -> None:
    world.marks(for_ms, beat="a")


def test_an_untrusted_bundle_closes_what_it_names_and_moves_nobody() -> None:
    """The named gate closes with the fault; the other keeps its permit, its coverage and its evidence time."""
    world = World(policy(BEAT), OTHER)
    fresh(world)
    assert world.is_open()
    assert world.is_open("h")
    (governor,) = world.governors
    version = governor.gates["h"].version
    decisions = world.activate(version=99, fault="signed by nobody known", evil=policy(BEAT))
    assert [(one.gate, one.kind, one.cause) for one in decisions] == [("g", Kind.CLOSE, Cause.BAD_POLICY)]
    assert [coverage.version for coverage in governor.coverages] == [version]
    assert world.router.routes.routing == version
    fresh(world)
    assert (world.is_open(), world.is_open("h")) == (False, True)


def test_the_next_signed_bundle_opens_what_an_untrusted_one_closed() -> None:
    """It needs no new policy: the one that was in force before counts again, from its activation on."""
    world = World(policy(BEAT), OTHER)
    fresh(world)
    world.activate(version=99, fault="signed by nobody known", evil=policy(BEAT))
    world.version = 1
    world.activate(policy(BEAT), OTHER)
    fresh(world, 4_000)
    assert world.is_open()
    assert world.is_open("h")


def test_a_flood_of_untrusted_bundles_is_one() -> None:
    """What is closed already is not closed again, and no coverage is begun for any of them."""
    world = World(policy(BEAT), OTHER)
    fresh(world)
    for number in range(50):
        world.activate(version=number, fault="unsigned", evil=policy(BEAT), more=f"gate: made-up-{number}\n")
    (governor,) = world.governors
    assert (len(governor.coverages), sorted(governor.gates)) == (1, ["g", "h"])
    assert sum(one.gate == "g" and one.kind is Kind.CLOSE and one.cause is Cause.BAD_POLICY for one in world.said) == 1


def test_a_gate_that_no_bundle_speaks_of_is_forgotten() -> None:
    """Its closing has been said; two bundles later a governor keeps nothing of it, and its policy may come back."""
    world = World(policy(BEAT), OTHER)
    fresh(world)
    closed = world.activate(policy(BEAT))
    assert [(one.gate, one.cause) for one in closed] == [("h", Cause.NO_POLICY)]
    world.activate(policy(BEAT))
    assert sorted(world.governors[0].gates) == ["g"]
    before = world.last("h").epoch
    world.activate(policy(BEAT), OTHER)
    fresh(world, 4_000)
    assert world.is_open("h")
    assert world.last("h").epoch > before


def test_a_gate_that_one_record_changes_and_forgets_is_closed() -> None:
    """Three bundles in one record of evidence: the first changes a gate, the others do not name it. It closes all the same."""
    world = World(policy(BEAT), OTHER)
    fresh(world)
    assert world.is_open("h")
    others = OTHER.replace("ttl: 3s", "ttl: 4s")
    bundles = [{"0.yaml": policy(BEAT), "1.yaml": others}, {"0.yaml": policy(BEAT)}, {"0.yaml": policy(BEAT)}]
    for number, files in enumerate(bundles, 2):
        world.door.append(CONTROL, world.now_ms, ("activate", number, files, "operator", ""))
    world.router.route_all()
    records, fed = world.log.records[0], world.fed[0]
    runs = [decode_run(record) for record in records[fed : fed + 3]]
    assert [len(run.notices) for run in runs] == [1, 1, 1]
    notices = [notice for run in runs for notice in run.notices]
    one = replace(runs[0], upto=runs[-1].upto, append_ms=runs[-1].append_ms, notices=notices)
    records[fed : fed + 3] = [encode_run(one)]
    said = world.feed()
    assert [(one.gate, one.cause) for one in said if one.kind is Kind.CLOSE] == [("h", Cause.NO_POLICY)]
    world.version = 4
    world.activate(policy(BEAT))
    assert sorted(world.governors[0].gates) == ["g"]


def test_a_tripped_breaker_outlives_its_policy() -> None:
    """A policy that goes for many bundles and comes back is no reset: the gate is tripped as it was."""
    rule = policy(RULE)
    world = World(rule, OTHER)
    world.door.append(TELEMETRY, world.now_ms, ("sample", "s/x", 1.0))
    fresh(world)
    world.samples([9.0, 9.0, 9.0])
    world.mark()
    assert world.gate().breaker.state is Breaker.TRIPPED
    for _ in range(3):
        world.activate(OTHER)
        fresh(world)
    assert "g" in world.governors[0].gates
    world.activate(rule, OTHER)
    fresh(world, 4_000)
    assert world.gate().breaker.state is Breaker.TRIPPED
    assert not world.is_open()
