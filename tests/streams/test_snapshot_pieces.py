"""A snapshot in pieces is one of a single moment, and what has not changed is not written again."""

from __future__ import annotations

import random
from itertools import islice

import msgspec
import pytest
from breakers.log import World, policy

from failshut_breakers.decisions.decision import encode_decision
from failshut_breakers.evidence.records import decode_run
from failshut_breakers.governor import Governor
from failshut_streams.governor import snapshots as module
from failshut_streams.governor.snapshots import BadSnapshot, Snapshots, TooLarge

KEY = b"k" * 32
GATES = 30


def lively(seed: int, gates: int = GATES) -> World:
    """Gates of which some are fed, some demand, some are locked; some are edited, added and taken away."""
    rng = random.Random(seed)
    named = {f"g{number}": _of(number) for number in range(gates)}
    world = World(*named.values())
    for step in range(60):
        for number in rng.sample(range(gates), 3):
            world.samples([rng.gauss(50, 5) if rng.random() < 0.9 else 900.0], f"s/{number}", flush=False)
        if step % 9 == 0:
            world.command("lock", f"g{rng.randrange(gates // 2)}")
        if step % 20 == 10:
            named.pop(f"g{gates // 2 + step // 20}", None)
            named[f"more{step}"] = policy("unreadable: {}", gate=f"more{step}")
            world.activate(*named.values())
        world.mark(rng.choice((200, 1_000, 20_000)))
    return world


def _of(number: int) -> str:
    rule = f'conformance: {{series: s/{number}, rule: "value <= 100", window: 5, over: 0.5, confidence: 1e-9, stale: 60s}}'
    text: str = policy(rule, "unreadable: {at_least: 2, window: 10s}", gate=f"g{number}", reset="{after: 5s, probes: 0}")
    return text


def write(table: dict[str, bytes], snapshots: Snapshots, governor: Governor, most: int = 1 << 30) -> set[str]:
    """Write a snapshot, or the beginning of one, and return the names that got a new value."""
    names = set()
    for name in snapshots.unnamed(list(table)):
        del table[name]
    for name, data in islice(snapshots.cut(governor), most):
        if data is None:
            del table[name]
        else:
            table[name] = data
            names.add(name)
    return names


def back(table: dict[str, bytes], governor: Governor) -> tuple[Snapshots, Governor]:
    snapshots = Snapshots(0, KEY)
    restored = snapshots.restore(table, governor.log, governor.owns)
    assert restored is not None
    return snapshots, restored


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_from_any_snapshot_on_the_same_is_decided(seed: int) -> None:
    """Snapshots after records at random, some cut short by a death; a restored governor goes on as if nothing had been."""
    world, rng = lively(seed), random.Random(f"cuts {seed}")
    runs = [decode_run(data) for data in world.log.records[0]]
    through, governor = world.log.governor(), world.log.governor()
    snapshots, table = Snapshots(0, KEY), dict[str, bytes]()
    deaths = restores = 0
    for offset, run in enumerate(runs):
        expected = [encode_decision(one) for one in through.step(offset, run)]
        assert [encode_decision(one) for one in governor.step(offset, run)] == expected, offset
        assert governor.seal == through.seal, offset
        if rng.random() < 0.2:
            write(table, snapshots, governor)
            if rng.random() < 0.5:
                snapshots, governor = back(table, governor)
                restores += 1
        elif table and rng.random() < 0.1:
            write(table, snapshots, governor, rng.randint(0, 2))
            deaths += 1
            snapshots, governor = back(table, governor)
            for again in range(governor.offset + 1, offset + 1):
                governor.step(again, runs[again])
    assert deaths
    assert restores
    assert {gate.name for gate in governor.gates.values()} == through.gates.keys()


def test_a_gate_that_nothing_happens_to_is_written_once() -> None:
    """Of a thousand gates that sleep, one is fed: the next snapshots hold the head, and that one gate."""
    world = World(*(_of(number) for number in range(300)), policy("heartbeat: {source: a, every: 1s, grace: 60s}"))
    world.marks(2_000)
    governor, snapshots, table = world.governors[0], Snapshots(0, KEY), dict[str, bytes]()
    write(table, snapshots, governor)
    whole = sum(map(len, table.values()))
    for _ in range(5):
        world.send(("beat", "a", None))
        world.mark()
        names = write(table, snapshots, governor)
        assert len(names) == 2
        assert sum(len(table[name]) for name in names) < whole / 10
    _, restored = back(table, governor)
    assert restored.gates.keys() == governor.gates.keys()


