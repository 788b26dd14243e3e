"""Tells governors what was sent before an activation, so that its new conditions learn from it.

A router that has a front-door partition reads it once more, with a consumer of its own, from as long before the activation as
its policies ask for up to the activation itself. What concerns the new conditions goes to evidence as runs of history
(failshut_breakers/evidence/history.py). Live reading goes on meanwhile and comes first: history is written in small pieces.

Nothing here is trusted with safety. What is not told is not learnt: a condition then waits for news, and its gate is closed.
So a router tells a partition once, tells it anew after it was given the partition, and does not tell what nobody waits for any
more.

Limits: `RECORDS_MAX` records of a partition, the newest. Conditions of one activation read from the longest time that any asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from failshut_breakers.evidence.history import WAITS_MS, history_of
from failshut_breakers.evidence.records import SCHEMA, Reading, Run
from failshut_breakers.policy.routes import Routes
from failshut_streams.control.cutter import HistoryOf
from failshut_streams.kafka.address import consumer_options
from failshut_streams.kafka.topics import INTERNAL
from failshut_streams.router.cutter import Decoder, RunHead
from failshut_streams.router.mark_search import position_at
from failshut_streams.router.run_builder import RunBuilder
from failshut_streams.sources.marks import MARK_KEY, wall_ms
from failshut_streams.transport.front_door import APPEND_TIME, PartitionOf

logger = logging.getLogger(__name__)

RECORDS_MAX: Final = 500_000
"""Records of a front-door partition that are read again for one activation."""

BATCH_RECORDS: Final = 1_000
PAUSE_SECONDS: Final = 0.005
"""Between two batches, so that what is live waits for no history."""

RETRY_SECONDS: Final = 2.0

Write = Callable[[Iterable[tuple[int, Run]]], Awaitable[None]]


class HistoryTeller:
    """Tells the history of each activation that asks for one, of each partition that `partitions` holds, with its role."""

    def __init__(
        self,
        broker: str,
        head: Callable[[], RunHead],
        partition_of: PartitionOf,
        decoders: Mapping[str, Decoder],
        partitions: Callable[[], Mapping[TP, str]],
        histories: Callable[[], list[HistoryOf]],
        write: Write,
    ) -> None:
        self._broker, self._head, self._partition_of, self._decoders = broker, head, partition_of, decoders
        self._partitions, self._histories, self._write = partitions, histories, write
        self._told: set[tuple[int, TP]] = set()
        self._news = asyncio.Event()

    def look(self) -> None:
        """Take note that there may be something to tell: an activation, or another partition."""
        self._news.set()

    def forget(self, tps: Iterable[TP]) -> None:
        """Forget what was told of partitions that go to another worker."""
        gone = set(tps)
        self._told = {(routing, tp) for routing, tp in self._told if tp not in gone}

    async def follow(self) -> None:
        """Tell what is to be told, for as long as the worker lives."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                if self._next() is not None:
                    await self._tell_all()
            except (KafkaError, OSError, TimeoutError) as error:
                logger.warning("history could not be read, and is tried again: %s: %s", type(error).__name__, error)
                await asyncio.sleep(RETRY_SECONDS)
                self._news.set()

    def _next(self) -> tuple[HistoryOf, TP, str] | None:
        histories = self._histories()
        self._told = {(routing, tp) for routing, tp in self._told if routing in {one.routing for one in histories}}
        for history in histories:
            if _is_late(history):
                continue
            for tp, role in sorted(self._partitions().items()):
                if (history.routing, tp) not in self._told:
                    return history, tp, role
        return None

    async def _tell_all(self) -> None:
        consumer = AIOKafkaConsumer(
            **consumer_options(self._broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a run says where it was fetched from
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            while (next_one := self._next()) is not None:
                await self._tell(consumer, *next_one)
        finally:
            await consumer.stop()

    async def _tell(self, consumer: AIOKafkaConsumer, history: HistoryOf, tp: TP, role: str) -> None:
        began, place = time.monotonic(), TopicPartition(tp.topic, tp.partition)
        consumer.assign([place])
        stop = await position_at(consumer, place, history.append_ms)
        first = (await consumer.beginning_offsets([place]))[place]
        since = await position_at(consumer, place, max(0, history.append_ms - history.wanted.since_ms))
        start = stop if role == INTERNAL else min(stop, max(first, since, stop - RECORDS_MAX))
        runs = _Runs(self._head(), history, role, tp.partition, self._partition_of, self._decoders[tp.topic], start)
        consumer.seek(place, start)
        while (at := await consumer.position(place)) < stop:
            if tp not in self._partitions() or _is_late(history):
                return  # whoever has it now tells it; and what nobody waits for is told by nobody
            batch = (await consumer.getmany(place, timeout_ms=500, max_records=BATCH_RECORDS)).get(place, [])
            reached = await consumer.position(place)
            if reached > at:
                await self._write(runs.take([one for one in batch if one.offset < stop], min(reached, stop)))
            await asyncio.sleep(PAUSE_SECONDS)
        await self._write(runs.end(stop))
        self._told.add((history.routing, tp))
        logger.info(
            *("%s/%d: told %d readings of before the policies of control offset %d, of %d records, in %.1f s",),
            *(role, tp.partition, runs.readings, history.routing, stop - start, time.monotonic() - began),
        )


def _is_late(history: HistoryOf) -> bool:
    return wall_ms() - history.append_ms >= WAITS_MS


class _Runs:
    """Cuts the history of one partition into runs."""

    def __init__(
        self,
        head: RunHead,
        history: HistoryOf,
        role: str,
        partition: int,
        partition_of: PartitionOf,
        decoder: Decoder,
        start: int,
    ) -> None:
        self._head, self._history, self._topic, self._partition = head, history, history_of(role), partition
        self._decoder = decoder
        gates = {gate for mine in history.wanted.series.values() for gate in mine}
        self._told = dict.fromkeys(sorted({partition_of(gate) for gate in gates}), start)
        self._gathered = RunBuilder(Routes(history.routing, dict(history.wanted.series)), partition_of, decoder.names)
        self._append_ms = 0
        self.readings = 0

    def take(self, records: Iterable[Any], upto: int) -> list[tuple[int, Run]]:
        """Take records, the next ones, up to a position. Return the runs that they became."""
        runs: list[tuple[int, Run]] = []
        for record in records:
            if self._gathered.full:
                runs += self._end(record.offset, everyone=False)
            if record.timestamp_type != APPEND_TIME or record.key == MARK_KEY or not record.value:
                continue
            self._append_ms = record.timestamp
            wires = None if record.headers else self._decoder.samples(record.value)
            if not wires or not self._gathered.take_wires(record.offset, record.timestamp, wires):
                items = self._decoder.decode(record.key, record.value, record.headers, record.timestamp)
                self._gathered.take(record.offset, record.timestamp, items)
        return runs + self._end(upto, everyone=False)

    def end(self, upto: int) -> list[tuple[int, Run]]:
        """Return the last run for each evidence partition that waits for one: history was told up to this position."""
        return self._end(upto, everyone=True)

    def _end(self, upto: int, *, everyone: bool) -> list[tuple[int, Run]]:
        self.readings += self._gathered.rows
        by_partition = self._gathered.end()
        nothing: Mapping[str, list[Reading]] = {}
        runs = []
        for number, previous in self._told.items():
            if not everyone and number not in by_partition:
                continue
            run = Run(
                schema=SCHEMA,
                evidence_id=self._head.log.id,
                evidence_partitions=self._head.log.partitions,
                term=self._head.term,
                routing=self._history.routing,
                router=self._head.router,
                topic=self._topic,
                partition=self._partition,
                previous=previous,
                upto=upto,
                append_ms=self._append_ms,
                mark=None,
                readings=by_partition.get(number, nothing),
                notices=[],
                made=self._history.made[number],
            )
            runs.append((number, run))
            self._told[number] = upto
        return runs
