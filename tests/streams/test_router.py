"""A router vouches for what is acknowledged, starts where its routing allows, and takes up what operators say in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP
from streams import test_control as control_test
from streams.front_door import LOG, PARTITIONS, START_MS, at_ms, chunk, mark, partition_of, record, sample

from failshut_breakers.command import AcceptGap
from failshut_breakers.evidence.boundaries import look_before
from failshut_breakers.evidence.coverage import BROKER_SKEW_MS
from failshut_breakers.evidence.records import Run, decode_run
from failshut_streams.config import WorkerConfig
from failshut_streams.kafka.topics import Topics
from failshut_streams.metrics import Metrics
from failshut_streams.router import agent as router_module
from failshut_streams.router.agent import DEAD_KEY_BYTES_KEPT, Router, TermOpened, WrongLog
from failshut_streams.router.evidence_writer import EvidenceWriter
from failshut_streams.transport import Assignment, Chunk, Commit, Position, Record

TELEMETRY = TP("telemetry", 0)
OLD = control_test.record(2, control_test.activate(2))
NOW_MS = at_ms(9)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of these tests are young."""
    monkeypatch.setattr(router_module, "wall_ms", lambda: NOW_MS)


class Batch(list[bytes]):
    def append(self, *, key: bytes | None, value: bytes, timestamp: int | None) -> object:  # type: ignore[override]
        super().append(value)
        return self


class Producer:
    """Acknowledges at once, or fails; `known` is how many partitions it knows, `asked` what the broker would say."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, Run]] = []
        self.letters: list[tuple[bytes | None, bytes]] = []
        self.error: Exception | None = None
        self.known = self.asked = 2
        self.client = self
        self.cluster = self

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.known))

    async def force_metadata_update(self) -> None:
        self.known = self.asked

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[object]:
        if not self.error:
            self.runs += [(partition, decode_run(value)) for value in batch]
        return self._answer()

    async def send(self, topic: str, value: bytes, *, key: bytes | None) -> asyncio.Future[object]:
        self.letters.append((key, value))
        return self._answer()

    def _answer(self) -> asyncio.Future[object]:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answer.set_exception(self.error) if self.error else answer.set_result(None)
        return answer


class App:
    """Delivers what a test puts in; notes commits and seeks."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.seeks: list[dict[TP, int]] = []

    async def commit_chunks(self, commits: Iterable[Commit]) -> None:
        self.commits += commits

    async def seek_chunks(self, positions: Mapping[TP, int]) -> frozenset[TP]:
        self.seeks.append(dict(positions))
        return frozenset(positions)

    async def chunks(self, stream: Any, *, gaps: str) -> AsyncIterator[Chunk]:
        for at in stream:
            yield at


class Bench:
    """A router that has read control (term 1, activations at 1 and 2), with nothing real around it."""

    def __init__(self, *more: Record) -> None:
        config = WorkerConfig(
            broker="kafka://127.0.0.1:1",
            store="redis://127.0.0.1:1",
            signing_key=Path("-"),
            operators=Path("-"),
            worker_id="tester",
            evidence_partitions=PARTITIONS,
        )
        self.app, self.producer = App(), Producer()
        self.control = control_test.cutter()
        self.router = Router(self.app, config, Topics(), self.control, LOG, partition_of, Metrics(), {})  # type: ignore[arg-type]
        self.router._producer = self.producer
        self.router._writer = EvidenceWriter(self.producer, "evidence")
        self.elsewhere: dict[tuple[str, int], Position] = {}
        setattr(self.router, "_reached_elsewhere", self._reached_elsewhere)  # noqa: B010 - reads Kafka: test_reached.py
        self.searched: list[int] = []
        setattr(self.router, "_search", self._search)  # noqa: B010 - reads Kafka: tests/streams/test_boundary.py
        self.records = [control_test.record(0, control_test.TERM), control_test.record(1, control_test.activate(1)), *more]
        self.control.everything(self.records, len(self.records))
        self.router._term = 1
        self.router._ready.set()

    async def _search(self, tp: TP, append_ms: int) -> int:
        self.searched.append(append_ms)
        return 40

    async def _reached_elsewhere(self) -> Mapping[tuple[str, int], Position]:
        return self.elsewhere

    async def starts(self, metadata: str | None, offset: int = 50) -> int:
        committed = {} if metadata is None else {TELEMETRY: Position(offset, metadata)}
        return (await self.router.find_starts(Assignment(1, frozenset([TELEMETRY]), committed)))[TELEMETRY]

    async def route(self, *chunks: Chunk) -> None:
        await self.router.run(chunks)
        await self.router._writer.flush()

    async def take(self, *records: Record) -> None:
        cut = self.control.cut(records, records[-1].offset + 1)
        async with self.router._lock:
            await self.router._hand_over_control(cut)

    @property
    def telemetry(self) -> list[tuple[int, Run]]:
        return [(at, run) for at, run in self.producer.runs if run.topic == "telemetry"]


