"""Lag as people run it, on a real broker: retention, transactions, quiet partitions, topics made anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from patience import patient

from failshut_breakers.conditions.base import Moment, Status
from failshut_breakers.conditions.lag import LagCondition
from failshut_breakers.evidence.records import LagRow, Lags, Offsets
from failshut_breakers.policy.policy import Lag
from failshut_servers import Kafka
from failshut_streams.sources import lag_offsets
from failshut_streams.sources.lag_offsets import MAY_NOT_READ, GroupOffsets, Sample


class Rig:
    """A topic, a group, and what librdkafka does with them. Its calls block, so tests make them in a thread."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int = 1) -> None:
        self.kafka, self.topic, self.group = kafka, topic, f"group.{topic}"
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap})
        self.make(partitions)

    def make(self, partitions: int = 1, **config: str) -> None:
        """Make the topic, and wait until it takes records."""
        made = NewTopic(self.topic, partitions, 1, config=config)
        self.admin.create_topics([made])[self.topic].result(30)

    def remove(self) -> None:
        self.admin.delete_topics([self.topic])[self.topic].result(30)

    def put(self, count: int, partition: int = 0) -> None:
        for _ in range(count):
            self.producer.produce(self.topic, b"x", partition=partition)
        assert self.producer.flush(60) == 0

    def purge(self, before: int, partition: int = 0) -> None:
        (done,) = self.admin.delete_records([TopicPartition(self.topic, partition, before)]).values()
        done.result(30)

    def commit(self, offset: int, partition: int = 0) -> None:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group})
        end = time.monotonic() + patient(60)
        while True:
            try:
                consumer.commit(offsets=[TopicPartition(self.topic, partition, offset)], asynchronous=False)
                break
            except KafkaException:  # the coordinator of a new group may still load, and librdkafka gives up too early
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        consumer.close()

    @contextmanager
    def transaction(self, count: int) -> Iterator[Producer]:
        """Write a transaction and leave it to the test to end it."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "transactional.id": f"tx.{self.topic}"})
        producer.init_transactions(60)
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(self.topic, b"x", partition=0)
        assert producer.flush(60) == 0
        yield producer

    def commit_transaction(self, count: int) -> None:
        with self.transaction(count) as producer:
            producer.commit_transaction(60)

    def abort_transaction(self, count: int) -> None:
        with self.transaction(count) as producer:
            producer.abort_transaction(60)

    def read_all(self, count: int) -> None:
        """Read so many records as a group with librdkafka's settings of its own, and commit them."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group, "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([self.topic])
        while count:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                count -= 1
        consumer.close()


@pytest.fixture
async def rig(kafka: Kafka, topic_name: Callable[[str], str]) -> Rig:
    return await asyncio.to_thread(Rig, kafka, topic_name("watched"))


@pytest.fixture
async def offsets(kafka: Kafka) -> AsyncIterator[GroupOffsets]:
    one = GroupOffsets(kafka.url)
    try:
        yield one
    finally:
        await one.disconnect()


async def until(ask: Callable[[], Awaitable[Sample]], what: Callable[[Sample], bool]) -> Sample:
    """Sample until a sample is as expected: brokers learn of what was done a moment later."""
    said: object = None
    try:
        async with asyncio.timeout(patient(90)):
            while True:
                try:
                    said = sample = await ask()
                    if what(sample):
                        return sample
                except Exception as error:  # a topic without a leader, a coordinator that loads
                    said = error
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited in vain, the last sample: {said}") from None


def sampling(offsets: GroupOffsets, rig: Rig) -> Callable[[], Awaitable[Sample]]:
    async def ask() -> Sample:
        await offsets.connect()
        return await offsets.of(rig.group, rig.topic)

    return ask


def judged(sample: Sample, **settings: object) -> LagCondition:
    """What a condition that allows nothing makes of a sample."""
    policy = {"name": "lag", "group": "g", "topic": "t", "allowed": 0, "behind": "5s", **settings}
    one = LagCondition(Lag.model_validate(policy))
    one.feed(Lags("g", "t", [LagRow(1, 0, 1_000, sample.partitions, sample.topic_id, sample.told)]), 0, Moment(1_000, 1_000))
    return one


async def test_what_retention_removed_is_not_behind(rig: Rig, offsets: GroupOffsets) -> None:
    """A commit below the log's start on a topic that was emptied is a group with nothing to read."""
    await asyncio.to_thread(rig.put, 100)
    await asyncio.to_thread(rig.commit, 40)
    await asyncio.to_thread(rig.purge, 100)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].start == 100)
    assert sample.partitions[0][:4] == (40, 100, 100, 100)
    assert judged(sample).text == "g on t: 0 records behind, 60 more were removed before it committed them"


async def test_an_emptied_topic_without_a_commit_has_nothing_to_read(rig: Rig, offsets: GroupOffsets) -> None:
    """Never committed where retention left nothing is not unknown."""
    await asyncio.to_thread(rig.put, 10)
    await asyncio.to_thread(rig.purge, 10)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].start == 10)
    assert judged(sample).status is Status.HOLDS


@pytest.mark.parametrize("aborted", [0, 25])
async def test_what_transactions_leave_behind_is_not_behind(rig: Rig, offsets: GroupOffsets, aborted: int) -> None:
    """A group that has read all of a transactional topic stays short of its end, and is not behind.

    librdkafka commits behind the last record that it gave out, or now and then behind the marker: the test sees to the first.
    """
    await asyncio.to_thread(rig.commit_transaction, 30)
    if aborted:
        await asyncio.to_thread(rig.abort_transaction, aborted)
    await asyncio.to_thread(rig.read_all, 30)
    await asyncio.to_thread(rig.commit, 30)
    end = 31 + (aborted + 1 if aborted else 0)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].behind == 0)
    assert sample.partitions[0] == Offsets(30, end, 0, end, end)
    assert judged(sample).text == "g on t: 0 records behind"
    await asyncio.to_thread(rig.put, 3)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].end == end + 3)
    assert judged(sample).text == "g on t: 3 records behind"


