"""Runs vouch for all that was forwarded and for nothing else, however the front door is cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.front_door import (
    PARTITIONS,
    ROUTES,
    START_MS,
    at_ms,
    chunk,
    chunks,
    cutter,
    joined,
    mark,
    record,
    rows_of,
    sample,
)

from failshut_breakers.evidence.records import Mark, Run
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import DeadKind, NativeDecoder, Sample
from failshut_streams.router.cutter import Cut, LogReplaced, UnknownPartitions
from failshut_streams.router.run_builder import ROWS_MAX
from failshut_streams.sources.marks import MARK_KEY
from failshut_streams.transport import Chunk, Record

ELEMENTS: list[Any] = [
    sample("pay/amount", 1.5),
    sample("pay/rate", -2, time="2023-11-14T22:13:20Z"),
    sample("pay/x", 3, instance="i-1"),
    sample("pay/x", 3, instance=""),
    sample("pay/unknown", 4),
    sample("pay/amount", 5, time=START_MS + 10**9),
    sample("pay/amount", 5, time=-1),
    sample("pay/amount", float("nan")),
    sample("pay/amount", "48"),
    sample("pay/bad\nname", 1),
    {"kind": "heartbeat", "service": "pay"},
    {"kind": "lag", "group": "g", "topic": "t", "partitions": {"0": [1, 2]}},
    {"kind": "outcome", "gate": "a", "epoch": "0" * 16, "token": "t", "outcome": "ok", "count": 2, "id": "1"},
    {"kind": "outcome", "gate": "nobody", "epoch": "0" * 16, "token": "", "outcome": "ok", "count": 2, "id": "1"},
    "not an object",
]
element = st.sampled_from(ELEMENTS)
value = st.one_of(element, st.lists(element, max_size=6), st.just(b"not json"), st.just(b""), st.none())
kind = st.one_of(value.map(lambda it: ("record", it)), st.just(("mark", None)), st.just(("bad mark", None)))
kinds = st.lists(kind, max_size=20)


def as_records(kinds: Sequence[tuple[str, Any]]) -> list[Record]:
    made = {"mark": lambda at, _: mark(at), "bad mark": lambda at, _: record(at, b"x", key=MARK_KEY)}
    return [made[kind](at, it) if kind in made else record(at, it) for at, (kind, it) in enumerate(kinds)]


def expected(records: Sequence[Record]) -> list[tuple[str, tuple[int, int, str, float]]]:
    """Gate, and offset, index, series and value of every sample that a plain decoder finds for it."""
    decoder = NativeDecoder()
    found = []
    for at in records:
        if at.key == MARK_KEY:
            continue
        for index, item in enumerate(decoder.decode(at.key, at.value, at.headers, at.timestamp_ms)):
            if isinstance(item, Sample):
                gates = ROUTES.series.get(item.series, ())
                found += [(gate, (at.offset, index, item.series, item.value)) for gate in gates]
    return sorted(found)


def samples_of(runs: Sequence[tuple[int, Run]]) -> list[tuple[str, tuple[int, int, str, float]]]:
    return sorted((gate, (row[2][0], row[2][1], row[1], row[2][3])) for gate, row in rows_of(runs) if row[0] == "Samples")


def in_order(runs: Sequence[tuple[int, Run]]) -> dict[tuple[Any, ...], list[Any]]:
    """The rows of each gate and series (or other source), in order."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for gate, (kind, *names, row) in rows_of(runs):
        of_series = ("series",) if kind in ("Samples", "Faults") else (kind,)
        found.setdefault((gate, *of_series, *names), []).append((kind, row))
    return found


