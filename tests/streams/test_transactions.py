"""An open transaction that evidence waits for is named, with its age, and forgotten when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from patience import patient

from failshut_servers import Kafka
from failshut_streams.control.reader import ControlReader
from failshut_streams.sources import transactions
from failshut_streams.sources.transactions import OpenTransaction, TransactionWatch

FAR_MS = 4_000_000_000_000
PLACE = TopicPartition("telemetry", 0)


async def made(kafka: Kafka, topic: str, **config: str) -> TopicPartition:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
    finally:
        await admin.close()
    return TopicPartition(topic, 0)


@pytest.mark.parametrize("stamped", ["LogAppendTime", "CreateTime"])
async def test_the_age_is_that_of_the_first_record(kafka: Kafka, topic_name: Callable[[str], str], stamped: str) -> None:
    """Since when is the broker's append time of the first record; a producer's own time is not believed."""
    place = await made(kafka, topic_name("age"), **{"message.timestamp.type": stamped})
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=place.topic)
    await producer.start()
    try:
        await producer.begin_transaction()
        sent = [await producer.send_and_wait(place.topic, b"x", partition=0) for _ in range(2)]
        async with TransactionWatch(kafka.url, lambda: {place: sent[0].offset}, clock_ms=lambda: FAR_MS, every_s=0.01) as watch:
            expected = OpenTransaction(0, sent[0].timestamp if stamped == "LogAppendTime" else FAR_MS)
            async with asyncio.timeout(patient(60)):
                while watch.open.get(place) != expected:
                    await asyncio.sleep(0.05)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_reading_control_says_what_it_waits_for(kafka: Kafka, topic_name: Callable[[str], str]) -> None:
    """A router reads control to the first open transaction, starts there, and says so until the transaction ends."""
    place = await made(kafka, topic_name("control"))
    plain = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=place.topic)
    reader = ControlReader(kafka.url, place.topic)
    await plain.start()
    await producer.start()
    try:
        await plain.send_and_wait(place.topic, b"before", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(place.topic, b"taken back", partition=0)
        await plain.send_and_wait(place.topic, b"behind", partition=0)
        await reader.start()
        assert [record.value for record in await reader.all_of_it()] == [b"before"]
        async with asyncio.timeout(patient(60)):
            while reader.awaited() != 1:
                assert await reader.next_batch(timeout_ms=100) == []
            await producer.abort_transaction()
            found: list[Any] = []
            while not found:
                found = await reader.next_batch(timeout_ms=100)
            while reader.awaited() is not None or reader.position != 4:
                await reader.next_batch(timeout_ms=100)
        assert [record.value for record in found] == [b"behind"]
    finally:
        await reader.stop()
        await producer.stop()
        await plain.stop()


async def test_a_transaction_that_is_met_once_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short transactions follow each other all the time: only one that is met again is told, and read."""
    reads = []

    async def appended(broker: str, offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        reads.append(dict(offsets))
        return dict.fromkeys(offsets, 500)

    monkeypatch.setattr(transactions, "_appended", appended)
    now: dict[TopicPartition, int] = {}
    watch = TransactionWatch("kafka://127.0.0.1:1", lambda: now, clock_ms=lambda: 1_000)
    for offset in (3, 7, 9):
        now[PLACE] = offset
        await watch.look_once()
        assert watch.open == {}
    await watch.look_once()
    await watch.look_once()
    assert watch.open == {PLACE: OpenTransaction(9, 500)}
    assert reads == [{PLACE: 9}]
    now.clear()
    await watch.look_once()
    assert watch.open == {}


async def test_a_transaction_that_cannot_be_read_counts_from_when_it_was_met(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading is tried a few times; an old transaction is logged once, and so is its end."""
    tries = []

    async def refuse(*_: object) -> dict[TopicPartition, int]:
        tries.append(1)
        raise OSError("not allowed")

    monkeypatch.setattr(transactions, "_appended", refuse)
    at, now = {PLACE: 4}, [1_000]
    watch = TransactionWatch("kafka://127.0.0.1:1", lambda: at, clock_ms=lambda: now[0])
    with caplog.at_level(logging.INFO, "failshut_streams.sources.transactions"):
        for now[0] in range(1_000, 9_000, 1_000):
            await watch.look_once()
        assert watch.open == {PLACE: OpenTransaction(4, 1_000)}
        at.clear()
        await watch.look_once()
    assert len(tries) == transactions.READS_MAX
    assert ["has been open for 6 s" in caplog.messages[0], "has ended" in caplog.messages[1]] == [True, True]
    assert len(caplog.messages) == 2
