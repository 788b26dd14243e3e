"""Readings of the run that is being cut, in blocks of one series each.

Nearly all telemetry is samples, so their path is short: a look-up by service and metric, a bound on the time, one tuple. A
block of samples becomes columns when the run ends. Samples and faults of a series keep their order, because a detector must
read the samples before a fault first. So each ends the block of the other. Gates that judge a series by
instance get a block of their own of it, with who sent each reading. A record of such a series takes the longer path.

The tables live as long as a run. They hold the names that policies speak of, and at most `ROWS_MAX` others: a producer that
makes up names fills nothing.

The weight of a run is bounded. An evidence record larger than its topic allows would stop every router that reaches it.
One that takes seconds to judge would delay every gate. A run stores a block once, however many gates it feeds. Each row
weighs its bytes, and a little more for each gate that will judge it. A run ends behind the record with which it reaches
`LOAD_MAX`. A single record may weigh more than `RECORD_LOAD_MAX`. It loses its heaviest series and no other. Each of
these becomes one fault of that series, so its gates know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from failshut_breakers.evidence.records import (
    Beats,
    FaultRow,
    Faults,
    FromMany,
    LagRow,
    Lags,
    OutcomeRow,
    Outcomes,
    Packer,
    Reading,
    SampleRow,
    Samples,
    Sent,
    Unreadable,
)
from failshut_breakers.policy.routes import Gates, Routes
from failshut_streams.codecs import Beat, Dead, Fault, Item, LagPoint, Outcome, Sample, why_dead
from failshut_streams.codecs.names import SeriesNames, check_name
from failshut_streams.codecs.times import bounded
from failshut_streams.codecs.wire import SampleWire
from failshut_streams.transport.front_door import PartitionOf

ROWS_MAX = 20_000
"""Rows after which a run is ended at the next record, so that an evidence record stays well below its topic's limit."""

ROW_BYTES = 32
"""What a sample takes in a run, once."""

JUDGED_BYTES = 8
"""What a reading weighs for each gate that will judge it, beside its bytes: judging costs time, not room."""

LOAD_MAX = 3 * 1024 * 1024
"""Bytes, reckoned on the large side, after which a run is ended at the next record."""

RECORD_LOAD_MAX = 12 * 1024 * 1024
"""Bytes of readings that one record may become. With `LOAD_MAX` it stays below the evidence topic's limit."""

TOO_MANY = "more readings in one record than its gates can be asked to judge"
Key = tuple[str, ...]


class _Rows(list[SampleRow]):
    """The rows of an open block of samples. `weight` is what each more of them weighs."""

    __slots__ = ("weight",)

    def __init__(self, weight: int) -> None:
        super().__init__()
        self.weight = weight


