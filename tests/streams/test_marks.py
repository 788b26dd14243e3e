"""Time marks reach every partition of the front door, carry the right count, and never stop a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from patience import patient

from failshut_breakers.evidence.coverage import PARTITIONS_MAX
from failshut_breakers.evidence.records import Mark
from failshut_servers import Kafka
from failshut_streams.kafka.topics import Counts, Topics, ensure
from failshut_streams.sources.marks import MARK_KEY, BadMark, MarkWriter, decode_mark, encode_mark, mark_producer, wall_ms


@given(st.integers(1, 10**14 - 1), st.integers(1, PARTITIONS_MAX))
def test_a_mark_is_read_as_it_was_written(time_ms: int, partitions: int) -> None:
    """Decoding undoes encoding."""
    assert decode_mark(encode_mark(time_ms, partitions)) == Mark(time_ms, partitions)


@given(st.binary(max_size=40))
def test_garbage_is_a_bad_mark(value: bytes) -> None:
    """Whatever the bytes, there is a mark or a reason, and no exception."""
    mark = decode_mark(value)
    assert isinstance(mark, BadMark) or encode_mark(mark.time_ms, mark.partitions)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="no-value"),
        pytest.param(b"", id="empty"),
        pytest.param(msgspec.msgpack.encode([2, 1_000, 4]), id="another-version"),
        pytest.param(msgspec.msgpack.encode([1, 1_000]), id="too-short"),
        pytest.param(msgspec.msgpack.encode([1, 1_000, 4, 5]), id="too-long"),
        pytest.param(msgspec.msgpack.encode([1, 1_000.5, 4]), id="a-fraction"),
        pytest.param(msgspec.msgpack.encode([1, "1000", 4]), id="text"),
        pytest.param(msgspec.msgpack.encode([1, True, 4]), id="a-boolean"),
        pytest.param(msgspec.msgpack.encode([1, 0, 4]), id="time-zero"),
        pytest.param(msgspec.msgpack.encode([1, -5, 4]), id="time-negative"),
        pytest.param(msgspec.msgpack.encode([1, 10**14, 4]), id="microseconds"),
        pytest.param(msgspec.msgpack.encode([1, 1_000, 0]), id="no-partitions"),
        pytest.param(msgspec.msgpack.encode([1, 1_000, PARTITIONS_MAX + 1]), id="more-partitions-than-are-believed"),
        pytest.param(encode_mark(1_000, 4) + b"\x00", id="bytes-behind-it"),
        pytest.param(b"\x93" + b"\x01" * 1_000_000, id="a-megabyte"),
    ],
)
def test_what_is_no_mark_says_why(value: bytes | None) -> None:
    """A record with a mark's key that is none is an unreadable record with a reason."""
    mark = decode_mark(value)
    assert isinstance(mark, BadMark)
    assert mark.reason


@asynccontextmanager
async def writing(kafka: Kafka, topics: Topics, clock_ms: Callable[[], int] = wall_ms) -> AsyncIterator[MarkWriter]:
    producer = mark_producer(kafka.url, 50)
    await producer.start()
    try:
        async with MarkWriter(producer, topics, 50, clock_ms=clock_ms) as writer:
            yield writer
    finally:
        await producer.stop()


async def marks_in(kafka: Kafka, topic: str, partition: int, at_least: int = 1) -> list[tuple[ConsumerRecord, Mark]]:
    """The marks in a partition, when there are enough."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        found: list[tuple[ConsumerRecord, Mark]] = []
        async with asyncio.timeout(patient(60)):
            while len(found) < at_least:
                for records in (await consumer.getmany(place, timeout_ms=500)).values():
                    for record in records:
                        mark = decode_mark(record.value)
                        assert record.key == MARK_KEY
                        assert isinstance(mark, Mark)
                        found.append((record, mark))
        return found
    finally:
        await consumer.stop()


async def until(condition: Callable[[], bool], seconds_max: float = 60.0) -> None:
    async with asyncio.timeout(patient(seconds_max)):
        while not condition():
            await asyncio.sleep(0.02)


async def test_every_front_door_partition_gets_marks(kafka: Kafka, suffix: str) -> None:
    """Each partition of the three topics gets marks with its topic's count and a time not later than its append time."""
    topics = Topics(f"marks-{suffix}.")
    await ensure(kafka.url, topics, Counts(telemetry=3, otlp_metrics=2))
    async with writing(kafka, topics) as writer:
        for topic, count in ((topics.telemetry, 3), (topics.otlp_metrics, 2), (topics.control, 1)):
            for partition in range(count):
                for record, mark in await marks_in(kafka, topic, partition, at_least=2):
                    assert mark.partitions == count
                    assert mark.time_ms <= record.timestamp
    assert writer.written > 0