def some(start: int, reading: int = 1) -> Chunk:
    at = chunk([record(start, sample()), mark(start + 1), record(start + 2, sample())])
    at.reading = reading
    return at


async def test_a_boundary_is_committed_with_its_term_and_routing() -> None:
    """The position behind the last mark, once; never the end of what was read."""
    bench = Bench()
    await bench.starts(None)
    await bench.route(some(0))
    await bench.router.commit()
    await bench.router.commit()
    assert bench.app.commits == [Commit(TELEMETRY, 1, 2, "1/1")]


async def test_nothing_is_committed_that_was_not_acknowledged() -> None:
    """After a batch was lost no commit is made, at the first attempt or at a later one: the successor writes it again."""
    bench = Bench()
    await bench.starts(None)
    bench.producer.error = KafkaTimeoutError("the batch has expired")
    with pytest.raises(KafkaTimeoutError):
        await bench.route(some(0), some(3))
    bench.producer.error = None
    for _ in range(2):
        with pytest.raises(KafkaTimeoutError):
            await bench.router.commit()
    assert bench.app.commits == []
    assert bench.telemetry == []


@pytest.mark.parametrize(
    ("metadata", "start", "searched"),
    [
        pytest.param(None, 0, [], id="no-commit"),
        pytest.param("1/2", 50, [], id="this-routing"),
        pytest.param("1/1", 40, [look_before(at_ms(2) - BROKER_SKEW_MS, NOW_MS)], id="an-older-routing"),
        pytest.param("1/-1", 40, [look_before(at_ms(1) - BROKER_SKEW_MS, NOW_MS)], id="before-every-activation"),
        pytest.param("2/2", 0, [], id="another-term"),
        pytest.param("2", 0, [], id="no-term"),
        pytest.param("", 0, [], id="nothing"),
        pytest.param("1/²", 0, [], id="garbage"),
    ],
)
async def test_a_start_is_never_behind_what_its_commit_lacks(metadata: str | None, start: int, searched: list[int]) -> None:
    """A commit counts in its term; one of an older routing starts before the oldest activation that it lacks."""
    bench = Bench(OLD)
    assert await bench.starts(metadata) == start
    assert bench.searched == searched


@pytest.mark.parametrize(("metadata", "start"), [("1/2", 70), ("1/1", 40), ("2/2", 0)])
async def test_a_group_without_a_commit_starts_where_others_have_got(metadata: str, start: int) -> None:
    """A hot standby takes such a place as it takes a commit, and one of an older routing or another term no further."""
    bench = Bench(OLD)
    bench.elsewhere = {("telemetry", 0): Position(70, metadata), ("telemetry", 1): Position(90, "1/2")}
    assert await bench.starts(None) == start
    assert await bench.starts("1/2", 50) == 50, "its own commit counts"


async def test_a_search_never_leads_beyond_a_commit() -> None:
    """The smaller of the two counts: behind the commit nobody is known to have routed."""
    bench = Bench(OLD)
    assert await bench.starts("1/1", 30) == 30


