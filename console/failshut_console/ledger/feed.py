"""Follows the decisions topic and writes a ledger: one consumer without a group, which begins where the checkpoint says.

Kafka's own commits are not asked. The position is in the signed checkpoint, so a ledger that was killed goes on without a gap
and without a duplicate, and one that was restored from yesterday reads yesterday's place. What the topic no longer holds is a
gap: it is said by name, and nothing is written behind it. So is a topic that was deleted and made again, whose offsets mean
something else: its id is asked for before each batch is written.

Limits: a record that retention took before its turn is lost to the ledger. Decisions are kept for 30 days.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from failshut_ledger.disk.writer import BATCH_LEAVES_MAX, Writer
from failshut_ledger.errors import Gap
from failshut_ledger.leaves.intake import RECENT_MAX, Intake
from failshut_ledger.leaves.statement import Record, begin_leaf
from failshut_ledger.merkle.tiles import ENTRIES, WIDTH, tile_of
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.position import Position
from failshut_streams.kafka.address import consumer_options, shown
from failshut_streams.kafka.metadata import TopicFound, ask
from failshut_streams.kafka.topics import Topics
from failshut_streams.logs.episode import Episode

logger = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.25
"""Decisions of so long go under one checkpoint, so that a slow trickle does not rewrite a partial tile for each of them."""
LOOK_SECONDS: Final = 10.0
"""After so much silence is asked whether the topic is there, is the same, and has grown."""


class NoTopic(Exception):
    """There is no decisions topic of this prefix."""


class Feed:
    """Feeds one ledger from one decisions topic. `written` counts leaves of this run."""

    def __init__(self, writer: Writer, signer: Signer, broker: str, prefix: str) -> None:
        self._writer, self._signer, self._broker = writer, signer, broker
        self.topic = Topics(prefix).decisions
        self._intake = Intake(signer, _recent(writer))
        self._consumer: AIOKafkaConsumer
        self.written = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Write decisions until told to stop, or until something is wrong.

        Raises:
            Gap: the topic does not hold what comes next, or is another one.
            NoTopic: there is none.
            LedgerError: the ledger cannot be written.
            KafkaError, OSError: no broker answered when it began.
        """
        self._consumer = AIOKafkaConsumer(
            **consumer_options(self._broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # to go on elsewhere would be a gap that nobody sees
            fetch_max_wait_ms=250,
            request_timeout_ms=10_000,
        )
        await self._consumer.start()
        try:
            await self._begin()
            await self._follow(stop)
        except OffsetOutOfRangeError as error:
            raise await self._gap(error) from error
        finally:
            await self._consumer.stop()

    @property
    def position(self) -> Position:
        """Where the ledger is; it has begun."""
        position = self._writer.checkpoint.position
        if position is None:
            raise Gap("the ledger has not begun")
        return position

    async def _begin(self) -> None:
        """Go to where the ledger is, or begin it where the topic begins."""
        found = await self._found()
        places = [TopicPartition(self.topic, partition) for partition in range(found.partitions)]
        first = await self._consumer.beginning_offsets(places)
        if self._writer.checkpoint.position is None:
            offsets = {place.partition: first[place] for place in places}
            position = Position(self.topic, found.topic_id, offsets)
            leaf = begin_leaf(self._signer, position, time.time_ns() // 1_000_000)
            await asyncio.to_thread(self._writer.append, [leaf], position)
            self.written += 1
        self._check_topic(found)
        self._check_bounds(first, await self._consumer.end_offsets(places))
        self._assign(places)

    async def _follow(self, stop: asyncio.Event) -> None:
        heard_s, away = time.monotonic(), Episode(logger, "kafka", "Kafka is back")
        while not stop.is_set():
            batches = await self._consumer.getmany(timeout_ms=250, max_records=BATCH_LEAVES_MAX)
            try:
                if batches:
                    self._check_topic(await self._found())
                    count = await self._write(batches)
                    heard_s = time.monotonic()
                    away.end()
                    if count < BATCH_LEAVES_MAX // 2:
                        await asyncio.sleep(BATCH_SECONDS)
                elif time.monotonic() - heard_s > LOOK_SECONDS:
                    heard_s = time.monotonic()
                    await self._take_up_new_partitions()
                    away.end()
            except (KafkaError, OSError, TimeoutError) as error:
                away.begin("Kafka at %s does not answer; the ledger waits: %s", shown(self._broker), error)
                await self._return()

    async def _write(self, batches: dict[TopicPartition, list[Any]]) -> int:
        """Write what was fetched, and where the topic goes on behind it. Returns how many records there were."""
        records = [
            Record(self.topic, place.partition, one.offset, one.timestamp, one.value or b"")
            for place, found in sorted(batches.items())
            for one in found
        ]
        offsets = {place.partition: found[-1].offset + 1 for place, found in batches.items() if found}
        leaves = self._intake.take(records)
        if leaves:  # copies alone are no reason to sign: they are read again, and left out again
            await asyncio.to_thread(self._writer.append, leaves, self.position.moved(offsets))
            self.written += len(leaves)
        return len(records)

    async def _return(self) -> None:
        """Go back to what is written: what was fetched since is fetched again."""
        await asyncio.sleep(1.0)
        self._intake = Intake(self._signer, _recent(self._writer))
        self._assign(sorted(self._consumer.assignment()))

    async def _take_up_new_partitions(self) -> None:
        found = await self._found()
        self._check_topic(found)
        places = [TopicPartition(self.topic, partition) for partition in range(found.partitions)]
        if set(places) != self._consumer.assignment():
            self._check_bounds(await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places))
            self._assign(places)

    def _assign(self, places: list[TopicPartition]) -> None:
        self._consumer.assign(places)
        for place in places:
            self._consumer.seek(place, self.position.offsets.get(place.partition, 0))

    async def _found(self) -> TopicFound:
        """Return the topic as the broker knows it now. Raises NoTopic; Gap where the ledger has begun on one that is gone."""
        known = await ask(self._consumer._client, [self.topic])  # it has no name for it, and no request for topic ids
        if self.topic in known.topics:
            return known.topics[self.topic]
        if self._writer.checkpoint.position is not None:
            raise Gap(f"the topic {self.topic} is gone; the ledger goes on in no other")
        raise NoTopic(f"there is no topic {self.topic} at {shown(self._broker)}")

    def _check_topic(self, found: TopicFound) -> None:
        at = self.position
        if (at.topic, at.topic_id) != (found.name, found.topic_id):
            raise Gap(
                f"the ledger follows the topic {at.topic} ({at.topic_id}), and this is {found.name} ({found.topic_id}): "
                "offsets of one mean nothing in the other. Begin another ledger"
            )
        if any(partition >= found.partitions for partition in at.offsets):
            raise Gap(f"the topic {at.topic} has {found.partitions} partitions, and the ledger has read more")

    def _check_bounds(self, first: dict[TopicPartition, int], end: dict[TopicPartition, int]) -> None:
        for place in sorted(first):
            at = self.position.offsets.get(place.partition, 0)
            if at < first[place]:
                raise Gap(
                    f"{place.topic}/{place.partition} begins at {first[place]} and the ledger comes next to {at}: "
                    f"{first[place] - at} decisions are gone from the topic and not in the ledger"
                )
            if at > end[place]:
                raise Gap(
                    f"{place.topic}/{place.partition} ends at {end[place]}, before the ledger's position {at}: it lost records"
                )

    async def _gap(self, error: OffsetOutOfRangeError) -> Gap:
        """Return what is gone, where a fetch says that it is."""
        places = sorted(self._consumer.assignment())
        try:
            self._check_bounds(await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places))
        except Gap as gap:
            return gap
        return Gap(f"{self.topic}: {error}")


def _recent(writer: Writer) -> list[bytes]:
    """Return the last leaves of a ledger, enough to know copies by."""
    size = writer.checkpoint.size
    indexes = range(max(0, size - RECENT_MAX) // WIDTH, -(-size // WIDTH))
    return [leaf for index in indexes for leaf in writer.tiles.leaves(tile_of(ENTRIES, index, size))]
