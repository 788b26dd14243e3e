"""Tables of somebody else's: encodings, delimiters, numbers, types and local times, and a word about each that is odd."""

from __future__ import annotations

import datetime
import gzip
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from replay import made

from failshut_replay.errors import ImportFault
from failshut_replay.sources.encodings import LINE_CHARS_MAX
from failshut_replay.sources.files import read_events
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.times import LocalTime, read_time_ms

T0 = made.START_MS // 1000
HOUR_MS = 3_600_000


def written(folder: Path, text: str | bytes, name: str = "v.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(*lines: str, head: str = "time,value") -> str:
    return "\n".join([head, *lines]) + "\n"


def read(path: Path, series: str = "a/b", **how: Any) -> tuple[list[Event], list[str]]:
    told: list[str] = []
    return list(read_events(path, series, told=told.append, **how)), told


def values(path: Path, **how: Any) -> list[Any]:
    return [event.item[2] for event in read(path, **how)[0]]


# Encodings

NUMBERS = rows(f"{T0},1", f"{T0 + 1},2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
def test_what_excel_and_powershell_write_is_read(tmp_path: Path, encoding: str) -> None:
    """UTF-8 with and without a mark, UTF-16 in either order; packed with gzip or not."""
    marks = {"utf-16-le-bom": b"\xff\xfe", "utf-16-be-bom": b"\xfe\xff"}
    data = marks.get(encoding, b"") + NUMBERS.replace("\n", "\r\n").encode(encoding.removesuffix("-bom"))
    assert values(written(tmp_path, data)) == [1.0, 2.0]
    assert values(written(tmp_path, gzip.compress(data, mtime=0), "v.csv.gz")) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (rows(f"{T0},1", head="time,value,Größe").encode("latin-1"), "is not UTF-8"),
        (rows(f"{T0},1,é", head="time,value,n").encode("cp1252"), "is not UTF-8"),
        (NUMBERS.encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (NUMBERS.encode("utf-32"), "UTF-32: save it as UTF-8"),
        (gzip.compress(NUMBERS.encode() * 100, mtime=0)[:-12], "ends too early"),
        (gzip.compress(NUMBERS.encode(), mtime=0)[:12], "ends too early"),
        (b"\x1f\x8b" + b"junk" * 9, "is damaged"),
        (b"\x28\xb5\x2f\xfd" + b"junk", "compressed with zstd"),
        (b"PK\x03\x04" + b"junk", "spreadsheet"),
        (b"PAR1" + b"junk", "name it .parquet"),
        (NUMBERS + f'{T0 + 2},"5\n' + "x\n" * 9, "unexpected end of data"),
        (NUMBERS + "9" * LINE_CHARS_MAX, "line 4 has more than"),
        (b"", "it has none"),
        ("time,value\n", "holds no readings"),
        (rows("", "", ""), "holds no readings"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, data: str | bytes, why: str) -> None:
    """An encoding is not guessed, and half a file is none."""
    with pytest.raises(ImportFault, match=why):
        read(written(tmp_path, data))


@pytest.mark.slow
def test_what_gzip_unpacks_to_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kilobytes that unpack to more than the bound are refused while they are unpacked."""
    monkeypatch.setattr("failshut_replay.sources.encodings.UNPACKED_BYTES_MAX", 1 << 20)
    with pytest.raises(ImportFault, match="unpacks to more than 1048576 bytes"):
        read(written(tmp_path, gzip.compress(rows(*(f"{T0},1" for _ in range(200_000))).encode())))


# Delimiters and numbers


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_told_by_the_head(tmp_path: Path, delimiter: str) -> None:
    """Also behind Excel's own line about it."""
    text = rows(f"{T0}{delimiter}1.5", head=f"time{delimiter}value")
    assert values(written(tmp_path, text)) == [1.5]
    assert values(written(tmp_path, f"sep={delimiter}\n" + text)) == [1.5]


def test_a_decimal_comma_is_refused_or_read_never_guessed(tmp_path: Path) -> None:
    """A file of nothing else is refused with its first value; the option reads it; a few among numbers are told."""
    commas = written(tmp_path, rows(f"{T0};48,5", f"{T0 + 1};1e1", f"{T0 + 2};-0,5", head="time;value"))
    assert values(commas, decimal_comma=True) == [48.5, 10.0, -0.5]
    with pytest.raises(ImportFault, match=r"2 of 2 values are no numbers .* first in line 2: '48,5'"):
        read(written(tmp_path, rows(f'{T0},"48,5"', f'{T0 + 1},"49,5"')))
    events, told = read(written(tmp_path, rows(f"{T0},48.5", f'{T0 + 1},"49,5"')))
    assert [event.item[0] for event in events] == ["sample", "fault"]
    assert told == [f"{tmp_path / 'v.csv'}: 1 of 2 values are no numbers, first in line 3: '49,5'"]


def test_a_comma_that_splits_a_number_is_refused(tmp_path: Path) -> None:
    """Without quotation marks 48,5 would be 48 and a field that nobody asked for."""
    with pytest.raises(ImportFault, match="line 2 has 3 fields, the head has 2: a comma within a number"):
        read(written(tmp_path, rows(f"{T0},48,5")))
    assert values(written(tmp_path, rows(f"{T0},48,,"))) == [48.0]


@pytest.mark.parametrize(
    "text", ["1_000", "1,000", "1 000", "1'000", "48 ms", "50%", "0x10", "\uff11\uff12", "--1", "1e", "9" * 401]
)
def test_what_only_looks_like_a_number_is_none(tmp_path: Path, text: str) -> None:
    """Separators of thousands, units, other scripts: a fault among numbers, and a refusal alone."""
    for comma in (False, True):
        path = written(tmp_path, rows(f'{T0},"{text}"'))
        if comma and text == "1,000":
            continue  # with a decimal comma it is one
        with pytest.raises(ImportFault, match="1 of 1 values are no numbers"):
            read(path, decimal_comma=comma)


@pytest.mark.parametrize(
    ("texts", "reasons"),
    [
        (["true", "False", "TRUE"], ["a boolean"] * 3),
        (["", " ", ""], ["missing"] * 3),
    ],
)
def test_a_file_of_nothing_but_faults_says_so_and_is_evidence(tmp_path: Path, texts: list[str], reasons: list[str]) -> None:
    """Values that say that they are no numbers are what a live series would be: non-conforming."""
    events, told = read(written(tmp_path, rows(*(f"{T0},{text}" for text in texts))))
    assert [event.item for event in events] == [("fault", "a/b", reason) for reason in reasons]
    assert told == [f"{tmp_path / 'v.csv'}: all 3 readings are faults, first in line 2: {reasons[0]}"]


def test_it_is_told_before_it_is_recorded(tmp_path: Path) -> None:
    """The last word on a file comes before the last record of evidence that it leads to."""
    order: list[str] = []
    events = read_events(written(tmp_path, rows(f"{T0},NaN")), "a/b", told=lambda _: order.append("told"))
    for _ in evidence_of(events, {"p.yaml": made.DRIFT}):
        order.append("evidence")
    assert order[-1] == "evidence"
    assert "told" in order


def test_a_policy_that_asks_for_none_of_it_is_told(tmp_path: Path) -> None:
    """A wrong name leads to a gate that never opens: it is said which names there are."""
    told: list[str] = []
    list(evidence_of(read_events(written(tmp_path, NUMBERS), "other/name"), {"p.yaml": made.DRIFT}, told=told.append))
    assert told == ["no policy asks for any of these readings: they are of other/name"]
    list(evidence_of(read_events(written(tmp_path, NUMBERS), made.SERIES), {"p.yaml": made.DRIFT}, told=told.append))
    assert len(told) == 1


@pytest.mark.parametrize(("given", "named"), [("a/b/c", "a/b/c"), ("50%/x", "50%25/x"), ("team%2Fapp/x", "team%2Fapp/x")])
def test_names_are_those_of_the_front_door(tmp_path: Path, given: str, named: str) -> None:
    """As an option and in a column."""
    assert read(written(tmp_path, NUMBERS), given)[0][0].item[1] == named
    text = rows(f"{T0},1,{given}", head="time,value,s")
    assert read(written(tmp_path, text), "s")[0][0].item[1] == named


@pytest.mark.parametrize("name", ["a", "/b", "a/", "", "a\tb/c", "x/" + "y" * 600])
def test_a_name_that_cannot_stand_is_refused_by_line(tmp_path: Path, name: str) -> None:
    """Empty, unprintable, too long, or of no service."""
    with pytest.raises(ImportFault, match=r"line 2: series "):
        read(written(tmp_path, rows(f"{T0},1,{name}", head="time,value,s")), "s")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Nobody can say which is meant."""
    with pytest.raises(ImportFault, match="'value' twice"):
        read(written(tmp_path, rows(f"{T0},1,2", head="time,value,value")))


# Times


NO_TIMES = ["20260302", "202603020900", "20260302090000", "2026030209", "4142.047", "0", "1", "1e300", "9" * 40, "-1772442000"]
NO_TIMES += [str(T0 * 10**6), str(T0 * 10**9), "1970-01-01T00:00:01Z", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z"]
NO_TIMES += ["0001-01-01T00:00:00+14:00", "2026-03-02T09:00:60Z", "02/03/2026 09:00", "today"]


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_time_of_another_century_is_refused_by_line(tmp_path: Path, text: str) -> None:
    """Dates without separators, clocks since boot, microseconds and nanoseconds: never 1970 in silence."""
    with pytest.raises(ImportFault, match="line 2: ") as refused:
        read(written(tmp_path, rows(f"{text},1")))
    assert "is not a time" in str(refused.value)


def test_numbers_keep_their_milliseconds(tmp_path: Path) -> None:
    """As text, in seconds and in milliseconds; parts of a millisecond are cut off, as live."""
    texts = [f"{T0}.25", f"{T0}251", f"{T0}252.0", f"{T0}253", "2026-03-02T09:00:00.254999Z", "20260302T090000.255Z"]
    events, _ = read(written(tmp_path, rows(*(f"{text},1" for text in texts))))
    assert [event.time_ms - made.START_MS for event in events] == [250, 251, 252, 253, 254, 255]


ZONES = [
    # zone, an hour before the clock is put back (local), steps of half an hour until an hour behind it
    ("Europe/Berlin", "2026-10-25T01:00", "2026-10-25T04:00"),
    ("America/New_York", "2026-11-01T00:00", "2026-11-01T03:00"),
    ("America/Sao_Paulo", "2018-02-17T22:00", "2018-02-18T01:00"),
    ("Australia/Lord_Howe", "2026-04-05T00:30", "2026-04-05T03:00"),
    ("Pacific/Auckland", "2026-04-05T01:00", "2026-04-05T04:00"),
]


def local_times(zone: ZoneInfo, begin: str, end: str, step_s: int) -> list[str]:
    """What a logger in that zone writes from one local time to another."""
    at = datetime.datetime.fromisoformat(begin).replace(tzinfo=zone).astimezone(datetime.UTC)
    last = datetime.datetime.fromisoformat(end).replace(tzinfo=zone, fold=1).astimezone(datetime.UTC)
    found = []
    while at <= last:
        found.append(at.astimezone(zone).replace(tzinfo=None).isoformat(" "))
        at += datetime.timedelta(seconds=step_s)
    return found


@pytest.mark.parametrize(("name", "begin", "end"), ZONES)
@pytest.mark.parametrize("step_s", [60, 1200, 1800])
def test_the_hour_that_comes_twice_is_read_in_its_order(tmp_path: Path, name: str, begin: str, end: str, step_s: int) -> None:
    """What stands behind the step back is the second passing: all readings are as far apart as they were."""
    texts = local_times(ZoneInfo(name), begin, end, step_s)
    assert any(after <= before for before, after in pairwise(texts))
    events, _ = read(written(tmp_path, rows(*(f"{text},1" for text in texts))), zone=ZoneInfo(name))
    times = [event.time_ms for event in events]
    assert {after - before for before, after in pairwise(times)} == {step_s * 1000}


def test_hourly_values_have_the_hour_twice(tmp_path: Path) -> None:
    """One local time alone, once for each passing; also of several series."""
    texts = local_times(ZoneInfo("Europe/Berlin"), "2026-10-25T00:00", "2026-10-25T05:00", 3600)
    for series in (["a/b"], ["a/b", "a/c"]):
        lines = [f"{text},1,{name}" for text in texts for name in series]
        events, _ = read(written(tmp_path, rows(*lines, head="time,value,s")), "s", zone=ZoneInfo("Europe/Berlin"))
        times = [event.time_ms for event in events if event.item[1] == "a/b"]
        assert {after - before for before, after in pairwise(times)} == {HOUR_MS}


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-10-25 02:30:00"],
        ["2026-10-25 02:00:00", "2026-10-25 02:30:00"],
        ["2026-10-25 02:30:00", "2026-10-25 02:00:00", "2026-10-25 02:30:00", "2026-10-25 02:00:00"],
        ["2026-10-25 02:30:00"] * 3,
    ],
)
def test_an_hour_of_which_nobody_can_say_which_it_is_is_refused(tmp_path: Path, texts: list[str]) -> None:
    """It names the hour and the zone, and does not say that sorting would help."""
    with pytest.raises(ImportFault, match=r"came twice in Europe/Berlin .* offsets") as refused:
        read(written(tmp_path, rows(*(f"{text},1" for text in texts))), zone=ZoneInfo("Europe/Berlin"))
    assert "sort" not in str(refused.value)


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Berlin", "2026-03-29 02:30:00"),
        ("America/New_York", "2026-03-08 02:00:00"),
        ("Australia/Lord_Howe", "2026-10-04 02:15:00"),
        ("America/Santiago", "2026-09-06 00:30:00"),
    ],
)
def test_a_time_that_the_clock_skipped_is_refused(tmp_path: Path, zone: str, text: str) -> None:
    """An hour that did not happen is a sign of the wrong zone."""
    with pytest.raises(ImportFault, match=rf"line 2: .* did not happen in {zone}"):
        read(written(tmp_path, rows(f"{text},1")), zone=ZoneInfo(zone))
    with pytest.raises(LocalTime):
        read_time_ms(text, ZoneInfo(zone))


def test_a_day_alone_is_its_first_instant(tmp_path: Path) -> None:
    """Where a zone is named: also where that day had no midnight, or two."""
    with pytest.raises(ImportFault, match="names no zone"):
        read(written(tmp_path, rows("2026-03-02,1")))
    for zone, day, utc in [
        ("Europe/Berlin", "2026-03-02", "2026-03-01T23:00:00Z"),
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z"),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"),
    ]:
        events, _ = read(written(tmp_path, rows(f"{day},1")), zone=ZoneInfo(zone))
        assert [event.time_ms for event in events] == [read_time_ms(utc)]


# Parquet


def parquet(folder: Path, time: Any, value: Any, **more: Any) -> Path:
    path = folder / "v.parquet"
    pq.write_table(pa.table({"time": time, "value": value, **more}), path)
    return path


NANO = [(made.START_MS + at * 1000) * 1_000_000 + 123_456_789 for at in range(3)]
A_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@pytest.mark.parametrize("unit", A_UNIT)
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "dictionary"])
@pytest.mark.parametrize("local", [False, True], ids=["utc", "local"])
def test_timestamps_of_every_unit_are_read(tmp_path: Path, unit: str, encoded: bool, local: bool) -> None:
    """Without pandas, cut to milliseconds, with a zone or in the one that is named; encoded as a dictionary or not."""
    counts = [nano // A_UNIT[unit] for nano in NANO]
    times = pa.array(counts, pa.timestamp(unit, tz=None if local else "UTC"))
    path = parquet(tmp_path, times.dictionary_encode() if encoded else times, [1.0, 2.0, 3.0])
    zone = ZoneInfo("Asia/Tokyo") if local else None
    part_ms = 0 if unit == "s" else 123
    shift_ms = 9 * HOUR_MS if local else 0
    expected = [made.START_MS + at * 1000 + part_ms - shift_ms for at in range(3)]
    assert [event.time_ms for event in read(path, zone=zone)[0]] == expected


def test_other_columns_of_times_are_read(tmp_path: Path) -> None:
    """Whole numbers, floating ones, decimals, text, and days where a zone is named."""
    for times in (
        pa.array([T0, T0 + 1]),
        pa.array([made.START_MS, made.START_MS + 1000], pa.uint64()),
        pa.array([float(T0), T0 + 1.0]),
        pa.array([Decimal(T0), Decimal(T0 + 1)]),
        pa.array([f"{T0}", "2026-03-02T09:00:01Z"]),
        pa.array([f"{T0}", "2026-03-02T09:00:01Z"], pa.large_string()).dictionary_encode(),
    ):
        assert [event.time_ms for event in read(parquet(tmp_path, times, [1, 2]))[0]] == [made.START_MS, made.START_MS + 1000]
    days = [datetime.date(2026, 3, 2), datetime.date(2026, 3, 3)]
    for kind in (pa.date32(), pa.date64()):
        events, _ = read(parquet(tmp_path, pa.array(days, kind), [1, 2]), zone=ZoneInfo("Asia/Tokyo"))
        assert [event.time_ms for event in events] == [
            read_time_ms("2026-03-01T15:00:00Z"),
            read_time_ms("2026-03-02T15:00:00Z"),
        ]
        with pytest.raises(ImportFault, match=r"row 1: .*names no zone"):
            read(parquet(tmp_path, pa.array(days, kind), [1, 2]))


@pytest.mark.parametrize(
    "times",
    [
        pa.array([None], pa.timestamp("ns", tz="UTC")),
        pa.array([None], pa.int64()),
        pa.array([None], pa.date32()),
        pa.array([True]),
        pa.array([5], pa.time32("s")),
        pa.array([5], pa.duration("ns")),
        pa.array([[T0]]),
        pa.array([{"at": T0}]),
        pa.array([b"2026"]),
        pa.array([None]),
        pa.array([20260302]),
        pa.array([4142047], pa.timestamp("ms", tz="UTC")),
        pa.array([2**52], pa.timestamp("s", tz="UTC")),
        pa.array([-(2**63) + 1], pa.timestamp("ns")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([float("nan")]),
        pa.array(["NaN"]),
    ],
    ids=lambda array: str(array.type),
)
def test_a_column_that_holds_no_times_is_refused_by_row(tmp_path: Path, times: Any) -> None:
    """Nothing, another type, another century: never a guess, never a traceback."""
    with pytest.raises(ImportFault, match=r"row 1|cannot be read as Parquet"):
        read(parquet(tmp_path, times, [1]), zone=ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("array", "items"),
    [
        (pa.array([True, False]), [("fault", "a boolean")] * 2),
        (pa.array([True, False]).dictionary_encode(), [("fault", "a boolean")] * 2),
        (pa.array([1, None]), [("sample", 1.0), ("fault", "missing")]),
        (pa.array([1.5, float("inf")]), [("sample", 1.5), ("sample", float("inf"))]),
        (pa.array([1.5, 2.0], pa.float16()), [("sample", 1.5), ("sample", 2.0)]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [("sample", 2.0**64), ("sample", 0.0)]),
        (pa.array([Decimal("48.50"), None]), [("sample", 48.5), ("fault", "missing")]),
        (pa.array([10**70, 1], pa.decimal256(76)), [("sample", 1e70), ("sample", 1.0)]),
        (pa.array(["48.5", "x"]), [("sample", 48.5), ("fault", "not a number")]),
        (pa.array([None, None]), [("fault", "missing")] * 2),
    ],
    ids=lambda array: str(array.type) if isinstance(array, pa.Array) else "",
)
def test_values_of_typed_columns_are_what_they_say(tmp_path: Path, array: Any, items: list[Any]) -> None:
    """Booleans are no numbers, as live; decimals, dictionaries and whole numbers are."""
    events, _ = read(parquet(tmp_path, [T0, T0 + 1], array))
    assert [(event.item[0], event.item[2]) for event in events] == items


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1.0]]),
        pa.array([{"x": 1}]),
        pa.array([1], pa.timestamp("ns")),
        pa.array([b"48"]),
        pa.array([5], pa.duration("s")),
        pa.array([5], pa.time64("ns")),
        pa.array([datetime.date(2026, 3, 2)]),
    ],
    ids=lambda array: str(array.type),
)
def test_a_column_that_holds_no_values_is_refused(tmp_path: Path, array: Any) -> None:
    """Lists, structures, times and bytes: the type is named."""
    with pytest.raises(ImportFault, match="1 of 1 values are no numbers"):
        read(parquet(tmp_path, [T0], array))


def test_a_column_of_series_may_be_a_dictionary(tmp_path: Path) -> None:
    """As pandas writes categories; a number is no name."""
    names = pa.array(["a/b", "a%/c"]).dictionary_encode()
    events, _ = read(parquet(tmp_path, [T0, T0 + 1], [1, 2], s=names), "s")
    assert [event.item[1] for event in events] == ["a/b", "a%25/c"]
    with pytest.raises(ImportFault, match=r"row 1: series "):
        read(parquet(tmp_path, [T0], [1], s=[5]), "s")
