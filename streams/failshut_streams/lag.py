"""Where the users' consumer groups are: sampled offsets, as telemetry.

Once a second, for every group and topic that a policy watches: the committed offsets first, then the end offsets, so that a
sample never shows a group further than it is. One record holds all partitions of a topic, or nothing is written: a partial or
failed sample says nothing about a group, and a lag condition that gets no samples calls them stale, which is not OK.

One worker of an installation is enough, the one that owns the first telemetry partition: `watched` returns nothing elsewhere.
Two at once, as for a moment in a rebalance or with a standby, are harmless: samples are readings with a place of their own, and
a second one only shortens the time that a condition's window spans.

Limits: offsets are what a group said, not what it did. Groups are judged by their offsets alone; aiokafka describes a live
group of the newer protocol as dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from failshut_streams.background import Background
from failshut_streams.broker import client_options
from failshut_streams.marks import wall_ms
from failshut_streams.metadata import ask

WATCHED_MAX: Final = 100
"""Groups and topics that are sampled. More are not: their conditions find no samples, which is not OK."""
PARTITIONS_MAX: Final = 10_000
"""Partitions of one topic in a sample."""

_AT_ONCE = 8
_SAMPLE_SECONDS_MAX = 10.0

Watched = tuple[str, str]
"""Consumer group, topic."""

log = logging.getLogger(__name__)


def lag_record(group: str, topic: str, time_ms: int, offsets: Mapping[int, tuple[int, int]]) -> tuple[bytes, bytes]:
    """Return key and value of the telemetry record for a sample: partition to committed (or -1) and end offset."""
    record = {
        "kind": "lag",
        "group": group,
        "topic": topic,
        "time": time_ms,
        "partitions": {str(partition): list(offsets[partition]) for partition in sorted(offsets)},
    }
    return f"{group}/{topic}".encode(), msgspec.json.encode(record)


def _ignore(_: bool) -> None:
    """Nobody listens."""


class LagSampler(Background):
    """Samples until it is stopped. `watched` says what, each time anew.

    `written` and `failed` count samples; `on_result` is told of each: whether it was written.
    """

    NAME = "lag"

    def __init__(
        self,
        broker: str,
        producer: AIOKafkaProducer,
        topic: str,
        watched: Callable[[], Iterable[Watched]],
        every_ms: int = 1_000,
        *,
        clock_ms: Callable[[], int] = wall_ms,
        on_result: Callable[[bool], None] = _ignore,
    ) -> None:
        super().__init__()
        self._options = client_options(broker)
        self._producer = producer
        self._topic = topic
        self._watched = watched
        self._every_s = every_ms / 1000
        self._clock_ms = clock_ms
        self._on_result = on_result
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._coordinators: dict[str, int] = {}
        self._failing: set[Watched] = set()
        self._too_many = False
        self.written = 0
        self.failed = 0

    async def _release(self) -> None:
        await self._disconnect()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            await self.sample_once()
            await asyncio.sleep(max(0.01, self._every_s - (loop.time() - began)))

    async def sample_once(self) -> int:
        """Sample everything that is watched; return how many samples were written. Failures are counted, never raised."""
        watched = sorted(set(self._watched()))
        if len(watched) > WATCHED_MAX and not self._too_many:
            log.warning("%d consumer groups are watched; those after the first %d are not sampled", len(watched), WATCHED_MAX)
        self._too_many = len(watched) > WATCHED_MAX
        watched = watched[:WATCHED_MAX]
        self._failing &= set(watched)
        if not watched:
            return 0
        try:
            await self._connect()
        except Exception as error:  # noqa: BLE001  # as below
            await self._disconnect()
            for pair in watched:
                self._settle(pair, error)
            return 0
        limit = asyncio.Semaphore(_AT_ONCE)
        return sum(await asyncio.gather(*(self._sample(pair, limit) for pair in watched)))

    async def _sample(self, pair: Watched, limit: asyncio.Semaphore) -> bool:
        group, topic = pair
        try:
            async with limit, asyncio.timeout(_SAMPLE_SECONDS_MAX):
                time_ms = self._clock_ms()
                offsets = await self._offsets(group, topic)
                key, value = lag_record(group, topic, time_ms, offsets)
                await self._producer.send_and_wait(self._topic, value, key)
        except Exception as error:  # noqa: BLE001  # whatever it is, there is no sample, and no sample is not OK
            self._coordinators.pop(group, None)
            self._settle(pair, error)
            return False
        self._settle(pair, None)
        return True

    async def _offsets(self, group: str, topic: str) -> dict[int, tuple[int, int]]:
        """Return partition to committed (or -1) and end offset, of all partitions of the topic.

        Raises:
            KafkaError: one of them could not be had.
        """
        admin, consumer = self._admin, self._consumer
        if admin is None or consumer is None:
            raise KafkaError("not connected")
        found = (await ask(admin._client, [topic])).topics.get(topic)  # it has no name for its client
        if found is None or not 0 < found.partitions <= PARTITIONS_MAX:
            raise UnknownTopicOrPartitionError(f"no topic {topic}" if found is None else f"{found.partitions} partitions")
        places = [TopicPartition(topic, partition) for partition in range(found.partitions)]
        if group not in self._coordinators:
            if len(self._coordinators) > WATCHED_MAX:
                self._coordinators.clear()
            self._coordinators[group] = await admin.find_coordinator(group)
        committed = await admin.list_consumer_group_offsets(group, self._coordinators[group], places)
        # aiokafka passes over an error of the whole answer, which then holds no partition: that is no "never committed".
        if not all(place in committed for place in places):
            raise KafkaError(f"the committed offsets of {group} could not be had")
        ends = await consumer.end_offsets(places)
        return {place.partition: (max(-1, committed[place].offset), int(ends[place])) for place in places}

    async def _connect(self) -> None:
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(**self._options, request_timeout_ms=5_000)
            await self._admin.start()
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._options,
                isolation_level="read_uncommitted",
                group_id=None,
                enable_auto_commit=False,
                request_timeout_ms=5_000,
            )
            await self._consumer.start()

    async def _disconnect(self) -> None:
        admin, self._admin = self._admin, None
        consumer, self._consumer = self._consumer, None
        self._coordinators.clear()
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()

    def _settle(self, pair: Watched, error: Exception | None) -> None:
        """Count a result; say when a group begins to fail and when it is well again, not each time."""
        if error is None:
            self.written += 1
            self._failing.discard(pair)
        else:
            self.failed += 1
            if pair not in self._failing:
                log.warning("consumer group %s on %s is not sampled: %s: %.200s", *pair, type(error).__name__, error)
                self._failing.add(pair)
        self._on_result(error is None)
