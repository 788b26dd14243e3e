"""Samples of consumer groups are whole or not written, and say what the groups committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from patience import patient

from failshut_breakers.evidence.records import Offsets
from failshut_servers import Kafka
from failshut_streams.codecs import InternalDecoder, LagPoint
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.topics import Topics, ensure
from failshut_streams.sources import lag as lag_module
from failshut_streams.sources.lag import LagSampler, Watched, lag_record

APPEND_MS = 4_000_000_000_000


def decoded(key: bytes, value: bytes) -> LagPoint:
    (item,) = InternalDecoder().decode(key, value, (), APPEND_MS)
    assert isinstance(item, LagPoint)
    return item


def test_a_sample_is_what_the_decoder_reads() -> None:
    """What the sampler writes, the decoder of `internal` reads as the same offsets and time, keyed by group and topic."""
    key, value = lag_record("g", "t", 1_700_000_000_123, {1: Offsets(-1, 0), 0: Offsets(5, 9)})
    assert key == b"g/t"
    assert decoded(key, value) == LagPoint("g", "t", 1_700_000_000_123, {0: Offsets(5, 9), 1: Offsets(-1, 0)})


class Rig:
    """A watched topic of two partitions, and telemetry."""

    def __init__(self, kafka: Kafka, producer: AIOKafkaProducer, telemetry: str, topic: str, group: str) -> None:
        self.kafka, self.producer, self.telemetry, self.topic, self.group = kafka, producer, telemetry, topic, group

    async def produce(self, partition: int, count: int) -> None:
        for _ in range(count):
            await self.producer.send_and_wait(self.topic, b"x", partition=partition)

    async def commit(self, offsets: dict[int, int]) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            places = {TopicPartition(self.topic, partition): OffsetAndMetadata(at, "") for partition, at in offsets.items()}
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def sampler(self, watched: Iterable[Watched] | None = None, broker: str = "") -> AsyncIterator[LagSampler]:
        pairs = [(self.group, self.topic)] if watched is None else list(watched)
        one = LagSampler(
            broker or self.kafka.url, self.producer, self.telemetry, lambda: pairs, clock_ms=lambda: 1_000_000_000_000
        )
        try:
            yield one
        finally:
            await one.stop()

    async def written(self) -> list[LagPoint]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
        await consumer.start()
        try:
            places = [TopicPartition(self.telemetry, partition) for partition in range(4)]
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


async def _coordinated(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Whether a fresh broker has its topic of committed offsets."""
    try:
        await admin.list_consumer_group_offsets(group)
    except KafkaError:
        return False
    return True


@pytest.fixture
async def rig(kafka: Kafka, suffix: str) -> AsyncIterator[Rig]:
    topics = Topics(f"lag-{suffix}.")
    await ensure(kafka.url, topics)
    watched = f"refunds-{suffix}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(watched, 2, 1)])
        async with asyncio.timeout(patient(60)):
            while (seen := (await ask(admin._client, [watched])).topics.get(watched)) is None or seen.led < 2:
                await asyncio.sleep(0.05)
            while not await _coordinated(admin, f"workers-{suffix}"):
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    try:
        yield Rig(kafka, producer, topics.telemetry, watched, f"workers-{suffix}")
    finally:
        await producer.stop()


async def test_committed_and_end_offsets_are_sampled(rig: Rig) -> None:
    """A sample has every partition: what was committed, -1 where nothing was, and where the partition ends."""
    await rig.produce(0, 5)
    await rig.produce(1, 2)
    await rig.commit({0: 3})
    async with rig.sampler() as sampler:
        assert await sampler.sample_once() == 1
        await rig.produce(1, 1)
        await rig.commit({0: 5, 1: 3})
        assert await sampler.sample_once() == 1
    found = [{number: at[:4] for number, at in one.partitions.items()} for one in await rig.written()]
    assert found == [{0: (3, 5, 0, 5), 1: (-1, 2, 0, 2)}, {0: (5, 5, 0, 5), 1: (3, 3, 0, 3)}]
    assert {(one.group, one.topic, one.time_ms) for one in await rig.written()} == {(rig.group, rig.topic, 1_000_000_000_000)}


