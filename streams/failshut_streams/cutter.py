"""Cuts the front door into runs of evidence: the pure core of a router.

For each front-door partition a cutter knows how far every evidence partition has been told. A chunk of
records becomes runs: one for each evidence partition that has readings in it, and one for every evidence
partition at each mark. Every run ends at the next mark at the latest, whoever cuts it: that is why routers
that go back to the same mark find governors there. A run begins where that evidence partition was told up to,
or, where reading did not go on at the position at which it had ended, at the position that was really fetched
from: then it does not join, and a governor sees the hole.

A position may be committed only where every evidence partition has been told: behind a mark, the boundary.

What the tables here hold is bounded: partitions of the front door, evidence partitions, and `BOUNDARIES_KEPT`
marks each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from failshut_breakers.coverage import BOUNDARIES_KEPT
from failshut_breakers.evidence import (
    SCHEMA,
    Beats,
    Faults,
    Lags,
    Mark,
    Outcomes,
    Reading,
    Run,
    Samples,
    Unreadable,
)
from failshut_breakers.routes import Routes
from failshut_streams.codecs import Beat, Fault, Item, LagPoint, Outcome, Sample, unreadable_reason
from failshut_streams.marks import MARK_KEY, BadMark, decode_mark
from failshut_streams.transport import Chunk, Record

ROWS_MAX = 20_000
"""Rows after which a run is ended at the next record, so that an evidence record stays well below its topic's limit."""

Decode = Callable[[bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int], list[Item]]
PartitionOf = Callable[[str], int]


class DeadRecord(NamedTuple):
    """A record that goes to the dead-letter topic, and why."""

    record: Record
    reason: str


class Boundary(NamedTuple):
    """A position at which every evidence partition has been told; `append_ms` is the append time of the mark before it."""

    append_ms: int
    position: int


@dataclass
class Cut:
    """What a chunk became. `boundary` is the last position in it that may be committed once the runs are acknowledged."""

    runs: list[tuple[int, Run]] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    boundary: int | None = None
    readings: int = 0


@dataclass(frozen=True)
class Log:
    """The evidence log that runs are written to, and who writes."""

    evidence_id: str
    evidence_partitions: int
    term: int
    router: str


class Cutter:
    """Cuts one front-door partition. `topic` is its role, such as `telemetry`."""

    def __init__(self, topic: str, partition: int, log: Log, partition_of: PartitionOf, decode: Decode) -> None:
        self.topic, self.partition, self.log = topic, partition, log
        self.boundaries: deque[Boundary] = deque(maxlen=BOUNDARIES_KEPT)
        self._partition_of = partition_of
        self._decode = decode
        self._position: int | None = None  # where the next chunk must begin to join
        self._told = [0] * log.evidence_partitions

    def last_boundary_before(self, append_ms: int) -> int | None:
        """Return the newest boundary whose mark was appended before a time, or None if none is remembered."""
        return next((at.position for at in reversed(self.boundaries) if at.append_ms < append_ms), None)

    def cut(self, chunk: Chunk, routes: Routes) -> Cut:
        """Cut a chunk under these routes."""
        if chunk.fetched_from != self._position:
            self._told = [chunk.fetched_from] * self.log.evidence_partitions
            while self.boundaries and self.boundaries[-1].position > chunk.fetched_from:
                self.boundaries.pop()
        cut = Cut()
        gathered = _Gathered(routes, self._partition_of)
        append_ms = 0
        for record in chunk.records:
            offset, append_ms, _, key, value, headers = record
            if key == MARK_KEY:
                self._mark(record, gathered, routes, cut)
                continue
            items = self._decode(key, value, headers, append_ms)
            gathered.take(offset, append_ms, items)
            if gathered.reason:
                cut.dead.append(DeadRecord(record, gathered.reason))
            if gathered.rows >= ROWS_MAX:
                self._end_run(gathered, routes, cut, offset + 1, append_ms)
        self._end_run(gathered, routes, cut, chunk.upto, append_ms)
        self._position = chunk.upto
        return cut

    def _mark(self, record: Record, gathered: _Gathered, routes: Routes, cut: Cut) -> None:
        mark = decode_mark(record.value)
        if isinstance(mark, BadMark):
            gathered.take(record.offset, record.timestamp_ms, [Fault(None, mark.reason)])
            cut.dead.append(DeadRecord(record, mark.reason))
            return
        time_ms = min(mark.time_ms, record.timestamp_ms)
        upto = record.offset + 1
        self._end_run(gathered, routes, cut, upto, record.timestamp_ms, Mark(time_ms, mark.partitions))
        self.boundaries.append(Boundary(record.timestamp_ms, upto))
        cut.boundary = upto

    def _end_run(
        self, gathered: _Gathered, routes: Routes, cut: Cut, upto: int, append_ms: int, mark: Mark | None = None
    ) -> None:
        by_partition = gathered.end()
        cut.readings += gathered.rows
        gathered.rows = 0
        for evidence_partition in range(self.log.evidence_partitions):
            readings = by_partition.get(evidence_partition)
            if readings is None and mark is None:
                continue
            run = Run(
                schema=SCHEMA,
                evidence_id=self.log.evidence_id,
                evidence_partitions=self.log.evidence_partitions,
                term=self.log.term,
                routing=routes.routing,
                router=self.log.router,
                topic=self.topic,
                partition=self.partition,
                previous=self._told[evidence_partition],
                upto=upto,
                append_ms=append_ms,
                mark=mark,
                readings=readings or {},
                notices=[],
            )
            cut.runs.append((evidence_partition, run))
            self._told[evidence_partition] = upto


