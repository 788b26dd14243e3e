"""The consumer's thread, which takes fetched records out of aiokafka, one chunk at a time.

Faust takes records and drops the positions between which they were read. Here each chunk is taken out directly. The fetch
position is read right before and right after, with nothing awaited in between. Retention may reset the position in
aiokafka's background. Then the chunk starts at another position than expected, and that is visible.

Only committed records are read. Records of an aborted transaction are skipped as a hole. Records of an open transaction, and
everything behind them, are waited for. `awaited` returns where. unpacking.py bounds the size that a batch unpacks to.

tests/transport/test_seams.py lists everything private in aiokafka that is used here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from time import monotonic
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from failshut_streams.kafka import unpacking
from failshut_streams.kafka.address import READ_COMMITTED
from failshut_streams.transport.chunk import Chunk, Position, ReadFault, Reading, Record
from failshut_streams.transport.settings import Settings

T = TypeVar("T")
_REASSIGNMENT_POLL_SECONDS = 0.1


def light_record(
    _tp: TopicPartition,
    record: Any,
    _new: Callable[[type[Record], tuple[Any, ...]], Record] = tuple.__new__,
    _type: type[Record] = Record,
) -> Record:
    """Return a `Record` in place of aiokafka's own, which takes twice as long to make. Called for every record."""
    headers = record.headers
    return _new(
        _type,
        (
            record.offset,
            record.timestamp,
            record.timestamp_type,
            record.key,
            record.value,
            tuple(headers) if headers else (),
        ),
    )


