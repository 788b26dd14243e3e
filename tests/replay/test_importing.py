"""Importers: what people have becomes evidence, and what is wrong with it is said by line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from replay import made

from failshut_breakers.evidence.records import Faults, Lags, Outcomes, decode_run
from failshut_replay.errors import ImportFault
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import record
from failshut_replay.replay.verdict import check
from failshut_replay.sources.files import read_events
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.times import read_time_ms

T0 = 1_772_442_000


def csv_file(folder: Path, *lines: str, head: str = "time,value") -> Path:
    path = folder / "values.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_a_csv_file_is_taken(tmp_path: Path) -> None:
    """Times with a zone, or numbers; each value a sample of the series that was named."""
    path = csv_file(tmp_path, "2026-03-02T09:00:00Z,1.5", "2026-03-02T10:00:01+01:00,2", f"{T0 + 2},3", f"{T0 + 3}000,4")
    events = list(read_events(path, "a/b"))
    assert [event.time_ms for event in events] == [made.START_MS + at * 1000 for at in range(4)]
    assert [event.item for event in events] == [("sample", "a/b", value) for value in (1.5, 2.0, 3.0, 4.0)]


def test_a_column_may_name_the_series(tmp_path: Path) -> None:
    """One file of several series, told apart by a column."""
    path = csv_file(tmp_path, f"{T0},1,a/b", f"{T0},2,a/c", head="at,n,what")
    assert [event.item[1] for event in read_events(path, "what", "at", "n")] == ["a/b", "a/c"]


def test_a_value_that_is_none_is_evidence_too(tmp_path: Path) -> None:
    """Missing, not a number, NaN and infinite are non-conforming readings of their series, not holes."""
    path = csv_file(tmp_path, *(f"{T0 + at},{text}" for at, text in enumerate(["", "n/a", "NaN", "1e999", "5"])))
    events = list(read_events(path, "agent/amount"))
    assert [event.item[0] for event in events] == ["fault", "fault", "sample", "sample", "sample"]
    runs = [decode_run(one.record) for one in evidence_of(events, {"p.yaml": made.DRIFT})]
    faults = [
        row[3] for run in runs for block in run.readings.get("pay", ()) if isinstance(block, Faults) for row in block.rows
    ]
    assert faults == ["missing", "not a number", "NaN", "infinite"]


def test_times_without_a_zone_are_refused_unless_it_is_named(tmp_path: Path) -> None:
    """An incident that is an hour off is another incident."""
    path = csv_file(tmp_path, "2026-03-02 09:00:00,1")
    with pytest.raises(ImportFault, match=r"line 2: .*names no zone"):
        list(read_events(path, "a/b"))
    (event,) = read_events(path, "a/b", zone=ZoneInfo("Europe/Berlin"))
    assert event.time_ms == made.START_MS - 3_600_000


def test_times_out_of_order_are_refused(tmp_path: Path) -> None:
    """By line, and by how much."""
    with pytest.raises(ImportFault, match="line 4: its time is 2000 ms before"):
        list(read_events(csv_file(tmp_path, f"{T0},1", f"{T0 + 3},1", f"{T0 + 1},1"), "a/b"))


@pytest.mark.parametrize(
    ("series", "columns", "why"),
    [
        ("a/b", ("when", "value"), "no column 'when'; it has time, value"),
        ("a/b", ("time", "size"), "no column 'size'"),
        ("", ("time", "value"), "--series"),
        ("service", ("time", "value"), "no column 'service'"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, series: str, columns: tuple[str, str], why: str) -> None:
    """And the ones that there are."""
    with pytest.raises(ImportFault, match=why):
        list(read_events(csv_file(tmp_path, f"{T0},1"), series, *columns))


def test_a_parquet_file_is_taken(tmp_path: Path) -> None:
    """Parquet's own timestamps with a zone; without one they are refused."""
    times = pa.array([made.START_MS, made.START_MS + 1000], pa.timestamp("ms", tz="UTC"))
    pq.write_table(pa.table({"time": times, "value": [1.0, math.nan]}), tmp_path / "v.parquet")
    assert [event.time_ms for event in read_events(tmp_path / "v.parquet", "a/b")] == [made.START_MS, made.START_MS + 1000]
    pq.write_table(pa.table({"time": times.cast(pa.timestamp("ms")), "value": [1.0, 2.0]}), tmp_path / "w.parquet")
    with pytest.raises(ImportFault, match=r"row 1: .*names no zone"):
        list(read_events(tmp_path / "w.parquet", "a/b"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportFault, match="cannot be read as Parquet"):
        list(read_events(tmp_path / "x.parquet", "a/b"))


def prometheus(folder: Path, *series: tuple[dict[str, str], Iterable[tuple[float, str]]], **more: object) -> Path:
    path = folder / "range.json"
    result = [{"metric": labels, "values": [list(value) for value in values]} for labels, values in series]
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}} | more))
    return path


