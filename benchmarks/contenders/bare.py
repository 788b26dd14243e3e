"""The floor: aiokafka's getmany in a loop."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer
from common import Scoring, task


async def main() -> None:
    todo = task()
    scoring = Scoring(todo.samples)
    consumer = AIOKafkaConsumer(todo.topic, bootstrap_servers=todo.bootstrap, group_id=todo.group, auto_offset_reset="earliest")
    await consumer.start()
    take = scoring.take
    while not scoring.done:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=2000)).values():
            scoring.begin()
            for record in records:
                take(record.value)
    scoring.end()


asyncio.run(main())
