"""CSV and Parquet: a column of times, one of values, and one of series or a name for all.

Typed columns keep their meaning. Nanoseconds are read as whole numbers, without pandas. Dates are midnights, decimals
are numbers, and dictionaries are the values that they encode. A boolean is no number. Text in CSV is read strictly
(values.py).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from failshut_replay.errors import ImportFault
from failshut_replay.sources.encodings import text_lines
from failshut_replay.sources.notes import Notes
from failshut_replay.sources.values import Misread, canonical, item_of
from failshut_replay.times import Moment, check_ms, naive, parse_time
from failshut_streams.codecs import BadName

DELIMITERS = ",;\t|"
EXCELS_DELIMITER = re.compile(r"sep=.[\r\n]*", re.IGNORECASE)
BATCH_ROWS = 16_384
TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class Columns(NamedTuple):
    """What is read: two columns, and a series for all rows or the column that names it."""

    time: str
    value: str
    series: str
    decimal_comma: bool = False

    @property
    def wanted(self) -> list[str]:
        """The columns that there must be."""
        return [self.time, self.value, *([] if "/" in self.series else [self.series])]


class Row(NamedTuple):
    """A row that was read, but for the zone of its time."""

    where: str
    at: Moment
    item: tuple[Any, ...]


def csv_rows(path: Path, columns: Columns, notes: Notes) -> Iterator[Row]:
    """Yield the rows of a CSV file. The delimiter is the one with which its head has the columns that are wanted."""
    lines = text_lines(path)
    head, before = next(lines, ""), 1
    if EXCELS_DELIMITER.fullmatch(head):
        head, before = next(lines, ""), 2
    try:
        there, delimiter = _head(head, columns.wanted)
    except csv.Error as error:
        raise ImportFault(f"{path}, line {before}: {error}") from error
    places = _places(path, columns.wanted, there)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    taker = _Taker(path, columns, notes)
    try:
        for row in rows:
            if not row:
                continue
            where = f"line {rows.line_num + before}"
            if len(row) > len(there) and any(row[len(there) :]):
                raise ImportFault(
                    f"{path}, {where} has {len(row)} fields, the head has {len(there)}: "
                    "a comma within a number? Put it in quotation marks"
                )
            cells = [row[place] if place < len(row) else None for place in places]
            yield taker.row(where, taker.moment(where, cells[0]), cells[1:])
    except csv.Error as error:
        raise ImportFault(f"{path}, line {rows.line_num + before}: {error}") from error


def _head(line: str, wanted: list[str]) -> tuple[list[str], str]:
    there: list[str] = []
    for delimiter in DELIMITERS:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
        if set(wanted) <= set(names):
            return names, delimiter
        if len(names) > len(there):
            there = names
    return there, ","


def _places(path: Path, wanted: list[str], there: list[str]) -> list[int]:
    missing = [name for name in wanted if name not in there]
    if "" in wanted:
        raise ImportFault(f"{path}: name the series of its values (SERVICE/METRIC), or the column that does: --series")
    if missing:
        raise ImportFault(f"{path} has no column {missing[0]!r}; it has {', '.join(there[:50]) or 'none'}")
    twice = [name for name in wanted if there.count(name) > 1]
    if twice:
        raise ImportFault(f"{path} has column {twice[0]!r} twice: nobody can say which is meant")
    return [there.index(name) for name in wanted]


class _Taker:
    """Turns cells into rows."""

    def __init__(self, path: Path, columns: Columns, notes: Notes) -> None:
        self._path, self._columns, self._notes = path, columns, notes
        self._names: dict[str, str] = {}

    def moment(self, where: str, cell: Any) -> Moment:
        """Return the time in a cell."""
        if cell is None:
            raise ImportFault(f"{self._path}, {where}: it has no time")
        try:
            return parse_time(cell)
        except ValueError as error:
            raise ImportFault(f"{self._path}, {where}: {error}") from error

    def row(self, where: str, at: Moment, cells: list[Any]) -> Row:
        """Return a row, of its value and, where a column names it, its series."""
        value, *named = cells
        series = self._series(where, named[0] if named else self._columns.series)
        try:
            return Row(where, at, item_of(series, value, self._columns.decimal_comma))
        except Misread:
            self._notes.misread_value(where, value)
            return Row(where, at, ("fault", series, "not a number"))

    def _series(self, where: str, name: Any) -> str:
        known = self._names.get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        try:
            if not isinstance(name, str):
                raise BadName("a name is text")
            series = canonical(name)
        except BadName as error:
            raise ImportFault(f"{self._path}, {where}: series {name!r:.80}: {error}") from error
        if len(self._names) < BATCH_ROWS:
            self._names[name] = series
        return series


def parquet_rows(path: Path, columns: Columns, notes: Notes) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            _places(path, columns.wanted, file.schema_arrow.names)
            yield from _batches(path, file, columns, _Taker(path, columns, notes))
    except (OSError, pa.ArrowException, UnicodeError, OverflowError) as error:
        raise ImportFault(f"{path} cannot be read as Parquet: {error}") from error


def _batches(path: Path, file: Any, columns: Columns, taker: _Taker) -> Iterator[Row]:
    number = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns.wanted):
        found = [_plain(batch.column(name)) for name in columns.wanted]
        times, cells = _times(found[0]), [_cells(column) for column in found[1:]]
        for index, at in enumerate(times):
            number += 1
            where = f"row {number}"
            if isinstance(at, _Span):
                raise ImportFault(f"{path}, {where}: a column of {at.kind} is no time")
            moment = taker.moment(where, at) if not isinstance(at, _Ms) else _checked(path, where, at)
            yield taker.row(where, moment, [column[index] for column in cells])


class _Ms(NamedTuple):
    """A time that is known in milliseconds; `local` if it names no zone."""

    time_ms: int
    local: bool


class _Span(NamedTuple):
    """A value of a type that is neither a time nor a number."""

    kind: str


def _checked(path: Path, where: str, at: _Ms) -> Moment:
    try:
        time_ms = check_ms(at.time_ms)
        return naive(time_ms) if at.local else time_ms
    except ValueError as error:
        raise ImportFault(f"{path}, {where}: {error}") from error


def _plain(column: Any) -> Any:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _times(column: Any) -> list[Any]:
    """Return the times of a column: milliseconds where the type says so, else what may be parsed."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        local, ticks = kind.tz is None, TICKS_PER_SECOND[kind.unit]
        counts = column.cast(pa.int64()).to_pylist()
        return [None if count is None else _Ms(count * 1000 // ticks, local) for count in counts]
    if pa.types.is_date(kind):
        return list(column.cast(pa.date32()).to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or _is_text(kind):
        return list(column.to_pylist())
    return _spans(column)


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column; those of a type that holds no numbers as what they are."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_text(kind):
        return list(column.to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return list(column.to_pylist())
    return _spans(column)


def _spans(column: Any) -> list[_Span | None]:
    return [_Span(str(column.type)) if there else None for there in column.is_valid().to_pylist()]


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
