"""Writes runs to the evidence topic: acknowledged by all, in order, one batch under way per evidence partition.

A batch that fails ends the worker: its successor starts at what was acknowledged and writes the same runs
again. Going on past a lost batch would let a later mark vouch for what nobody forwarded; governors would
refuse it, and the gates would lapse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from failshut_breakers.evidence import Run, encode_run
from failshut_streams.broker import client_options

REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""The largest evidence record: the topic's max.message.bytes."""

BATCH_BYTES_MAX = 1024 * 1024


def make_producer(broker: str, request_timeout_ms: int, client_id: str) -> AIOKafkaProducer:
    """Return the producer that evidence and decisions are written with (not started)."""
    return AIOKafkaProducer(
        **client_options(broker),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=request_timeout_ms,
        max_request_size=REQUEST_BYTES_MAX,
        max_batch_size=BATCH_BYTES_MAX,
        metadata_max_age_ms=1_000,
        linger_ms=0,
    )


class EvidenceWriter:
    """Writes to one evidence topic. Not for two tasks at once: a router holds its lock around it."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._under_way: asyncio.Future[list[object]] | None = None

    async def write(self, runs: Iterable[tuple[int, Run]]) -> None:
        """Hand runs over, in order. Returns when the runs before these are acknowledged; `flush` waits for these.

        Raises:
            KafkaError: runs were not acknowledged.
        """
        encoded: dict[int, list[bytes]] = {}
        for partition, run in runs:
            encoded.setdefault(partition, []).append(encode_run(run))
        await self.flush()
        if encoded:
            sends = [self._send(partition, values) for partition, values in encoded.items()]
            self._under_way = asyncio.gather(*sends)

    async def flush(self) -> None:
        """Wait until everything that was handed over is acknowledged.

        Raises:
            KafkaError: it was not.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await under_way

    @property
    def idle(self) -> bool:
        """Whether everything that was handed over is acknowledged (a failure shows at the next call)."""
        return self._under_way is None or self._under_way.done()

    async def _send(self, partition: int, values: list[bytes]) -> object:
        batch = self._producer.create_batch()
        for value in values:
            if batch.append(key=None, value=value, timestamp=None) is None:
                await (await self._producer.send_batch(batch, self._topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(key=None, value=value, timestamp=None)
        return await (await self._producer.send_batch(batch, self._topic, partition=partition))
