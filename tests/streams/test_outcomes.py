"""Outcomes reach telemetry once Kafka has them, and whatever happens to the store costs only what it held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from failshut import keys
from failshut.bounded import ANSWER_BYTES_MAX, VALUE_BYTES_MAX
from failshut.outcomes import OutcomeQueue
from failshut.store import Outcomes
from failshut.store import Store as GuardStore
from failshut_breakers.conditions import Moment, build
from failshut_breakers.conditions.sent import GRACE_MS
from failshut_breakers.policy import PolicyBook
from failshut_breakers.routes import Routes
from failshut_streams.codecs import NativeDecoder, Outcome
from failshut_streams.embedded import Kafka, Valkey
from failshut_streams.gathering import Gathered
from failshut_streams.outcomes import BATCH_MAX, GROUP, BadOutcome, OutcomeMover, telemetry_of
from failshut_streams.topics import Topics, ensure

EPOCH = "0001099511627776"
GOOD = {"gate": "payments.refund", "epoch": EPOCH, "token": "", "outcome": "ok", "count": "3", "instance": "pod-1", "lost": "0"}


def fields(**changes: str | None) -> dict[bytes, bytes]:
    merged = GOOD | changes
    return {name.encode(): value.encode() for name, value in merged.items() if value is not None}


def decoded(key: bytes, value: bytes) -> Outcome:
    (item,) = NativeDecoder().decode(key, value, (), 2_000_000_000_000)
    assert isinstance(item, Outcome)
    return item


def test_an_entry_becomes_what_the_decoder_reads() -> None:
    """What the mover writes, the decoder of telemetry reads as the same outcome, keyed by its gate."""
    token = f"{EPOCH}:4"
    key, value = telemetry_of(b"17-0", fields(token=token, outcome="failed", lost="2"))
    assert key == b"payments.refund"
    assert decoded(key, value) == Outcome("payments.refund", EPOCH, token, "failed", 3, "17-0", 2)


def test_a_guards_total_and_losses_come_along() -> None:
    """What the governor needs to find a hole is in the telemetry."""
    key, value = telemetry_of(b"17-0", fields(outcome="interrupted", lost="2", guard="a1", total="9007199254740992"))
    assert decoded(key, value) == Outcome("payments.refund", EPOCH, "", "interrupted", 3, "17-0", 2, "a1", 2**53)


def test_what_the_stores_cap_removed_is_a_hole_that_the_gate_counts(store: Valkey) -> None:
    """A real guard's queue and a real stream: the oldest entries are gone, and the condition finds how many outcomes it was."""
    queue = OutcomeQueue(1_000)
    guard = GuardStore(store.url, 5_000)
    for size in (1, 40, 2):
        for _ in range(size):
            queue.put(("payments.refund", EPOCH, "", "ok"))
        guard.append(queue.take(), "pod-1", queue.name)
    book = PolicyBook()
    text = "gate: payments.refund\npermit: {ttl: 3s}\nconditions:\n  - failure_rate: {window: 120s, at_least: 20, over: 0.5}\n"
    book.apply(1, 1, {"p": text}, "")
    table = Gathered(Routes.of(book), lambda gate: 0, NativeDecoder().names)
    policy = book.entries["payments.refund"].policy
    assert policy is not None
    condition = build(policy.conditions[0])
    with redis_py.Redis.from_url(store.url) as client:
        entries: Any = client.xrange(keys.OUTCOMES)
    now_ms = 1_800_000_000_000
    for offset, (entry_id, found) in enumerate(entries):
        if offset != 1:  # what the cap removes
            table.take(offset, now_ms, NativeDecoder().decode(*telemetry_of(entry_id, found), (), now_ms))
    for reading in table.end()[0]["payments.refund"]:
        condition.feed(reading, 0, Moment(now_ms, now_ms))
    assert not condition.tick(Moment(now_ms + GRACE_MS - 1, now_ms + GRACE_MS - 1))
    assert condition.tick(Moment(now_ms + GRACE_MS, now_ms + GRACE_MS))
    assert condition.text == "40 of 43 executions failed in 120 s, 40 outcomes lost (counted as failed)"