@settings(max_examples=draws(150), deadline=None)
@given(kinds, st.lists(st.integers(0, 25), max_size=6))
def test_however_it_is_cut_every_reading_counts_once(given_kinds: list[tuple[str, Any]], cuts: list[int]) -> None:
    """In any chunking each routed sample appears once for each gate, the runs of each evidence partition join, and each
    run ends at the next mark at the latest; readings and marks are the same as in one chunk."""
    records = as_records(given_kinds)
    if not records:
        return
    one, many = cutter(), cutter()
    whole = [one.cut(chunk(records), ROUTES)]
    parts = [many.cut(part, ROUTES) for part in chunks(records, cuts)]
    joined(whole, 0)
    joined(parts, 0)
    runs = [run for cut in parts for run in cut.runs]
    assert samples_of(runs) == samples_of(whole[0].runs) == expected(records)
    assert in_order(runs) == in_order(whole[0].runs)
    marks = [at.offset + 1 for at in records if at.key == MARK_KEY and at.value != b"x"]
    for cut in (*whole, *parts):
        for partition in range(PARTITIONS):
            ends = [run.upto for at, run in cut.runs if at == partition and run.mark is not None]
            assert ends == [end for end in marks if any(end == run.upto for _, run in cut.runs)]
        for _, run in cut.runs:
            assert not any(run.previous < end < run.upto for end in marks)
    assert [dead for cut in parts for dead in cut.dead] == whole[0].dead


@settings(max_examples=draws(150), deadline=None)
@given(kinds)
def test_the_short_path_says_what_the_decoder_says(given_kinds: list[tuple[str, Any]]) -> None:
    """With the short path for samples switched off, the runs are the same, item for item."""
    records = as_records(given_kinds)
    if not records:
        return
    short, careful = cutter(), cutter()
    careful._decoder.samples = lambda _: None  # type: ignore[method-assign,assignment]
    cuts = short.cut(chunk(records), ROUTES), careful.cut(chunk(records), ROUTES)
    shapes = [[(at, run.previous, run.upto, run.append_ms, run.mark) for at, run in cut.runs] for cut in cuts]
    assert shapes[0] == shapes[1]
    assert in_order(cuts[0].runs) == in_order(cuts[1].runs)
    assert cuts[0].dead == cuts[1].dead


def test_a_mark_reaches_every_evidence_partition() -> None:
    """A mark ends a run for every evidence partition, readings or not, and only there a position may be committed."""
    at = cutter()
    cut = at.cut(chunk([record(0, sample("pay/rate")), mark(1), record(2, sample("pay/rate"))]), ROUTES)
    assert sorted(partition for partition, run in cut.runs if run.mark == Mark(at_ms(1), 2)) == [0, 1, 2]
    assert cut.boundary == 2
    assert at.cut(chunk([record(3, sample())]), ROUTES).boundary is None


def test_no_clock_promises_the_future() -> None:
    """A mark's time is the smaller of its writer's and the broker's."""
    cut = cutter().cut(chunk([mark(0, time_ms=START_MS + 3_600_000), mark(1, time_ms=START_MS - 5_000)]), ROUTES)
    assert {run.mark.time_ms for _, run in cut.runs if run.mark} == {START_MS, START_MS - 5_000}


def test_a_mark_of_a_producers_time_is_none() -> None:
    """A mark whose record carries its producer's time ends no run, is no boundary, and goes to the dead letters."""
    cut = cutter().cut(chunk([mark(0, time_type=0)]), ROUTES)
    assert cut.boundary is None
    assert not any(run.mark for _, run in cut.runs)
    assert [dead.record.offset for dead in cut.dead] == [0]


def test_a_producers_time_counts_nowhere() -> None:
    """A record with its producer's time is unreadable, at the broker's last time: a far future would push out the others."""
    far = Record(1, START_MS + 10**10, 0, None, b"{}", ())
    cut = cutter().cut(chunk([record(0, sample("pay/rate")), far]), ROUTES)
    times = {row[1][2] for gate, row in rows_of(cut.runs) if row[0] == "Unreadable"}
    assert times == {START_MS}
    assert max(run.append_ms for _, run in cut.runs) == START_MS


def test_more_partitions_than_are_known_are_asked_for_first() -> None:
    """A mark that counts a partition that was just added is not refused: the chunk is cut again when the broker was asked."""
    records = [record(0, sample()), mark(1), record(2, sample()), mark(3, partitions=3)]
    known = cutter(2)
    known.cut(chunk([mark(0)]), ROUTES)
    later = [at._replace(offset=at.offset + 1) for at in records]
    with pytest.raises(UnknownPartitions):
        known.cut(chunk(later), ROUTES)
    assert known._marked_ms == at_ms(0)
    known._partitions = lambda: 3
    cut = known.cut(chunk(later), ROUTES, asked=True)
    joined([cut], 1)
    assert cut.boundary == 5
    assert not cut.dead


