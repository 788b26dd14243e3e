"""Outcomes reach evidence once Kafka has them, and whatever happens to the store costs only what it held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from patience import patient
from streams.entries import EPOCH, GATE, INSTALLATION, NAMES, OTHER, PROBES, STREAM, decoded, fields

from failshut.store.answers import ANSWER_BYTES_MAX, VALUE_BYTES_MAX
from failshut.store.client import Outcomes
from failshut.store.client import Store as GuardStore
from failshut.store.names import Names
from failshut_servers import Kafka, Valkey
from failshut_streams.codecs import Outcome
from failshut_streams.kafka.topics import Topics, ensure
from failshut_streams.sources import outcomes as outcomes_module
from failshut_streams.sources.outcomes import BATCH_MAX, GROUP, OutcomeMover


class Rig:
    """A mover between a real store and a real topic."""

    def __init__(self, kafka: Kafka, store: Valkey, producer: AIOKafkaProducer, topic: str) -> None:
        self.kafka, self.store, self.producer, self.topic = kafka, store, producer, topic
        self.client: redis.Redis = redis.Redis.from_url(store.url)
        self.counts: dict[str, int] = {}
        self.gates = [GATE, OTHER]

    def mover(self, worker: str = "w1", **more: Any) -> OutcomeMover:
        return OutcomeMover(
            self.store.url,
            self.producer,
            self.topic,
            worker,
            INSTALLATION,
            lambda: self.gates,
            PROBES,
            on_count=self._count,
            **more,
        )

    def _count(self, what: str, count: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + count

    async def append(self, times: int = 1, gate: str = GATE, **changes: str | None) -> None:
        for _ in range(times):
            entry: dict[Any, Any] = fields(**changes)
            await self.client.xadd(NAMES.outcomes(gate), entry)

    async def moved(self) -> list[Outcome]:
        """What the topic holds now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
        await consumer.start()
        try:
            places = [TopicPartition(self.topic, partition) for partition in range(1)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found = []
            async with asyncio.timeout(patient(60)):
                for place in places:
                    while await consumer.position(place) < ends[place]:
                        for records in (await consumer.getmany(place, timeout_ms=200)).values():
                            found += [decoded(record.key, record.value) for record in records]
            return found
        finally:
            await consumer.stop()

    async def left(self, gate: str = GATE) -> int:
        return int(await self.client.xlen(NAMES.outcomes(gate)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(60)):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def rig(kafka: Kafka, store: Valkey, suffix: str) -> AsyncIterator[Rig]:
    topics = Topics(f"outcomes-{suffix}.")
    await ensure(kafka.url, topics)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    one = Rig(kafka, store, producer, topics.internal)
    try:
        yield one
    finally:
        await one.client.aclose()
        await producer.stop()


@asynccontextmanager
async def by_hand(mover: OutcomeMover) -> AsyncIterator[OutcomeMover]:
    """A mover whose steps the test takes."""
    try:
        yield mover
    finally:
        await mover.stop()


async def test_a_guards_outcomes_arrive_and_leave_the_store(rig: Rig) -> None:
    """What a guard's store appends is evidence, once, and stands no longer in the stream."""
    guard = GuardStore(rig.store.url, 2_000)
    rig.gates = ["a.gate", "b.gate"]
    token = PROBES.token(INSTALLATION, "b.gate", EPOCH, 1)
    entries = [Outcomes("a.gate", EPOCH, "", "ok", 7, 0), Outcomes("b.gate", EPOCH, token, "failed", 1, 2)]
    assert guard.append(NAMES, entries, "pod") == []
    guard.close()
    async with rig.mover() as mover:
        await until(lambda: mover.moved == 2)
        async with asyncio.timeout(patient(60)):
            while await rig.left("a.gate") or await rig.left("b.gate"):
                await asyncio.sleep(0.02)
    assert sorted((one.gate, one.outcome, one.count, one.lost) for one in await rig.moved()) == [
        ("a.gate", "ok", 7, 0),
        ("b.gate", "failed", 1, 2),
    ]


async def test_malformed_entries_are_counted_and_removed(rig: Rig) -> None:
    """An entry that is no outcome holds nothing up and does not vanish uncounted."""
    await rig.append(epoch="not an epoch")
    await rig.append()
    async with by_hand(rig.mover()) as mover:
        assert await mover.move_once() == 2
    assert (mover.moved, mover.malformed, await rig.left()) == (1, 1, 0)
    assert rig.counts == {"moved": 1, "malformed": 1}


async def test_an_entry_of_any_length_holds_nothing_up(rig: Rig) -> None:
    """A guard's entry of 2 MB is dropped unread and counted; what stands around it and in other gates' streams is moved."""
    await rig.append()
    await rig.append(token="t" * 2_000_000)
    await rig.append()
    await rig.append(2, gate=OTHER)
    async with by_hand(rig.mover()) as mover:
        while await rig.left() or await rig.left(OTHER):
            await mover.move_once()
    assert (mover.moved, mover.malformed, mover.dropped) == (4, 1, 0)


async def test_entries_that_are_too_long_together_are_taken_a_few_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is too long by itself; each is judged, and none holds the others up. So it is where a stream outgrows its bound
    between the look at its size and its reading."""
    monkeypatch.setattr(outcomes_module, "BYTES_MAX", 2 * ANSWER_BYTES_MAX)
    monkeypatch.setattr(outcomes_module, "PASS_BYTES_MAX", 2 * ANSWER_BYTES_MAX)
    many = ANSWER_BYTES_MAX // VALUE_BYTES_MAX + 40
    for _ in range(many):
        await rig.append(token="t" * VALUE_BYTES_MAX)
    await rig.append()
    async with by_hand(rig.mover()) as mover:
        while await rig.left():
            await mover.move_once()
    assert (mover.moved, mover.malformed) == (1, many)


async def test_batches_are_bounded(rig: Rig) -> None:
    """A stream that has run full is moved a batch at a time."""
    pipe = rig.client.pipeline()
    for _ in range(BATCH_MAX + 10):
        entry: dict[Any, Any] = fields()
        pipe.xadd(STREAM, entry)
    await pipe.execute()
    async with by_hand(rig.mover()) as mover:
        assert [await mover.move_once(), await mover.move_once()] == [BATCH_MAX, 10]


async def test_nothing_is_acknowledged_before_kafka_has_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka takes nothing the entry stays, and is moved by the same worker when Kafka does."""
    await rig.append()

    async def refuse(*_: object, **__: object) -> None:
        raise KafkaTimeoutError("no")

    async with by_hand(rig.mover()) as mover:
        with monkeypatch.context() as patch:
            patch.setattr(rig.producer, "send", refuse)
            for _ in range(2):
                with pytest.raises(KafkaTimeoutError):
                    await mover.move_once()
        assert await rig.left() == 1
        assert await rig.moved() == []
        assert await mover.move_once() == 1
    assert len(await rig.moved()) == 1
    assert await rig.left() == 0


async def test_entries_of_a_dead_worker_are_taken_over(rig: Rig) -> None:
    """What a worker read and never finished is moved by another."""
    await rig.append(3)
    await rig.client.xgroup_create(STREAM, GROUP, id="0")
    streams: dict[Any, Any] = {STREAM: ">"}
    await rig.client.xreadgroup(GROUP, "dead", streams, count=10)
    async with rig.mover("alive", claim_after_ms=100) as mover:
        await until(lambda: mover.moved == 3)
    assert sum(one.count for one in await rig.moved()) == 9


async def test_a_restarted_worker_finishes_what_it_had(rig: Rig) -> None:
    """A worker that comes back under its name begins with its own unfinished entries."""
    await rig.append(2)
    await rig.client.xgroup_create(STREAM, GROUP, id="0")
    streams: dict[Any, Any] = {STREAM: ">"}
    await rig.client.xreadgroup(GROUP, "w1", streams, count=10)
    async with by_hand(rig.mover("w1")) as mover:
        assert await mover.move_once() == 2


async def test_a_flushed_store_is_survived(rig: Rig) -> None:
    """After FLUSHALL the group is gone; the mover makes it anew and moves what comes then."""
    async with rig.mover() as mover:
        await rig.append()
        await until(lambda: mover.moved == 1)
        await rig.client.flushall()
        await rig.append(2)
        await until(lambda: mover.moved == 3)


async def test_a_restarted_store_is_survived(rig: Rig) -> None:
    """A store that goes and comes back empty costs what it held; the mover raises nothing and goes on."""
    async with rig.mover() as mover:
        await rig.append()
        await until(lambda: mover.moved == 1)
        await asyncio.to_thread(rig.store.kill)
        await until(lambda: rig.counts.get("store_unreachable", 0) >= 2)
        await asyncio.to_thread(rig.store.start)
        await rig.client.connection_pool.disconnect()
        await rig.append()
        await until(lambda: mover.moved == 2)


async def test_a_key_of_another_type_is_removed(rig: Rig) -> None:
    """What stands in a stream's place and is none is nobody's outcome; the gate goes on without it."""
    await rig.client.set(STREAM, "not a stream")
    async with rig.mover() as mover:
        await until(lambda: mover.dropped == 1)
        await rig.append()
        await until(lambda: mover.moved == 1)


async def test_two_workers_share_the_stream(rig: Rig) -> None:
    """Two movers together move every entry."""
    async with rig.mover("w1") as first, rig.mover("w2") as second:
        for total in range(1, 41):
            await rig.append(count="1", guard="g", total=str(total))
        await until(lambda: first.moved + second.moved >= 40)
    assert {number for one in await rig.moved() for number in range(one.total - one.count, one.total)} == {*range(40)}


@pytest.mark.parametrize(("bound", "most"), [("ENTRIES_MAX", 20), ("BYTES_MAX", 20_000)])
async def test_a_stream_over_its_bound_is_deleted_unread(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """By entries or by bytes: its memory is free again, its length is evidence as lost, and other gates are not touched."""
    monkeypatch.setattr(outcomes_module, bound, most)
    await rig.append(30, instance="x" * 1_000)
    await rig.append(2, gate=OTHER)
    async with by_hand(rig.mover()) as mover:
        assert await mover.move_once() == 2
    assert (mover.dropped, mover.moved, await rig.left()) == (30, 2, 0)
    moved = await rig.moved()
    assert [(one.gate, one.count, one.lost) for one in moved if one.lost] == [(GATE, 0, 30)]
    assert sum(one.count for one in moved if one.gate == OTHER) == 6


async def test_what_one_pass_reads_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many gates have something, a pass takes so much of the worker's memory; the next goes on."""
    monkeypatch.setattr(outcomes_module, "PASS_BYTES_MAX", 1)
    await rig.append(2)
    await rig.append(3, gate=OTHER)
    async with by_hand(rig.mover()) as mover:
        assert [await mover.move_once() for _ in range(3)] == [3, 2, 0]


async def test_a_stream_of_a_gate_that_no_policy_names_is_swept_away(rig: Rig) -> None:
    """Nobody would read it, and nobody else would bound it; another installation's streams are left alone."""
    theirs = Names("anotherinstallation").outcomes("gone")
    entry: dict[Any, Any] = fields()
    await rig.append(5, gate="gone")
    await rig.client.xadd(theirs, entry)
    async with by_hand(rig.mover()) as mover:
        assert await mover.move_once() == 0
    assert await rig.left("gone") == 0
    assert await rig.client.xlen(theirs) == 1


async def test_a_gate_that_a_policy_names_later_is_read_from_then_on(rig: Rig) -> None:
    """Gates come and go with policies; what this worker's name left behind is read first."""
    async with rig.mover() as mover:
        await rig.append()
        await until(lambda: mover.moved == 1)
        rig.gates.append("new.gate")
        await rig.append(2, gate="new.gate")
        await until(lambda: mover.moved == 3)


async def test_what_went_well_waits_and_is_one_record(rig: Rig) -> None:
    """Entries of a guard that follow each other leave the store together when the oldest has waited."""
    for total in range(1, 6):
        await rig.append(guard="a", total=str(3 * total))
    async with by_hand(rig.mover(waits_ms=lambda _: 600_000)) as mover:
        assert await mover.move_once() == 0
        assert await rig.left() == 5
    async with by_hand(rig.mover()) as mover:
        assert await mover.move_once() == 5
    assert [(one.count, one.total, one.guard) for one in await rig.moved()] == [(15, 15, "a")]
    assert (mover.moved, rig.counts["moved"], await rig.left()) == (5, 5, 0)


@pytest.mark.parametrize(
    "urgent",
    [
        {"outcome": "failed"},
        {"outcome": "interrupted"},
        {"lost": "1"},
        {"token": PROBES.token(INSTALLATION, GATE, EPOCH, 1)},
    ],
    ids=["a failure", "an interruption", "a loss", "a probe"],
)
async def test_nothing_else_waits(rig: Rig, urgent: dict[str, Any]) -> None:
    """A failure, a probe and a loss are read at once, behind all that came before them; another gate's go on waiting."""
    await rig.append()
    await rig.append(**urgent)
    await rig.append(gate=OTHER)
    async with by_hand(rig.mover(waits_ms=lambda _: 600_000)) as mover:
        assert await mover.move_once() == 2
        assert (await rig.left(), await rig.left(OTHER)) == (0, 1)


async def test_a_stream_that_is_not_small_is_read_at_once(rig: Rig) -> None:
    """What the store would have to look through ten times a second is bounded."""
    await rig.append(65)
    await rig.append(1, gate=OTHER, instance="x" * 70_000)
    async with by_hand(rig.mover(waits_ms=lambda _: 600_000)) as mover:
        assert sum([await mover.move_once() for _ in range(2)]) == 66


async def test_a_store_whose_clock_was_stepped_back_keeps_nothing_waiting(rig: Rig) -> None:
    """An entry from the store's future is due."""
    await rig.client.xadd(STREAM, fields(), id="99999999999999-0")
    async with by_hand(rig.mover(waits_ms=lambda _: 600_000)) as mover:
        assert await mover.move_once() == 1
