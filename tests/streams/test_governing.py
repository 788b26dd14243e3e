"""A governor is rebuilt from an authentic snapshot and the log behind it, or the log alone, or knows nothing and says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faust.types import TP
from streams import test_control as control_test
from streams.front_door import LOG, PARTITIONS, ROUTES, chunk, cutter, mark, partition_of, record, sample

from failshut.cause import Cause
from failshut.seal import Seal
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.evidence.records import EvidenceError, Run, encode_run
from failshut_streams.config import WorkerConfig
from failshut_streams.governor import snapshots as snapshots_module
from failshut_streams.governor.agent import GovernorAgent
from failshut_streams.metrics import Metrics
from failshut_streams.transport import Assignment, Chunk, Commit, Record
from failshut_streams.transport.front_door import APPEND_TIME

GATE = "a"
HOME = partition_of(GATE)
EVIDENCE = TP("evidence", HOME)


def the_log() -> list[Run]:
    """What routers wrote for the gate's partition: control, telemetry, control, telemetry."""
    control = control_test.cutter()
    runs = control.everything(
        [control_test.record(0, control_test.TERM), control_test.record(1, control_test.activate(1))], 2
    ).runs
    front = cutter()
    routes = control.routes
    assert routes.series.keys() <= ROUTES.series.keys()
    for at in range(0, 12, 3):
        runs += front.cut(chunk([record(at, sample()), record(at + 1, sample()), mark(at + 2, partitions=1)]), routes).runs
        runs += control.cut([mark(200 * at + 200, partitions=1)], 200 * at + 201).runs
    return [run for partition, run in runs if partition == HOME]


RUNS = the_log()


class Effects:
    """Notes what is taken; `waiting` says whether a statement is not yet in the store."""

    def __init__(self) -> None:
        self.taken: list[Decision] = []
        self.forgotten: list[str] = []
        self.last: dict[str, Decision] = {}
        self.waiting = False
        self.seals: list[Seal] = []
        self.error: Exception | None = None

    async def take(self, decisions: Iterable[Decision]) -> None:
        self.taken += decisions

    async def settle(self) -> None:
        if self.error:
            raise self.error

    def forget(self, gates: Iterable[str]) -> None:
        self.forgotten += gates

    def forget_written(self, gates: Iterable[str]) -> None:
        for gate in gates:
            self.last.pop(gate, None)

    def waits(self, gates: Iterable[str]) -> bool:
        return self.waiting

    def take_seal(self, seal: Seal) -> None:
        self.seals.append(seal)

    def adopt(self, decisions: Iterable[Decision]) -> None:
        self.last |= {decision.gate: decision for decision in decisions}


class App:
    def __init__(self) -> None:
        self.commits: list[Commit] = []

    async def commit_chunks(self, commits: Iterable[Commit]) -> None:
        self.commits += commits

    async def chunks(self, stream: Any, *, gaps: str) -> AsyncIterator[Chunk]:
        for at in stream:
            yield at


class Bench:
    """A governor agent with a table that outlives it."""

    def __init__(self, table: dict[str, bytes] | None = None, key: bytes = b"k" * 32) -> None:
        config = WorkerConfig(
            broker="kafka://127.0.0.1:1",
            store="redis://127.0.0.1:1",
            signing_key=Path("-"),
            operators=Path("-"),
            evidence_partitions=PARTITIONS,
            snapshot_every_ms=100,
        )
        self.app, self.effects, self.table, self.told = App(), Effects(), {} if table is None else table, list[int]()

        async def tell_again(partition: int) -> None:
            self.told.append(partition)

        self.governing = GovernorAgent(
            self.app,  # type: ignore[arg-type]
            config,
            self.table,
            LOG,
            key,
            partition_of,
            tell_again,
            Metrics(),
        )
        self.governing.effects = self.effects  # type: ignore[assignment]

    async def start(self) -> int:
        return (await self.governing.find_starts(Assignment(1, frozenset([EVIDENCE]), {})))[EVIDENCE]

    async def feed(self, runs: Iterable[Run], start: int, previous: int | None, snapshot: bool = False) -> None:
        records = [Record(start + n, 0, APPEND_TIME, None, encode_run(run), ()) for n, run in enumerate(runs)]
        if snapshot:
            self.governing._snapped_s[HOME] = -1e9
        upto = start + len(records)
        await self.governing.run([Chunk("evidence", HOME, start, upto, records, 1, previous)])

    @property
    def governor(self) -> Any:
        return self.governing.governors[HOME]


async def whole() -> Bench:
    bench = Bench()
    assert await bench.start() == 0
    await bench.feed(RUNS, 0, 0)
    return bench


async def test_a_restart_decides_what_would_have_been_decided() -> None:
    """From a snapshot at any place and the log behind it, byte for byte; nothing before the snapshot is decided twice."""
    expected = (await whole()).effects.taken
    assert expected
    for at in range(1, len(RUNS)):
        first = Bench()
        await first.start()
        await first.feed(RUNS[:at], 0, 0, snapshot=True)
        second = Bench(first.table)
        assert await second.start() == at
        await second.feed(RUNS[at:], at, at)
        assert first.effects.taken + second.effects.taken == expected