def test_a_count_that_no_broker_has_stops_nothing() -> None:
    """A forged mark of 9,999 partitions is a dead letter and no boundary; the mark behind it counts."""
    at = cutter(2)
    cut = at.cut(chunk([mark(0, partitions=9_999), mark(1)]), ROUTES, asked=True)
    assert [(dead.record.offset, dead.kind) for dead in cut.dead] == [(0, DeadKind.MARK)]
    assert cut.boundary == 2
    assert {run.mark.partitions for _, run in cut.runs if run.mark} == {2}


def test_a_hole_in_reading_is_never_bridged() -> None:
    """Where reading went on beyond its end, runs begin there: a governor sees the hole."""
    at = cutter()
    at.cut(chunk([record(0, sample()), mark(1)]), ROUTES)
    cut = at.cut(chunk([record(5, sample()), mark(6)]), ROUTES)
    assert min(run.previous for _, run in cut.runs) == 5


def test_records_that_were_compacted_are_no_hole() -> None:
    """What was fetched from counts, not the first record's offset; a chunk without records is read past."""
    at = cutter()
    at.cut(chunk([mark(0)], upto=4), ROUTES)
    assert at.cut(chunk([mark(9)], start=4, upto=12), ROUTES).runs[0][1].previous == 1
    assert at.cut(chunk([mark(20)], start=12), ROUTES).runs[0][1].previous == 10


def test_going_back_begins_where_reading_begins() -> None:
    """After going back, runs begin at the place gone back to, and marks behind it are remembered once."""
    at = cutter()
    records = [record(0, sample()), mark(1), record(2, sample()), mark(3), record(4, sample()), mark(5)]
    at.cut(chunk(records), ROUTES)
    back = at.last_boundary_before(at_ms(5))
    assert back == 4
    cut = at.cut(chunk(records[4:]), ROUTES)
    joined([cut], 4)
    assert at.last_boundary_before(at_ms(9)) == 4  # that of the first mark after going back is nobody's to go back to


def test_the_last_boundary_before_a_time_is_strictly_before_it() -> None:
    """A mark of the same millisecond may stand behind what it must not pass; a mark's own time says nothing. The first mark
    that a router reads is nobody's to go back to: one that knows the mark before it may pass it by."""
    at = cutter()
    at.cut(chunk([mark(0), mark(1), mark(2, time_ms=START_MS - 60_000), mark(3)]), ROUTES)
    assert at.last_boundary_before(at_ms(1)) is None
    assert at.last_boundary_before(at_ms(1) + 1) == 2
    assert at.last_boundary_before(at_ms(2) + 1) == 3
    assert at.last_boundary_before(at_ms(99)) == 4


def runs_of(routes: Routes, *values: Any) -> Cut:
    records = [record(at, value) for at, value in enumerate(values)]
    cut = cutter().cut(chunk([*records, mark(len(records))]), routes)
    joined([cut], 0)
    return cut


def test_many_rows_end_a_run() -> None:
    """A run ends behind the record with which it has `ROWS_MAX` rows."""
    cut = runs_of(ROUTES, *[[sample("pay/rate")] * (ROWS_MAX // 4)] * 9)
    counts = [len(rows_of([run])) for run in cut.runs]
    assert max(counts) == ROWS_MAX
    assert sum(counts) == 9 * (ROWS_MAX // 4)


def test_a_log_that_goes_on_before_what_was_read_ends_the_worker() -> None:
    """A topic that was deleted and made again is not taken for duplicates: its offsets mean nothing to what was vouched for."""
    reading = cutter()
    reading.cut(Chunk("telemetry", 0, 0, 50, [], 1, 0), Routes(made=ROUTES.made))
    with pytest.raises(LogReplaced, match="read up to 50 and goes on at 0"):
        reading.cut(Chunk("telemetry", 0, 0, 5, [], 2, 50), Routes(made=ROUTES.made))
    reading.cut(Chunk("telemetry", 0, 20, 30, [], 3, 20), Routes(made=ROUTES.made))  # sought
    fresh = cutter()
    with pytest.raises(LogReplaced):
        fresh.cut(Chunk("telemetry", 0, 0, 5, [], 1, 50), Routes(made=ROUTES.made))