async def test_an_activation_before_the_first_chunk_leads_back() -> None:
    """What came between finding the start and the first chunk is not routed as if it had been known."""
    bench = Bench()
    await bench.starts("1/1")
    await bench.take(OLD)
    await bench.route(some(50, reading=1))
    assert bench.app.seeks == [{TELEMETRY: 40}]
    assert bench.telemetry == []
    await bench.route(some(40, reading=2))
    assert {run.previous for _, run in bench.telemetry} >= {40}
    assert {run.routing for _, run in bench.telemetry} == {2}


async def test_a_partition_read_from_its_beginning_goes_back_nowhere() -> None:
    """Where the term began there is nothing before, whatever was activated meanwhile."""
    bench = Bench()
    await bench.starts(None)
    await bench.take(OLD)
    await bench.route(some(0))
    assert bench.app.seeks == []
    assert bench.telemetry


async def test_a_chunk_that_waited_for_an_activation_is_dropped() -> None:
    """A router goes back behind the activation's record; chunks of the older reading are not routed, nor committed."""
    bench = Bench()
    await bench.starts("1/1", 50)
    await bench.route(some(50))
    await bench.router._lock.acquire()
    waiting = asyncio.create_task(bench.router.run([some(53)]))
    await asyncio.sleep(0)
    await bench.router._hand_over_control(bench.control.cut([OLD], 3))
    bench.router._lock.release()
    await waiting
    assert bench.app.seeks == [{TELEMETRY: 40}]
    assert {run.upto for _, run in bench.telemetry} == {52, 53}
    await bench.router.commit()
    assert bench.app.commits == []
    told = [at for at, run in bench.producer.runs if run.topic == "control"]
    assert told == [*range(PARTITIONS)]


async def test_an_activation_stands_before_the_first_run_under_it() -> None:
    """In every evidence partition: a governor knows the policy before it meets what was routed by it."""
    bench = Bench()
    await bench.starts("1/1", 0)
    await bench.take(OLD)
    await bench.route(some(0, 1), some(40, 2))
    for partition in range(PARTITIONS):
        mine = [run for at, run in bench.producer.runs if at == partition]
        first = next(n for n, run in enumerate(mine) if run.topic == "telemetry")
        assert any(run.notices for run in mine[:first])


async def test_a_term_opened_meanwhile_ends_the_worker() -> None:
    """Nothing is written in it by a router that began in another; one of another log is told from it."""
    bench = Bench()
    second = control_test.TERM.model_copy(update={"term": 2, "id": "second"})
    with pytest.raises(TermOpened):
        await bench.take(control_test.record(2, second))
    assert bench.producer.runs == []
    bench = Bench(control_test.record(2, second.model_copy(update={"evidence_id": "replaced", "id": "third"})))
    with pytest.raises(WrongLog):
        bench.router._check_term()


@pytest.mark.parametrize(("asked", "counted"), [(3, True), (2, False)])
async def test_the_broker_is_asked_before_a_mark_is_refused(asked: int, counted: bool) -> None:
    """A mark of a partition that was just added counts; one of a partition that no broker knows does not."""
    bench = Bench()
    bench.producer.asked = asked
    await bench.starts(None)
    await bench.route(chunk([record(0, sample()), mark(1, partitions=3)]))
    assert any(run.mark for _, run in bench.telemetry) is counted
    assert bool(bench.producer.letters) is not counted


async def test_a_dead_letter_fits_whatever_its_key() -> None:
    """A megabyte of key would be more than the dead-letter topic takes, and stop every router that comes to it."""
    bench = Bench()
    await bench.starts(None)
    await bench.route(chunk([record(0, b"garbage", key=b"k" * 1_000_000), record(1, b"garbage")]))
    (key, letter), (none, _) = bench.producer.letters
    assert key == b"k" * DEAD_KEY_BYTES_KEPT
    assert none is None
    assert len(letter) < 10_000


