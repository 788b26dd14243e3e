"""Time marks: how time enters at the front door.

A governor acts on records alone, so time is a record too. Every worker reads its wall clock and then asks the brokers
how many partitions the front-door topics have. Then it writes a mark to each of them. The order matters. A partition
that is not in the count did not exist at that time, so evidence time cannot pass the records in a new partition. A
router takes the smaller of a mark's time and its append time.

A mark that does not arrive is no danger: evidence time stops, permits lapse, gates close. So we never retry marks, because an
old one is useless. At most one is under way for each partition. A broker that is down is tried again at the next period.
`acks=1`: a mark claims nothing until a router has read it, and a router reads only replicated records. To wait for the replicas
would make marks late and nothing safer.

Limits: a mark is as right as its writer's clock where that is slow: evidence then looks older than it is, and gates close.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition

from failshut_breakers.evidence.coverage import PARTITIONS_MAX
from failshut_breakers.evidence.records import Mark
from failshut_streams.kafka.address import client_options
from failshut_streams.kafka.metadata import PartitionCounts
from failshut_streams.kafka.topics import Topics
from failshut_streams.logs.episode import Episode
from failshut_streams.sources.background import Background

MARK_KEY: Final = b"failshut.mark"
"""The key of every mark; on control it lets compaction keep the newest alone."""
MARK_VERSION: Final = 1
MARK_BYTES_MAX: Final = 32
EVERY_MS: Final = 200

_TIME_MS_MAX = 100_000_000_000_000
_FIRST_ANSWER_SECONDS_MAX = 2.0

logger = logging.getLogger(__name__)


class BadMark(msgspec.Struct, frozen=True):
    """A record with a mark's key that is no mark: an unreadable record like any other."""

    reason: str


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    time_ms: int
    partitions: int


_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_mark(time_ms: int, partitions: int) -> bytes:
    """Return the value of a mark."""
    return msgspec.msgpack.encode([MARK_VERSION, time_ms, partitions])


def decode_mark(value: bytes | None) -> Mark | BadMark:
    """Read the value of a record whose key is MARK_KEY: a mark, or why it is none. Never raises."""
    if value is None or len(value) > MARK_BYTES_MAX:
        return BadMark("a mark without a value" if value is None else f"a mark of {len(value)} bytes")
    try:
        wire = _decoder.decode(value)
    except msgspec.MsgspecError:
        return BadMark("not a mark")
    if wire.version != MARK_VERSION:
        return BadMark(f"a mark of another version than {MARK_VERSION}")
    if not 0 < wire.time_ms < _TIME_MS_MAX or not 0 < wire.partitions <= PARTITIONS_MAX:
        return BadMark("a mark with an impossible time or partition count")
    return Mark(wire.time_ms, wire.partitions)


def wall_ms() -> int:
    """Return the wall clock's time."""
    return time.time_ns() // 1_000_000


def mark_producer(broker: str, every_ms: int = EVERY_MS) -> AIOKafkaProducer:
    """Return a producer for marks, not started: one of its own, so that marks wait behind nobody's batches."""
    return AIOKafkaProducer(
        **client_options(broker),
        acks=1,
        linger_ms=0,
        request_timeout_ms=max(1_000, 5 * every_ms),
        retry_backoff_ms=50,
        metadata_max_age_ms=2_000,
    )


def _ignore(_: bool) -> None:
    """Do nothing: nobody listens."""


class MarkWriter(Background):
    """Writes marks until it is stopped. `clock_ms` is the wall clock; a test puts its own there.

    `written` and `failed` count marks; a period in which no broker answered counts as one failed. `held` counts marks that were
    not written because the one before was still under way. `on_result` is told of each mark: whether it was acknowledged.
    """

    NAME = "marks"

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        every_ms: int = EVERY_MS,
        *,
        clock_ms: Callable[[], int] = wall_ms,
        on_result: Callable[[bool], None] = _ignore,
    ) -> None:
        super().__init__()
        self._producer = producer
        self._topics = topics
        self._every_s = every_ms / 1000
        self._clock_ms = clock_ms
        self._on_result = on_result
        self._counts = PartitionCounts(producer.client, topics.front_door)
        self._under_way: set[TopicPartition] = set()
        self._episode = Episode(logger, "marks", "time marks are written again")
        self._failing: set[TopicPartition | None] = set()  # partitions whose last mark failed; None: no broker was reached
        self.written = 0
        self.failed = 0
        self.held = 0

    @property
    def well(self) -> bool:
        """Whether the last mark was written, as far as is known."""
        return not self._episode.on

    async def write_once(self) -> int:
        """Write one mark to every partition of the front door; return how many were handed to the producer.

        Raises:
            KafkaError, OSError: the brokers could not be asked. Nothing was written then.
        """
        time_ms = self._clock_ms()
        counts = await self._counts.now(_FIRST_ANSWER_SECONDS_MAX, self._every_s)
        await self._learn(counts)
        sent = 0
        for topic, partitions in counts.items():
            value = encode_mark(time_ms, partitions)
            known = self._known(topic)
            for partition in range(partitions):
                if TopicPartition(topic, partition) in self._under_way:
                    self.held += 1
                elif partition not in known:
                    self._settle(False, place=TopicPartition(topic, partition))  # unmarked, it holds evidence time back
                else:
                    await self._send(TopicPartition(topic, partition), value)
                    sent += 1
        return sent

    async def _release(self) -> None:
        await self._counts.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            try:
                await self.write_once()
            except Exception as error:  # noqa: BLE001  # whatever it is, no mark is written, which closes gates by itself
                self._settle(False, error)
            await asyncio.sleep(max(0.001, self._every_s - (loop.time() - began)))

    async def _learn(self, counts: dict[str, int]) -> None:
        """Let the producer know of partitions that it has not seen."""
        client = self._producer.client
        for topic in counts:
            client.add_topic(topic)
        if any(len(self._known(topic)) < partitions for topic, partitions in counts.items()):
            await asyncio.wait([client.force_metadata_update()], timeout=_FIRST_ANSWER_SECONDS_MAX)

    def _known(self, topic: str) -> set[int]:
        return self._producer.client.cluster.partitions_for_topic(topic) or set()

    async def _send(self, place: TopicPartition, value: bytes) -> None:
        acknowledged = await self._producer.send(place.topic, value, MARK_KEY, partition=place.partition)
        self._under_way.add(place)

        def done(future: asyncio.Future[object]) -> None:
            self._under_way.discard(place)
            error = asyncio.CancelledError() if future.cancelled() else future.exception()
            self._settle(error is None, error, place)

        acknowledged.add_done_callback(done)

    def _settle(self, written: bool, error: BaseException | None = None, place: TopicPartition | None = None) -> None:
        """Count a result; say when marks begin to fail, and when those of every partition are written again."""
        if written:
            self.written += 1
        else:
            self.failed += 1
        if written:
            self._failing -= {place, None}
            if not self._failing:
                self._episode.end()
        else:
            self._failing.add(place)
            self._episode.begin("time marks are not written, evidence time stands still: %s", error or "a partition is unknown")
        self._on_result(written)
