"""Importers: what people have, as events of a front door.

It reads CSV and Parquet with a column of times and one of values, and the answer of a Prometheus range query. It also
reads JSON lines: OTLP metrics (from a collector's file exporter), native events and CloudEvents. Each yields events in
the order of time.

Formats that Failshut reads live are read here by the same codecs (failshut_streams.codecs). So a recorded file and a live topic
give the same series, faults and times. Names of other formats are made series ids by the codecs as well.

Times must not go backwards within a table or a Prometheus series. Other tools sort an export with one option. If we sorted the
evidence, nobody would see that the source was not sorted. Lines of a collector are merged by time: they hold batches of several
services side by side, and nobody can sort them. Readings that this moves within a series are reported.

A file that yields nothing but faults is reported before it is recorded, and refused if its values were not even understood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path

from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event
from failshut_replay.sources.json_lines import read_lines
from failshut_replay.sources.local_times import in_zone
from failshut_replay.sources.notes import Notes, Placed
from failshut_replay.sources.prometheus import read_answer
from failshut_replay.sources.tables import Columns, csv_rows, parquet_rows

KINDS = ".csv, .parquet, .json (Prometheus), .jsonl (OTLP, native JSON, CloudEvents)"


def read_events(
    path: Path,
    series: str = "",
    time: str = "time",
    value: str = "value",
    zone: tzinfo | None = None,
    *,
    decimal_comma: bool = False,
    told: Callable[[str], None] = lambda text: None,
) -> Iterator[Event]:
    """Return the events of a file, by its name: .csv, .parquet, .json (Prometheus), .jsonl or .ndjson (OTLP, native JSON).

    A .gz behind the name is taken, too.

    Args:
        path: the file.
        series: how the values of a CSV or Parquet file are called, SERVICE/METRIC; or the name of a column that says so.
        time: the column of times.
        value: the column of values.
        zone: the zone of times that name none.
        decimal_comma: values as text are written 48,5.
        told: called before the last event was taken, with what is odd about the file, a sentence each.

    Raises:
        ImportFault: it cannot be taken as evidence; the message says which line.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if not path.is_file():
        raise ImportFault(f"there is no file {path}")
    notes = Notes(path, told)
    if kind in (".csv", ".parquet"):
        columns = Columns(time, value, series, decimal_comma)
        rows = csv_rows(path, columns, notes) if kind == ".csv" else parquet_rows(path, columns, notes)
        return notes.watched(_in_order(path, in_zone(path, rows, zone)))
    if kind == ".json":
        return notes.watched(_in_order(path, read_answer(path, notes)))
    if kind in (".jsonl", ".ndjson"):
        return notes.watched(read_lines(path, notes))
    raise ImportFault(f"{path}: {kind or 'no suffix'} is not taken; {KINDS} are")


def _in_order(path: Path, events: Iterator[Placed]) -> Iterator[Placed]:
    before_ms = 0
    for placed in events:
        if placed.event.time_ms < before_ms:
            late_ms = before_ms - placed.event.time_ms
            raise ImportFault(f"{path}, {placed.where}: its time is {late_ms} ms before the one above: sort the file")
        before_ms = placed.event.time_ms
        yield placed