class ChunkThread(AIOKafkaConsumerThread):
    """Owns the aiokafka consumer. Its coroutines run in its own loop. `within` calls them from another thread.

    Args:
        consumer: the Faust consumer that this thread belongs to.
        settings: how to read.
        batched: returns whether a topic is delivered in chunks.
        options: options of Faust's thread.
    """

    def __init__(self, consumer: Any, *, settings: Settings, batched: Callable[[str], bool], **options: Any) -> None:
        self._settings = settings
        self._batched = batched
        super().__init__(consumer, **options)

    def __post_init__(self) -> None:
        super().__post_init__()
        #: The readings that may go on now, by partition. The era's lock guards changes. Fetches look up single entries.
        self.readings: dict[TP, Reading] = {}
        #: A number that grows with each revocation. So a reading that was requested before one does not begin after it.
        self.era = 0
        self._era_lock = threading.Lock()
        self._waiter: asyncio.Future[None] | None = None

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in this thread's loop, and return its result. Call it from the main thread.

        It does not use Faust's method queue, whose two workers may be busy with a fetch and an earlier call.
        """
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        unpacking.install()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self._settings.fetch_max_wait_ms
        consumer._isolation_level = READ_COMMITTED  # Faust sets it only for its own transactions
        return consumer

    # --- positions ---

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek ordinary topics to their commits. Only `ChunkConsumer` decides where a batched topic starts."""
        consumer = self._ensure_consumer()
        plain = [tp for tp in consumer.assignment() if not self._batched(tp.topic)]
        if not plain:
            return {}
        sought: Mapping[TP, int] = await self.call_thread(consumer.seek_to_committed, *plain)
        return sought

    def hold(self) -> None:
        """Stop all readings until new ones begin. Call it from the main thread."""
        with self._era_lock:
            self.era += 1
            self.readings.clear()

    async def begin(self, era: int, readings: Iterable[Reading]) -> frozenset[TP]:
        """Begin readings at their starts. Return the partitions that are still assigned here."""
        consumer = self._ensure_consumer()
        begun = set()
        with self._era_lock:
            for reading in readings:
                if era != self.era or reading.tp not in consumer.assignment():
                    continue
                if reading.start is not None:
                    consumer.seek(_aiokafka(reading.tp), reading.start)
                self.readings[reading.tp] = reading
                begun.add(reading.tp)
        self.wake()
        return frozenset(begun)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, Position]:
        """Return what the group has committed. Partitions without a commit are absent."""
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([_aiokafka(tp) for tp in tps])
        return {
            TP(tp.topic, tp.partition): Position(at.offset, at.metadata or "") for tp, at in found.items() if at.offset >= 0
        }

    async def commit_said(self, positions: Mapping[TP, Position]) -> frozenset[TP]:
        """Commit positions. Return the partitions whose commit Kafka has. The others have another owner by now."""
        consumer = self._ensure_consumer()
        ours = {_aiokafka(tp): at for tp, at in positions.items() if tp in consumer.assignment()}
        if not ours:
            return frozenset()
        try:
            await consumer.commit({tp: OffsetAndMetadata(at.offset, at.metadata) for tp, at in ours.items()})
        except (CommitFailedError, IllegalStateError) as error:
            self.log.info("Not committed, the group has rebalanced: %s", error)
            return frozenset()
        return frozenset(TP(tp.topic, tp.partition) for tp in ours)

    def awaited(self) -> dict[TP, int]:
        """Return the readings that have reached an open transaction, with its first offset. Any thread may call this."""
        consumer = self._consumer
        found: dict[TP, int] = {}
        if consumer is None:  # not started yet
            return found
        for tp in list(self.readings):
            place = _aiokafka(tp)
            if not consumer._subscription.is_assigned(place):
                continue
            state = consumer._subscription.subscription.assignment.state_value(place)
            if state is None or not state.has_valid_position or state.lso is None or state.highwater is None:
                continue
            if state.position >= state.lso >= 0 and state.lso < state.highwater:
                found[tp] = state.lso
        return found

    # --- fetching ---

    def wake(self) -> None:
        """Wake a waiting fetch, because a reading has begun or has room. Call it in this thread's loop only."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 Faust's name
        """Return chunks of batched topics and records of ordinary ones, by partition."""
        return await self.within(self._take(self._ensure_consumer(), active_partitions, timeout))

    async def _take(self, consumer: AIOKafkaConsumer, active: set[TP] | None, seconds: float) -> Any:
        deadline = monotonic() + seconds
        fetcher = consumer._fetcher
        subscriptions = fetcher._subscriptions
        with subscriptions.fetch_context():
            while self.consumer.flow_active:
                self._raise_if_dead(consumer)
                remaining = deadline - monotonic()
                if subscriptions.reassignment_in_progress:
                    remaining = min(remaining, _REASSIGNMENT_POLL_SECONDS)
                elif taken := self._drain(consumer, active):
                    return taken
                if remaining <= 0:
                    break
                await self._wait_for_fetch(fetcher, remaining)
        return {}

    def _raise_if_dead(self, consumer: AIOKafkaConsumer) -> None:
        """Raise the error that ended aiokafka's background tasks. Otherwise a dead fetcher looks like an empty topic."""
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()
        if fetcher.error_future.done():
            raise ReadFault("aiokafka's fetcher has ended") from fetcher.error_future.exception()

    async def _wait_for_fetch(self, fetcher: Fetcher, seconds: float) -> None:
        self._waiter = waiter = fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([waiter, fetcher.error_future], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiter.done():
                waiter.result()  # the coordinator's critical errors arrive here
        finally:
            self._waiter = None
            waiter.cancel()

    def _drain(self, consumer: AIOKafkaConsumer, active: set[TP] | None) -> dict[TP, list[Any]]:
        fetcher = consumer._fetcher
        drained: dict[TP, list[Any]] = {}
        for found in list(fetcher._records):
            tp = TP(found.topic, found.partition)
            entry = fetcher._records[found]
            if not fetcher._subscriptions.is_assigned(found):
                del fetcher._records[found]
                continue
            if active is not None and tp not in active:
                continue
            if type(entry) is not FetchResult:
                if drained:
                    break  # the next call raises it
                self._forget(fetcher, found)
                entry.check_raise()
            try:
                taken = self._take_from(tp, entry, consumer)
            except Exception as error:
                position = entry._assignment.state_value(found).position
                raise ReadFault(f"{tp.topic}[{tp.partition}]: cannot read on from {position}") from error
            if not entry.has_more():
                self._forget(fetcher, found)
            if taken:
                drained[tp] = taken
        return drained

    def _take_from(self, tp: TP, entry: FetchResult, consumer: AIOKafkaConsumer) -> list[Any]:
        if not self._batched(tp.topic):
            records: list[Any] = entry.getall(consumer._max_poll_records)
            return records
        reading = self.readings.get(tp)
        chunks: list[Any] = []
        if reading is None:
            return chunks
        state = entry._assignment.state_value(_aiokafka(tp))
        if entry._partition_records is not None:
            entry._partition_records._consumer_record = light_record
        size = self._settings.chunk_records_max
        while reading.room > 0 and entry.has_more() and state.has_valid_position:
            fetched_from = state.position
            taken = entry.getall(size)
            if state.position == fetched_from:
                continue
            reading.taken += 1
            chunks.append(Chunk(tp.topic, tp.partition, fetched_from, state.position, taken, reading.number))
        return chunks

    @staticmethod
    def _forget(fetcher: Fetcher, tp: TopicPartition) -> None:
        """Drop a finished fetch result, so that the fetcher asks for more."""
        del fetcher._records[tp]
        fetcher._notify(fetcher._wait_consume_future)


def _aiokafka(tp: TP) -> TopicPartition:
    return TopicPartition(tp.topic, tp.partition)