def test_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However gates take turns, old pieces are put together, and the table holds what the head names and no more."""
    monkeypatch.setattr(module, "PIECES_MAX", 5)
    monkeypatch.setattr(module, "PIECE_BYTES", 20_000)
    world = World(*(_of(number) for number in range(40)))
    governor, snapshots, table = world.governors[0], Snapshots(0, KEY), dict[str, bytes]()
    for number in range(80):
        world.samples([50.0], f"s/{number * 7 % 40}")
        world.mark()
        write(table, snapshots, governor)
        assert len(table) <= 2 + 5 + 40  # head and policies, pieces that stay, and those of this snapshot
        assert not snapshots.unnamed(table)
    back(table, governor)


def test_a_worker_that_lost_the_partition_spoils_no_piece() -> None:
    """What it writes late has names of its own; the owner's head finds every piece of its own."""
    world = World(*(_of(number) for number in range(10)))
    old, table = Snapshots(0, KEY), dict[str, bytes]()
    write(table, old, world.governors[0])
    owner, governor = back(table, world.governors[0])
    for number in range(10):
        world.samples([50.0], f"s/{number}")
        world.mark()
    for offset in range(governor.offset + 1, len(world.log.records[0])):
        governor.step(offset, decode_run(world.log.records[0][offset]))
    write(table, owner, governor)
    late = [(name, data) for name, data in old.cut(world.governors[0]) if data is not None and name != "0"]
    table |= dict(late)
    assert late
    _, restored = back(table, governor)
    assert restored.offset == governor.offset


@pytest.mark.parametrize("how", ["gone", "changed", "another's"])
def test_a_piece_that_is_not_what_the_head_names_is_refused(how: str) -> None:
    """Without one of its pieces a snapshot is no snapshot."""
    world = World(*(_of(number) for number in range(10)))
    table: dict[str, bytes] = {}
    write(table, Snapshots(0, KEY), world.governors[0])
    for name in [name for name in table if name != "0"]:
        spoilt = dict(table)
        if how == "gone":
            del spoilt[name]
        else:
            spoilt[name] = (
                spoilt[name][:-1] + b"x" if how == "changed" else next(v for n, v in table.items() if n not in (name, "0"))
            )
        with pytest.raises(BadSnapshot, match="piece"):
            back(spoilt, world.governors[0])


def test_a_part_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot before it stays whole."""
    world = World(*(_of(number) for number in range(10)))
    governor, snapshots, table = world.governors[0], Snapshots(0, KEY), dict[str, bytes]()
    write(table, snapshots, governor)
    offset = governor.offset
    world.samples([50.0], "s/1")
    world.mark()
    monkeypatch.setattr(module, "SNAPSHOT_BYTES_MAX", 10)
    with pytest.raises(TooLarge, match="at most 10"):
        write(table, snapshots, governor)
    monkeypatch.undo()
    assert back(table, governor)[1].offset == offset
    write(table, snapshots, governor)
    assert back(table, governor)[1].offset == governor.offset


def test_no_gate_of_another_governor_comes_back() -> None:
    """After a lost log a governor begins that knows nothing: what the former one had written is not in its snapshot."""
    world = World(*(_of(number) for number in range(5)))
    governor, snapshots, table = world.governors[0], Snapshots(0, KEY), dict[str, bytes]()
    write(table, snapshots, governor)
    lost = Governor.lost(0, governor.log, governor.owns)
    lost.offset, lost.shape = governor.offset, governor.shape
    write(table, snapshots, lost)
    _, restored = back(table, lost)
    assert (restored.gates, restored.book.entries, restored.whole) == ({}, {}, False)


def test_the_policies_of_a_term_that_its_own_run_does_not_name_are_written() -> None:
    """Whatever a notice changes is in the next snapshot, also where the rest of its record counts for nothing."""
    world = World(_of(1))
    governor, snapshots, table = world.governors[0], Snapshots(0, KEY), dict[str, bytes]()
    write(table, snapshots, governor)
    world.router.term = -1
    world.door.append(("control", 0), world.now_ms, ("term", {"term": 2, "starts": {}}))
    before = len(world.log.records[0])
    world.router.route(("control", 0))
    run = decode_run(world.log.records[0][before])
    governor.step(before, msgspec.structs.replace(run, term=1))
    assert (governor.term, governor.agreement.operators) == (2, None)
    write(table, snapshots, governor)
    assert back(table, governor)[1].agreement.operators is None