async def test_a_group_that_nobody_knows_is_sampled_as_never_committed(rig: Rig) -> None:
    """A group that does not exist has committed nothing: that is for the condition to judge."""
    await rig.produce(0, 1)
    async with rig.sampler([("nobody", rig.topic)]) as sampler:
        await sampler.sample_once()
    assert [{number: at[:2] for number, at in one.partitions.items()} for one in await rig.written()] == [
        {0: (-1, 1), 1: (-1, 0)}
    ]


async def test_a_topic_that_is_not_there_gets_no_sample(rig: Rig) -> None:
    """There is no sample of a topic that does not exist, and its gates are told why; the others are sampled all the same."""
    async with rig.sampler([(rig.group, "no-such-topic"), (rig.group, rig.topic)]) as sampler:
        assert await sampler.sample_once() == 1
        assert (sampler.written, sampler.failed) == (1, 1)
    found = {one.topic: (bool(one.partitions), one.told) for one in await rig.written()}
    assert found == {"no-such-topic": (False, "no such topic"), rig.topic: (True, "")}


async def test_offsets_that_cannot_be_had_are_not_taken_for_none(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without the partitions (a coordinator that is loading) is a failed sample, not a group that never committed."""

    class Nothing(dict[TopicPartition, OffsetAndMetadata]):
        """What a reader would make of the missing: never committed."""

        def __missing__(self, place: TopicPartition) -> OffsetAndMetadata:
            return OffsetAndMetadata(-1, "")

    async def nothing(*_: object, **__: object) -> dict[TopicPartition, OffsetAndMetadata]:
        return Nothing()

    async with rig.sampler() as sampler:
        assert await sampler.sample_once() == 1
        monkeypatch.setattr(AIOKafkaAdminClient, "list_consumer_group_offsets", nothing)
        assert await sampler.sample_once() == 0
        assert sampler.failed == 1
    found = sorted((bool(one.partitions), one.told) for one in await rig.written())
    assert found == [(False, "the coordinator did not tell the group's committed offsets"), (True, "")]


async def test_a_broker_that_is_down_writes_nothing_and_raises_nothing(rig: Rig, free_port: object) -> None:
    """Without a broker there is no sample, each watched group counts as failed, and the sampler lives."""
    port = free_port()  # type: ignore[operator]
    async with rig.sampler(broker=f"kafka://127.0.0.1:{port}") as sampler:
        assert await sampler.sample_once() == 0
        assert await sampler.sample_once() == 0
        assert sampler.failed == 2
    assert await rig.written() == []


async def test_watched_groups_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """More groups than the bound are not sampled, always the same ones; the log says it once, and their gates are told."""
    monkeypatch.setattr(lag_module, "WATCHED_MAX", 2)
    async with rig.sampler([(f"g{n}", rig.topic) for n in (3, 1, 2)]) as sampler:
        with caplog.at_level(logging.WARNING, "failshut_streams.sources.lag"):
            await sampler.sample_once()
            await sampler.sample_once()
    found = {one.group: one.told for one in await rig.written()}
    assert found == {"g1": "", "g2": "", "g3": "more than 2 groups and topics are watched, and this one is not among them"}
    assert len([record for record in caplog.records if "are watched" in record.message]) == 1


async def test_sampling_goes_on_by_itself(rig: Rig) -> None:
    """A started sampler samples again and again until it is stopped."""
    sampler = LagSampler(rig.kafka.url, rig.producer, rig.telemetry, lambda: [(rig.group, rig.topic)], every_ms=20)
    async with sampler, asyncio.timeout(patient(60)):
        while sampler.written < 3:
            await asyncio.sleep(0.02)
    assert len(await rig.written()) - sampler.written in (0, 1)  # one may be written and not yet counted when it is stopped
