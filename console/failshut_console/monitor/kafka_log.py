"""What `failshut record` reads from Kafka: evidence partition after evidence partition, then the decisions.

The ends are fixed when it begins, so that it ends while the monitor goes on writing. Decisions are read some seconds
later, when the governors have judged what lies before those ends; what they had not, the recording says.
Consumers have no group and commit nothing: a running monitor does not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from failshut.signing import TokenError, claims_unverified, kid_of
from failshut_breakers.command import Activate, CommandError, parse_command
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.evidence.records import Activation
from failshut_console.exits import Trouble, unreachable
from failshut_replay.recording.record import Evidence
from failshut_streams.kafka.address import client_options, consumer_options, shown
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.topics import Topics

READ_SECONDS_MAX = 30.0
"""A broker that yields nothing for so long before a partition's end is as good as gone."""
SETTLE_SECONDS = 2.0
FETCH_RECORDS_MAX = 500

T = TypeVar("T")


class KafkaLog:
    """Reads a monitor's topics, for code that is not asynchronous. Use it as a context manager."""

    def __init__(self, broker: str, prefix: str) -> None:
        self.broker, self.topics = broker, Topics(prefix)
        self._loop = asyncio.new_event_loop()
        self.partitions = 0
        self._begins: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._activations: dict[int, Activation] = {}
        self.read = 0
        self.total = 0

    def __enter__(self) -> Self:
        try:
            self._consumer = self._run(self._start())
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._consumer.stop())
        finally:
            self._loop.close()

    def evidence(self, gates: Collection[str], to_ms: int = 0, begin_ms: int = 0) -> Iterator[Evidence]:
        """Yield evidence of the partitions of these gates (all, if none are named), from `begin_ms` on.

        It begins with the log where `begin_ms` is 0, or before the log's beginning.
        """
        wanted = sorted({partition_of(gate, self.partitions) for gate in gates}) or list(range(self.partitions))
        places = [TopicPartition(self.topics.evidence, partition) for partition in wanted]
        self._begins = self._run(self._find_begins(places, begin_ms))
        if any(self._begins.values()):
            self._read_control()
        self._run(self._find_ends(places))
        self.total = sum(self._ends.values()) - sum(self._begins.values())
        for place in places:
            for record in self._drain(place):
                if to_ms and record.timestamp > to_ms:
                    break
                yield Evidence(place.partition, record.offset, record.timestamp, record.value)

    def activation(self, offset: int) -> Activation | None:
        """Return the policy activation at an offset of control, if `evidence` looked there: the log's beginning is gone."""
        return self._activations.get(offset)

    def _read_control(self) -> None:
        """Read the activations in control. Nobody verifies them here: decisions name the digests of trusted ones."""
        place = TopicPartition(self.topics.control, 0)
        self._run(self._find_ends([place]))
        for record in self._drain(place):
            try:
                command = parse_command(claims_unverified(record.value or b""))
            except (TokenError, CommandError, ValueError, RecursionError):
                continue  # a mark, or what no router took for a command either
            if isinstance(command, Activate):
                signer = kid_of(record.value or b"")
                self._activations[record.offset] = Activation(
                    record.offset, record.timestamp, command.version, command.files, signer, ""
                )

    def decisions(self) -> Iterator[bytes]:
        """Yield what the decisions topic holds, after a moment in which governors come to what was read."""
        self._run(asyncio.sleep(SETTLE_SECONDS))
        partitions = self._run(self._partitions_of(self.topics.decisions))
        places = [TopicPartition(self.topics.decisions, partition) for partition in partitions]
        self._run(self._find_ends(places))
        for place in places:
            for record in self._drain(place):
                if record.value:
                    yield record.value

    def front_door(self, since_ms: int) -> Iterator[tuple[str, Any]]:
        """Yield the records that producers sent since a time (ms), each with its topic: partition after partition."""
        for topic in (self.topics.telemetry, self.topics.otlp_metrics):
            places = [TopicPartition(topic, partition) for partition in self._run(self._partitions_of(topic))]
            self._begins = self._run(self._find_begins(places, since_ms))
            self._run(self._find_ends(places))
            for place in places:
                for record in self._drain(place):
                    yield topic, record

    def _drain(self, place: TopicPartition) -> Iterator[Any]:
        end = self._ends[place]
        self._run(self._begin(place))
        while self._run(self._consumer.position(place)) < end:
            for record in self._run(self._fetch(place)):
                if record.offset >= end:
                    return
                self.read += 1
                yield record

    async def _fetch(self, place: TopicPartition) -> list[Any]:
        async with asyncio.timeout(READ_SECONDS_MAX):
            while True:
                batches = await self._consumer.getmany(place, timeout_ms=1_000, max_records=FETCH_RECORDS_MAX)
                if batches or await self._consumer.position(place) >= self._ends[place]:
                    return list(batches.get(place, ()))

    async def _start(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **consumer_options(self.broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=16 * 1024 * 1024,
            request_timeout_ms=10_000,
        )
        try:
            await consumer.start()
            self._consumer = consumer
            self.partitions = len(await self._partitions_of(self.topics.evidence))
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _partitions_of(self, topic: str) -> list[int]:
        known = await self._consumer._client.fetch_all_metadata()  # it has no name for it that asks anew
        partitions = sorted(known.partitions_for_topic(topic) or ())
        if not partitions:
            raise Trouble(
                f"there is no topic {topic} at {shown(self.broker)}, or this login may not see it",
                "nothing was read",
                "name the monitor's prefix: --prefix; or see docs/connecting.md, Which rights does a login need?",
            )
        return partitions

    async def _find_begins(self, places: list[TopicPartition], begin_ms: int) -> dict[TopicPartition, int]:
        begins: dict[TopicPartition, int] = await self._consumer.beginning_offsets(places)
        if not begin_ms:
            return begins
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, begin_ms))
        return {place: max(begins[place], found[place].offset) if found[place] else begins[place] for place in places}

    async def _find_ends(self, places: list[TopicPartition]) -> None:
        self._ends = await self._consumer.end_offsets(places)

    async def _begin(self, place: TopicPartition) -> None:
        """Read one partition after the other: what a recording wants, and what bounds memory."""
        self._consumer.assign([place])
        begin = (await self._consumer.beginning_offsets([place]))[place]
        self._consumer.seek(place, max(begin, self._begins.get(place, 0)))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(work)
        except (KafkaError, OSError, TimeoutError) as error:
            why = self._loop.run_until_complete(why_unreachable(self.broker)) or f"{type(error).__name__}: {error}"
            raise unreachable(
                f"Kafka at {shown(self.broker)} does not answer: {why}",
                "start it, or name it with --broker",
            ) from error


async def rehearse(
    broker: str, topic: str, messages: AsyncIterator[bytes], told: Callable[[int], None] = lambda sent: None
) -> int:
    """Write telemetry into a topic, in order; return how many records it has taken.

    Raises:
        Trouble: there is no such topic, or the broker does not answer.
    """
    producer = AIOKafkaProducer(**client_options(broker), acks="all", enable_idempotence=True, linger_ms=5)
    sent = 0
    try:
        await producer.start()
        if not (await producer.client.fetch_all_metadata()).partitions_for_topic(topic):
            raise Trouble(
                f"there is no topic {topic} at {shown(broker)}", "nothing was written", "create it, or name another: --topic"
            )
        async for message in messages:
            await producer.send(topic, message)
            sent += 1
            told(sent)
        await producer.flush()
    except (KafkaError, OSError) as error:
        raise unreachable(
            f"Kafka at {shown(broker)} did not acknowledge all of it: {type(error).__name__}: {error}", "read the broker's log"
        ) from error
    finally:
        await producer.stop()
    return sent
