"""Importers: what people have, as events of a front door.

CSV and Parquet with a column of times and one of values, the answer of a Prometheus range query, and OTLP metrics as
JSON lines (what a collector's file exporter writes). Each yields events in the order of time and reads in one pass.

Times must not go backwards within a file: a sorted export is a matter of one option elsewhere, and evidence that was
sorted by us would hide that the source was not. Of several series in one answer, each is in order and they are merged.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from failshut_replay.errors import ImportFault
from failshut_replay.front_door import Event
from failshut_replay.times import read_time_ms

PROMETHEUS_BYTES_MAX = 512 * 1024 * 1024
SERIES_MAX = 10_000
NO_RECORDED_VALUE = 1


def read_events(
    path: Path, series: str = "", time: str = "time", value: str = "value", zone: tzinfo | None = None
) -> Iterator[Event]:
    """Return the events of a file, by its name: .csv, .parquet, .json (Prometheus), .jsonl or .ndjson (OTLP).

    Args:
        path: the file.
        series: how the values of a CSV or Parquet file are called, SERVICE/METRIC; or the name of a column that says so.
        time: the column of times.
        value: the column of values.
        zone: the zone of times that name none.

    Raises:
        ImportFault: it cannot be taken as evidence; the message says which line.
    """
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ImportFault(f"there is no file {path}")
    if suffix in readers:
        rows = readers[suffix](path, [time, value, *([] if "/" in series else [series])])
        return _in_order(path, _from_rows(path, rows, series, zone))
    if suffix == ".json":
        return _in_order(path, _prometheus(path))
    if suffix in (".jsonl", ".ndjson"):
        return _in_order(path, _otlp_lines(path))
    raise ImportFault(f"{path}: {suffix or 'no suffix'} is not taken; .csv, .parquet, .json (Prometheus), .jsonl (OTLP) are")


def _in_order(path: Path, events: Iterator[tuple[str, Event]]) -> Iterator[Event]:
    before_ms = 0
    for where, event in events:
        if event.time_ms < before_ms:
            raise ImportFault(
                f"{path}, {where}: its time is {before_ms - event.time_ms} ms before the one above: sort the file"
            )
        before_ms = event.time_ms
        yield event


def _from_rows(
    path: Path, rows: Iterator[tuple[str, list[Any]]], series: str, zone: tzinfo | None
) -> Iterator[tuple[str, Event]]:
    for where, (at, value, *named) in rows:
        try:
            time_ms = read_time_ms(at, zone)
        except ValueError as error:
            raise ImportFault(f"{path}, {where}: {error}") from error
        name = str(named[0]) if named else series
        if "/" not in name:
            raise ImportFault(f"{path}, {where}: series {name!r}: write SERVICE/METRIC")
        yield where, Event(time_ms, _item(name, value))


def _item(series: str, value: Any) -> tuple[Any, ...]:
    """A value that is none is evidence too: a non-conforming reading of its series."""
    try:
        return ("sample", series, float(value))
    except (TypeError, ValueError):
        return ("fault", series, "not a number" if value not in (None, "") else "missing")


def _lacks(path: Path, wanted: list[str], there: list[str]) -> ImportFault:
    missing = [name for name in wanted if name not in there]
    if "" in missing:
        return ImportFault(f"{path}: name the series of its values (SERVICE/METRIC), or the column that does: --series")
    return ImportFault(f"{path} has no column {missing[0]!r}; it has {', '.join(there)}")


def _csv_rows(path: Path, columns: list[str]) -> Iterator[tuple[str, list[Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        there = list(rows.fieldnames or [])
        if not set(columns) <= set(there):
            raise _lacks(path, columns, there)
        try:
            for row in rows:
                yield f"line {rows.line_num}", [row[name] for name in columns]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ImportFault(f"{path}, line {rows.line_num}: {error}") from error


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[tuple[str, list[Any]]]:
    try:
        file = pq.ParquetFile(path)
        if not set(columns) <= set(file.schema_arrow.names):
            raise _lacks(path, columns, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(columns=columns):
            for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                number += 1
                yield f"row {number}", list(row)
    except (OSError, pa.ArrowException) as error:
        raise ImportFault(f"{path} cannot be read as Parquet: {error}") from error


def _prometheus(path: Path) -> Iterator[tuple[str, Event]]:
    if path.stat().st_size > PROMETHEUS_BYTES_MAX:
        raise ImportFault(f"{path} has more than {PROMETHEUS_BYTES_MAX} bytes: ask for a shorter range or a longer step")
    try:
        answer = json.loads(path.read_bytes())
        data = answer["data"]
        results, kind = data["result"], data["resultType"]
    except (ValueError, KeyError, TypeError) as error:
        raise ImportFault(f"{path} is not the answer of a Prometheus query: {type(error).__name__}: {error}") from error
    if answer.get("status") != "success" or kind != "matrix":
        raise ImportFault(f"{path}: status {answer.get('status')}, {kind}: expected a range query that succeeded (matrix)")
    if len(results) > SERIES_MAX:
        raise ImportFault(f"{path} holds {len(results)} series, at most {SERIES_MAX} are taken")
    names = _prometheus_names([dict(result["metric"]) for result in results])

    def one(name: str, result: dict[str, Any]) -> Iterator[tuple[str, Event]]:
        for number, (at_s, text) in enumerate(result["values"], 1):
            yield f"{name}, value {number}", Event(round(float(at_s) * 1000), _item(name, text))

    streams = [one(name, result) for name, result in zip(names, results, strict=True)]
    yield from heapq.merge(*streams, key=lambda found: found[1].time_ms)


def _prometheus_names(metrics: list[dict[str, str]]) -> list[str]:
    """SERVICE/METRIC by `service`, else `job`, else `instance`; the other labels tell those of one name apart."""
    names, whole = [], []
    for labels in metrics:
        source = next((name for name in ("service", "job", "instance") if name in labels), "")
        metric = labels.get("__name__", "value")
        name = f"{labels.get(source, 'prometheus')}/{metric}"
        rest = ",".join(f"{key}={labels[key]}" for key in sorted(labels) if key not in ("__name__", source))
        names.append(name)
        whole.append(f"{name}{{{rest}}}" if rest else name)
    return [full if names.count(name) > 1 else name for name, full in zip(names, whole, strict=True)]


def _otlp_lines(path: Path) -> Iterator[tuple[str, Event]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                events = sorted(_otlp(json.loads(line)), key=lambda event: event.time_ms)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise ImportFault(f"{path}, line {number} is not OTLP metrics as JSON: {reason}") from error
            for event in events:
                yield f"line {number}", event


def _otlp(message: dict[str, Any]) -> Iterator[Event]:
    """As the codec of the front door names them: SERVICE/METRIC, and .count, .sum and .mean of a histogram."""
    for resource in message["resourceMetrics"]:
        attributes = {one["key"]: one["value"] for one in resource.get("resource", {}).get("attributes", ())}
        service = attributes.get("service.name", {}).get("stringValue", "unknown_service")
        for scope in resource.get("scopeMetrics", ()):
            for metric in scope.get("metrics", ()):
                yield from _points(f"{service}/{metric['name']}", metric)


def _points(series: str, metric: dict[str, Any]) -> Iterator[Event]:
    for kind in ("gauge", "sum", "histogram"):
        data = metric.get(kind, {})
        named = series + _suffix(kind, data)
        for point in data.get("dataPoints", ()):
            if int(point.get("flags", 0)) & NO_RECORDED_VALUE:
                continue  # the end of a series is no evidence
            time_ms = int(point["timeUnixNano"]) // 1_000_000
            if kind != "histogram":
                value = point["asDouble"] if "asDouble" in point else point.get("asInt")
                yield Event(time_ms, _item(named, value))
                continue
            count = float(point["count"])
            yield Event(time_ms, ("sample", f"{named}.count", count))
            if "sum" in point:
                total = float(point["sum"])
                yield Event(time_ms, ("sample", f"{named}.sum", total))
                if count:
                    yield Event(time_ms, ("sample", f"{named}.mean", total / count))


def _suffix(kind: str, data: dict[str, Any]) -> str:
    """What the numbers are, as docs/telemetry.md has it: a level, what an interval added, all since the start."""
    delta = data.get("aggregationTemporality") in (1, "AGGREGATION_TEMPORALITY_DELTA")
    if kind == "histogram":
        return "" if delta else ".total"
    if kind == "gauge":
        return ""
    return ".delta" if delta else ".total" if data.get("isMonotonic") else ""
