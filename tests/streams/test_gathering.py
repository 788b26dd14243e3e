"""Readings are gathered by series without losing their order, and no record is taken by half."""

from __future__ import annotations

import dataclasses

import pytest
from streams.front_door import ROUTES, START_MS, chunk, cutter, mark, partition_of, record, rows_of, sample

from failshut_breakers.evidence.records import Faults, Outcomes, Samples
from failshut_streams.codecs import Fault, Sample
from failshut_streams.codecs.names import SeriesNames
from failshut_streams.codecs.wire import SampleWire
from failshut_streams.router.run_builder import ROWS_MAX, RunBuilder


def gathered() -> RunBuilder:
    return RunBuilder(ROUTES, partition_of, SeriesNames())


def made_up(count: int) -> list[SampleWire]:
    return [SampleWire("made-up", f"m{n}", 1.0) for n in range(count)]


def readings(gathered: RunBuilder, gate: str) -> list[object]:
    return gathered.end()[partition_of(gate)][gate]  # type: ignore[return-value]


def test_samples_and_faults_of_a_series_keep_their_order() -> None:
    """Each ends the block of the other, and a block of one series is not ended by another series."""
    values = [1, 2, "no", 3, float("nan"), None, 4]
    events = [[sample("pay/rate", value), sample("pay/x", 0)] for value in values]
    cut = cutter().cut(chunk([*(record(at, event) for at, event in enumerate(events)), mark(len(events))]), ROUTES)
    (blocks,) = [run.readings["b"] for _, run in cut.runs if "b" in run.readings]
    assert [(type(block).__name__, [row[0] for row in block.rows]) for block in blocks] == [  # type: ignore[union-attr]
        ("Samples", [0, 1]),
        ("Faults", [2]),
        ("Samples", [3]),
        ("Faults", [4, 5]),
        ("Samples", [6]),
    ]
    assert [row[1][2][0] for row in rows_of(cut.runs) if row[0] == "d"] == list(range(7))


@pytest.mark.parametrize("full", [False, True], ids=["few-names", "as-many-names-as-are-kept"])
@pytest.mark.parametrize(
    "bad",
    [
        SampleWire("pay", "bad\nname", 1.0),
        SampleWire("", "rate", 1.0),
        SampleWire("pay", "rate", 1.0, time=-1),
        SampleWire("pay", "rate", 1.0, time=float("nan")),
        SampleWire("pay", "rate", 1.0, instance=""),
        SampleWire("pay", "rate", 1.0, instance="\x1b"),
    ],
)
def test_no_record_is_taken_by_half(bad: SampleWire, full: bool) -> None:
    """A record with a bad name, time or instance anywhere in it leaves nothing behind on the short path."""
    table = gathered()
    assert table.take_wires(0, START_MS, [SampleWire("pay", "rate", 1.0)])
    wires = made_up(ROWS_MAX) if full else []
    assert not table.take_wires(1, START_MS, [*wires, SampleWire("pay", "rate", 2.0), SampleWire("pay", "x", 2.0), bad])
    by_gate = table.end()
    assert [block.rows for block in by_gate[partition_of("b")]["b"]] == [[(0, 0, START_MS, 1.0)]]  # type: ignore[union-attr]
    assert not any("d" in gates for gates in by_gate.values())


def test_order_holds_when_the_table_of_names_is_full() -> None:
    """A series that the full table does not hold keeps the order of its samples and faults, whichever path they take."""
    table = gathered()
    table.take(0, START_MS, [Sample(f"made-up/{n}", 1.0, None, None) for n in range(ROWS_MAX)])
    assert table.take_wires(1, START_MS, [SampleWire("pay", "rate", 1.0)])
    table.take(2, START_MS, [Fault("pay/rate", "no number")])
    assert table.take_wires(3, START_MS, [SampleWire("pay", "rate", 3.0)])
    table.take(4, START_MS, [Sample("pay/rate", 4.0, None, None)])
    blocks = readings(table, "b")
    assert [type(block) for block in blocks[:2]] == [Samples, Faults]
    assert [row[0] for block in blocks for row in block.rows] == [1, 2, 3, 4]  # type: ignore[attr-defined]