def test_a_prometheus_range_is_taken(tmp_path: Path) -> None:
    """Series are merged by time, and what their labels say tells those of one name apart."""
    path = prometheus(
        tmp_path,
        ({"__name__": "up", "job": "api", "instance": "one"}, [(T0, "1"), (T0 + 2, "0")]),
        ({"__name__": "up", "job": "api", "instance": "two"}, [(T0 + 1, "1")]),
        ({"__name__": "lag", "service": "pay"}, [(T0 + 0.5, "NaN")]),
    )
    named = [(event.item[1], event.time_ms - made.START_MS) for event in read_events(path)]
    assert named == [
        ("api/up{instance=one}", 0),
        ("pay/lag", 500),
        ("api/up{instance=two}", 1000),
        ("api/up{instance=one}", 2000),
    ]


def test_what_is_no_prometheus_range_is_refused(tmp_path: Path) -> None:
    """An error, an instant query, or no JSON."""
    for wrong in ({"status": "error"}, {"data": {"resultType": "vector", "result": []}}):
        path = prometheus(tmp_path, **wrong)
        with pytest.raises(ImportFault, match="range query"):
            list(read_events(path))
    for text, why in (
        ("{}", "not the answer"),
        ("[]", "not the answer"),
        ('{"status":"error","error":"too long"}', "too long"),
    ):
        path.write_text(text)
        with pytest.raises(ImportFault, match=why):
            list(read_events(path))


def test_names_of_prometheus_are_the_front_doors(tmp_path: Path) -> None:
    """A slash or a percent sign in a service is escaped, empty labels name nothing, and no two series are called alike."""
    for labels, name in [
        ({"__name__": "m", "job": "shop/api"}, "shop%2Fapi/m"),
        ({"__name__": "a:b", "job": "50%", "service": ""}, "50%25/a:b"),
        ({"instance": "10.0.0.1:9100"}, "10.0.0.1:9100/value"),
        ({}, "prometheus/value"),
    ]:
        assert [event.item[1] for event in read_events(prometheus(tmp_path, (labels, [(T0, "1")])))] == [name]
    alike = [({"job": "a", "x": "1,y=2"}, [(T0, "1")]), ({"job": "a", "x": "1", "y": "2"}, [(T0, "1")])]
    with pytest.raises(ImportFault, match=r"two series are called a/value\{x=1,y=2\}"):
        list(read_events(prometheus(tmp_path, *alike)))


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"metric": {"__name__": "ms", "job": "api"}, "histograms": [[T0, {"count": "1"}]]}, "api/ms is a native histogram"),
        ({"metric": {}, "values": [[T0, "1"]], "histograms": [[T0, {}]]}, "native histogram"),
        ({"metric": {}, "values": [[T0 * 1000, "1"]]}, "not a time of this century"),
        ({"metric": {}, "values": [[20260302, "1"]]}, "not a time of this century"),
        ({"metric": {}, "values": [[T0 + 1, "1"], [T0, "1"]]}, "value 2: its time is 1000 ms before"),
        ({"metric": {}, "values": [[T0]]}, "not the answer"),
        ({"metric": {}, "values": [[True, "1"]]}, "not the answer"),
        ({"metric": {"job": 5}, "values": []}, "not the answer"),
        ({"metric": {"job": "a" * 600}, "values": []}, "600 characters"),
        ({"metric": {"job": "a\n"}, "values": []}, "unprintable"),
        ({"metric": {}, "values": [[T0, "48,5"]]}, "1 of 1 values are no numbers"),
        ({"metric": {}}, "holds no readings"),
    ],
)
def test_a_series_that_cannot_be_taken_is_named(tmp_path: Path, result: dict[str, object], why: str) -> None:
    """Native histograms, times of another unit, shapes of something else: a sentence, and no traceback."""
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [result]}}))
    with pytest.raises(ImportFault, match=why):
        list(read_events(path))


