"""A payment router: payments arrive on a topic of its own, it reads them as a consumer group, and routes what its gate admits.

Its trouble: it stops reading, payments keep arriving, and its group falls behind. The monitor sees that from the outside, by
committed offsets and end offsets; the router says nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer

from failshut_console.demo.names import ROUTE, ROUTER_GROUP, ROUTER_TOPIC
from failshut_console.demo.services.base import Service

NAME = "payment-router"
PAYMENTS_PER_SECOND = 100
BATCH_SECONDS = 0.1


class PaymentRouter(Service):
    """Reads payments and routes them."""

    def __init__(self) -> None:
        super().__init__(NAME, ROUTE, "service:payment-router", 25.0)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            lambda: self.every(0.5, self.beat),
            lambda: self.every(BATCH_SECONDS, self._payments_arrive),
            self._read,
        ]

    async def _payments_arrive(self) -> None:
        for number in range(int(PAYMENTS_PER_SECOND * BATCH_SECONDS)):
            await self.send(b"payment", topic=ROUTER_TOPIC, key=str(number).encode())

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            ROUTER_TOPIC,
            bootstrap_servers=self.bootstrap,
            group_id=ROUTER_GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=10_000,
        )
        await consumer.start()
        try:
            while True:
                if self.trouble:
                    await asyncio.sleep(0.1)
                    continue
                if await consumer.getmany(timeout_ms=100, max_records=5_000):
                    await consumer.commit()
        finally:
            await consumer.stop()


if __name__ == "__main__":
    PaymentRouter().main()