@pytest.mark.parametrize("spoil", [lambda _: b"garbage", lambda data: data[:-1] + b"\x00", lambda data: data[:32] + data])
async def test_a_snapshot_that_is_not_authentic_is_as_good_as_none(spoil: Callable[[bytes], bytes]) -> None:
    """The partition is replayed from its beginning, and the worker goes on."""
    first = Bench()
    await first.start()
    await first.feed(RUNS, 0, 0, snapshot=True)
    again = Bench(first.table | {str(HOME): spoil(first.table[str(HOME)])})
    assert await again.start() == 0
    await again.feed(RUNS, 0, 0)
    assert again.effects.taken == first.effects.taken


async def test_a_snapshot_of_another_key_is_none() -> None:
    """Whoever cannot sign permits cannot say what a governor knows."""
    first = Bench()
    await first.start()
    await first.feed(RUNS, 0, 0, snapshot=True)
    assert await Bench(first.table, b"j" * 32).start() == 0


@pytest.mark.parametrize(("known", "goes_on"), [(0, 3), (3, 5), (5, 0)], ids=["no-beginning", "a-gap", "beyond-the-end"])
async def test_a_log_that_does_not_follow_means_locked(known: int, goes_on: int) -> None:
    """Its beginning is gone, or something between, or it is another: gates start LOCKED, and control is told again."""
    bench = Bench()
    await bench.start()
    if known:
        await bench.feed(RUNS[:known], 0, 0)
    bench.effects.taken.clear()
    await bench.feed([], goes_on, known)
    assert bench.told == [HOME]
    await bench.feed(RUNS, goes_on, goes_on)
    states = {decision.breaker for decision in bench.effects.taken if decision.kind is not Kind.NOTE}
    assert states == {Breaker.LOCKED}
    assert {decision.cause for decision in bench.effects.taken if decision.gate == GATE} == {Cause.TERM}
    if known:
        assert GATE in bench.effects.forgotten


async def test_no_snapshot_passes_a_closing_that_is_not_in_the_store() -> None:
    """A restart would never say it again; the snapshot is made when the store has it."""
    bench = Bench()
    await bench.start()
    bench.effects.waiting = True
    await bench.feed(RUNS[:3], 0, 0, snapshot=True)
    assert bench.table == {}
    bench.effects.waiting = False
    await bench.feed(RUNS[3:4], 3, 3)
    assert str(HOME) in bench.table


async def test_no_snapshot_passes_a_decision_that_is_not_on_record() -> None:
    """A decisions topic that fails stops the worker before the snapshot."""
    bench = Bench()
    await bench.start()
    bench.effects.error = OSError("not acknowledged")
    with pytest.raises(OSError, match="acknowledged"):
        await bench.feed(RUNS, 0, 0, snapshot=True)
    assert bench.table == {}


async def test_a_snapshot_that_its_topic_would_refuse_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before stays, a restart replays more, and the worker goes on."""
    bench = Bench()
    await bench.start()
    await bench.feed(RUNS[:2], 0, 0, snapshot=True)
    before = dict(bench.table)
    monkeypatch.setattr(snapshots_module, "SNAPSHOT_BYTES_MAX", 10)
    await bench.feed(RUNS[2:], 2, 2, snapshot=True)
    assert bench.table == before
    assert bench.governor.offset == len(RUNS) - 1


async def test_kafkas_commit_stays_behind_the_snapshot() -> None:
    """It names the snapshot before the last: what a compacted topic may still lack is never committed."""
    bench = Bench()
    await bench.start()
    for at in range(3):
        await bench.feed(RUNS[at : at + 1], at, at, snapshot=True)
        assert [commit.offset for commit in bench.app.commits] == [*range(1, at + 1)]


async def test_evidence_of_another_log_stops_the_worker() -> None:
    """Nobody could replay what would be decided."""
    bench = Bench()
    await bench.start()
    foreign = msgspec.structs.replace(RUNS[0], evidence_id="other")
    with pytest.raises(EvidenceError):
        await bench.feed([foreign], 0, 0)


async def test_what_is_let_go_is_not_judged() -> None:
    """A chunk that was on its way when its partition went decides nothing."""
    bench = await whole()
    await bench.governing.let_go(frozenset([EVIDENCE]))
    bench.effects.taken.clear()
    await bench.feed(RUNS, 0, 0)
    assert not bench.effects.taken
    assert GATE in bench.effects.forgotten


@pytest.mark.parametrize("when", ["_stands", "_tell_again"])
async def test_what_is_let_go_while_a_loss_is_looked_into_is_not_judged(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Another worker governs it by then: no governor of it comes back here, and nothing is decided."""
    bench = Bench()
    await bench.start()

    async def meanwhile(*_: Any) -> None:
        await bench.governing.let_go(frozenset([EVIDENCE]))

    monkeypatch.setattr(bench.governing, when, meanwhile)
    await bench.feed(RUNS, 3, 0)
    assert bench.governing.governors == {}
    assert not bench.effects.taken