async def test_an_open_transaction_is_named(rig: Rig, offsets: GroupOffsets) -> None:
    """Records behind an open transaction are behind, committed or not, and the words name it."""
    await asyncio.to_thread(rig.put, 5)
    await asyncio.to_thread(rig.commit, 5)
    with rig.transaction(4) as producer:
        await asyncio.to_thread(rig.put, 6)
        sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].end == 15)
        assert sample.partitions[0][:4] == (5, 15, 0, 5)
        assert "10 records behind, behind a transaction that is open in partition 0 since offset 5" in judged(sample).text
        await asyncio.to_thread(producer.abort_transaction, 60)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].stable == 16)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].readable == 9)
    assert judged(sample).text == "g on t: 7 records behind"


async def test_a_long_stretch_is_looked_at_in_turns(rig: Rig, offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one look does not get through the next goes on with, and until then all of it counts."""
    monkeypatch.setattr(lag_offsets, "LOOK_SECONDS_MAX", 0.0)
    await asyncio.to_thread(rig.put, 1)
    await asyncio.to_thread(rig.commit, 1)
    await asyncio.to_thread(rig.abort_transaction, 2_000)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].stable == 2_002)
    for _ in range(3):
        assert (await sampling(offsets, rig)()).partitions[0].behind == 2_001
    monkeypatch.setattr(lag_offsets, "LOOK_SECONDS_MAX", 0.3)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].behind == 0)
    assert sample.partitions[0].readable == 2_002


async def test_a_quiet_partition_is_named(kafka: Kafka, offsets: GroupOffsets, topic_name: Callable[[str], str]) -> None:
    """librdkafka commits nothing for a partition that gave it no record: the words name it, and the policy may decide."""
    rig = await asyncio.to_thread(Rig, kafka, topic_name("quiet"), 2)
    await asyncio.to_thread(rig.put, 30, 1)
    await asyncio.to_thread(rig.put, 5, 0)
    await asyncio.to_thread(rig.commit, 5, 0)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].committed == 5)
    assert "never committed in partition 1, where 30 records stand" in judged(sample).text
    assert judged(sample, without_commit="latest").status is Status.HOLDS
    assert judged(sample, without_commit="earliest").text == "g on t: 30 records behind"


async def test_a_commit_beyond_the_end_is_said_as_numbers(rig: Rig, offsets: GroupOffsets) -> None:
    """A group that committed what the topic does not hold is unknown, and the words say both offsets."""
    await asyncio.to_thread(rig.put, 4)
    await asyncio.to_thread(rig.commit, 9)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].committed == 9)
    assert judged(sample).text == "g on t: unknown, it has committed 9 in partition 0, which ends at 4"


async def test_a_topic_made_anew_has_another_id(rig: Rig, offsets: GroupOffsets) -> None:
    """Deleted and created again, a topic is told from the one before; a new partition is in the next sample."""
    await asyncio.to_thread(rig.put, 3)
    before = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].end == 3)
    await asyncio.to_thread(rig.remove)

    def made_anew() -> None:
        rig.make()
        rig.admin.create_partitions([NewPartitions(rig.topic, 2)])[rig.topic].result(30)

    async with asyncio.timeout(patient(90)):
        while True:
            try:
                await asyncio.to_thread(made_anew)
                break
            except Exception:  # it is being deleted
                await asyncio.sleep(0.1)
    after = await until(sampling(offsets, rig), lambda sample: len(sample.partitions) == 2)
    assert before.topic_id
    assert after.topic_id
    assert before.topic_id != after.topic_id
    assert after.partitions[0].end == 0


async def test_a_topic_that_may_not_be_read_counts_in_full(
    rig: Rig, offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to read, markers count as records, the sample says so, and the topic is not tried again at once."""
    tries = []

    async def refuse(*_: object) -> None:
        tries.append(1)
        raise lag_offsets.TopicAuthorizationFailedError(rig.topic)  # type: ignore[attr-defined]

    monkeypatch.setattr(lag_offsets, "_first_records", refuse)
    await asyncio.to_thread(rig.commit_transaction, 2)
    await asyncio.to_thread(rig.commit, 2)
    sample = await until(sampling(offsets, rig), lambda sample: sample.told != "")
    assert (sample.told, sample.partitions[0].behind) == (MAY_NOT_READ, 1)
    assert (await sampling(offsets, rig)()).told == MAY_NOT_READ
    assert tries == [1]
    assert judged(sample).text == f"g on t: 1 records behind ({MAY_NOT_READ})"


async def test_compacted_topics_hold_less_than_their_offsets(
    rig: Rig, offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where compaction took what stood behind the commit, the group is behind by what begins after the hole."""

    async def as_compacted(reading: object, topic: str, still: dict[int, lag_offsets._Place], *_: object) -> None:
        for place in still.values():
            place.readable, place.found = 90, True

    monkeypatch.setattr(lag_offsets, "_first_records", as_compacted)
    await asyncio.to_thread(rig.put, 100)
    await asyncio.to_thread(rig.commit, 10)
    sample = await until(sampling(offsets, rig), lambda sample: sample.partitions[0].readable == 90)
    assert sample.partitions[0].behind == 10
