"""A Faust table beside batched topics, and SIGKILL."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

import pytest
from transport.harness import Broker, Reader

pytestmark = pytest.mark.slow

PARTITIONS = 4
RECORDS = 4000
ROUNDS = 6


async def test_a_table_and_batched_topics_survive_sigkill(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Killed at any moment, a worker goes on at its snapshot: every record counts once, and no chunk is lost.

    Without the wait for the tables' recovery this fails: chunks that were fetched before it are cleared from
    the agents' queues, and the snapshot no longer joins.
    """
    topic = await broker.topic(partitions=PARTITIONS)
    group = f"table{topic}"
    changelog = f"{group}-snapshots-changelog"
    for partition in range(PARTITIONS):
        await broker.produce(topic, [str(n) for n in range(RECORDS)], partition)

    def start() -> Reader:
        return reader(
            topic,
            group=group,
            agent="snapshot",
            table=PARTITIONS,
            settings={"chunk_records_max": 20, "group_instance_id": "one"},
        )

    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    for _ in range(ROUNDS):
        worker = start()
        await worker.until(worker.events)
        await asyncio.sleep(moments.uniform(0, 0.3))
        await worker.kill()
    worker = start()
    expected = {str(p): {"next": RECORDS, "count": RECORDS, "sum": RECORDS * (RECORDS - 1) // 2} for p in range(PARTITIONS)}

    def all_read() -> bool:
        ends = {chunk["partition"]: chunk["upto"] for chunk in worker.events()}
        held = worker.events("assigned")[-1]["held"] if worker.events("assigned") else {}
        done = {int(p) for p, snapshot in held.items() if snapshot and snapshot["next"] == RECORDS}
        return {p for p, upto in ends.items() if upto == RECORDS} | done == set(range(PARTITIONS))

    await worker.until(all_read)
    assert await worker.terminate() == 0
    newest = await broker.newest_values(changelog, PARTITIONS)
    found = {json.loads(key): value for key, value in newest.items()}
    assert found == expected
