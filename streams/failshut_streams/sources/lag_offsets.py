"""Where consumer groups are in a topic, as the brokers say it, and what of that nobody could read.

The offsets of a partition are read in an order that never shows a group further than it is. First its commit, then the log's
start, the last stable offset, and the end. `Offsets` says what each means.

An offset is not a record. A transaction ends with a marker, which has an offset and is delivered to no consumer. So a group
that has read everything stays one offset before the end, or many after an aborted transaction. No broker says so; the log
itself does. If a group stops before the last stable offset, a consumer that reads committed records looks what comes first
behind its commit. The answer stays true: below the last stable offset nothing changes, except that compaction removes more. So
each place is read once.

Limits: a group is taken to read committed records. A group that reads uncommitted ones may be behind by records of aborted
transactions. That is not noticed until there is a record behind them that counts. Looking takes the right to read the topic;
without it markers count as records, and the sample says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from failshut_breakers.evidence.records import Offsets
from failshut_streams.kafka.address import client_options, consumer_options
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.unpacking import why_unreadable

PARTITIONS_MAX: Final = 10_000
"""Partitions of one topic in a sample."""
GROUPS_KEPT_MAX: Final = 100
"""Groups whose coordinator is remembered; at the bound all are asked for anew."""
PLACES_KEPT_MAX: Final = 100_000
"""Places at which a group stands still that are remembered; at the bound all are looked at anew."""
LOOKED_AT_MAX: Final = 64
"""Partitions that are looked at for one sample; the others count in full until it is their turn."""
LOOK_SECONDS_MAX: Final = 1.0
ROUND_SECONDS_MAX: Final = 3.0
"""How long a whole round of samples may look: samples that come late would be worse than lags that are said too large."""
REFUSED_SECONDS: Final = 60.0
"""How long a topic that must not be read is not tried again."""

MAY_NOT_READ: Final = "Failshut may not read the topic, so offsets that transactions take up count as records"


class NotSampled(Exception):
    """There is no sample to be had; the text says why, for whoever looks at the gate."""


class Sample(NamedTuple):
    """What was found of a group in a topic. `told` says what it lacks, if anything."""

    topic_id: str
    partitions: dict[int, Offsets]
    told: str = ""


@dataclass(slots=True)
class _Place:
    """A group stands at `begin`, and nothing that it could read stands before `readable`; a record is there if `found`."""

    begin: int
    readable: int
    found: bool = False
    looks: int = 0


class GroupOffsets:
    """Asks one installation's brokers. `connect` before anything else; one that failed is to be disconnected."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._admin: AIOKafkaAdminClient | None = None
        self._plain: AIOKafkaConsumer | None = None
        self._reading: AIOKafkaConsumer | None = None
        self._coordinators: dict[str, int] = {}
        self._places: dict[tuple[str, str, int], _Place] = {}
        self._refused: dict[str, float] = {}
        self._look_lock = asyncio.Lock()
        self._look_left_s = 0.0

    async def connect(self) -> None:
        """Connect what is not connected, and begin a round of samples.

        Raises:
            KafkaError: the brokers cannot be reached.
        """
        self._look_left_s = ROUND_SECONDS_MAX
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(**client_options(self._broker), request_timeout_ms=5_000)
            await self._admin.start()
        options: dict[str, Any] = {"group_id": None, "enable_auto_commit": False, "request_timeout_ms": 5_000}
        if self._plain is None:
            self._plain = AIOKafkaConsumer(**client_options(self._broker), isolation_level="read_uncommitted", **options)
            await self._plain.start()
        if self._reading is None:
            self._reading = AIOKafkaConsumer(
                **consumer_options(self._broker),
                **options,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=50,
                max_partition_fetch_bytes=64 * 1024,
                fetch_max_bytes=4 * 1024 * 1024,
            )
            await self._reading.start()

    async def disconnect(self) -> None:
        """Let go of the connections."""
        admin, self._admin = self._admin, None
        consumers, self._plain, self._reading = (self._plain, self._reading), None, None
        self._coordinators.clear()
        for consumer in consumers:
            if consumer is not None:
                await consumer.stop()
        if admin is not None:
            await admin.close()

    async def of(self, group: str, topic: str) -> Sample:
        """Return where a group is in every partition of a topic.

        Raises:
            KafkaError, NotSampled: one of them could not be had.
        """
        admin, plain, reading = self._admin, self._plain, self._reading
        if admin is None or plain is None or reading is None:
            raise KafkaError("not connected")
        found = (await ask(admin._client, [topic])).topics.get(topic)  # it has no name for its client
        if found is None or not found.partitions:
            raise UnknownTopicOrPartitionError(f"no topic {topic}")
        if found.partitions > PARTITIONS_MAX:
            raise NotSampled(f"the topic has {found.partitions} partitions, at most {PARTITIONS_MAX} are sampled")
        places = [TopicPartition(topic, partition) for partition in range(found.partitions)]
        committed = await self._committed(admin, group, places)
        starts = await plain.beginning_offsets(places)
        stable = await reading.end_offsets(places)
        ends = await plain.end_offsets(places)
        offsets = {
            place.partition: Offsets(committed[place], int(ends[place]), int(starts[place]), int(stable[place]))
            for place in places
        }
        told = await self._look(reading, group, topic, found.topic_id, offsets)
        known = {number: self._with_readable(group, found.topic_id, number, at) for number, at in offsets.items()}
        return Sample(found.topic_id, known, told)

    def forget(self, group: str) -> None:
        """Ask for a group's coordinator anew: it may have moved."""
        self._coordinators.pop(group, None)

    async def _committed(
        self, admin: AIOKafkaAdminClient, group: str, places: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        if group not in self._coordinators:
            if len(self._coordinators) > GROUPS_KEPT_MAX:
                self._coordinators.clear()
            self._coordinators[group] = await admin.find_coordinator(group)
        committed = await admin.list_consumer_group_offsets(group, self._coordinators[group], places)
        # aiokafka passes over an error of the whole answer, which then holds no partition: that is no "never committed".
        if not all(place in committed for place in places):
            raise NotSampled("the coordinator did not tell the group's committed offsets")
        return {place: max(-1, int(committed[place].offset)) for place in places}

    # --- what nobody could read ---

    async def _look(
        self, reading: AIOKafkaConsumer, group: str, topic: str, topic_id: str, offsets: Mapping[int, Offsets]
    ) -> str:
        """Look what comes first where the group stands still; return what keeps it from looking, if anything."""
        still = self._standing(group, topic_id, offsets)
        if not still:
            return ""
        loop = asyncio.get_running_loop()
        if loop.time() < self._refused.get(topic, 0.0):
            return MAY_NOT_READ
        async with self._look_lock:
            seconds = min(LOOK_SECONDS_MAX, self._look_left_s)
            if seconds <= 0:
                return ""
            began = loop.time()
            try:
                stable = {number: offsets[number].stable for number in still}
                await _first_records(reading, topic, still, stable, seconds)
            except TopicAuthorizationFailedError:
                if len(self._refused) > GROUPS_KEPT_MAX:
                    self._refused.clear()
                self._refused[topic] = loop.time() + REFUSED_SECONDS
                return MAY_NOT_READ
            finally:
                self._look_left_s -= loop.time() - began
        return ""

    def _standing(self, group: str, topic_id: str, offsets: Mapping[int, Offsets]) -> dict[int, _Place]:
        """Return the places to look at: where the group stood in the last sample too, those looked at least often first."""
        still: dict[int, _Place] = {}
        for number, at in offsets.items():
            key, begin = (group, topic_id, number), max(at.committed, at.start)
            place = self._places.get(key)
            if begin >= at.stable:
                self._places.pop(key, None)
            elif place is None or not place.begin <= begin <= place.readable:
                if len(self._places) >= PLACES_KEPT_MAX:
                    self._places.clear()
                self._places[key] = _Place(begin, begin)
            elif not place.found and place.readable < at.stable:
                still[number] = place
        first = sorted(still, key=lambda number: (still[number].looks, number))[:LOOKED_AT_MAX]
        return {number: still[number] for number in first}

    def _with_readable(self, group: str, topic_id: str, number: int, at: Offsets) -> Offsets:
        place = self._places.get((group, topic_id, number))
        return at if place is None else at._replace(readable=min(place.readable, at.end))


async def _first_records(
    reading: AIOKafkaConsumer, topic: str, still: Mapping[int, _Place], stable: Mapping[int, int], seconds: float
) -> None:
    """Find the first record at each place, or how far there is none."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    to_find = {TopicPartition(topic, number): place for number, place in still.items()}
    reading.assign(list(to_find))
    try:
        for at, place in to_find.items():
            place.looks += 1
            reading.seek(at, place.readable)
        while to_find and (left_s := end - loop.time()) > 0:
            batches = await reading.getmany(*to_find, timeout_ms=min(100, int(left_s * 1000) + 1))
            for at, records in batches.items():
                if records:
                    place = to_find.pop(at)
                    place.found = True
                    if not why_unreadable(records[0].headers):  # else it stands at the end of what could not be unpacked
                        place.readable = max(place.readable, records[0].offset)
            for at, place in list(to_find.items()):
                place.readable = max(place.readable, await reading.position(at))
                if place.readable >= stable[at.partition]:
                    del to_find[at]
    finally:
        reading.unsubscribe()
