"""The last mark before a time is found as routers found it: strictly before, and only what they take for a mark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from patience import patient

from failshut_servers import Kafka
from failshut_streams.router import mark_search
from failshut_streams.router.mark_search import last_boundary_before
from failshut_streams.sources.marks import MARK_KEY, encode_mark

START_MS = 1_700_000_000_000
FAR_MS = 4_000_000_000_000
"""After everything, the markers of transactions too: their times are not a test's to say."""


async def _written(kafka: Kafka, topic: str, at: list[tuple[str, int]]) -> TopicPartition:
    """Write what a test says at the times that it says: so the topic takes its producers' times."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    # Retention looks at claimed times, every five minutes: without its setting it removes what a test has just written.
    settings = {"message.timestamp.before.max.ms": str(2**62), "retention.ms": "-1"}
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=settings)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    marks = {"mark": encode_mark(START_MS, 2), "garbage": b"x", "too many": encode_mark(START_MS, 9)}
    for what, time_ms in at:
        key = MARK_KEY if what in marks else None
        await producer.send_and_wait(topic, marks.get(what, b"{}"), key, partition=0, timestamp_ms=START_MS + time_ms)
    await producer.stop()
    return TopicPartition(topic, 0)


async def test_the_last_mark_before_a_time_is_found(
    kafka: Kafka, topic_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly before it, however far back; the given beginning where there is none; and never what routers refuse."""
    monkeypatch.setattr(mark_search, "APPEND_TIME", 0)  # so that a test may say when a record was appended
    broker = f"kafka://{kafka.bootstrap}"
    # The first mark is known to be a boundary by nobody who has not read the one before; the two at ..01 and ..10 end no run.
    records = [("sample", 0), ("mark", 10), ("sample", 20), ("mark", 200), ("mark", 201), ("mark", 90_000_000)]
    records += [("garbage", 90_000_001), ("too many", 90_000_002), ("mark", 90_000_010), ("mark", 90_000_060)]
    tp = await _written(kafka, topic_name("found"), records)
    expected = {5: 0, 11: 0, 200: 0, 201: 4, 90_000_000: 4, 90_000_001: 6, 90_000_060: 6, 90_000_061: 10, 10**9: 10}
    for time_ms, position in expected.items():
        assert await last_boundary_before(broker, tp, START_MS + time_ms, 0) == position, time_ms
    assert await last_boundary_before(broker, tp, START_MS + 202, 5) == 5
    assert await last_boundary_before(broker, TopicPartition(tp.topic, 1), START_MS, 7) == 7


async def test_the_search_ends_where_retention_removes_what_it_looks_for(
    kafka: Kafka, topic_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning moves while it is searched for: there is no boundary, and the search ends all the same."""
    monkeypatch.setattr(mark_search, "APPEND_TIME", 0)
    tp = await _written(kafka, topic_name("removed"), [("mark", 10), ("sample", 90_000_000), ("sample", 90_000_010)])
    admin, asked = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap), mark_search.position_at
    await admin.start()

    async def removed(consumer: AIOKafkaConsumer, tp: TopicPartition, time_ms: int) -> int:
        await admin.delete_records({tp: RecordsToDelete(before_offset=2)})
        return await asked(consumer, tp, time_ms)

    monkeypatch.setattr(mark_search, "position_at", removed)
    try:
        async with asyncio.timeout(patient(30)):
            assert await last_boundary_before(kafka.url, tp, START_MS + 90_000_020, 0) == 0
    finally:
        await admin.close()


async def test_a_mark_that_was_taken_back_is_no_boundary(
    kafka: Kafka, topic_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark of an aborted transaction is none, and neither is one behind an open transaction: no router has read them.

    The search ends there all the same, although it never reads a record at the end.
    """
    monkeypatch.setattr(mark_search, "APPEND_TIME", 0)
    broker = f"kafka://{kafka.bootstrap}"
    tp = await _written(kafka, topic_name("taken-back"), [("mark", 10), ("mark", 110), ("sample", 120)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=tp.topic)
    await producer.start()
    try:
        for ends in (producer.abort_transaction, None):
            await producer.begin_transaction()
            mark = encode_mark(START_MS, 2)
            await producer.send_and_wait(tp.topic, mark, MARK_KEY, partition=0, timestamp_ms=START_MS + 230)
            assert await last_boundary_before(broker, tp, FAR_MS, 0) == 2
            if ends is not None:
                await ends()
                assert await last_boundary_before(broker, tp, FAR_MS, 0) == 2
        await producer.commit_transaction()
        async with asyncio.timeout(patient(60)):  # the transaction's marker comes a moment after the word that it is committed
            while await last_boundary_before(broker, tp, FAR_MS, 0) != 6:
                await asyncio.sleep(0.05)
    finally:
        await producer.stop()


async def test_a_mark_with_its_producers_time_is_no_boundary(kafka: Kafka, topic_name: Callable[[str], str]) -> None:
    """Routers refuse it, so no governor stands there."""
    tp = await _written(kafka, topic_name("claimed"), [("mark", 10), ("sample", 20)])
    assert await last_boundary_before(f"kafka://{kafka.bootstrap}", tp, START_MS + 30, 0) == 0