def test_made_up_names_fill_nothing() -> None:
    """The tables hold at most as many names as a run may have rows."""
    table = gathered()
    for start in range(3):
        wires = [SampleWire(f"s{start}", f"m{n}", 1.0, instance=f"i{start}-{n}") for n in range(ROWS_MAX // 2)]
        assert table.take_wires(start, START_MS, wires)
    assert len(table._samples) <= ROWS_MAX
    assert len(table._pairs) <= ROWS_MAX
    assert len(table._instances) <= ROWS_MAX
    assert table.end() == {}


def test_an_outcome_of_an_unknown_gate_is_a_dead_letter() -> None:
    """It concerns no gate, and is not lost in silence."""
    outcome = {"kind": "outcome", "gate": "nobody", "epoch": "0" * 16, "token": "", "outcome": "ok", "count": 1, "id": "1"}
    cut = cutter(topic="internal").cut(chunk([record(0, outcome), mark(1)]), ROUTES)
    assert [dead.reason for dead in cut.dead] == ["an outcome of a gate without a policy: nobody"]
    assert not rows_of(cut.runs)


def outcome(gate: str, token: str = "", **more: object) -> dict[str, object]:
    """An outcome of one execution, as `internal` holds it."""
    said = {"kind": "outcome", "gate": gate, "epoch": "0" * 16, "token": token, "outcome": "ok", "count": 1, "id": "1"}
    return said | {"guard": "g1", "total": 5, **more}


def test_outcomes_are_evidence_where_a_condition_reads_them() -> None:
    """Of a gate without such a condition no outcome is evidence, and none is a dead letter either."""
    routes = dataclasses.replace(ROUTES, outcomes=frozenset("d"))
    cut = cutter(topic="internal").cut(chunk([record(0, outcome("a", lost=3)), record(1, outcome("d")), mark(2)]), routes)
    held = {gate: [type(block).__name__ for block in found] for _, run in cut.runs for gate, found in run.readings.items()}
    assert held == {"d": ["Outcomes", "Sent"]}
    assert cut.dead == []


def test_probes_are_evidence_of_every_gate_with_a_policy() -> None:
    """Any breaker may be proving: what holds a token is told one by one, whatever the gate's conditions read."""
    routes = dataclasses.replace(ROUTES, outcomes=frozenset())
    records = [record(at, outcome("a", f"{at:016}:0")) for at in range(3)]
    cut = cutter(topic="internal").cut(chunk([*records, mark(3)]), routes)
    blocks = [block for _, run in cut.runs for block in run.readings.get("a", [])]
    assert [row.token for block in blocks if isinstance(block, Outcomes) for row in block.rows] == [
        f"{at:016}:0" for at in range(3)
    ]


def test_outcomes_from_before_an_activation_are_forwarded_under_it() -> None:
    """A router that goes back for a policy that reads outcomes forwards those that it had passed over."""
    records = [record(0, outcome("a")), record(1, outcome("a")), mark(2)]
    before = dataclasses.replace(ROUTES, outcomes=frozenset())
    after = dataclasses.replace(ROUTES, routing=8, outcomes=frozenset("a"))
    one = cutter(topic="internal")
    assert not any(run.readings for _, run in one.cut(chunk(records), before).runs)
    one.back_to(0)
    again = one.cut(chunk(records, 0), after)
    rows = [row for _, run in again.runs for block in run.readings.get("a", []) for row in block.rows]  # type: ignore[union-attr]
    assert sorted({row[0] for row in rows}) == [0, 1]


def test_unreadable_records_concern_the_gates_that_ask() -> None:
    """What cannot be read stands in the evidence of each gate whose policy asks about it, and in no other's."""
    routes = dataclasses.replace(ROUTES, unreadable=("b", "d"))
    cut = cutter().cut(chunk([record(0, b"garbage"), mark(1)]), routes)
    assert sorted(gate for gate, _ in rows_of(cut.runs)) == ["b", "d"]
