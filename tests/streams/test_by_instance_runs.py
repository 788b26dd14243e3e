"""Runs say who sent what for whom a policy judges by instance, and are as they were for everybody else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from streams.front_door import ROUTES, START_MS, chunk, cutter, mark, partition_of, record, sample

from failshut_breakers.evidence.records import Faults, FromMany, Reading, Samples, decode_run, encode_run
from failshut_streams.codecs import Fault, Sample
from failshut_streams.codecs.names import SeriesNames
from failshut_streams.router import run_builder
from failshut_streams.router.run_builder import LOAD_MAX, TOO_MANY, RunBuilder

MANY = dataclasses.replace(ROUTES, instances={"pay/amount": ("e",), "pay/only": ("e",)}, gates=dict.fromkeys("abcde"))
EVENTS: list[Any] = [
    sample("pay/amount", 1.0, instance="i1"),
    [sample("pay/amount", 2.0, instance="i2"), sample("pay/x", 3.0, instance="i1"), sample("pay/amount", 4.0)],
    sample("pay/amount", "no number", instance="i2"),
    [sample("pay/amount", 5.0, instance="i1"), sample("pay/rate", 6.0, instance="i1")],
    sample("pay/amount", 7.0, instance=7),
]


def readings(routes: Any, events: list[Any] = EVENTS) -> dict[str, list[Reading]]:
    cut = cutter().cut(chunk([*(record(at, event) for at, event in enumerate(events)), mark(len(events))]), routes)
    runs = [decode_run(encode_run(run)) for _, run in cut.runs]
    return {gate: blocks for run in runs for gate, blocks in run.readings.items()}


def test_readings_are_told_with_who_sent_them_in_their_order() -> None:
    """Samples and what cannot be read in one block; whoever names none has an empty name."""
    ((block,),) = [blocks for gate, blocks in readings(MANY).items() if gate == "e"]
    assert isinstance(block, FromMany)
    assert (block.series, block.names) == ("pay/amount", ["i1", "i2", ""])
    told = [(row[0], row[1], block.names[row[3]], row[4]) for row in block.rows]
    wrong = [row[4] for row in block.rows if isinstance(row[4], str)]
    assert told == [
        (0, 0, "i1", 1.0),
        (1, 0, "i2", 2.0),
        (1, 2, "", 4.0),
        (2, 0, "i2", wrong[0]),
        (3, 0, "i1", 5.0),
        (4, 0, "", wrong[1]),
    ]
    assert [type(one) for one in block.as_one()] == [Samples, Faults, Samples, Faults]


def test_those_who_judge_one_stream_are_fed_the_same_bytes() -> None:
    """Whether or not somebody else judges by instance, and whether or not producers name one."""
    plain, beside = readings(ROUTES), readings(MANY)
    assert {gate: blocks for gate, blocks in beside.items() if gate != "e"} == plain
    nameless = [
        [
            {key: value for key, value in one.items() if key != "instance"}
            for one in (event if isinstance(event, list) else [event])
        ]
        for event in EVENTS[:4]
    ]
    cuts = [
        cutter().cut(chunk([*(record(at, one) for at, one in enumerate(events)), mark(4)]), ROUTES)
        for events in (EVENTS[:4], nameless)
    ]
    assert [encode_run(run) for _, run in cuts[0].runs] == [encode_run(run) for _, run in cuts[1].runs]


def test_a_series_that_is_judged_by_instance_alone_feeds_nobody_else() -> None:
    """It is in one block, and in no samples."""
    told = readings(MANY, [sample("pay/only", float(at), instance=f"i{at % 3}") for at in range(6)])
    assert list(told) == ["e"]
    (block,) = told["e"]
    assert isinstance(block, FromMany)
    assert [row[3] for row in block.rows] == [0, 1, 2, 0, 1, 2]


def test_names_that_are_made_up_end_the_run() -> None:
    """They are weighed: a run with them is as bounded as any other."""
    table = RunBuilder(MANY, partition_of, SeriesNames())
    items = 0
    while not table.full:
        table.take(items, START_MS, [Sample("pay/only", 1.0, None, f"{items:0512}")])
        items += 1
    assert items < LOAD_MAX // 512
    (by_gate,) = table.end().values()
    (block,) = by_gate["e"]
    assert isinstance(block, FromMany)
    assert len(block.names) == items


def test_a_record_that_is_too_heavy_says_so_to_whom_judges_by_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heaviest series becomes one reading that cannot be read and names nobody."""
    monkeypatch.setattr(run_builder, "RECORD_LOAD_MAX", 10_000)
    table = RunBuilder(MANY, partition_of, SeriesNames())
    table.take(0, START_MS, [Sample("pay/only", 1.0, None, "before")])
    table.take(
        1, START_MS, [Sample("pay/rate", 1.0, None, "i"), *(Sample("pay/only", 1.0, None, f"i{n}") for n in range(1_000))]
    )
    held = {gate: blocks for by_gate in table.end().values() for gate, blocks in by_gate.items()}
    (block,) = held["e"]
    assert isinstance(block, FromMany)
    assert [(row[0], block.names[row[3]], row[4]) for row in block.rows] == [(0, "before", 1.0), (1, "", TOO_MANY)]
    assert [one.count for one in held["b"] if isinstance(one, Samples)] == [1]


def test_a_fault_is_of_the_instance_that_it_names() -> None:
    """Unless a record's key alone says what it is of."""
    table = RunBuilder(MANY, partition_of, SeriesNames())
    table.take(0, START_MS, [Fault("pay/only", "no number", instance="i1"), Fault("pay/only", "no JSON")])
    (by_gate,) = table.end().values()
    (block,) = by_gate["e"]
    assert isinstance(block, FromMany)
    assert [(block.names[row[3]], row[4]) for row in block.rows] == [("i1", "no number"), ("", "no JSON")]
