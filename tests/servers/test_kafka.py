"""The embedded Apache Kafka, and a cluster of three of which one is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from patience import patient

from failshut_servers import Kafka, KafkaCluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@asynccontextmanager
async def producer_to(bootstrap: str, timeout_ms: int = 10_000) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that waits for every copy."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", request_timeout_ms=timeout_ms)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def create(bootstrap: str, name: str, replicas: int = 1, **settings: str) -> None:
    """Create a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        await admin.create_topics([NewTopic(name, 1, replicas, topic_configs=configs)])
    finally:
        await admin.close()


async def read(bootstrap: str, name: str, count: int) -> list[bytes]:
    """The first records of a topic's only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, 0)])
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_it_says_who_it_is(kafka: Kafka) -> None:
    """A metadata request is answered with the id that the folder was formatted with."""
    answer = kafka.metadata()
    assert answer is not None
    assert answer.cluster_id == kafka.cluster_id
    assert answer.node_ids == {1}
    assert kafka.ready()


async def test_time_is_the_brokers_to_claim(kafka: Kafka, topic_name: Callable[[str], str]) -> None:
    """A topic with LogAppendTime overwrites what a producer claims."""
    name = topic_name("claims")
    await create(kafka.bootstrap, name, message_timestamp_type="LogAppendTime")
    async with producer_to(kafka.bootstrap) as producer:
        written = await producer.send_and_wait(name, b"early", timestamp_ms=1)
    assert written.timestamp_type == 1
    assert written.timestamp > 1_600_000_000_000


async def test_naming_a_topic_does_not_create_it(kafka: Kafka, topic_name: Callable[[str], str]) -> None:
    """A mistyped topic is an error, not a topic without LogAppendTime."""
    name = topic_name("mistyped")
    async with producer_to(kafka.bootstrap, timeout_ms=2_000) as producer:
        with pytest.raises(KafkaError):
            await producer.send_and_wait(name, b"lost")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        assert name not in await admin.list_topics()
    finally:
        await admin.close()


async def test_it_keeps_its_data_over_stop_and_kill(tmp_path: Path) -> None:
    """Acknowledged records are there after a clean stop and after SIGKILL, at the same address."""
    with Kafka(tmp_path) as broker:
        bootstrap, cluster_id = broker.bootstrap, broker.cluster_id
        await create(bootstrap, "kept")
        for value, end in ((b"one", broker.stop), (b"two", broker.kill)):
            async with producer_to(bootstrap) as producer:
                await producer.send_and_wait("kept", value)
            end()
            assert not broker.running
            assert not broker.ready()
            broker.start()
        assert (broker.bootstrap, broker.cluster_id) == (bootstrap, cluster_id)
        assert await read(bootstrap, "kept", 2) == [b"one", b"two"]

        broker.pause()
        assert broker.metadata() is None
        assert not broker.ready()
        broker.resume()
        broker.wait_ready()

    # Another object, as after a crash of the owner: other ports, the same data.
    with Kafka(tmp_path) as again:
        assert await read(again.bootstrap, "kept", 2) == [b"one", b"two"]


async def test_a_cluster_outlives_one_node(tmp_path: Path) -> None:
    """With the leader killed, what was acknowledged is read and new records are taken; the node comes back."""
    with KafkaCluster(tmp_path) as cluster:
        await create(cluster.bootstrap, "replicated", replicas=3)
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await admin.start()
        try:
            async with asyncio.timeout(patient(60)):
                while not (described := (await admin.describe_topics(["replicated"]))[0])["partitions"]:
                    await asyncio.sleep(0.1)  # a node that was asked too soon knows no partition yet
        finally:
            await admin.close()
        leader = cluster.node(described["partitions"][0]["leader"])
        async with producer_to(cluster.bootstrap) as producer:
            await producer.send_and_wait("replicated", b"before")
            leader.kill()
            await producer.send_and_wait("replicated", b"after")
        assert await read(cluster.bootstrap, "replicated", 2) == [b"before", b"after"]
        assert cluster.ready()
        leader.start()
        assert cluster.ready()
