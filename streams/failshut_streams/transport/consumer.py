"""Decides which partitions are read, from where, and what is committed. It runs in the main thread.

A partition goes through: assigned -> (tables recovered, hooks run, position set) -> reading -> revoked. No
chunk is fetched outside "reading". Faust itself resumes partitions before it has cleared the agents' queues,
and seeks them at times of its own. For batched topics this consumer does both instead.

Only `commit_said` commits positions of a batched topic, because its Faust topic has acknowledgements off.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, cast

from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from failshut_streams.transport.chunk import Assignment, Chunk, Commit, CommitBeyondDelivery, Hooks, Position, Reading
from failshut_streams.transport.fetch import ChunkThread
from failshut_streams.transport.settings import Settings


class _ReadOffsets(defaultdict[TP, int | None]):
    """Faust's table of how far it has read, without batched topics.

    Faust drops records below the noted offset, and notes an offset after delivery. A seek back in between would
    silently lose chunks.
    """

    def __init__(self, batched: Callable[[str], bool]) -> None:
        super().__init__(lambda: None)
        self._batched = batched

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        if not self._batched(tp.topic):
            super().__setitem__(tp, offset)


class ChunkConsumer(driver.Consumer):
    """Faust's consumer, extended by readings of batched topics."""

    _thread: ChunkThread

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self._hooks: Hooks = transport.app
        self.settings: Settings = self._hooks.settings
        self.batched: Callable[[str], bool] = self._hooks.batched
        #: An assignment that has not begun yet: the generation and its batched partitions.
        self._waiting: tuple[int, frozenset[TP]] | None = None
        self._beginning: asyncio.Future[Any] | None = None
        self._readings: dict[TP, Reading] = {}
        #: True from a revocation to the next assignment's start: nothing is delivered, but commits still count.
        self._held = True
        self._numbers = count(1)
        self._position_lock = asyncio.Lock()
        super().__init__(transport, *args, **kwargs)
        self._read_offset = _ReadOffsets(self.batched)

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, settings=self.settings, batched=self.batched, loop=self.loop, beacon=self.beacon)

    # --- assignment ---

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Store the assigned partitions. Reading begins when their tables are recovered."""
        self._waiting = (generation_id, frozenset(tp for tp in assigned if self.batched(tp.topic)))
        await super().on_partitions_assigned(assigned, generation_id)

    def on_recovered(self) -> None:
        """Begin readings, unless the recovery that has ended belongs to an older assignment."""
        recovery = cast(TableManager, self.app.tables).recovery
        if self._waiting is None or recovery.signal_recovery_start.is_set():
            return
        generation, tps = self._waiting
        if recovery._generation_id != generation:
            return
        self._waiting = None
        if tps:
            self._beginning = self.add_future(self._begin(generation, tps))

    async def _begin(self, generation: int, tps: frozenset[TP]) -> None:
        try:
            async with asyncio.timeout(self.settings.hook_seconds_max):
                committed = await self._thread.within(self._thread.committed(tps))
                starts = await self._hooks.find_starts(Assignment(generation, tps, committed))
        except IllegalStateError as error:
            self.log.info("Generation %s was over before it began: %s", generation, error)
            return
        known = {tp: at.offset for tp, at in committed.items()} | starts
        async with self._position_lock:
            self._held = False
            await self._begin_readings({tp: known.get(tp) for tp in tps})

    async def _begin_readings(self, starts: Mapping[TP, int | None]) -> frozenset[TP]:
        era = self._thread.era
        limit = self.settings.chunks_in_flight_max
        readings = [Reading(tp, next(self._numbers), at, limit) for tp, at in starts.items()]
        # The main thread's table is updated first. Otherwise a chunk that arrives before it would be dropped as unknown.
        self._readings.update({reading.tp: reading for reading in readings})
        return await self._thread.within(self._thread.begin(era, readings))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop fetching, clear the queues, wait for agents, run the hooks, then end all readings.

        All readings end, because a rebalance in the eager protocol revokes every partition, whoever owns it next.
        """
        self._hold()
        await super().on_partitions_revoked(revoked)
        await self._end_readings()

    async def end(self) -> None:
        """Run the hooks and end all readings, when the worker stops cleanly."""
        self._hold()
        await self._end_readings()

    def _hold(self) -> None:
        self._held = True
        self._waiting = None
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        self._thread.hold()

    async def _end_readings(self) -> None:
        try:
            async with asyncio.timeout(self.settings.hook_seconds_max):
                await self._hooks.tell_revoked(frozenset(self._readings))
        except Exception as error:  # noqa: BLE001 a hook's error of any kind ends the worker
            await self.crash(error)
        finally:
            self._readings.clear()

    # --- delivery ---

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if type(record) is not Chunk:
            return super()._to_message(tp, record)
        newest = record.records[-1] if record.records else None
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.upto - 1,
            newest.timestamp_ms / 1000 if newest else 0.0,
            newest.timestamp_type if newest else 0,
            None,
            None,
            cast(Any, record),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def reading_of(self, chunk: Chunk) -> Reading | None:
        """Return the reading that the chunk belongs to. Return None if it is over, and the chunk must be dropped."""
        if self._held:
            return None
        reading = self._readings.get(chunk.tp)
        return reading if reading is not None and reading.number == chunk.reading else None

    def release(self, reading: Reading) -> None:
        """Count a chunk that the agent has finished. Wake the fetcher if it was waiting for room."""
        was_full = reading.room <= 0
        reading.released += 1
        if was_full and not self._thread.thread_loop.is_closed():
            self._thread.thread_loop.call_soon_threadsafe(self._thread.wake)

    def on_buffer_full(self, tp: TP) -> None:
        """Apply Faust's own back-pressure to ordinary topics only. `Reading.room` bounds batched ones."""
        if not self.batched(tp.topic):
            super().on_buffer_full(tp)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Run Faust's check for slow commits on ordinary topics only. Agents decide when batched ones are committed."""
        if not self.batched(tp.topic):
            super().verify_event_path(now, tp)

    # --- what agents say ---

    async def commit_said(self, commits: Iterable[Commit]) -> frozenset[TP]:
        """Commit positions. Return the partitions whose commit Kafka has. See `ChunkApp.commit_chunks`."""
        positions: dict[TP, Position] = {}
        async with self._position_lock:
            for said in commits:
                reading = self._readings.get(said.tp)
                if reading is None or reading.number != said.reading:
                    continue
                if reading.delivered is None or not 0 <= said.offset <= reading.delivered:
                    raise CommitBeyondDelivery(f"{said.tp}: {said.offset} is not committed, reading is at {reading.delivered}")
                positions[said.tp] = Position(said.offset, said.metadata)
            if not positions:
                return frozenset()
            async with asyncio.timeout(self.settings.commit_seconds_max):
                return await self._thread.within(self._thread.commit_said(positions))

    async def seek_readings(self, positions: Mapping[TP, int]) -> frozenset[TP]:
        """Begin new readings at these positions. Return the partitions that were sought. See `ChunkApp.seek_chunks`."""
        async with self._position_lock:
            if self._held:
                return frozenset()
            ours: dict[TP, int | None] = {tp: at for tp, at in positions.items() if tp in self._readings}
            return await self._begin_readings(ours) if ours else frozenset()


class ChunkTransport(driver.Transport):
    """Faust's Kafka transport, with `ChunkConsumer` as its consumer."""

    Consumer = ChunkConsumer
