"""A recorded file and a live topic are one: the same bytes give the same series, faults and times."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from draws import draws
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from replay import made

from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Beats, Faults, FromMany, Run, Samples, Unreadable, decode_run
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes
from failshut_replay.errors import ImportFault
from failshut_replay.sources.files import read_events
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.sources.notes import Placed
from failshut_replay.sources.time_order import in_time
from failshut_replay.times import iso
from failshut_streams.codecs import NativeDecoder, OtlpDecoder
from failshut_streams.router.cutter import Cutter, RunHead
from failshut_streams.sources.marks import MARK_KEY, encode_mark
from failshut_streams.transport import Chunk, Record

# A shrunk example of a file is worth less than the minutes that it takes.
UNSHRUNK = tuple(phase for phase in Phase if phase is not Phase.shrink)

T0_MS = made.START_MS
NANO = T0_MS * 1_000_000
NAMES = ["m", "m.delta", "m.total", "m.count", "m.sum", "m.mean", "m.min", "m.max"]
NAMES += [f"m.total.{part}" for part in ("count", "sum", "mean", "min", "max")]
SERIES = [*(f"a/{name}" for name in NAMES), "b%2Fc/m", "b%2Fc/m.mean", "unknown_service/m", "unknown_service/m.max"]
POLICIES = {
    "pay.yaml": made.policy(
        *(f'conformance: {{series: {series}, rule: "value <= 500"}}' for series in SERIES),
        "heartbeat: {source: a, every: 1s, grace: 3s}",
        "lag: {group: g, topic: t, allowed: 5, behind: 1s}",
        "failure_rate: {window: 10s, at_least: 2, over: 0.5}",
        "unreadable: {at_least: 1}",
    )
}


def written(folder: Path, lines: Iterable[bytes | dict[str, Any] | list[Any]], name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n")
    return path


def rows_of(runs: Iterable[Run]) -> list[tuple[Any, ...]]:
    """Every reading of the gate, without its place: what it is of, when, what it says. By time, a series in its order."""
    found: list[tuple[Any, ...]] = []
    for run in runs:
        for block in run.readings.get("pay", ()):
            kind = type(block).__name__
            name = getattr(block, "series", None) or getattr(block, "source", None) or getattr(block, "group", kind)
            found += [(kind, name, *row[2:]) for row in block.rows]  # type: ignore[union-attr]
    return sorted(found, key=lambda row: (row[2], row[1]))


@cache
def routes() -> Routes:
    book = PolicyBook()
    book.apply(1, 1, POLICIES, "")
    return Routes.of(book, (b"made",))


def live(lines: Sequence[tuple[bytes, int]], otlp: bool) -> list[tuple[Any, ...]]:
    """What a router makes of these records, each appended at its time."""
    decoder = OtlpDecoder() if otlp else NativeDecoder()
    cutter = Cutter("telemetry", 0, RunHead(EvidenceLog("e", 1), 1, "r"), lambda gate: 0, decoder, lambda: 1)
    records = [Record(at, append_ms, 1, None, value, ()) for at, (value, append_ms) in enumerate(lines)]
    end_ms = lines[-1][1] + 1
    end = Record(len(records), end_ms, 1, MARK_KEY, encode_mark(end_ms, 1), ())
    cut = cutter.cut(Chunk("telemetry", 0, 0, len(records) + 1, [*records, end], 1, 0), routes())
    return rows_of(run for _, run in cut.runs)


def imported(path: Path) -> list[tuple[Any, ...]]:
    return rows_of(decode_run(one.record) for one in evidence_of(read_events(path), POLICIES))


# What lines may hold. Each claims one time, so that the time at which a topic would have got it can be told.

numbers = st.sampled_from([1, 2.5, -3, 1e308, 0]) | st.floats(allow_nan=False, allow_infinity=False)
odd: st.SearchStrategy[Any] = st.sampled_from([None, True, "5", "NaN", [], {}]) | numbers
services = st.sampled_from(["a", "b/c", "", 5, None])


@st.composite
def native(draw: st.DrawFn, time_ms: int) -> Any:
    time: Any = draw(st.sampled_from([time_ms, time_ms / 1000, iso(time_ms)]))
    element = st.one_of(
        st.builds(lambda service, value: {"service": service, "metric": "m", "value": value, "time": time}, services, odd),
        st.just({"kind": "heartbeat", "service": "a", "time": time}),
        st.just({"kind": "lag", "group": "g", "topic": "t", "partitions": {"0": [1, 2]}, "time": time}),
        st.just({"kind": "outcome", "gate": "pay", "epoch": "0" * 16, "outcome": "ok", "count": 2, "id": "1"}),
        st.just({"service": "a", "metric": "m", "value": 4}),
    )
    found = draw(st.lists(element, max_size=4))
    found.append({"service": "a", "metric": "m.max", "value": 1, "time": time})
    if draw(st.booleans()):
        return found
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": iso(time_ms)}
    return event | {"data": [{key: one[key] for key in one if key != "time"} for one in found]}


@st.composite
def otlp(draw: st.DrawFn, time_ms: int) -> Any:
    times: Any = st.sampled_from([str(time_ms * 1_000_000), time_ms * 1_000_000, None, "0", "5", str(2**64 - 1)])
    point = st.fixed_dictionaries(
        {"timeUnixNano": times},
        optional={
            "asDouble": odd,
            "asInt": odd,
            "count": st.sampled_from([0, "4", -1, None]),
            "sum": odd,
            "min": odd,
            "max": odd,
            "flags": st.sampled_from([0, 1, None]),
        },
    )
    data = st.fixed_dictionaries(
        {"dataPoints": st.lists(point, max_size=3)},
        optional={"aggregationTemporality": st.sampled_from([0, 1, 2, None]), "isMonotonic": st.booleans()},
    )
    kinds = st.sampled_from(["gauge", "sum", "histogram", "exponentialHistogram", "summary", "other"])
    metric = st.builds(lambda kind, held: {"name": "m", kind: held}, kinds, data)
    resource = st.builds(
        lambda service, metrics: {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeMetrics": [{"metrics": metrics}],
        },
        services,
        st.lists(metric | st.none(), max_size=3),
    )
    timed = {"timeUnixNano": str(time_ms * 1_000_000 + 999_999), "asDouble": 1}
    last = {"scopeMetrics": [{"metrics": [{"name": "m.max", "gauge": {"dataPoints": [timed]}}]}]}
    return {"resourceMetrics": [*draw(st.lists(resource, max_size=3)), last]}


@pytest.mark.slow
@pytest.mark.parametrize("form", [native, otlp], ids=["native-and-cloudevents", "otlp"])
@settings(max_examples=draws(60), deadline=None, phases=UNSHRUNK, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_file_and_a_topic_give_the_same_readings(tmp_path: Path, form: Any, data: st.DataObject) -> None:
    """Every reading of every kind, of the same series, at the same time, with the same value or reason."""
    steps = data.draw(st.lists(st.integers(1, 3_000), min_size=1, max_size=4))
    times = [T0_MS + sum(steps[: at + 1]) for at in range(len(steps))]
    lines = [(json.dumps(data.draw(form(time_ms))).encode(), time_ms) for time_ms in times]
    assert imported(written(tmp_path, [line for line, _ in lines])) == live(lines, form is otlp)


@pytest.mark.slow
def test_every_kind_of_reading_is_compared() -> None:
    """The test above would see a difference in each: its messages lead to all kinds of readings."""
    found: set[str] = set()

    @settings(max_examples=draws(80), deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(native(T0_MS), otlp(T0_MS))
    def look(one: Any, two: Any) -> None:
        for value, form in ((one, False), (two, True)):
            found.update(row[0] for row in live([(json.dumps(value).encode(), T0_MS)], form))

    look()
    assert found == {kind.__name__ for kind in (Samples, Faults, Unreadable, Beats)}


# Lines side by side


def gauge(service: str, time_ms: int, value: float = 1, **point: Any) -> dict[str, Any]:
    timed = {"timeUnixNano": str(time_ms * 1_000_000), "asDouble": value, **point}
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [timed]}}]}],
            }
        ]
    }


def read(path: Path) -> tuple[list[Event], list[str]]:
    told: list[str] = []
    return list(read_events(path, told=told.append)), told


def test_batches_of_several_services_are_merged_by_time(tmp_path: Path) -> None:
    """Each series is in order, and nobody can sort nested lines with a usual tool: nothing odd is told either."""
    lines = [gauge("a", T0_MS + 1000), gauge("b", T0_MS + 900), gauge("a", T0_MS + 2000), gauge("b", T0_MS + 1900)]
    events, told = read(written(tmp_path, lines))
    assert [(event.item[1], event.time_ms - T0_MS) for event in events] == [
        ("b/m", 900),
        ("a/m", 1000),
        ("b/m", 1900),
        ("a/m", 2000),
    ]
    assert told == []


def test_what_is_moved_within_a_series_is_told(tmp_path: Path) -> None:
    """Two pods of one service may lie side by side as well; it is said how much was put in order."""
    path = written(tmp_path, [gauge("a", T0_MS + 1000), gauge("a", T0_MS + 400), gauge("a", T0_MS + 2000)])
    events, told = read(path)
    assert [event.time_ms - T0_MS for event in events] == [400, 1000, 2000]
    assert told == [
        f"{path}: 1 readings are older than one above of their series, by up to 600 ms: they were put in the order of time"
    ]


def test_merging_needs_no_memory_for_it_all() -> None:
    """Parts on disk give what one part would: by time, and in the order of arrival within one time."""
    found = [Placed(f"line {at}", Event(T0_MS + (at * 37) % 11, ("lag", "g", "t", {0: (at, 5)}))) for at in range(100)]
    assert list(in_time(iter(found), 7)) == sorted(found, key=lambda placed: placed.event.time_ms)
    with pytest.raises(ImportFault, match="more than 200 readings"):
        list(in_time(iter(found * 3), 1))


# Times that a file does not have


def test_a_reading_without_a_time_counts_from_its_line(tmp_path: Path) -> None:
    """From the newest time in its line, else from the line above; it is told, and the future is no time either."""
    far = 11651379494838206464
    lines: list[Any] = [
        [{"service": "a", "metric": "m", "value": 0}],
        [{"service": "a", "metric": "m", "value": 1}, {"service": "a", "metric": "n", "value": 2, "time": T0_MS}],
        {"kind": "heartbeat", "service": "a"},
        gauge("a", T0_MS + 5),
        gauge("a", 0, timeUnixNano=str(far)),
    ]
    path = written(tmp_path, lines)
    events, told = read(path)
    assert [event.time_ms - T0_MS for event in events] == [0, 0, 0, 0, 5, 5]
    assert told == [f"{path}: 4 readings claim no time that can be: each counts from the newest in its line or above"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"service": "a", "metric": "m", "value": 1}, "it claims none"),
        (gauge("a", 4_142), "a/m: time is not nanoseconds since 1970"),
        ({"service": "a", "metric": "m", "value": 1, "time": 20260302}, "a/m: time is before 2000"),
        ({}, "an element: Object missing required field"),
    ],
)
def test_a_file_without_any_time_is_refused(tmp_path: Path, line: Any, why: str) -> None:
    """A recording of 1970 would be no recording of anything; the first reason is told."""
    with pytest.raises(ImportFault, match=f"none of its first 3 readings has a time.*line 1: {why}"):
        read(written(tmp_path, [line] * 3))


# What is no record


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (b'{"resourceMetrics": [{"scopeMet', "line 2 is not OTLP metrics as JSON, and no native JSON either"),
        (b"[1, 2", "line 2 is not OTLP"),
        (b"\x00\x01", "line 2 is not OTLP"),
        (b"[" * 100_000, "line 2 is not OTLP metrics as JSON, and no native JSON either: JSON nests too deep"),
        (b'{"resourceSpans": []}', "traces or logs"),
        (b'{"resourceLogs": [], "x": NaN}', "traces or logs"),
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path: Path, tail: bytes, why: str) -> None:
    """A file that was cut off is not half taken."""
    with pytest.raises(ImportFault, match=why):
        read(written(tmp_path, [gauge("a", T0_MS), tail]))


def test_a_file_may_be_packed_and_of_any_unicode(tmp_path: Path) -> None:
    """gzip, a byte order mark, UTF-16: as with tables."""
    line = json.dumps(gauge("é", T0_MS), ensure_ascii=False)
    encoded = [line.encode(), b"\xef\xbb\xbf" + line.encode(), line.encode("utf-16"), gzip.compress(line.encode(), mtime=0)]
    for data in encoded:
        path = tmp_path / "m.jsonl.gz"
        path.write_bytes(data)
        assert [event.item[1] for event in read(path)[0]] == ["é/m"]
    path.write_bytes(gzip.compress(line.encode() * 50, mtime=0)[:-9])
    with pytest.raises(ImportFault, match="ends too early"):
        read(path)


def test_a_line_larger_than_a_record_is_read(tmp_path: Path) -> None:
    """Live it would be refused with its bytes unread; a file makes nobody wait."""
    (resource,) = gauge("a", T0_MS)["resourceMetrics"]
    value = json.dumps({"resourceMetrics": [resource] * 8_000}).encode()
    assert len(value) > 1 << 20
    assert len(read(written(tmp_path, [value]))[0]) == 8_000


def test_instances_of_a_file_are_told_apart() -> None:
    """Where a policy judges by instance: as a router tells them, faults included."""
    asks = {"p.yaml": made.policy("drift: {series: a/m, detector: adwin, by: instance}", "anomaly: {series: a/m}")}
    events = [Event(T0_MS + at, ("sample", "a/m", float(at), f"i{at % 2}")) for at in range(3)]
    events += [Event(T0_MS + 3, ("fault", "a/m", "no number", "i1")), Event(T0_MS + 4, ("sample", "a/m", float("nan")))]
    runs = [decode_run(one.record) for one in evidence_of(events, asks)]
    many = [one for run in runs for one in run.readings.get("pay", ()) if isinstance(one, FromMany)]
    assert [(one.names[row[3]], row[4]) for one in many for row in one.rows] == [
        ("i0", 0.0),
        ("i1", 1.0),
        ("i0", 2.0),
        ("i1", "no number"),
        ("", "NaN"),
    ]
    assert [one for block in many for one in block.as_one()] == [
        one for run in runs for one in run.readings.get("pay", ()) if isinstance(one, Samples | Faults)
    ]
