"""JSON lines, as the front door reads records: each line is a record of `otlp_metrics` or of `telemetry`.

The live codecs read them (failshut_streams.codecs), so the series, faults and times are the live ones. Three things are not:

- A line has no append time. The newest time that it claims is used instead. Readings that claim none, or one beyond this
  century, count from there. If a line claims none at all, they count from that of the line above.
- Batches of several services lie side by side in a collector's file, each in order. They are merged by time, on disk where
  there are many.
- A line may be larger than a record: nothing else waits for it.

A line that is no JSON is refused: that is not a bad record, but a file that was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from failshut_replay.errors import ImportFault
from failshut_replay.sources.encodings import byte_lines
from failshut_replay.sources.front_door import Event
from failshut_replay.sources.notes import Notes, Placed
from failshut_replay.sources.time_order import in_time
from failshut_replay.times import LATEST_MS
from failshut_streams.codecs import Beat, Fault, Item, LagPoint, NativeDecoder, OtlpDecoder, Outcome, Sample
from failshut_streams.codecs.lenient import BOM, Unreadable, parse

LINE_BYTES_MAX = 64 * 1024 * 1024
ELEMENTS_MAX = 5_000_000
HOLDERS_MAX = 2_000_000
WAITING_MAX = 10_000
SERIES_KEPT = 100_000
ABSENT = msgspec.Raw()


class _Kind(msgspec.Struct):
    """What tells a line of OTLP, and of what. Skipped unread."""

    metrics: msgspec.Raw = msgspec.field(default=ABSENT, name="resourceMetrics")
    other_metrics: msgspec.Raw = msgspec.field(default=ABSENT, name="resource_metrics")
    spans: msgspec.Raw = msgspec.field(default=ABSENT, name="resourceSpans")
    logs: msgspec.Raw = msgspec.field(default=ABSENT, name="resourceLogs")


_kind_of = msgspec.json.Decoder(_Kind).decode


def read_lines(path: Path, notes: Notes) -> Iterator[Placed]:
    """Yield the readings of a file, in the order of time.

    Raises:
        ImportFault: a line is no record, or no reading has a time.
    """
    yield from in_time(_noted(_timed(path, _records(path), notes), notes))


def _records(path: Path) -> Iterator[tuple[str, list[Item]]]:
    limits = {"bytes_max": LINE_BYTES_MAX, "elements_max": ELEMENTS_MAX}
    native, otlp = NativeDecoder(**limits), OtlpDecoder("otlp_json", holders_max=HOLDERS_MAX, **limits)
    for number, line in enumerate(byte_lines(path, LINE_BYTES_MAX), 1):
        if line.strip():
            where = f"line {number}"
            decoder = otlp if _is_otlp(f"{path}, {where}", line) else native
            yield where, decoder.decode(None, line, (), LATEST_MS)


def _is_otlp(place: str, line: bytes) -> bool:
    text = line.removeprefix(BOM)
    try:
        kind = _kind_of(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        kind = _looked_at(place, text)
    metrics = bool(bytes(kind.metrics) or bytes(kind.other_metrics))
    if not metrics and (bytes(kind.spans) or bytes(kind.logs)):
        raise ImportFault(
            f"{place} is not OTLP metrics but traces or logs: let the collector write metrics to a file of their own"
        )
    return metrics


def _looked_at(place: str, line: bytes) -> _Kind:
    """Return what a line is that is no object, or that only the lenient reader takes for JSON."""
    try:
        found = parse(line)
    except Unreadable as error:
        raise ImportFault(f"{place} is not OTLP metrics as JSON, and no native JSON either: {error}") from error
    there = msgspec.Raw(b"there")
    names = ("resourceMetrics", "resource_metrics", "resourceSpans", "resourceLogs")
    return _Kind(*(there if isinstance(found, dict) and name in found else ABSENT for name in names))


def _timed(path: Path, records: Iterator[tuple[str, list[Item]]], notes: Notes) -> Iterator[Placed]:
    append_ms = 0
    waiting: list[tuple[str, Item]] = []  # readings before the first time in the file
    for where, items in records:
        claims = [time_ms for item in items if (time_ms := _claim_ms(item))]
        if not claims and not append_ms:
            waiting += [(where, item) for item in items]
            if len(waiting) > WAITING_MAX:
                raise _timeless(path, waiting)
            continue
        append_ms = max(claims, default=append_ms)
        for place, item in (*waiting, *((where, item) for item in items)):
            time_ms = _claim_ms(item)
            notes.timeless += not time_ms
            yield Placed(place, Event(time_ms or append_ms, _event_item(item)))
        waiting = []
    if waiting:
        raise _timeless(path, waiting)


def _claim_ms(item: Item) -> int:
    """Return the time that a reading claims; 0 for none, and for the future, which nobody can promise."""
    time_ms = None if isinstance(item, Outcome) else item.time_ms
    return time_ms if time_ms and time_ms < LATEST_MS else 0


def _timeless(path: Path, waiting: list[tuple[str, Item]]) -> ImportFault:
    where, first = next((found for found in waiting if isinstance(found[1], Fault)), waiting[0])
    why = f"{first.series or 'an element'}: {first.reason}" if isinstance(first, Fault) else "it claims none"
    return ImportFault(f"{path}: none of its first {len(waiting)} readings has a time, which a file needs; {where}: {why}")


def _event_item(item: Item) -> tuple[Any, ...]:
    match item:
        case Sample():
            return ("sample", item.series, item.value, *((item.instance,) if item.instance else ()))
        case Beat():
            return ("beat", item.source)
        case LagPoint():
            return ("lag", item.group, item.topic, item.partitions)
        case Outcome():
            return ("outcome", item.gate, int(item.epoch), item.token, item.outcome, item.count)
        case Fault(series, reason) if series is not None:
            return ("fault", series, reason, *((item.instance,) if item.instance else ()))
    return ("unreadable", item.reason)


def _noted(events: Iterator[Placed], notes: Notes) -> Iterator[Placed]:
    """Take note of what is older than what stood above it in its own series."""
    newest: dict[tuple[Any, ...], int] = {}
    for placed in events:
        name, time_ms = placed.event.item[:2], placed.event.time_ms
        before_ms = newest.get(name, 0)
        if time_ms < before_ms:
            notes.moved += 1
            notes.moved_ms = max(notes.moved_ms, before_ms - time_ms)
        elif name in newest or len(newest) < SERIES_KEPT:
            newest[name] = time_ms
        yield placed
