"""The governor agent: evidence in, decisions out, snapshots behind them.

Every evidence partition that this worker has is one `Governor`, rebuilt from its snapshot and the log behind
it. If a snapshot is missing or does not verify, the governor replays from the beginning. If the log's beginning
is gone, or the log does not follow the snapshot, the governor knows nothing. Its gates then start LOCKED, and
routers are asked to write all of control to its partition once more.

Snapshots are in a Faust table, in the changelog's partition of the same number. Kafka's commit is a hint for
people who look at lag: it names the snapshot before the last, and nothing ever starts from it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Activation, OlderWire, Run, decode_run
from failshut_breakers.governor import Governor, Owns
from failshut_breakers.held_back import owed
from failshut_breakers.policy.policy import prepare
from failshut_breakers.standing import settle
from failshut_streams.config import WorkerConfig
from failshut_streams.governor.effects import Effects
from failshut_streams.governor.snapshots import BadSnapshot, Snapshots, TooLarge
from failshut_streams.kafka.address import consumer_options
from failshut_streams.metrics import Metrics
from failshut_streams.transport import Assignment, Chunk, ChunkApp, Commit, Record
from failshut_streams.transport.front_door import PartitionOf

logger = logging.getLogger(__name__)

SNAPSHOT_TIMES = 20
"""The time between two snapshots is at least so many times what the last one took."""

TellAgain = Callable[[int], Awaitable[None]]


class GovernorAgent:
    """Governs one worker's share of the evidence."""

    def __init__(
        self,
        app: ChunkApp,
        config: WorkerConfig,
        table: MutableMapping[str, bytes],
        log: EvidenceLog,
        snapshot_key: bytes,
        partition_of: PartitionOf,
        tell_again: TellAgain,
        metrics: Metrics,
    ) -> None:
        self.app, self.config, self.table = app, config, table
        self.log = log
        self.governors: dict[int, Governor] = {}
        self.effects: Effects  # set before anything is delivered
        self._snapshot_key = snapshot_key
        self._partition_of = partition_of
        self._tell_again = tell_again
        self._metrics = metrics
        self._snapshots: dict[int, Snapshots] = {}
        self._snapped_s: dict[int, float] = {}
        self._every_s: dict[int, float] = {}
        self._older: set[int] = set()  # evidence partitions with records of an older version, so that each is said once
        self._hints: dict[TP, Commit] = {}

    async def find_starts(self, assignment: Assignment) -> Mapping[TP, int]:
        """Rebuild a governor for each partition; reading starts behind its snapshot."""
        starts: dict[TP, int] = {}
        for tp in assignment.tps:
            governor = self._restored(tp.partition)
            self.governors[tp.partition] = governor
            self.effects.adopt(gate.said for gate in governor.gates.values() if gate.said is not None)
            self._snapped_s[tp.partition] = time.monotonic()
            starts[tp] = governor.offset + 1
        return starts

    def owed(self) -> dict[tuple[str, int], int]:
        """Return from where on front-door partitions should be told again, over all governors here."""
        places: dict[tuple[str, int], int] = {}
        for governor in self.governors.values():
            for place, position in owed(governor).items():
                places[place] = min(position, places.get(place, position))
        return places

    async def let_go(self, tps: frozenset[TP]) -> None:
        """Forget partitions that go to another worker; their decisions are on record then."""
        for tp in tps:
            governor = self.governors.pop(tp.partition, None)
            self._hints.pop(tp, None)
            if governor is not None:
                self.effects.forget(list(governor.gates))
        await self.effects.settle()

    async def run(self, stream: Any) -> None:
        """Govern for as long as the worker lives."""
        async for chunk in self.app.chunks(stream, gaps="deliver"):
            if chunk.partition not in self.governors:
                continue  # let go while the chunk was on its way
            if chunk.previous is not None and not chunk.joins and not await self._lost(chunk):
                continue  # let go meanwhile
            await self._judge(chunk)

    async def _judge(self, chunk: Chunk) -> None:
        began = time.perf_counter()
        governor = self.governors[chunk.partition]
        for record in chunk.records:
            run = self._read(governor, record)
            if run is None:
                continue
            for notice in run.notices:
                if isinstance(notice, Activation) and not notice.fault:
                    await asyncio.to_thread(prepare, notice.files)
                    if self.governors.get(chunk.partition) is not governor:
                        return  # let go meanwhile: another worker judges it
            before = list(governor.gates) if run.notices else []
            decisions = governor.step(record.offset, run)
            if governor.unsure_below and governor.offset + 1 >= governor.unsure_below:
                settle(governor)
            if decisions:
                await self.effects.take(decisions)
            if governor.seal is not None:
                self.effects.take_seal(governor.seal)
            gone = [gate for gate in before if gate not in governor.gates]
            if gone:
                self.effects.forget_written(gone)
        self._metrics.judged(len(chunk.records))
        self._metrics.governor_chunk(time.perf_counter() - began)
        every_s = self._every_s.get(chunk.partition, self.config.snapshot_every_ms / 1000)
        if time.monotonic() - self._snapped_s[chunk.partition] >= every_s:
            await self._snapshot(chunk, governor)

    def _read(self, governor: Governor, record: Record) -> Run | None:
        """Return the run in a record, or None where a worker of an older version wrote it: it counts for nobody."""
        try:
            return decode_run(record.value or b"")
        except OlderWire as error:
            if governor.partition not in self._older:
                self._older.add(governor.partition)
                logger.error(
                    "evidence record %d/%d counts for nobody: %s. Stop that worker. If all have stopped, open a new term",
                    *(governor.partition, record.offset, error),
                )
            governor.pass_over(record.offset)
            return None

    async def _snapshot(self, chunk: Chunk, governor: Governor) -> None:
        if governor.offset < 0 or self.effects.waits(governor.gates):
            return  # what is not in the store must be said again after a restart
        await self.effects.settle()  # a decision that is not on record must be taken again after a restart
        began, waited, size = time.perf_counter(), 0.0, 0
        snapshots = self._snapshots[chunk.partition]
        for name in snapshots.unnamed(list(self.table)):
            self.table.pop(name, None)
        try:
            for name, data in snapshots.cut(governor):
                if data is None:
                    self.table.pop(name, None)
                else:
                    self.table[name] = data
                    size += len(data)
                paused = time.perf_counter()
                await asyncio.sleep(0)  # marks, permits and seals do not wait for a large snapshot
                waited += time.perf_counter() - paused
                if self.governors.get(chunk.partition) is not governor:
                    return  # let go meanwhile: what was written is named by no head
        except TooLarge as error:
            self._snapped_s[chunk.partition] = time.monotonic()
            logger.error(
                "the snapshot of evidence partition %d cannot be kept: %s. A restart replays from the one before. Use more "
                "evidence partitions (a new topic and a new term)",
                *(chunk.partition, error),
            )
            return
        took = time.perf_counter() - began - waited
        self._metrics.snapshot(chunk.partition, size, took, time.time())
        self._snapped_s[chunk.partition] = time.monotonic()
        self._every_s[chunk.partition] = max(self.config.snapshot_every_ms / 1000, SNAPSHOT_TIMES * took)
        before = self._hints.get(chunk.tp)
        self._hints[chunk.tp] = chunk.done(min(chunk.upto, governor.offset + 1))
        if before is not None:
            await self.app.commit_chunks([before])

    def _restored(self, partition: int) -> Governor:
        snapshots = self._snapshots[partition] = Snapshots(partition, self._snapshot_key)
        governor: Governor | None = None
        try:
            governor = snapshots.restore(self.table, self.log, self._owns(partition))
        except BadSnapshot as error:
            logger.error(
                "the snapshot of evidence partition %d is refused: %s. The partition is replayed from its beginning; "
                "its gates lapse until that is done",
                partition,
                error,
            )
        return governor or Governor(partition, self.log, self._owns(partition))

    def _owns(self, partition: int) -> Owns:
        return lambda gate: self._partition_of(gate) == partition

    async def _lost(self, chunk: Chunk) -> bool:
        """Begin anew where a part of the log is gone. Return whether the partition is still here: this takes its time."""
        before = self.governors[chunk.partition]
        governor = await self._stands(chunk)
        if self.governors.get(chunk.partition) is not before:
            return False
        self.effects.forget(list(before.gates))
        if governor is None:
            logger.error(
                "evidence partition %d: expected to go on at %s, the log goes on at %d: what lay between is gone. Its gates "
                "start LOCKED; unlock each when you trust its evidence",
                chunk.partition,
                chunk.previous,
                chunk.fetched_from,
            )
            governor = Governor.lost(chunk.partition, self.log, self._owns(chunk.partition))
        said = (gate.said for gate in governor.gates.values() if gate.said is not None)
        self.effects.adopt(one for one in said if one.kind is Kind.CLOSE)  # no permit of before is written again
        self.governors[chunk.partition] = governor
        await self._tell_again(chunk.partition)
        return self.governors.get(chunk.partition) is governor

    async def _stands(self, chunk: Chunk) -> Governor | None:
        """Return what a snapshot of another version says of the gates, where the log goes on from it; None if nothing does."""
        if self.governors[chunk.partition].offset >= 0:
            return None  # its snapshot was read, and the log does not follow it
        try:
            governor = self._snapshots[chunk.partition].stand(self.table, self.log, self._owns(chunk.partition))
        except BadSnapshot as error:
            logger.error("evidence partition %d: nothing says what its gates were: %s", chunk.partition, error)
            return None
        if governor is None or not governor.whole or chunk.fetched_from > governor.offset + 1:
            return None
        end = await end_of(self.config.broker, TopicPartition(chunk.tp.topic, chunk.partition))
        governor.unsure_below = max(governor.offset + 1, end)
        logger.warning(
            "evidence partition %d: the log's beginning is gone, and the snapshot is of another version. What was known of "
            "its %d gates at offset %d goes on. Each is TRIPPED, or LOCKED as it was, until its conditions have learnt anew",
            *(chunk.partition, len(governor.gates), governor.offset),
        )
        return governor


async def end_of(broker: str, place: TopicPartition) -> int:
    """Return the offset behind the last committed record of a partition.

    Raises:
        KafkaError: no broker says.
    """
    consumer = AIOKafkaConsumer(**consumer_options(broker), group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        return int((await consumer.end_offsets([place]))[place])
    finally:
        await consumer.stop()
