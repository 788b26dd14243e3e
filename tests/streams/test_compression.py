"""What workers write is compressed, is read whatever it is compressed with, and stops them loudly where a broker refuses it."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, get_args

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import for_code
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from patience import patient
from pydantic import ValidationError
from streams.test_config import NEEDED

from failshut_servers import Kafka
from failshut_streams.config import WorkerConfig
from failshut_streams.kafka import unpacking
from failshut_streams.kafka.address import consumer_options
from failshut_streams.kafka.compression import COMMANDS_CODEC, Codec, CodecRefused, compression_type
from failshut_streams.kafka.topics import CONTROL_BYTES_MAX, EVIDENCE_BYTES_MAX, Topics, ensure
from failshut_streams.router.evidence_writer import BATCH_BYTES_MAX, REQUEST_BYTES_MAX, make_producer

CODECS: tuple[Codec, ...] = get_args(Codec)
NUMBERS = {"none": 0, "gzip": 1, "lz4": 3, "zstd": 4}
ATTRIBUTES_AT, CODEC_MASK = 22, 0x07


def codec_of(producer: AIOKafkaProducer) -> int:
    """The codec that a batch of this producer names, by Kafka's number."""
    batch = producer.create_batch()
    batch.append(key=None, value=b"again and again " * 100, timestamp=None)
    return int(batch._build()[ATTRIBUTES_AT] & CODEC_MASK)


async def test_a_worker_compresses_unless_it_is_told_not_to() -> None:
    """Evidence, decisions and dead letters go through one kind of producer."""
    assert codec_of(make_producer("kafka://127.0.0.1:1", 1_000, "w")) == NUMBERS[WorkerConfig(**NEEDED).compression] > 0
    for codec in CODECS:
        assert codec_of(make_producer("kafka://127.0.0.1:1", 1_000, "w", codec)) == NUMBERS[codec]


def test_a_codec_that_nobody_knows_is_no_setting() -> None:
    """It is refused before anything is started."""
    assert [WorkerConfig(**NEEDED, compression=codec).compression for codec in CODECS] == list(CODECS)
    with pytest.raises(ValidationError):
        WorkerConfig(**NEEDED | {"compression": "brotli"})


def test_a_broker_that_refuses_a_codec_is_told_by_name() -> None:
    """aiokafka would call it unknown. It is tried no second time: the batch fails, and with it the worker."""
    error = for_code(76)()
    assert isinstance(error, CodecRefused)
    assert not error.retriable
    assert "--compression" in str(error)


def test_what_is_written_is_never_more_than_what_is_read() -> None:
    """The largest batch of any of our producers unpacks within the bound of every reader."""
    assert max(REQUEST_BYTES_MAX, EVIDENCE_BYTES_MAX, CONTROL_BYTES_MAX) + BATCH_BYTES_MAX < unpacking.UNPACKED_BYTES_MAX


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_the_largest_record_comes_back_whole(codec: str) -> None:
    """However well it was compressed: what a reader unpacks is bounded by what it may become, not by its ratio."""
    value = b"the same again. " * (REQUEST_BYTES_MAX // 16 - 8)
    builder = DefaultRecordBatchBuilder(2, NUMBERS[codec], 0, -1, -1, -1, 1 << 30)
    builder.append(0, 0, None, value, [])
    packed = bytes(builder.build())
    assert len(packed) < len(value) / 50
    unpack: Any = {"gzip": unpacking.gunzip, "lz4": unpacking.unlz4, "zstd": unpacking.unzstd}[codec]
    assert value in unpack(memoryview(packed)[struct.calcsize(">qiibIhiqqqhii") :])


async def test_readers_take_what_was_written_with_any_codec(kafka: Kafka, suffix: str) -> None:
    """A topic in which the codec changed, twice, is read in its order: an upgrade leaves both kinds in it."""
    topics = Topics(f"codecs-{suffix}.")
    await ensure(kafka.url, topics)
    place = TopicPartition(topics.evidence, 0)
    sent = []
    order: tuple[Codec, ...] = ("none", "zstd", "gzip", "none", "lz4")
    for codec in order:
        producer = make_producer(kafka.url, 10_000, f"w-{codec}", codec)
        await producer.start()
        try:
            for at in range(3):
                sent.append(f"{codec} {at} ".encode() * 50)
                await producer.send_and_wait(place.topic, sent[-1], partition=0)
        finally:
            await producer.stop()
    consumer = AIOKafkaConsumer(**consumer_options(kafka.url), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([place])
        found: list[bytes] = []
        async with asyncio.timeout(patient(60)):
            while len(found) < len(sent):
                found += [record.value for record in await _next(consumer, place)]
    finally:
        await consumer.stop()
    assert found == sent


async def _next(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[Any]:
    return (await consumer.getmany(place, timeout_ms=500)).get(place, [])  # type: ignore[no-any-return]


def test_commands_are_compressed_with_what_every_broker_takes() -> None:
    """An operator's tool has no setting for it."""
    assert COMMANDS_CODEC == "gzip"
    assert compression_type("none") is None