class RunBuilder:
    """Readings of the run that is being cut, in blocks of one series each."""

    def __init__(self, routes: Routes, partition_of: PartitionOf, names: SeriesNames) -> None:
        self.rows = 0
        self.load = 0
        self.dead: Dead | None = None  # why the record just taken belongs into the dead-letter topic as well
        self._routes = routes
        self._partition_of = partition_of
        self._names = names
        # Where samples of a series go: the rows of its open block, or None where no gate wants it. By id, and by pair of names.
        self._samples: dict[str, _Rows | None] = {}
        self._pairs: dict[tuple[str, str], _Rows | None] = {}
        self._blocks: list[tuple[Gates, Reading | tuple[str, _Rows]]] = []
        self._rare: dict[Key, list[tuple[object, ...]]] = {}
        self._instances: set[str | None] = {None}  # that were checked
        self._many: dict[str, tuple[FromMany, dict[str, int]]] = {}  # by series: its block, and the places of names in it
        # Gates by evidence partition, by the identity of the tuple (which is kept, so that it stays that tuple's).
        self._shares: dict[int, tuple[Gates, dict[int, Gates]]] = {}

    @property
    def full(self) -> bool:
        """Whether the run is to end before the next record."""
        return self.rows >= ROWS_MAX or self.load >= LOAD_MAX

    def take_wires(self, offset: int, append_ms: int, wires: list[SampleWire]) -> bool:
        """Take the samples of a record that holds nothing else, or nothing of it: then it must be decoded with care."""
        pairs, instances, index = self._pairs, self._instances, 0
        before = load = self.load
        try:
            for index, wire in enumerate(wires):
                try:
                    rows = pairs[wire.service, wire.metric]
                except KeyError:
                    rows = self._open_pair(wire.service, wire.metric)
                if wire.instance not in instances:
                    self._check_instance(wire.instance)
                if rows is not None:
                    claim = wire.time
                    rows.append((offset, index, append_ms if claim is None else bounded(claim, append_ms), wire.value))
                    load += rows.weight
        except (ValueError, OverflowError):  # a name or a time that is none, or a series that somebody judges by instance
            if index:
                self._untake(offset)
            return False
        if load - before > RECORD_LOAD_MAX:
            self._untake(offset)
            return False
        self.load += load - before
        self.rows += index + 1
        return True

    def _check_instance(self, instance: str | None) -> None:
        check_name("instance", instance or "")
        if len(self._instances) < ROWS_MAX:
            self._instances.add(instance)

    def _untake(self, offset: int) -> None:
        for _, block in self._blocks:
            rows = _rows_of(block)
            while rows and rows[-1][0] == offset:
                rows.pop()

    def _open_pair(self, service: str, metric: str) -> _Rows | None:
        series = self._names[service, metric]
        if series in self._routes.instances:
            raise ValueError("judged by instance: it takes the longer path")
        rows = self._samples[series] if series in self._samples else self._open(series)
        # A pair without its series would keep a block open that a fault has ended.
        if len(self._pairs) < ROWS_MAX and series in self._samples:
            self._pairs[service, metric] = rows
        return rows

    def take(self, offset: int, append_ms: int, items: list[Item]) -> None:
        """Take the items of one record."""
        rows_before, load_before = self.rows, self.load
        self._take_items(offset, append_ms, enumerate(items))
        if self.load - load_before > RECORD_LOAD_MAX:
            self._untake(offset)
            self.rows, self.load = rows_before, load_before
            self._take_items(offset, append_ms, self._lightened(items))
            self.dead = self.dead or Dead(TOO_MANY)
        if self.dead:
            self.dead = why_dead(items) or self.dead

    def _take_items(self, offset: int, append_ms: int, items: Iterable[tuple[int, Item]]) -> None:
        samples, many = self._samples, self._routes.instances
        self.dead = None
        for index, item in items:
            if type(item) is Sample:
                try:
                    rows = samples[item.series]
                except KeyError:
                    rows = self._open(item.series)
                if rows is not None:
                    time_ms = item.time_ms
                    rows.append((offset, index, append_ms if time_ms is None else time_ms, item.value))
                    self.load += rows.weight
                    self.rows += 1
                if many and item.series in many:
                    time_ms = append_ms if item.time_ms is None else item.time_ms
                    self._take_many(item.series, item.instance, (offset, index, time_ms), float(item.value))
            else:
                self._take_rare(offset, index, append_ms, item)

    def _take_many(self, series: str, instance: str | None, at: tuple[int, int, int], value: float | str) -> None:
        """Take a reading, or why there is none, for those who judge its series by instance."""
        gates, name = self._routes.instances[series], instance or ""
        if series not in self._many:
            self._many[series] = FromMany(series, [], []), {}
            self._blocks.append((gates, self._many[series][0]))
            self.load += _judged(gates, (series,))
        block, places = self._many[series]
        if name not in places:
            places[name] = len(block.names)
            block.names.append(name)
            self.load += _judged(gates, (name,))
        block.rows.append((*at, places[name], value))
        self.load += _judged(gates, (*at, 0, value))
        self.rows += 1

    def _lightened(self, items: list[Item]) -> Iterable[tuple[int, Item]]:
        """Return the items of a record that is too heavy, without its heaviest series.

        Of what else is too heavy one item is left: the last heartbeat of a source, the last sample of a group, the last fault.
        """
        weights: dict[Key, int] = {}
        last: dict[Key, int] = {}
        for index, item in enumerate(items):
            key, weight = self._weight_of(item)
            weights[key] = weights.get(key, 0) + weight
            last[key] = index
        left, heavy = RECORD_LOAD_MAX // 2, set()
        for key, weight in sorted(weights.items(), key=lambda pair: (pair[1], pair[0])):
            left -= weight
            if left < 0:
                heavy.add(key)
        for index, item in enumerate(items):
            key = self._weight_of(item)[0]
            if key not in heavy:
                yield index, item
            elif last[key] == index:
                yield index, Fault(key[1], TOO_MANY) if key[0] == "series" else item

    def _weight_of(self, item: Item) -> tuple[Key, int]:
        """Return what an item is of, and what it weighs for all whom it concerns, in a block of its own."""
        routes = self._routes
        match item:
            case Sample(series, _, _, instance):
                many = _judged(routes.instances.get(series, ()), (0, 0, 0, 0, 0.0, series, instance or ""))
                return ("series", series), _judged(routes.series.get(series, ()), (0, 0, 0, 0.0, series)) + many
            case Fault(None, reason):
                return ("unreadable",), _judged(routes.unreadable, (0, 0, 0, reason))
            case Fault(series, reason):
                series = series or ""
                many = _judged(routes.instances.get(series, ()), (0, 0, 0, 0, reason, series, item.instance or ""))
                return ("series", series), _judged(routes.series.get(series, ()), (0, 0, 0, reason, series)) + many
            case Beat(source):
                return ("source", source), _judged(routes.sources.get(source, ()), (0, 0, 0))
            case LagPoint(group, topic, _, partitions):
                return ("lag", group, topic), _judged(routes.lags.get((group, topic), ()), (0, 0, 0, partitions))
        return ("outcome", item.gate), _judged((item.gate,), (0, 0, 0, 0, item.token, item.outcome, 0))

    def end(self) -> dict[int, Mapping[str, list[Reading]]]:
        """Return what was gathered, by evidence partition and gate, and begin anew."""
        packers: dict[int, Packer] = {}
        for gates, block in self._blocks:
            if not _rows_of(block):
                continue  # its one record turned out to need care
            reading: Reading = Samples.of(*block) if isinstance(block, tuple) else block
            for partition, mine in self._share(gates).items():
                packer = packers.setdefault(partition, Packer())
                packer.add(packer.group(mine), reading)
        self._samples, self._pairs, self._blocks, self._rare, self._many = {}, {}, [], {}, {}
        self.rows = self.load = 0
        return {partition: packer.shared() for partition, packer in packers.items()}

    def _share(self, gates: Gates) -> dict[int, Gates]:
        """Return these gates by evidence partition."""
        known = self._shares.get(id(gates))
        if known is None:
            by_partition: dict[int, list[str]] = {}
            for gate in gates:
                by_partition.setdefault(self._partition_of(gate), []).append(gate)
            known = gates, {partition: tuple(mine) for partition, mine in by_partition.items()}
            if len(self._shares) < ROWS_MAX:
                self._shares[id(gates)] = known
        return known[1]

    def _open(self, series: str) -> _Rows | None:
        gates = self._routes.series.get(series)
        rows: _Rows | None = None
        self._rare.pop(("f", series), None)
        if gates:
            rows = _Rows(ROW_BYTES + JUDGED_BYTES * len(gates))
            self._blocks.append((gates, (series, rows)))
            self.load += _judged(gates, (series,))
        if gates or len(self._samples) < ROWS_MAX:  # a producer that makes up names does not fill the table
            self._samples[series] = rows
        return rows

    def _take_rare(self, offset: int, index: int, append_ms: int, item: Item) -> None:
        routes = self._routes
        match item:
            case Fault(series, reason):
                if series is None:
                    self.dead = Dead(reason, item.kind)
                    self._add(("u",), routes.unreadable, Unreadable, (), FaultRow(offset, index, append_ms, reason))
                    return
                # Samples and faults of a series are judged in their order: each ends the block of the other.
                if self._samples.pop(series, None) is not None:
                    self._pairs.clear()
                gates = routes.series.get(series, ())
                self._add(("f", series), gates, Faults, (series,), FaultRow(offset, index, append_ms, reason))
                if series in routes.instances:
                    self._take_many(series, item.instance, (offset, index, append_ms), reason)
            case Beat(source, time_ms, instance):
                beat = (offset, index, append_ms if time_ms is None else time_ms)
                gates = routes.sources.get(source, ())
                self._add(("h", source, instance), gates, Beats, (source,), beat, (instance,) if instance else ())
            case LagPoint(group, topic, time_ms):
                moment_ms = append_ms if time_ms is None else time_ms
                sampled = LagRow(offset, index, moment_ms, item.partitions, item.topic_id, item.told)
                self._add(("l", group, topic), routes.lags.get((group, topic), ()), Lags, (group, topic), sampled)
            case Outcome():
                self._outcome(offset, index, append_ms, item)

    def _outcome(self, offset: int, index: int, append_ms: int, item: Outcome) -> None:
        if item.gate not in self._routes.gates:
            self.dead = Dead(f"an outcome of a gate without a policy: {item.gate}")
            return
        if not item.token and item.gate not in self._routes.outcomes:
            return  # no condition reads it. A policy that will is a new version, for which routers go back
        epoch = int(item.epoch) if item.epoch.isascii() and item.epoch.isdigit() else 0
        row = OutcomeRow(offset, index, append_ms, epoch, item.token, item.outcome, item.count)
        self._add(("o", item.gate), (item.gate,), Outcomes, (), row)
        if item.guard or item.lost:
            sent = (offset, index, append_ms, item.guard, item.total, item.count, item.lost)
            self._add(("n", item.gate), (item.gate,), Sent, (), sent)

    def _add(
        self,
        key: Key,
        gates: Gates,
        kind: type,
        names: tuple[str, ...],
        row: tuple[object, ...],
        more: tuple[str, ...] = (),
    ) -> None:
        if not gates:
            return
        rows = self._rare.get(key)
        if rows is None:
            rows = self._rare[key] = []
            self._blocks.append((gates, kind(*names, rows, *more)))
            self.load += _judged(gates, (*names, *more))
        rows.append(row)
        self.rows += 1
        self.load += _judged(gates, row)


def _rows_of(block: Any) -> list[Any]:
    """Return the rows of a block, whatever its kind."""
    return block[1] if isinstance(block, tuple) else block.rows  # type: ignore[no-any-return]


def _judged(gates: Gates, parts: tuple[object, ...]) -> int:
    """Return what these weigh in a run for those gates, at most; nothing where there are none."""
    return len(gates) and _weight(parts) + JUDGED_BYTES * len(gates)


def _weight(parts: tuple[object, ...]) -> int:
    """Return how many bytes these take in a run, at most."""
    return 16 + sum(
        len(part.encode()) + 5 if isinstance(part, str) else 9 + 56 * len(part) if isinstance(part, dict) else 9
        for part in parts
    )
