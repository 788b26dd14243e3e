"""What the tests ask of a broker, and workers as processes that write down what they read."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from patience import patient

READER = Path(__file__).parent / "apps" / "reader.py"
WAIT_SECONDS_MAX = 60.0


class Broker:
    """What the tests ask of the broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def topic(self, partitions: int = 1, **config: str) -> str:
        name = f"t{uuid.uuid4().hex[:8]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
        finally:
            await admin.close()
        return name

    async def produce(self, topic: str, values: list[str], partition: int = 0, compression: str | None = None) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=compression,
            linger_ms=5,
            acks="all",
            max_request_size=64 * 1024 * 1024,  # before it is compressed
        )
        await producer.start()
        try:
            sent = [await producer.send(topic, value.encode(), partition=partition) for value in values]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def transactions(self, topic: str, sizes: list[int]) -> None:
        """Write a transaction of each size; a negative one is aborted. Each leaves a marker, an offset without a record."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=uuid.uuid4().hex)
        await producer.start()
        try:
            for size in sizes:
                await producer.begin_transaction()
                for index in range(abs(size)):
                    await producer.send_and_wait(topic, str(index).encode(), partition=0)
                await (producer.abort_transaction() if size < 0 else producer.commit_transaction())
        finally:
            await producer.stop()

    @asynccontextmanager
    async def open_transaction(self, topic: str, size: int) -> AsyncIterator[AIOKafkaProducer]:
        """Write a transaction and leave it open; whoever is through with it without ending it has it aborted."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=uuid.uuid4().hex)
        await producer.start()
        try:
            await producer.begin_transaction()
            for index in range(size):
                await producer.send_and_wait(topic, str(index).encode(), partition=0)
            yield producer
        finally:
            await producer.stop()

    async def delete_before(self, topic: str, offset: int) -> None:
        """What retention does, at once."""
        from aiokafka.admin import RecordsToDelete

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
        finally:
            await admin.close()

    async def committed(self, group: str, topic: str, partition: int = 0) -> tuple[int, str] | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        found = offsets.get(TopicPartition(topic, partition))
        return None if found is None or found.offset < 0 else (found.offset, found.metadata)

    async def newest_values(self, topic: str, partition_count: int) -> dict[bytes, Any]:
        """A compacted topic's content."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        found: dict[bytes, Any] = {}
        try:
            partitions = [TopicPartition(topic, p) for p in range(partition_count)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            for tp in partitions:
                await consumer.seek_to_beginning(tp)
                while await consumer.position(tp) < ends[tp]:
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        found.update({record.key: json.loads(record.value) for record in records})
        finally:
            await consumer.stop()
        return found


class Reader:
    """A worker process and what it has written down."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.out = Path(spec["out"])
        self.out.touch()
        self.log = self.out.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, str(READER), json.dumps(spec)], stdout=log, stderr=log)

    def events(self, kind: str = "chunk") -> list[dict[str, Any]]:
        lines = self.out.read_text().splitlines(keepends=True)
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in said if event["event"] == kind]

    def offsets(self, partition: int = 0) -> list[int]:
        chunks = [chunk for chunk in self.events() if chunk["partition"] == partition]
        return [offset for chunk in chunks for offset in chunk["offsets"]]

    async def until(self, what: Callable[[], Any], seconds_max: float = WAIT_SECONDS_MAX) -> Any:
        end = time.monotonic() + patient(seconds_max)
        while not (found := what()):
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < end, f"waited in vain:\n{self.tail()}"
            await asyncio.sleep(0.05)
        return found

    async def exit_status(self, seconds_max: float = WAIT_SECONDS_MAX) -> int:
        end = time.monotonic() + patient(seconds_max)
        while self.process.poll() is None:
            assert time.monotonic() < end, f"did not end:\n{self.tail()}"
            await asyncio.sleep(0.05)
        return self.process.returncode

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_status()

    async def kill(self) -> None:
        self.process.kill()
        await self.exit_status()

    def tail(self) -> str:
        return self.log.read_text()[-6000:]
