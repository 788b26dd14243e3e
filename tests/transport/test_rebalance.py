"""Partitions that change hands."""

from __future__ import annotations

from collections.abc import Callable

from transport.harness import Broker, Reader

PARTITIONS = 4


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


async def test_nothing_is_lost_when_a_second_worker_comes_and_the_first_is_killed(
    broker: Broker, reader: Callable[..., Reader]
) -> None:
    """Every record is committed by somebody, in chunks that join, over a hand-over and a SIGKILL."""
    topic = await broker.topic(partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        await broker.produce(topic, numbers(200), partition)
    first = reader(topic, group="pair", commit_at_revocation=True)
    await first.until(lambda: len(first.events("committed")) >= 8)
    second = reader(topic, group="pair", commit_at_revocation=True)
    await second.until(lambda: "Worker ready" in second.tail())
    for partition in range(PARTITIONS):
        await broker.produce(topic, numbers(300), partition)
    await second.until(lambda: second.events())
    await first.until(lambda: len(first.events("committed")) >= 12)
    await first.kill()

    async def all_committed() -> bool:
        found = [await broker.committed("pair", topic, p) for p in range(PARTITIONS)]
        return all(at is not None and at[0] == 500 for at in found)

    while not await all_committed():
        await second.until(lambda: True)
    for partition in range(PARTITIONS):
        assert {*first.offsets(partition), *second.offsets(partition)} == set(range(500))
    assert all(chunk["joins"] for worker in (first, second) for chunk in worker.events())


async def test_chunks_of_a_revoked_partition_are_not_processed(broker: Broker, reader: Callable[..., Reader]) -> None:
    """What lay in the queue when the partition went is dropped: each worker's readings join, each in itself."""
    topic = await broker.topic(partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        await broker.produce(topic, numbers(400), partition)
    first = reader(topic, group="queue", agent="slow")
    await first.until(lambda: first.events())
    second = reader(topic, group="queue", agent="slow")
    await second.until(lambda: second.events())
    await first.until(lambda: len({chunk["reading"] for chunk in first.events()}) >= PARTITIONS + 1)
    for worker in (first, second):
        newest: dict[int, int] = {}
        for chunk in worker.events():
            assert chunk["reading"] >= newest.get(chunk["partition"], 0)
            newest[chunk["partition"]] = chunk["reading"]
    await first.until(lambda: first.events("revoked"))


async def test_a_new_partition_is_seen_soon(broker: Broker, reader: Callable[..., Reader]) -> None:
    """A partition that is added is read, within the metadata age and not five minutes."""
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    topic = await broker.topic(partitions=1)
    await broker.produce(topic, numbers(10))
    worker = reader(topic)
    await worker.until(lambda: len(worker.offsets()) >= 10)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(2)})
    await admin.close()
    await broker.produce(topic, numbers(7), 1)
    await worker.until(lambda: len(worker.offsets(1)) >= 7)
    assert worker.offsets(0) == list(range(10))
