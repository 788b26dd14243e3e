"""Writes runs to the evidence topic: acknowledged by all, in order, one batch under way per evidence partition.

Runs that arrive while a batch is under way wait for the next one. So a burst of marks, one in every front-door
partition, becomes one or two batches and delays no telemetry behind it. What waits is bounded.

A batch that fails ends the worker: its successor starts at what was acknowledged and writes the same runs
again. Going on past a lost batch would let a later mark vouch for what nobody forwarded; governors would
refuse it, and the gates would lapse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from failshut_breakers.evidence.records import Run, encode_run
from failshut_streams.kafka.address import client_options
from failshut_streams.kafka.compression import CODEC, Codec, compression_type

REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""The largest evidence record: the topic's max.message.bytes. Readers unpack twice as much (kafka/unpacking.py)."""

BATCH_BYTES_MAX = 1024 * 1024

WAITING_BYTES_MAX = 4 * 1024 * 1024
"""So much may wait for its acknowledgement; at the bound `write` returns when everything is acknowledged."""


def make_producer(broker: str, request_timeout_ms: int, client_id: str, codec: Codec = CODEC) -> AIOKafkaProducer:
    """Return the producer that evidence and decisions are written with (not started)."""
    return AIOKafkaProducer(
        **client_options(broker),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=request_timeout_ms,
        max_request_size=REQUEST_BYTES_MAX,
        max_batch_size=BATCH_BYTES_MAX,
        compression_type=compression_type(codec),
        metadata_max_age_ms=1_000,
        linger_ms=0,
    )


class EvidenceWriter:
    """Writes to one evidence topic. Calls of `write` follow each other: a router holds its lock around them."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._lines: dict[int, _Line] = {}

    async def write(self, runs: Iterable[tuple[int, Run]]) -> None:
        """Hand runs over, in order. `flush` waits for their acknowledgement; this waits at the bound alone.

        Raises:
            KafkaError: runs that were handed over before were not acknowledged.
        """
        encoded: dict[int, list[bytes]] = {}
        for partition, run in runs:
            encoded.setdefault(partition, []).append(encode_run(run))
        for partition, values in encoded.items():
            line = self._lines.get(partition)
            if line is None:
                line = self._lines[partition] = _Line(self._producer, self._topic, partition)
            line.add(values)
        if sum(line.bytes_waiting for line in self._lines.values()) > WAITING_BYTES_MAX:
            await self.flush()

    async def flush(self) -> None:
        """Wait until everything that was handed over by now is acknowledged; not for what comes meanwhile.

        Raises:
            KafkaError: it was not.
        """
        newest = [line.newest for line in self._lines.values() if line.newest is not None]
        if newest:
            await asyncio.gather(*(asyncio.shield(acknowledged) for acknowledged in newest))

    @property
    def idle(self) -> bool:
        """Whether everything that was handed over is acknowledged (a failure shows at the next call)."""
        return all(line.newest is None or line.newest.done() for line in self._lines.values())


class _Line:
    """One evidence partition: a batch under way at most, and what waits behind it. A batch that fails ends it."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.bytes_waiting = 0  # those under way included
        self.newest: asyncio.Future[None] | None = None  # the acknowledgement of what was handed over last
        self._producer, self._topic, self._partition = producer, topic, partition
        self._waiting: list[bytes] = []
        self._next: asyncio.Future[None] | None = None  # the acknowledgement of what waits
        self._sending: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def add(self, values: list[bytes]) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiting += values
        self.bytes_waiting += sum(map(len, values))
        if self._next is None:
            self._next = self.newest = asyncio.get_running_loop().create_future()
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all(), name=f"failshut-evidence-{self._partition}")

    async def _send_all(self) -> None:
        while self._next is not None:
            values, acknowledged = self._waiting, self._next
            self._waiting, self._next = [], None
            try:
                await self._send(values)
            except BaseException as error:
                self._fail(error, acknowledged)
                if not isinstance(error, Exception):
                    raise
                return
            self.bytes_waiting -= sum(map(len, values))
            acknowledged.set_result(None)

    def _fail(self, error: BaseException, acknowledged: asyncio.Future[None]) -> None:
        # Nothing may follow a lost batch: a later mark would vouch for what nobody forwarded.
        self._failure = error
        for future in (acknowledged, self._next):
            if future is not None and not future.done():
                if isinstance(error, Exception):
                    future.set_exception(error)
                    future.exception()  # whoever flushes or writes next is told; asyncio need not be
                else:
                    future.cancel()
        self._waiting, self._next = [], None

    async def _send(self, values: list[bytes]) -> None:
        batch = self._producer.create_batch()
        for value in values:
            if batch.append(key=None, value=value, timestamp=None) is None:
                await (await self._producer.send_batch(batch, self._topic, partition=self._partition))
                batch = self._producer.create_batch()
                batch.append(key=None, value=value, timestamp=None)
        await (await self._producer.send_batch(batch, self._topic, partition=self._partition))
