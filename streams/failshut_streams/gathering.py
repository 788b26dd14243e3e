"""Readings of the run that is being cut, in blocks of one series each.

Nearly all telemetry is samples, so their path is short: a look-up by service and metric, a bound on the time, one tuple. A
block of samples becomes columns when the run ends. Samples and faults of a series keep their order, because a detector must
see what came before a fault before it: each ends the block of the other.

The tables live as long as a run, and hold at most `ROWS_MAX` names: a producer that makes up names fills nothing.

A reading stands in a run once for every gate that it feeds, so what a run weighs is bounded too: an evidence record that its
topic refuses would stop every router that comes to it. A run ends behind the record with which it weighs `LOAD_MAX`; a record
that weighs more than `RECORD_LOAD_MAX` by itself is unreadable, for every gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from failshut_breakers.evidence import (
    Beats,
    Faults,
    Lags,
    Outcomes,
    Reading,
    SampleRow,
    Samples,
    Unreadable,
)
from failshut_breakers.routes import Gates, Routes
from failshut_streams.codecs import Beat, Fault, Item, LagPoint, Outcome, Sample, unreadable_reason
from failshut_streams.codecs.names import SeriesNames, check_name
from failshut_streams.codecs.times import bounded
from failshut_streams.codecs.wire import SampleWire

ROWS_MAX = 20_000
"""Rows after which a run is ended at the next record, so that an evidence record stays well below its topic's limit."""

ROW_BYTES = 32
"""What a sample weighs, for each gate that it feeds."""

LOAD_MAX = 3 * 1024 * 1024
"""Bytes, reckoned on the large side, after which a run is ended at the next record."""

RECORD_LOAD_MAX = 6 * 1024 * 1024
"""Bytes of readings that one record may become. With twice `LOAD_MAX` it stays below the evidence topic's limit."""

PartitionOf = Callable[[str], int]


class Gathered:
    """Readings of the run that is being cut, in blocks of one series each."""

    def __init__(self, routes: Routes, partition_of: PartitionOf, names: SeriesNames) -> None:
        self.rows = 0
        self.load = 0  # bytes of what was gathered apart from samples
        self._row_load = ROW_BYTES * routes.fan_out
        self.rows_max = max(1, min(ROWS_MAX, LOAD_MAX // self._row_load))
        self.reason = ""  # why the record just taken belongs into the dead-letter topic as well
        self._routes = routes
        self._partition_of = partition_of
        self._names = names
        # Where samples of a series go: the rows of its open block, or None where no gate wants it. By id, and by pair of names.
        self._samples: dict[str, list[SampleRow] | None] = {}
        self._pairs: dict[tuple[str, str], list[SampleRow] | None] = {}
        self._blocks: list[tuple[Gates, Reading | tuple[str, list[SampleRow]]]] = []
        self._rare: dict[tuple[str, ...], list[tuple[object, ...]]] = {}
        self._instances: set[str | None] = {None}  # that were checked

    def take_wires(self, offset: int, append_ms: int, wires: list[SampleWire]) -> bool:
        """Take the samples of a record that holds nothing else, or nothing of it: then it must be decoded with care."""
        pairs, instances, index = self._pairs, self._instances, 0
        if len(wires) * self._row_load > RECORD_LOAD_MAX:
            return False
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
        except (ValueError, OverflowError):  # a name or a time that is none
            self._untake(offset)
            return False
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

    def _open_pair(self, service: str, metric: str) -> list[SampleRow] | None:
        series = self._names[service, metric]
        rows = self._samples[series] if series in self._samples else self._open(series)
        # A pair without its series would keep a block open that a fault has ended.
        if len(self._pairs) < ROWS_MAX and series in self._samples:
            self._pairs[service, metric] = rows
        return rows

    def take(self, offset: int, append_ms: int, items: list[Item]) -> None:
        """Take the items of one record."""
        rows_before, load_before = self.rows, self.load
        self._take_items(offset, append_ms, items)
        if (self.rows - rows_before) * self._row_load + self.load - load_before > RECORD_LOAD_MAX:
            self._untake(offset)
            self.rows = rows_before
            self._take_items(offset, append_ms, [Fault(None, "more readings than a run may hold")])

    def _take_items(self, offset: int, append_ms: int, items: list[Item]) -> None:
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
        for gates, block in self._blocks:
            if not _rows_of(block):
                continue  # its one record turned out to need care
            reading: Reading = Samples.of(*block) if isinstance(block, tuple) else block
            for gate in gates:
                by_gate = by_partition.setdefault(self._partition_of(gate), {})
                by_gate.setdefault(gate, []).append(reading)
        self._samples, self._pairs, self._blocks, self._rare = {}, {}, [], {}
        self.load = 0
        return by_partition

    def _open(self, series: str) -> list[SampleRow] | None:
        gates = self._routes.series.get(series)
        rows: list[SampleRow] | None = None
        self._rare.pop(("f", series), None)
        if gates:
            rows = []
            self._blocks.append((gates, (series, rows)))
            self.load += len(gates) * _weight((series,))
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
                if self._samples.pop(series, None) is not None:
                    self._pairs.clear()
                gates = routes.series.get(series, ())
                self._add(("f", series), gates, Faults, (series,), (offset, index, append_ms, reason))
            case Beat(source, time_ms, instance):
                beat = (offset, index, append_ms if time_ms is None else time_ms)
                gates = routes.sources.get(source, ())
                self._add(("h", source, instance), gates, Beats, (source,), beat, (instance,) if instance else ())
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
        row = (offset, index, append_ms, epoch, item.token, item.outcome, item.count)
        self._add(("o", item.gate), (item.gate,), Outcomes, (), row)

    def _add(
        self,
        key: tuple[str, ...],
        gates: tuple[str, ...],
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
            self.load += len(gates) * _weight((*names, *more))
        rows.append(row)
        self.rows += 1
        self.load += len(gates) * _weight(row)


def _rows_of(block: Any) -> list[Any]:
    """Return the rows of a block, whatever its kind."""
    return block[1] if isinstance(block, tuple) else block.rows  # type: ignore[no-any-return]


def _weight(parts: tuple[object, ...]) -> int:
    """Return how many bytes these take in a run, at most."""
    return 16 + sum(
        len(part.encode()) + 5 if isinstance(part, str) else 9 + 28 * len(part) if isinstance(part, dict) else 9
        for part in parts
    )