def test_values_of_prometheus_are_text_or_faults(tmp_path: Path) -> None:
    """A boolean is no number here either."""
    path = tmp_path / "range.json"
    values = [[T0, "1e3"], [T0 + 1, True], [T0 + 2, None], [T0 + 3, 5], [T0 + 4, "x"]]
    data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    path.write_text(json.dumps({"status": "success", "data": data}))
    assert [event.item[2] for event in read_events(path)] == [1000.0, "a boolean", "missing", 5.0, "not a number"]


def otlp(metric: dict[str, object]) -> str:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]})


def test_otlp_lines_are_taken(tmp_path: Path) -> None:
    """Gauges, sums and histograms, named as the front door names them."""
    at = {"timeUnixNano": str(made.START_MS * 1_000_000)}
    later = {"timeUnixNano": str((made.START_MS + 5) * 1_000_000)}
    path = tmp_path / "metrics.jsonl"
    lines = [
        otlp({"name": "g", "gauge": {"dataPoints": [{**later, "asInt": "7"}, {**at, "asDouble": 1.5}]}}),
        otlp({"name": "t", "sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [{**later, "asInt": "9"}]}}),
        otlp({"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [{**later, "count": "4", "sum": 10}]}}),
        otlp({"name": "gone", "gauge": {"dataPoints": [{**later, "flags": 1}]}}),
    ]
    path.write_text("\n".join(lines) + "\n\n")
    assert [event.item[1:] for event in read_events(path)] == [
        ("api/g", 1.5),
        ("api/g", 7.0),
        ("api/t.total", 9.0),
        ("api/h.count", 4.0),
        ("api/h.sum", 10.0),
        ("api/h.mean", 2.5),
    ]
    path.write_text(lines[0] + "\n{]\n")
    with pytest.raises(ImportFault, match="line 2 is not OTLP"):
        list(read_events(path))


def test_an_import_is_a_recording_like_any_other(tmp_path: Path) -> None:
    """It replays to the decisions that were taken when it was made."""
    path = csv_file(tmp_path, *(f"{event.time_ms},{event.item[2]}" for event in made.values()))
    record(tmp_path / "a.parquet", evidence_of(read_events(path, made.SERIES), {"p.yaml": made.DRIFT}))
    opened = Recording(tmp_path / "a.parquet")
    assert not opened.manifest.decisions_taken
    assert check(opened).identical


def test_other_files_are_refused(tmp_path: Path) -> None:
    """By suffix, and where there is none of that name."""
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(ImportFault, match=r"\.xlsx is not taken"):
        read_events(tmp_path / "a.xlsx", "a/b")
    with pytest.raises(ImportFault, match="there is no file"):
        read_events(tmp_path / "b.csv", "a/b")


def test_the_front_door_takes_every_kind_of_event() -> None:
    """Lags, heartbeats and outcomes reach the gates whose policies ask for them."""
    policy = made.policy(
        "lag: {group: g, topic: t, allowed: 5, behind: 1s}", "failure_rate: {window: 10s, at_least: 2, over: 0.5}"
    )
    events = [
        Event(made.START_MS, ("lag", "g", "t", {0: (1, 2)})),
        Event(made.START_MS + 1, ("outcome", "pay", 1, "", "failed", 3)),
        Event(made.START_MS + 2, ("beat", "nobody")),
    ]
    runs = [decode_run(one.record) for one in evidence_of(events, {"p.yaml": policy})]
    kinds = [type(reading) for run in runs for reading in run.readings.get("pay", ())]
    assert kinds == [Lags, Outcomes]


def test_a_long_silence_is_bounded() -> None:
    """Marks stand at a fixed cadence: a year of silence at a mark a second is refused, with what to do."""
    events = [Event(made.START_MS, ("beat", "a")), Event(made.START_MS + 365 * 86_400_000, ("beat", "a"))]
    with pytest.raises(ImportFault, match="mark less often"):
        list(evidence_of(events, {"p.yaml": made.DRIFT}))


@pytest.mark.parametrize("text", ["tomorrow", "", "-5", "nan", "1e300"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Neither zero nor a guess."""
    with pytest.raises(ValueError, match="is not a time"):
        read_time_ms(text)