def test_what_may_be_missing_may_be_missing() -> None:
    """No instance, no token and no losses are an outcome still."""
    key, value = telemetry_of(b"1-0", fields(instance=None, token=None, lost=None))
    assert decoded(key, value) == Outcome("payments.refund", EPOCH, "", "ok", 3, "1-0", 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": None},
        {"gate": "no such\ngate"},
        {"epoch": "12"},
        {"outcome": "maybe"},
        {"count": "-1"},
        {"count": "1e3"},
        {"count": "٣"},
        {"count": "9" * 5_000},
        {"lost": "x"},
        {"token": "t" * 513},
        {"epoch": None},
        {"count": None},
    ],
    ids=str,
)
def test_what_is_no_outcome_is_refused(changes: dict[str, str | None]) -> None:
    """An entry that the decoder would not take is not sent to it."""
    with pytest.raises(BadOutcome):
        telemetry_of(b"1-0", fields(**changes))


def test_bytes_that_are_no_text_are_refused() -> None:
    """Invalid UTF-8 is a bad outcome, not a crash."""
    with pytest.raises(BadOutcome):
        telemetry_of(b"1-0", fields() | {b"token": b"\xff"})


class Rig:
    """A mover between a real store and a real topic."""

    def __init__(self, kafka: Kafka, store: Valkey, producer: AIOKafkaProducer, topic: str) -> None:
        self.kafka, self.store, self.producer, self.topic = kafka, store, producer, topic
        self.client: redis.Redis = redis.Redis.from_url(store.url)
        self.counts: dict[str, int] = {}

    def mover(self, worker: str = "w1", **more: Any) -> OutcomeMover:
        return OutcomeMover(self.store.url, self.producer, self.topic, worker, on_count=self._count, **more)

    def _count(self, what: str, count: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + count

    async def append(self, count: int = 1, **changes: str | None) -> None:
        for _ in range(count):
            entry: dict[Any, Any] = fields(**changes)
            await self.client.xadd(keys.OUTCOMES, entry)

    async def moved(self) -> list[Outcome]:
        """What telemetry holds now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
        await consumer.start()
        try:
            places = [TopicPartition(self.topic, partition) for partition in range(4)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found = []
            async with asyncio.timeout(60):
                for place in places:
                    while await consumer.position(place) < ends[place]:
                        for records in (await consumer.getmany(place, timeout_ms=200)).values():
                            found += [decoded(record.key, record.value) for record in records]
            return found
        finally:
            await consumer.stop()

    async def left(self) -> int:
        return int(await self.client.xlen(keys.OUTCOMES))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def rig(kafka: Kafka, store: Valkey, suffix: str) -> AsyncIterator[Rig]:
    topics = Topics(f"outcomes-{suffix}.")
    await ensure(kafka.url, topics)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    one = Rig(kafka, store, producer, topics.telemetry)
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


@pytest.mark.kafka
@pytest.mark.store
async def test_a_guards_outcomes_arrive_and_leave_the_store(rig: Rig) -> None:
    """What a guard's store appends stands in telemetry, once, and no longer in the stream."""
    guard = GuardStore(rig.store.url, 2_000)
    guard.append([Outcomes("a.gate", EPOCH, "", "ok", 7, 0), Outcomes("b.gate", EPOCH, f"{EPOCH}:1", "failed", 1, 2)], "pod")
    guard.close()
    async with rig.mover() as mover:
        await until(lambda: mover.moved == 2)
        async with asyncio.timeout(60):
            while await rig.left():
                await asyncio.sleep(0.02)
    assert sorted((one.gate, one.outcome, one.count, one.lost) for one in await rig.moved()) == [
        ("a.gate", "ok", 7, 0),
        ("b.gate", "failed", 1, 2),
    ]


@pytest.mark.kafka
@pytest.mark.store
async def test_malformed_entries_are_counted_and_removed(rig: Rig) -> None:
    """An entry that is no outcome holds nothing up and does not vanish uncounted."""
    await rig.append(gate="not a gate")
    await rig.append()
    async with by_hand(rig.mover()) as mover:
        assert await mover.move_once() == 2
    assert (mover.moved, mover.malformed, await rig.left()) == (1, 1, 0)
    assert rig.counts == {"moved": 1, "malformed": 1}


@pytest.mark.kafka
@pytest.mark.store
async def test_an_entry_of_any_length_holds_nothing_up(rig: Rig) -> None:
    """A guard's entry of 20 MB is dropped unread and counted; what stands around it is moved."""
    await rig.append()
    await rig.append(token="t" * 20_000_000)
    await rig.append()
    async with by_hand(rig.mover()) as mover:
        while await rig.left():
            await mover.move_once()
    assert (mover.moved, mover.malformed) == (2, 1)


@pytest.mark.kafka
@pytest.mark.store
async def test_entries_that_are_too_long_together_are_taken_a_few_at_a_time(rig: Rig) -> None:
    """None is too long by itself; each is judged, and none holds the others up."""
    many = ANSWER_BYTES_MAX // VALUE_BYTES_MAX + 40
    for _ in range(many):
        await rig.append(token="t" * VALUE_BYTES_MAX)
    await rig.append()
    async with by_hand(rig.mover()) as mover:
        while await rig.left():
            await mover.move_once()
    assert (mover.moved, mover.malformed) == (1, many)


@pytest.mark.kafka
@pytest.mark.store
async def test_batches_are_bounded(rig: Rig) -> None:
    """A stream that has run full is moved a batch at a time."""
    pipe = rig.client.pipeline()
    for _ in range(BATCH_MAX + 10):
        entry: dict[Any, Any] = fields()
        pipe.xadd(keys.OUTCOMES, entry)
    await pipe.execute()
    async with by_hand(rig.mover()) as mover:
        assert [await mover.move_once(), await mover.move_once()] == [BATCH_MAX, 10]


@pytest.mark.kafka
@pytest.mark.store
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


@pytest.mark.kafka
@pytest.mark.store
async def test_entries_of_a_dead_worker_are_taken_over(rig: Rig) -> None:
    """What a worker read and never finished is moved by another."""
    await rig.append(3)
    await rig.client.xgroup_create(keys.OUTCOMES, GROUP, id="0")
    streams: dict[Any, Any] = {keys.OUTCOMES: ">"}
    await rig.client.xreadgroup(GROUP, "dead", streams, count=10)
    async with rig.mover("alive", claim_after_ms=100) as mover:
        await until(lambda: mover.moved == 3)
    assert len(await rig.moved()) == 3


@pytest.mark.kafka
@pytest.mark.store
async def test_a_restarted_worker_finishes_what_it_had(rig: Rig) -> None:
    """A worker that comes back under its name begins with its own unfinished entries."""
    await rig.append(2)
    await rig.client.xgroup_create(keys.OUTCOMES, GROUP, id="0")
    streams: dict[Any, Any] = {keys.OUTCOMES: ">"}
    await rig.client.xreadgroup(GROUP, "w1", streams, count=10)
    async with by_hand(rig.mover("w1")) as mover:
        assert await mover.move_once() == 2


@pytest.mark.kafka
@pytest.mark.store
async def test_a_flushed_store_is_survived(rig: Rig) -> None:
    """After FLUSHALL the group is gone; the mover makes it anew and moves what comes then."""
    async with rig.mover() as mover:
        await rig.append()
        await until(lambda: mover.moved == 1)
        await rig.client.flushall()
        await rig.append(2)
        await until(lambda: mover.moved == 3)


@pytest.mark.kafka
@pytest.mark.store
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


@pytest.mark.kafka
@pytest.mark.store
async def test_a_key_of_another_type_is_no_crash(rig: Rig) -> None:
    """Where the stream's key holds something else the mover waits, and goes on when it is gone."""
    await rig.client.set(keys.OUTCOMES, "not a stream")
    async with rig.mover() as mover:
        await until(lambda: rig.counts.get("store_unreachable", 0) >= 2)
        await rig.client.delete(keys.OUTCOMES)
        await rig.append()
        await until(lambda: mover.moved == 1)


@pytest.mark.kafka
@pytest.mark.store
async def test_two_workers_share_the_stream(rig: Rig) -> None:
    """Two movers together move each entry once."""
    async with rig.mover("w1") as first, rig.mover("w2") as second:
        await rig.append(40)
        await until(lambda: first.moved + second.moved == 40)
    assert len({one.id for one in await rig.moved()}) == 40
    assert len(await rig.moved()) == 40
