"""Reads a monitor's decisions from Kafka, from one time to another, and on from there.

Reading starts at a time in every partition, and its ends are fixed when it begins: it ends while governors go on deciding.
Consumers have no group and commit nothing, so a running monitor does not notice. Each wait has a bound. A broker that is silent
before the ends are reached is an error; a broker that goes away later is said once, and asked again.

Limits: a record's time is the clock of the worker that wrote it. Such a clock may be behind another by `SKEW_MS` at most, or
entries near --until are missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from failshut_console.exits import Trouble, unreachable
from failshut_console.monitor.log_bounds import shares
from failshut_streams.kafka.address import consumer_options, shown
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.topics import Topics

SILENT_SECONDS_MAX = 30.0
"""A broker that yields nothing for so long before a partition's end is as good as gone."""
LOOK_SECONDS = 10.0
"""Who follows asks after so much silence whether the broker is there, and whether partitions were added."""
SKEW_MS = 60_000
FETCH_RECORDS_MAX = 2_000

Told = Callable[[str], None]


class Said(NamedTuple):
    """A record of the decisions topic."""

    partition: int
    offset: int
    time_ms: int
    value: bytes | None


class Span(NamedTuple):
    """What is read: of each partition from where to where, and how many records before that are left unread."""

    begins: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    unread: int
    cut: frozenset[TopicPartition]  # partitions that do not begin at the time that was asked for


class DecisionLog:
    """The decisions topic. Use it as an asynchronous context manager; every method raises `Trouble` over a silent broker."""

    def __init__(self, broker: str, prefix: str) -> None:
        self.broker, self.topic = broker, Topics(prefix).decisions
        self._consumer: AIOKafkaConsumer

    async def __aenter__(self) -> Self:
        consumer = AIOKafkaConsumer(
            **consumer_options(self.broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=250,
            request_timeout_ms=10_000,
        )
        self._consumer = consumer
        try:
            await self._answered(consumer.start())
        except BaseException:
            await consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def span(self, since_ms: int, until_ms: int, most: int) -> Span:
        """Return where decisions from `since_ms` on stand, the newest `most` of them. Without an `until_ms` (0) up to now.

        Raises:
            Trouble: there is no such topic.
        """
        places = await self._places()
        if not places:
            raise self._no_topic()
        ends = await self._answered(self._consumer.end_offsets(places))
        first = await self._answered(self._consumer.beginning_offsets(places))
        if until_ms:
            ends = await self._at(places, until_ms + SKEW_MS, ends)
        found = await self._at(places, since_ms, ends)
        begins = {place: min(ends[place], max(first[place], found[place])) for place in places}
        sizes = {place: ends[place] - begins[place] for place in places}
        kept = shares(sizes, most)
        cut = frozenset(place for place in places if kept[place] < sizes[place])
        unread = sum(sizes.values()) - sum(kept.values())
        return Span({place: ends[place] - kept[place] for place in places}, ends, unread, cut)

    async def read(self, span: Span) -> AsyncIterator[Said]:
        """Yield what a span holds, each partition in its order, partitions side by side."""
        consumer, waiting = self._consumer, {place for place in span.begins if span.begins[place] < span.ends[place]}
        self._begin_at(span.begins)
        consumer.pause(*(span.begins.keys() - waiting))
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while waiting:
            batches = await self._answered(consumer.getmany(timeout_ms=1_000, max_records=FETCH_RECORDS_MAX))
            for place, records in batches.items():
                for record in records:
                    if record.offset < span.ends[place]:
                        yield _said(place, record)
            for place in sorted(waiting):
                if await self._answered(consumer.position(place)) >= span.ends[place]:
                    waiting.discard(place)
                    consumer.pause(place)
            if batches:
                heard_s = loop.time()
            elif loop.time() - heard_s > SILENT_SECONDS_MAX:
                raise await self._trouble(f"nothing came for {SILENT_SECONDS_MAX:.0f} s")

    async def bounds(self) -> tuple[str, dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return the topic's id, and where each partition begins and ends now.

        Raises:
            Trouble: there is no such topic.
        """
        places = await self._places()
        if not places:
            raise self._no_topic()
        known = await self._answered(ask(self._consumer._client, [self.topic]))
        first = await self._answered(self._consumer.beginning_offsets(places))
        return known.topics[self.topic].topic_id, first, await self._answered(self._consumer.end_offsets(places))

    async def follow(self, begins: dict[TopicPartition, int], told: Told) -> AsyncIterator[list[Said]]:
        """Yield what is decided from there on, as it comes, without an end; nothing, twice a second, while nothing comes.

        `told` gets words about the broker.
        """
        consumer, loop = self._consumer, asyncio.get_running_loop()
        self._begin_at(begins)
        heard_s, away = loop.time(), False
        while True:
            batches = await self._answered(consumer.getmany(timeout_ms=500, max_records=FETCH_RECORDS_MAX))
            if batches:
                heard_s = loop.time()
            yield [_said(place, record) for place, records in batches.items() for record in records]
            if not batches and loop.time() - heard_s > LOOK_SECONDS:
                try:
                    await self._take_up_new_partitions()
                    if away:
                        told("the broker answers again")
                    away = False
                except Trouble as trouble:
                    if not away:
                        told(f"{trouble.what}: what is decided meanwhile is shown when it answers")
                    away = True
                heard_s = loop.time()

    def _begin_at(self, positions: dict[TopicPartition, int]) -> None:
        self._consumer.assign(list(positions))
        for place, position in positions.items():
            self._consumer.seek(place, position)

    async def _take_up_new_partitions(self) -> None:
        """Look whether the topic has grown, and follow what was added from its beginning."""
        consumer = self._consumer
        await self._answered(consumer.end_offsets(list(consumer.assignment())))  # metadata alone may be remembered
        added = set(await self._places()) - consumer.assignment()
        if added:
            positions = {place: await self._answered(consumer.position(place)) for place in consumer.assignment()}
            self._begin_at({**positions, **dict.fromkeys(added, 0)})

    async def _places(self) -> list[TopicPartition]:
        known = await self._answered(self._consumer._client.fetch_all_metadata())  # it has no name for it that asks anew
        return [TopicPartition(self.topic, partition) for partition in sorted(known.partitions_for_topic(self.topic) or ())]

    async def _at(
        self, places: list[TopicPartition], time_ms: int, ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return in each partition the first record of that time or later; the end where there is none."""
        found = await self._answered(self._consumer.offsets_for_times(dict.fromkeys(places, time_ms)))
        return {place: min(ends[place], found[place].offset) if found[place] else ends[place] for place in places}

    async def _answered(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(SILENT_SECONDS_MAX):
                return await question
        except (KafkaError, OSError, TimeoutError) as error:
            raise await self._trouble(f"{type(error).__name__}: {error}") from error

    def _no_topic(self) -> Trouble:
        return Trouble(
            f"there is no topic {self.topic} at {shown(self.broker)}, or this login may not see it",
            "nothing was read, and no gate is concerned",
            "name the monitor's prefix: --prefix",
        )

    async def _trouble(self, words: str) -> Trouble:
        why = await why_unreachable(self.broker) or words
        return unreachable(f"Kafka at {shown(self.broker)} does not answer: {why}", "start it, or name it with --broker")


def _said(place: TopicPartition, record: Any) -> Said:
    return Said(place.partition, record.offset, record.timestamp, record.value)
