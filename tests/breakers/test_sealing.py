"""When governors seal, and what their seals say."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from log import World, policy

from failshut.seal import NAMES_MAX, Seal, name_of
from failshut_breakers import sealing
from failshut_breakers.decisions.decision import Kind
from failshut_breakers.decisions.permits import LIFE_MS
from failshut_breakers.evidence.records import decode_run
from failshut_breakers.gate.step import RESIGNED_MS

BEAT = "heartbeat: {source: a, grace: 2s}"


def _fleet(count: int = 3, ttl: str = "3s") -> World:
    world = World(*(policy(BEAT, gate=f"g{number}", ttl=ttl) for number in range(count)))
    world.send(("beat", "a", None))
    world.mark()
    return world


def _names(world: World, seal: Seal) -> set[str]:
    return {name for name, gate in world.governors[0].gates.items() if gate.sealed and seal.time_of(gate.sealed)}


def test_one_seal_renews_all_open_gates_and_no_decision_does() -> None:
    """Twenty gates cost one seal for each sixth of a ttl, and no record each."""
    world = _fleet(20)
    before, sealed = len(world.said), len(world.seals)
    world.marks(6_000, beat="a")
    assert len(world.said) == before, "renewals are no decisions"
    seals = world.seals[sealed:]
    assert 10 <= len(seals) <= 13, "one for each sixth of a ttl"
    for seal in seals:
        assert _names(world, seal) == {f"g{number}" for number in range(20)}
    assert all(world.is_open(f"g{number}") for number in range(20))
    assert all(late.position > early.position for early, late in pairwise(world.seals))


def test_a_seal_has_the_evidence_time_up_to_which_each_gate_was_judged() -> None:
    """I6: a partition without marks holds the time back, in seals as well."""
    world = _fleet(1)
    for _ in range(20):
        world.send(("beat", "a", None))
        world.mark(keys=[key for key in world.door.logs if key != ("otlp_metrics", 0)])
    held = world.governors[0].coverages[-1].evidence_ms
    assert max(evidence_ms for seal in world.seals for evidence_ms, _ in seal.open) == held
    assert not world.is_open("g0"), "nobody renewed it while a partition had no mark"


@pytest.mark.parametrize("ends", ["lapse", "trip", "lock", "edit"])
def test_a_gate_that_closes_or_changes_is_in_no_later_seal_under_its_old_name(ends: str) -> None:
    """I4: whatever ends an epoch ends its name."""
    world = _fleet(2)
    world.activate(policy(BEAT, gate="g0"), policy("conformance: {series: s/x, rule: value <= 1, window: 20}", gate="g1"))
    for _ in range(8):
        world.send(("beat", "a", None))
        world.samples([0.0] * 10)
        world.mark()
    gate = world.gate("g1")
    name = gate.sealed
    assert world.seals[-1].time_of(name)
    at = len(world.seals)
    if ends == "lapse":
        gate = world.gate("g0")
        name = gate.sealed
        world.marks(3_000)
    elif ends == "trip":
        world.samples([9.0] * 20)
        world.mark()
    elif ends == "lock":
        world.command("lock", "g1")
    else:
        rule = policy("conformance: {series: s/x, rule: value <= 2, window: 20}", gate="g1")
        world.activate(policy(BEAT, gate="g0"), rule)
    world.send(("beat", "a", None))
    world.mark()
    closed = next(seal for seal in world.seals[at:] if not seal.time_of(name))
    assert all(not seal.time_of(name) for seal in world.seals[world.seals.index(closed) :])


def test_the_last_gate_that_closes_leaves_a_seal_that_names_none() -> None:
    """Guards are told so, and afterwards nothing is sealed for nobody."""
    world = _fleet(1)
    world.command("lock", "g0")
    assert world.seals[-1].open == ()
    count = len(world.seals)
    world.marks(5_000, beat="a")
    assert len(world.seals) == count, "nothing is open and nothing changed"


def test_a_permit_is_signed_again_at_about_half_of_its_life() -> None:
    """Under its epoch, and gates that opened together do it at different times."""
    world = _fleet(3)
    renewals = [one for one in world.marks(LIFE_MS, step_ms=1_000, beat="a") if one.kind is Kind.RENEW]
    by_gate = {one.gate: one for one in renewals}
    assert by_gate.keys() == {"g0", "g1", "g2"}
    assert len(renewals) <= 6
    assert len({one.evidence_ms for one in by_gate.values()}) == 3, "not all at once"
    assert all(
        one.evidence_ms - world.said[0].evidence_ms > 0 and one.epoch == world.gate(one.gate).said.epoch for one in renewals
    )  # type: ignore[union-attr]
    assert RESIGNED_MS * 2 <= LIFE_MS


def test_bypasses_and_probes_are_renewed_by_themselves_and_named_in_no_seal() -> None:
    """Their permits end by themselves, soon."""
    world = World(policy(BEAT, gate="g", reset="{after: 1s, probes: 2}", trip_on="any"))
    world.marks(1_000, beat="a")
    epoch = world.gate().epoch
    until_ms = world.now_ms + 60_000
    world.command("bypass", epoch=epoch, conditions=["heartbeat:a"], until_ms=until_ms)
    assert world.last().mode == "bypass"
    assert world.seals[-1].open == ()
    renewed = [one for one in world.marks(3_000, beat="a") if one.kind is Kind.RENEW]
    assert renewed
    assert all(one.exp_ms <= one.evidence_ms + one.ttl_ms for one in renewed)


def test_a_new_term_is_sealed_at_once_though_nothing_is_open() -> None:
    """The store and guards learn that the former term is over."""
    world = _fleet(1)
    world.open_term(2)
    assert world.seals[-1].term == 2
    assert world.seals[-1].open == ()


def test_two_governors_make_the_same_seals_and_a_restored_one_goes_on_with_them() -> None:
    """I3: seals are a function of the log, whatever snapshots lie between."""
    world = _fleet(3)
    world.marks(2_000, beat="a")
    world.command("lock", "g1")
    world.marks(2_000, beat="a")
    other, seals = world.log.governor(), []
    for offset, data in enumerate(world.log.records[0]):
        other.step(offset, decode_run(data))
        if other.seal is not None:
            seals.append(other.seal)
        owns, other = other.owns, pickle.loads(pickle.dumps(other))
        other.owns = owns
    assert seals == world.seals


def test_more_gates_than_a_seal_names_leave_those_out_that_opened_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal that is too long would renew nobody; those left out lapse, and a number says so."""
    monkeypatch.setattr(sealing, "NAMES_MAX", 2)
    world = _fleet(2)
    files = [policy(BEAT, gate=f"g{number}") for number in range(4)]
    world.activate(*files)
    world.marks(1_000, beat="a")
    assert world.governors[0].sealing.unsealed == 2
    assert world.seals[-1].count == 2
    assert _names(world, world.seals[-1]) == {"g0", "g1"}
    assert not world.is_open("g3")


def test_a_gate_without_any_judged_time_is_not_named() -> None:
    """No evidence time is no time to name."""
    name = name_of("g", "0" * 16, "sha256:x", "armed")
    seal = Seal.of("a" * 16, 0, 1, 1, 1_000, [(5, name)])
    assert seal.time_of(name) == 5
    with pytest.raises(ValueError, match="ascend"):
        Seal.of("a" * 16, 0, 1, 1, 1_000, [(0, name)])
    with pytest.raises(ValueError, match="at most"):
        Seal.of("a" * 16, 0, 1, 1, 1_000, [(5, number.to_bytes(12, "big")) for number in range(NAMES_MAX + 1)])
