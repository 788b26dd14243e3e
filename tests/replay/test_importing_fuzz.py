"""No file ends in a traceback: an importer yields events or says in a sentence what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from draws import draws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay import made

from failshut_replay.errors import ImportFault
from failshut_replay.sources.files import read_events
from failshut_replay.sources.front_door import evidence_of

T0 = made.START_MS // 1000
ZONES = st.sampled_from([None, ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana")])
often = settings(max_examples=draws(150), deadline=None, suppress_health_check=list(HealthCheck))


def take(path: Path, data: bytes, series: str = "a/b", zone: Any = None, **how: Any) -> None:
    """Read a file to its end and play it to a front door; only a fault with a sentence may come of it."""
    path.write_bytes(data)
    events = read_events(path, series, zone=zone, **how)
    said = ""
    try:
        for _ in evidence_of(events, {"p.yaml": made.DRIFT}, 60_000):
            pass
    except ImportFault as fault:
        said = str(fault)
    assert said.isprintable()
    assert len(said) <= 1_000


TIMES = [f"{T0}", f"{T0}000", "2026-10-25 02:30:00", "2026-03-29 02:30", "2026-03-02T09:00:00Z", "9999-12-31", "20260302"]
TIMES += ["0001-01-01T00:00:00+14:00", "2026-03-02"]
VALUES = ["48,5", "1e999", "nan", "-inf", "1_0", "", '"', "\x00", "a/b", "\u00e9/\n", "9" * 400, "1e400"]
texts = st.text(max_size=12) | st.sampled_from(TIMES + VALUES)
delimiters = st.sampled_from([",", ";", "\t", "|"])


@pytest.mark.slow
@often
@given(
    st.lists(st.lists(texts, max_size=4), max_size=6),
    delimiters,
    st.sampled_from(["a/b", "s"]),
    ZONES,
    st.booleans(),
    st.data(),
)
def test_any_csv(tmp_path: Path, lines: Any, delimiter: str, series: str, zone: Any, comma: bool, data: st.DataObject) -> None:
    """Cells of any text, in any number, in any encoding."""
    text = "\n".join(delimiter.join(row) for row in [["time", "value", "s"], *lines])
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "latin-1", "utf-16-le", "utf-32"]))
    take(tmp_path / "v.csv", text.encode(encoding, "replace"), series, zone, decimal_comma=comma)


@often
@given(st.binary(max_size=200), st.sampled_from([".csv", ".parquet", ".json", ".jsonl", ".csv.gz", ".jsonl.gz", ".json.gz"]))
def test_any_bytes(tmp_path: Path, data: bytes, suffix: str) -> None:
    """Whatever the name says that they are; also packed, and then cut off or damaged."""
    take(tmp_path / f"v{suffix}", data)
    take(tmp_path / f"v{suffix}", gzip.compress(data, mtime=0)[: max(3, len(data) // 2)])


ARROW: dict[str, Any] = {
    "int64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([T0, T0 * 1000]),
    "uint64": st.integers(0, 2**64 - 1) | st.just(T0),
    "float64": st.floats() | st.just(float(T0)),
    "bool": st.booleans(),
    "string": texts.filter(lambda text: text.isprintable()),
    "binary": st.binary(max_size=9),
    "date32": st.integers(-(2**31), 2**31 - 1) | st.just(20_514),
    "timestamp": st.integers(-(2**50), 2**50) | st.just(T0),
    "list": st.lists(st.integers(0, 9), max_size=2),
    "null": st.none(),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Any:
    kind = draw(st.sampled_from(sorted(ARROW)))
    cells = draw(st.lists(st.none() | ARROW[kind], min_size=rows, max_size=rows))
    if kind == "timestamp":
        unit, zone = draw(st.sampled_from(["s", "ms", "us", "ns"])), draw(st.sampled_from([None, "UTC", "Europe/Berlin"]))
        array = pa.array(cells, pa.int64()).cast(pa.timestamp(unit, tz=zone))
    elif kind == "date32":
        array = pa.array(cells, pa.int32()).cast(pa.date32())
    else:
        array = pa.array(cells, {"float64": pa.float64(), "uint64": pa.uint64(), "list": pa.list_(pa.int64())}.get(kind))
    return array.dictionary_encode() if kind != "list" and kind != "null" and draw(st.booleans()) else array


@pytest.mark.slow
@often
@given(st.data(), st.sampled_from(["a/b", "s"]), ZONES)
def test_any_parquet(tmp_path: Path, data: st.DataObject, series: str, zone: Any) -> None:
    """Columns of any type, and a file of which some bytes are others."""
    rows = data.draw(st.integers(0, 3))
    table = {name: data.draw(columns(rows)) for name in ("time", "value", "s")}
    try:
        pq.write_table(pa.table(table), tmp_path / "made.parquet")
    except pa.ArrowException:
        return  # a time that Parquet cannot hold
    written = (tmp_path / "made.parquet").read_bytes()
    take(tmp_path / "v.parquet", written, series, zone)
    place = data.draw(st.integers(0, len(written)))
    take(tmp_path / "v.parquet", written[:place] + data.draw(st.binary(max_size=3)) + written[place + 2 :], series, zone)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
NAMES = [
    "status",
    "data",
    "resultType",
    "result",
    "metric",
    "values",
    "histograms",
    "__name__",
    "job",
    "resourceMetrics",
    "time",
]
NAMES += ["service", "value", "kind", "specversion", "data_base64", "gauge", "dataPoints", "timeUnixNano", "partitions"]
keys = st.sampled_from(NAMES)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | texts, inner, max_size=4), max_leaves=20
)
PLACES: list[tuple[str | int, ...]] = [
    (),
    ("data",),
    ("data", "result"),
    ("data", "result", 0),
    ("data", "result", 0, "metric"),
    ("data", "result", 0, "metric", "job"),
    ("data", "result", 0, "values"),
    ("data", "result", 0, "values", 0),
    ("data", "result", 0, "values", 0, 0),
    ("data", "result", 0, "values", 0, 1),
]


@pytest.mark.slow
@often
@given(trees, st.sampled_from(PLACES))
def test_any_prometheus_answer(tmp_path: Path, tree: Any, place: tuple[str | int, ...]) -> None:
    """Anything in the place of any part of a good answer."""
    result = {"metric": {"__name__": "m", "job": "a"}, "values": [[T0, "1"], [T0 + 1, "2"]]}
    answer: Any = {"status": "success", "data": {"resultType": "matrix", "result": [result]}}
    if place:
        node = answer
        for step in place[:-1]:
            node = node[step]
        node[place[-1]] = tree
    else:
        answer = tree
    take(tmp_path / "v.json", json.dumps(answer).encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@often
@given(st.lists(trees | st.just({"service": "a", "metric": "b", "value": 1, "time": T0}), max_size=4), st.integers(0, 400))
def test_any_json_lines(tmp_path: Path, lines: list[Any], cut: int) -> None:
    """Any JSON, whole and cut off."""
    data = b"\n".join(json.dumps(line).encode("utf-8", "surrogatepass") for line in lines)
    take(tmp_path / "v.jsonl", data)
    take(tmp_path / "v.jsonl", data[:cut])


@pytest.mark.parametrize("name", ["v.csv", "v.parquet", "v.json", "v.jsonl"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    """A folder, or nothing at all."""
    with pytest.raises(ImportFault, match="there is no file"):
        read_events(tmp_path / name, "a/b")
    (tmp_path / name).mkdir()
    with pytest.raises(ImportFault, match="there is no file"):
        read_events(tmp_path / name, "a/b")