class _Gathered:
    """Readings of the run that is being cut, in blocks of one series each."""

    def __init__(self, routes: Routes, partition_of: PartitionOf) -> None:
        self.rows = 0
        self.reason = ""  # why the record just taken belongs into the dead-letter topic as well
        self._routes = routes
        self._partition_of = partition_of
        self._samples: dict[str, list[tuple[int, int, int, float]] | None] = {}
        self._blocks: list[tuple[tuple[str, ...], Reading]] = []
        self._rare: dict[tuple[str, ...], list[tuple[object, ...]]] = {}

    def take(self, offset: int, append_ms: int, items: list[Item]) -> None:
        """Take the items of one record."""
        samples = self._samples
        self.reason = ""
        for index, item in enumerate(items):
            if type(item) is Sample:
                try:
                    rows = samples[item.series]
                except KeyError:
                    rows = self._open(item.series)
                if rows is not None:
                    time_ms = item.time_ms
                    rows.append((offset, index, append_ms if time_ms is None else time_ms, item.value))
                    self.rows += 1
            else:
                self._take_rare(offset, index, append_ms, item)
        if self.reason:
            self.reason = unreadable_reason(items) or self.reason

    def end(self) -> dict[int, dict[str, list[Reading]]]:
        """Return what was gathered, by evidence partition and gate, and begin anew."""
        by_partition: dict[int, dict[str, list[Reading]]] = {}
        for gates, reading in self._blocks:
            for gate in gates:
                by_gate = by_partition.setdefault(self._partition_of(gate), {})
                by_gate.setdefault(gate, []).append(reading)
        self._samples, self._blocks, self._rare = {}, [], {}
        return by_partition

    def _open(self, series: str) -> list[tuple[int, int, int, float]] | None:
        gates = self._routes.series.get(series)
        rows: list[tuple[int, int, int, float]] | None = None
        self._rare.pop(("f", series), None)
        if gates:
            rows = []
            self._blocks.append((gates, Samples(series, rows)))
        if len(self._samples) < ROWS_MAX:  # a producer that makes up names does not fill the table
            self._samples[series] = rows
        return rows

    def _take_rare(self, offset: int, index: int, append_ms: int, item: Item) -> None:
        routes = self._routes
        match item:
            case Fault(series, reason):
                if series is None:
                    self.reason = reason
                    self._add(("u",), tuple(routes.gates), Unreadable, (), (offset, index, append_ms, reason))
                    return
                # Samples and faults of a series are judged in their order: each ends the block of the other.
                self._samples.pop(series, None)
                gates = routes.series.get(series, ())
                self._add(("f", series), gates, Faults, (series,), (offset, index, append_ms, reason))
            case Beat(source, time_ms):
                row = (offset, index, append_ms if time_ms is None else time_ms)
                self._add(("h", source), routes.sources.get(source, ()), Beats, (source,), row)
            case LagPoint(group, topic, time_ms, partitions):
                moment_ms = append_ms if time_ms is None else time_ms
                gates = routes.lags.get((group, topic), ())
                self._add(("l", group, topic), gates, Lags, (group, topic), (offset, index, moment_ms, partitions))
            case Outcome():
                self._outcome(offset, index, append_ms, item)

    def _outcome(self, offset: int, index: int, append_ms: int, item: Outcome) -> None:
        if item.gate not in self._routes.gates:
            self.reason = f"an outcome of a gate without a policy: {item.gate}"
            return
        epoch = int(item.epoch) if item.epoch.isascii() and item.epoch.isdigit() else 0
        row = (offset, index, append_ms, epoch, item.token, item.outcome == "ok", item.count)
        self._add(("o", item.gate), (item.gate,), Outcomes, (), row)

    def _add(
        self, key: tuple[str, ...], gates: tuple[str, ...], kind: type, names: tuple[str, ...], row: tuple[object, ...]
    ) -> None:
        if not gates:
            return
        rows = self._rare.get(key)
        if rows is None:
            rows = self._rare[key] = []
            self._blocks.append((gates, kind(*names, rows)))
        rows.append(row)
        self.rows += 1