async def test_what_is_let_go_is_committed_and_forgotten() -> None:
    """At a rebalance the acknowledged boundary is committed; another reading begins without what was known."""
    bench = Bench()
    await bench.starts(None)
    await bench.route(some(0))
    await bench.router.let_go(frozenset([TELEMETRY]))
    assert bench.app.commits == [Commit(TELEMETRY, 1, 2, "1/1")]
    assert [bench.router.cutters, bench.router._newest, bench.router._void, bench.router._reached] == [{}] * 4
    assert await bench.starts("1/1", 2) == 2
    await bench.route(some(2, reading=2))
    assert {run.previous for _, run in bench.telemetry if run.upto > 3} == {2, 4}


async def test_telling_again_joins_what_is_told_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that arrive while control is read again are told behind it, in one chain: none is missing, none overtakes."""
    bench = Bench()
    at = bench

    class Again:
        position = 0

        def __init__(self, *_: Any) -> None: ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def all_of_it(self) -> list[Record]:
            found = list(at.records)
            self.position = len(found)
            late = control_test.record(self.position, control_test.activate(9))
            at.records.append(late)
            self.task = asyncio.create_task(at.take(late))
            for _ in range(10):
                await asyncio.sleep(0)
            tasks.append(self.task)
            return found

    tasks: list[asyncio.Task[None]] = []
    monkeypatch.setattr(router_module, "ControlReader", Again)
    await bench.router.tell_again(1)
    await asyncio.gather(*tasks)
    told = [(run.previous, run.upto) for partition, run in bench.producer.runs if partition == 1]
    assert told == [(0, 2), (2, 3)]
    assert [at for at, run in bench.producer.runs if run.previous == 0] == [1]


def signed() -> dict[str, Any]:
    """What every accepted gap says of itself, each with an id of its own."""
    return {**control_test.WHO, "signed_ms": START_MS}


GAP = control_test.record(2, AcceptGap(**signed(), topic="telemetry", partition=0, upto=45))


async def test_an_accepted_gap_leads_back_to_where_it_was_signed_up_to() -> None:
    """However far a router has read meanwhile, its next run begins there: it joins what governors cover by then. The gap of
    another partition leads nobody back, and none leads forward."""
    bench = Bench()
    await bench.starts("1/1")
    await bench.route(some(50))
    await bench.take(control_test.record(2, AcceptGap(**signed(), topic="telemetry", partition=1, upto=9)))
    assert bench.app.seeks == [{}] or not bench.app.seeks
    ahead = AcceptGap(**signed(), topic="telemetry", partition=0, upto=1_000)
    await bench.take(control_test.record(3, ahead))
    await bench.take(control_test.record(4, AcceptGap(**signed(), topic="telemetry", partition=0, upto=45)))
    assert bench.app.seeks[-2:] == [{TELEMETRY: 53}, {TELEMETRY: 45}]
    before = len(bench.telemetry)
    await bench.route(some(45, reading=2))
    assert {run.previous for _, run in bench.telemetry[before:]} == {45, 47}
    await bench.router.commit()
    assert [commit.metadata for commit in bench.app.commits] == ["1/1/4"]


@pytest.mark.parametrize(("metadata", "start"), [("1/1", 45), ("1/1/1", 45), ("1/1/2", 50), ("1/1/9", 50), ("9/1", 0)])
async def test_a_start_knows_the_gaps_that_its_commit_does_not(metadata: str, start: int) -> None:
    """A router that was away when a gap was signed for starts where that was signed up to, once."""
    assert await Bench(GAP).starts(metadata) == start


async def test_a_gap_before_the_first_chunk_leads_back() -> None:
    """What was signed for between finding the start and the first chunk is not passed by."""
    bench = Bench()
    await bench.starts("1/1")
    await bench.take(GAP)
    await bench.route(some(50))
    assert bench.app.seeks[-1] == {TELEMETRY: 45}
    assert bench.telemetry == []


async def test_a_gap_of_an_older_term_is_none() -> None:
    """Offsets of an older term may be of another log: nobody goes back for it."""
    second = control_test.TERM.model_copy(update={"term": 2, "id": "second"})
    bench = Bench(GAP, control_test.record(3, second))
    bench.router._term = 2
    assert await bench.starts("2/1") == 50
