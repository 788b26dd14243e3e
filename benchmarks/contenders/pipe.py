"""The same hops without deciding anything: `python pipe.py BOOTSTRAP STORE FIRST SECOND CHANNEL`.

Telemetry topic, consumer, producer (acks=all, idempotent), second topic, consumer, one Lua script in the store that writes a
record and pushes it. Both consumers and the producer live in one process, as in a worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

_, BOOTSTRAP, STORE, FIRST, SECOND, CHANNEL = sys.argv
SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('PUBLISH', ARGV[2], ARGV[1]) return 1"


async def hop(topic: str, forward: Callable[[bytes], Awaitable[object]]) -> None:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=BOOTSTRAP,
        group_id=f"pipe-{topic}",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    print("READY", flush=True)
    while True:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                await forward(record.value)


async def main() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True, linger_ms=0)
    await producer.start()
    store = redis.Redis.from_url(STORE)
    sha = await store.script_load(SCRIPT)

    async def on(value: bytes) -> object:
        return await producer.send_and_wait(SECOND, value)

    async def push(value: bytes) -> object:
        return await store.evalsha(sha, 1, "pipe:record", value, CHANNEL)

    await asyncio.gather(hop(FIRST, on), hop(SECOND, push))


asyncio.run(main())
