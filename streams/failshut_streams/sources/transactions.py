"""Which open transactions hold evidence back, and for how long they have been open.

Routers read committed records. So nothing behind an open transaction is read before it ends: neither its records nor those of
others, nor time marks. Evidence time then stops and gates lapse, which is right and looks like a fault of Failshut. So screens,
metrics and the log say which partition waits, where the transaction begins, and since when.

Since when is the append time of its first record, which a reader of uncommitted records finds at the last stable offset. It is
read once for each transaction that is met in two looks; shorter ones are ordinary, and nobody's business.

Limits: this names a cause and decides nothing. Where the record cannot be read, a transaction counts from when it was met.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from failshut_streams.kafka.address import client_options
from failshut_streams.sources.background import Background
from failshut_streams.sources.marks import wall_ms
from failshut_streams.transport.front_door import APPEND_TIME

EVERY_SECONDS: Final = 1.0
READ_SECONDS_MAX: Final = 5.0
READS_MAX: Final = 3
"""How often a transaction's first record is tried to be read."""
READ_AT_ONCE_MAX: Final = 8
WORTH_A_WORD_MS: Final = 5_000
"""A transaction that has been open for longer is logged."""

logger = logging.getLogger(__name__)


class OpenTransaction(NamedTuple):
    """A transaction that a partition waits for: the offset of its first record, and when that was appended."""

    offset: int
    since_ms: int


@dataclass(slots=True)
class _Met:
    offset: int
    since_ms: int
    looks: int = 1
    reads: int = 0
    logged: bool = False


class TransactionWatch(Background):
    """Looks once a second. `awaited` says which partitions wait for a transaction, and where that begins."""

    NAME = "transactions"

    def __init__(
        self,
        broker: str,
        awaited: Callable[[], Mapping[TopicPartition, int]],
        *,
        clock_ms: Callable[[], int] = wall_ms,
        every_s: float = EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._awaited = awaited
        self._clock_ms = clock_ms
        self._every_s = every_s
        self._met: dict[TopicPartition, _Met] = {}  # of the partitions that this worker reads

    @property
    def open(self) -> dict[TopicPartition, OpenTransaction]:
        """The transactions that were met in two looks at least."""
        return {place: OpenTransaction(met.offset, met.since_ms) for place, met in self._met.items() if met.looks > 1}

    async def look_once(self) -> None:
        """Look what is waited for now. Never raises for what a broker does."""
        now_ms = self._clock_ms()
        met_before, self._met = self._met, {}
        for place, offset in self._awaited().items():
            met = met_before.pop(place, None)
            if met is None or met.offset != offset:
                self._over(place, met)
                met = _Met(offset, now_ms, looks=0)
            met.looks += 1
            self._met[place] = met
        for place, met in met_before.items():
            self._over(place, met)
        unread = [place for place, met in self._met.items() if met.looks > 1 and met.reads < READS_MAX]
        if unread:
            await self._read(unread[:READ_AT_ONCE_MAX])
        for place, met in self._met.items():
            if not met.logged and now_ms - met.since_ms > WORTH_A_WORD_MS:
                met.logged = True
                logger.warning(
                    "%s partition %d waits for a transaction that has been open for %.0f s, since offset %d: evidence time "
                    "stands still until it ends",
                    *place,
                    (now_ms - met.since_ms) / 1000,
                    met.offset,
                )

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self.look_once()
            except Exception as error:  # noqa: BLE001  # a worker goes on without knowing why it waits
                logger.debug("no look at open transactions: %s", error)
            await asyncio.sleep(self._every_s)

    async def _release(self) -> None:
        self._met.clear()

    @staticmethod
    def _over(place: TopicPartition, met: _Met | None) -> None:
        if met is not None and met.logged:
            logger.info("%s partition %d: the transaction since offset %d has ended", *place, met.offset)

    async def _read(self, places: list[TopicPartition]) -> None:
        """Find since when these are open; what cannot be read is tried again at the next look, a few times."""
        for place in places:
            self._met[place].reads += 1
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                found = await _appended(self._broker, {place: self._met[place].offset for place in places})
        except Exception as error:  # noqa: BLE001  # whatever it is, the age is that since the transaction was first met
            logger.debug("no append time of %s: %s", places, error)
            return
        for place, append_ms in found.items():
            met = self._met[place]
            met.since_ms, met.reads = min(met.since_ms, append_ms), READS_MAX


async def _appended(broker: str, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return when the records at these offsets were appended, committed or not."""
    consumer = AIOKafkaConsumer(
        **client_options(broker),
        isolation_level="read_uncommitted",  # to look at what may still be taken back is the point
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=64 * 1024,
        request_timeout_ms=int(READ_SECONDS_MAX * 1000),
    )
    found: dict[TopicPartition, int] = {}
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        for place, offset in offsets.items():
            consumer.seek(place, offset)
        while len(found) < len(offsets):
            left = [place for place in offsets if place not in found]
            for place, records in (await consumer.getmany(*left, timeout_ms=200)).items():
                # Of a topic that takes its producers' times the record says nothing; it counts from when it was met.
                found[place] = records[0].timestamp if records[0].timestamp_type == APPEND_TIME else 1 << 62
    finally:
        await consumer.stop()
    return found
