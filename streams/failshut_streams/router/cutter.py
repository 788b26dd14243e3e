"""Cuts the front door into runs of evidence: the pure core of a router.

For each front-door partition a cutter knows up to which offset it has written runs for every evidence
partition. A chunk of records becomes runs. There is one for each evidence partition that has readings in it. At
each mark that ends a run (see boundaries.py) there is one for every evidence partition. Every run ends at the
next such mark at the latest, whichever router cuts it. So when routers go back to one mark, governors know it
as the end of a run. A run starts where the previous run for that evidence partition ended. If reading resumed
somewhere else, the run starts at the offset that was really fetched, so the governor sees the gap.

A position may be committed only where a run for every evidence partition ends: behind a mark, the boundary. The
first mark after a start ends a run too, because the mark before it is not known here. Nobody goes back to that
first mark: a router that knows the mark before it may not end a run there.

The tables are bounded by the partitions of the front door, the evidence partitions, and the boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from failshut_breakers.evidence.boundaries import Boundaries, ends_run
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import SCHEMA, Mark, Run
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import Dead, DeadKind, Fault, Headers, Item
from failshut_streams.codecs.names import SeriesNames
from failshut_streams.codecs.native import with_key_fault
from failshut_streams.codecs.wire import SampleWire
from failshut_streams.kafka.unpacking import why_unreadable
from failshut_streams.router.run_builder import RunBuilder
from failshut_streams.sources.marks import MARK_KEY, BadMark, decode_mark
from failshut_streams.transport import Chunk, Record
from failshut_streams.transport.front_door import APPEND_TIME, DeadRecord, PartitionOf

NO_APPEND_TIME = Dead("its time is its producer's, not the broker's")


class UnknownPartitions(Exception):
    """A mark counts more partitions than are known here: ask the broker and cut the chunk again. Nothing was changed."""


class LogReplaced(Exception):
    """A front-door partition goes on before the place that was read: nothing of it can be joined to what was vouched for."""


class Decoder(Protocol):
    """What reads the records of one front-door topic."""

    names: SeriesNames

    def samples(self, value: bytes) -> list[SampleWire] | None:
        """Return the samples of a record that holds nothing else, or None where it must be decoded with care."""
        ...

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """Return the items of a record. Never raises."""
        ...


@dataclass
class Cut:
    """What a chunk became. `boundary` is the last position in it that may be committed once the runs are acknowledged."""

    runs: list[tuple[int, Run]] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    boundary: int | None = None
    readings: int = 0


@dataclass(frozen=True)
class RunHead:
    """What all runs of a router have in common: the evidence log and the term that they are written to, and who writes."""

    log: EvidenceLog
    term: int
    router: str


class Cutter:
    """Cuts one front-door partition of a topic, named by its role; `partitions` says how many that topic has now."""

    def __init__(
        self,
        topic: str,
        partition: int,
        head: RunHead,
        partition_of: PartitionOf,
        decoder: Decoder,
        partitions: Callable[[], int],
    ) -> None:
        self.topic, self.partition, self.head = topic, partition, head
        self.boundaries = Boundaries()  # that routers may go back to
        self._partition_of = partition_of
        self._decoder = decoder
        self._partitions = partitions
        self.reach: int | None = None  # up to where it was cut, or sent back to
        self._position: int | None = None  # where the next chunk must begin to join
        self._told = [0] * head.log.partitions
        self._append_ms = 0  # the last append time that was seen
        self._marked_ms: int | None = None  # append time of the mark before; None: not read yet
        self._vouched = Mark(0, 0)  # the newest time and the largest count of marks that ended no run yet

    def last_boundary_before(self, append_ms: int) -> int | None:
        """Return the newest boundary whose mark was appended before a time, or None if none is remembered."""
        found = self.boundaries.before(append_ms)
        return None if found is None else found.position

    def back_to(self, position: int) -> None:
        """Take note that reading goes on at a position: what lies beyond it is told anew, so it has no boundaries yet.

        Without it a second activation, taken up before anything was read again, would go on at a boundary of the first
        reading: beyond where governors stand.
        """
        self.reach = position
        self.boundaries.back_to(position)

    def cut(self, chunk: Chunk, routes: Routes, *, asked: bool = False) -> Cut:
        """Cut a chunk under these routes. `asked`: the broker has just been asked for partition counts.

        Raises:
            UnknownPartitions: only if it had not been asked.
            LogReplaced: the partition goes on before the place that was read.
        """
        before = self._told, self.boundaries.copy(), self._append_ms, self._marked_ms, self._vouched
        self._told = list(self._told)
        try:
            return self._cut(chunk, routes, asked)
        except UnknownPartitions:
            self._told, self.boundaries, self._append_ms, self._marked_ms, self._vouched = before
            raise

    def _cut(self, chunk: Chunk, routes: Routes, asked: bool) -> Cut:
        if chunk.previous is not None and chunk.fetched_from < chunk.previous:
            raise LogReplaced(
                f"{self.topic} partition {self.partition} was read up to {chunk.previous} and goes on at {chunk.fetched_from}: "
                f"its log was replaced or lost its end, so its offsets mean nothing here. Its gates lapse until an operator "
                f"opens a new term"
            )
        if chunk.fetched_from != self._position:
            self._told = [chunk.fetched_from] * self.head.log.partitions
            self.back_to(chunk.fetched_from)
            self._marked_ms, self._vouched = None, Mark(0, 0)
        cut = Cut()
        gathered = RunBuilder(routes, self._partition_of, self._decoder.names)
        samples, append_ms = self._decoder.samples, self._append_ms
        for record in chunk.records:
            offset, time_ms, time_type, key, value, headers = record
            if gathered.full:
                self._end_run(gathered, routes, cut, offset, append_ms)
            if time_type != APPEND_TIME:
                self._refuse(record, append_ms, NO_APPEND_TIME, gathered, cut)
                continue
            append_ms = time_ms
            if key == MARK_KEY:
                self._mark(record, gathered, routes, cut, asked)
                continue
            if not value and (why := why_unreadable(headers)):
                self._refuse(record, append_ms, Dead(why), gathered, cut)
                continue
            wires = samples(value) if value and not headers else None
            if not wires or not gathered.take_wires(offset, append_ms, wires):
                gathered.take(offset, append_ms, self._decoder.decode(key, value, headers, append_ms))
                if gathered.dead:
                    cut.dead.append(DeadRecord(record, *gathered.dead))
        self._end_run(gathered, routes, cut, chunk.upto, append_ms)
        self._position, self._append_ms = chunk.upto, append_ms
        self.reach = chunk.upto
        return cut

    def _mark(self, record: Record, gathered: RunBuilder, routes: Routes, cut: Cut, asked: bool) -> None:
        mark = decode_mark(record.value)
        if isinstance(mark, BadMark):
            self._refuse(record, record.timestamp_ms, Dead(mark.reason, DeadKind.MARK), gathered, cut)
            return
        if mark.partitions > self._partitions():
            if not asked:
                raise UnknownPartitions(f"a mark of {mark.partitions} partitions, known are {self._partitions()}")
            # A forger could stop evidence time for good with a count that no topic will ever have.
            dead = Dead(f"a mark of {mark.partitions} partitions, the broker has {self._partitions()}", DeadKind.MARK)
            self._refuse(record, record.timestamp_ms, dead, gathered, cut)
            return
        append_ms, upto, before_ms = record.timestamp_ms, record.offset + 1, self._marked_ms
        vouched = Mark(max(self._vouched.time_ms, min(mark.time_ms, append_ms)), max(self._vouched.partitions, mark.partitions))
        self._vouched, self._marked_ms = vouched, append_ms
        if not ends_run(append_ms, before_ms):
            return  # its time goes with the next mark that does
        self._end_run(gathered, routes, cut, upto, append_ms, vouched)
        self._vouched = Mark(0, 0)
        if before_ms is not None:
            self.boundaries.add(append_ms, vouched.time_ms, upto)
        cut.boundary = upto

    @staticmethod
    def _refuse(record: Record, append_ms: int, dead: Dead, gathered: RunBuilder, cut: Cut) -> None:
        gathered.take(record.offset, append_ms, with_key_fault(record.key, [Fault(None, dead.reason, kind=dead.kind)]))
        cut.dead.append(DeadRecord(record, *dead))

    def _end_run(
        self, gathered: RunBuilder, routes: Routes, cut: Cut, upto: int, append_ms: int, mark: Mark | None = None
    ) -> None:
        cut.readings += gathered.rows
        by_partition = gathered.end()
        for evidence_partition in range(self.head.log.partitions):
            readings = by_partition.get(evidence_partition)
            if readings is None and mark is None:
                continue
            run = Run(
                schema=SCHEMA,
                evidence_id=self.head.log.id,
                evidence_partitions=self.head.log.partitions,
                term=self.head.term,
                routing=routes.routing,
                router=self.head.router,
                topic=self.topic,
                partition=self.partition,
                previous=self._told[evidence_partition],
                upto=upto,
                append_ms=append_ms,
                mark=mark,
                readings=readings or {},
                notices=[],
                made=routes.made[evidence_partition],
            )
            cut.runs.append((evidence_partition, run))
            self._told[evidence_partition] = upto