async def test_a_new_partition_is_in_the_next_count(kafka: Kafka, suffix: str) -> None:
    """A mark whose time was taken after a partition was added counts it, and it gets marks itself."""
    topics = Topics(f"grow-{suffix}.")
    await ensure(kafka.url, topics, Counts(telemetry=2))
    async with writing(kafka, topics):
        await marks_in(kafka, topics.telemetry, 0)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({topics.telemetry: NewPartitions(3)})
        finally:
            await admin.close()
        ((first, _), *_) = await marks_in(kafka, topics.telemetry, 2)
        later = [mark for record, mark in await marks_in(kafka, topics.telemetry, 0, 10) if mark.time_ms >= first.timestamp]
    assert all(mark.partitions == 3 for mark in later)


async def test_a_partition_that_has_a_record_is_counted(kafka: Kafka, suffix: str) -> None:
    """A partition that took a record before the time was taken is in the count: nothing that was asked before is used."""
    topics = Topics(f"order-{suffix}.")
    await ensure(kafka.url, topics, Counts(telemetry=1))
    producer, another = mark_producer(kafka.url), mark_producer(kafka.url)
    await producer.start()
    await another.start()
    writer = MarkWriter(producer, topics)
    try:
        await writer.write_once()
        await until(lambda: not writer._under_way)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({topics.telemetry: NewPartitions(2)})
        finally:
            await admin.close()
        async with asyncio.timeout(patient(60)):
            while another.client.cluster.partitions_for_topic(topics.telemetry) != {0, 1}:
                another.client.add_topic(topics.telemetry)
                await another.client.force_metadata_update()
        await another.send_and_wait(topics.telemetry, encode_mark(1, 1), MARK_KEY, partition=1)
        await writer.write_once()
        await until(lambda: not writer._under_way)
        (_, (_, mark)) = await marks_in(kafka, topics.telemetry, 0, at_least=2)
        assert mark.partitions == 2
    finally:
        await writer.stop()
        await another.stop()
        await producer.stop()


async def test_a_paused_clock_writes_old_time(kafka: Kafka, suffix: str) -> None:
    """A mark carries the writer's time, not the time at which it is sent."""
    topics = Topics(f"clock-{suffix}.")
    await ensure(kafka.url, topics)
    async with writing(kafka, topics, lambda: 1_000_000):
        ((record, mark), *_) = await marks_in(kafka, topics.control, 0)
    assert mark.time_ms == 1_000_000
    assert record.timestamp > 1_000_000


@pytest.mark.kafka
@pytest.mark.slow
async def test_marks_are_well_again_when_those_of_every_partition_are(caplog: pytest.LogCaptureFixture) -> None:
    """A leader that comes back before the others ends no trouble: a log that says so twice in a millisecond helps nobody."""
    caplog.set_level("INFO")
    writer = MarkWriter(SimpleNamespace(client=SimpleNamespace()), Topics(""))
    one, other = TopicPartition("telemetry", 0), TopicPartition("telemetry", 1)
    writer._settle(True, place=one)
    writer._settle(False, KafkaError("away"))
    writer._settle(False, KafkaError("no leader"), one)
    writer._settle(True, place=other)
    assert not writer.well
    writer._settle(False, KafkaError("no leader"), one)
    writer._settle(True, place=one)
    assert writer.well
    said = [record.getMessage().partition(":")[0].partition(" after")[0] for record in caplog.records]
    assert said == ["time marks are not written, evidence time stands still", "time marks are written again"]


@pytest.mark.slow
async def test_a_broker_that_goes_and_comes_is_survived(tmp_path: Path) -> None:
    """While the broker is down marks fail and nothing is raised; when it is back they are written again."""
    topics = Topics()
    with Kafka(tmp_path) as kafka:
        await ensure(kafka.url, topics)
        async with writing(kafka, topics) as writer:
            await until(lambda: writer.written > 0)
            await asyncio.to_thread(kafka.kill)
            failed = writer.failed
            await until(lambda: writer.failed > failed + 2)
            assert len(writer._under_way) <= 10
            await asyncio.to_thread(kafka.start)
            written = writer.written
            await until(lambda: writer.written > written + 20)


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_broker_that_hangs_is_not_asked_without_bound(tmp_path: Path) -> None:
    """A broker that is stopped in its tracks has one question and one mark a partition under way, however long it hangs."""
    topics = Topics()
    with Kafka(tmp_path) as kafka:
        await ensure(kafka.url, topics)
        producer = mark_producer(kafka.url, 50)
        await producer.start()
        writer = MarkWriter(producer, topics, 50)
        try:

            async def write() -> None:
                with suppress(KafkaError, OSError):  # topics that were just made may have no leader yet
                    await writer.write_once()

            while writer.written < 9:
                await write()
            kafka.pause()
            for _ in range(3):
                with pytest.raises(KafkaError):
                    await writer.write_once()
                assert len(writer._counts._asked) <= 1
            kafka.resume()
            written = writer.written

            async def again() -> None:
                while writer.written == written:
                    await write()
                    await asyncio.sleep(0.1)

            await asyncio.wait_for(again(), patient(60))
        finally:
            await writer.stop()
            await producer.stop()
