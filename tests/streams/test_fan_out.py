"""Nobody pays for another's fan-out: what one series weighs is not taken from records of another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.front_door import PARTITIONS, chunk, cutter, mark, partition_of, record, rows_of, sample

from failshut_breakers.evidence.records import Packed, Packer, Reading, Run, Samples, Shared, decode_run, encode_run
from failshut_breakers.policy.routes import Routes
from failshut_streams.kafka.topics import EVIDENCE_BYTES_MAX
from failshut_streams.router.cutter import Cut
from failshut_streams.router.run_builder import LOAD_MAX, RECORD_LOAD_MAX, TOO_MANY

MANY = tuple(f"gate-{n}" for n in range(1_500))
NAN = float("nan")


MADE = (b"made",) * PARTITIONS


def routes(hot: int, *, ask: bool = False) -> Routes:
    """So many gates judge hot/x; one judges pay/amount."""
    gates = MANY[:hot]
    series = {"hot/x": gates, "pay/amount": ("pay",)}
    return Routes(1, series, gates=dict.fromkeys(gates), unreadable=gates if ask else (), made=MADE)


def runs_of(routes: Routes, *values: Any, key: bytes | None = None) -> Cut:
    records = [record(at, value, key=key) for at, value in enumerate(values)]
    return cutter().cut(chunk([*records, mark(len(records))]), routes)


def rows(cut: Cut, gate: str) -> list[tuple[Any, ...]]:
    """The rows of a gate, as they are read back from the wire."""
    read = [(at, decode_run(encode_run(run))) for at, run in cut.runs if at == partition_of(gate)]
    mine = [(at, msgspec.structs.replace(run, readings={gate: run.readings.get(gate, [])})) for at, run in read]
    return [row for _, row in rows_of(mine)]


@pytest.mark.parametrize("hot", [1, 400, 1_500])
def test_a_popular_series_makes_no_record_of_another_unreadable(hot: int) -> None:
    """A record of 5,000 samples is read whole, however many gates judge some other series, in it or beside it."""
    cut = runs_of(routes(hot), [sample("pay/amount", 1)] * 5_000, [sample("pay/amount", 2)] * 5_000 + [sample("hot/x")])
    assert [row[0] for row in rows(cut, "pay")] == ["Samples"] * 10_000
    assert not cut.dead


@pytest.mark.parametrize("bad", [[], [sample("pay/amount", NAN)]], ids=["samples", "mixed"])
def test_what_is_too_heavy_is_a_fault_of_that_series_alone(bad: list[Any]) -> None:
    """A record whose samples of one series are more than its gates can be asked to judge tells those gates so, and keeps the
    rest; nothing of it is lost in silence."""
    heavy = [sample("hot/x", 1)] * 5_000
    cut = runs_of(routes(1_500), [sample("pay/amount", 1), *heavy, sample("pay/amount", 2), *bad])
    faults = [row for row in rows(cut, MANY[7]) if row[0] == "Faults"]
    assert [(row[1], row[2][0], row[2][3]) for row in faults] == [("hot/x", 0, TOO_MANY)]
    assert [row[0] for row in rows(cut, MANY[7])] == ["Faults"]
    assert [row[0] for row in rows(cut, "pay")] == ["Samples", "Samples", *(["Faults"] if bad else [])]
    assert [dead.reason for dead in cut.dead] == [TOO_MANY]


@pytest.mark.parametrize(
    "value",
    [
        b"garbage",
        [sample("hot/x", NAN)] * 3,
        [sample("hot/x")] * 20,
        [sample("hot/x", 1), sample("hot/x", NAN)] * 40,
        ["no object"] * 200,
        [{"kind": "heartbeat", "service": "pay"}] * 200,
    ],
    ids=["garbage", "faults", "samples", "alternating", "elements", "beats"],
)
def test_a_run_stays_below_what_its_topic_takes(value: Any) -> None:
    """However many gates one record feeds, no run outgrows the evidence topic's limit: it would stop every router."""
    assert LOAD_MAX + RECORD_LOAD_MAX < EVIDENCE_BYTES_MAX
    given = routes(1_500, ask=True)
    given.sources["pay"] = MANY
    times = 40
    cut = runs_of(given, *[value] * times)
    assert max(len(encode_run(run)) for _, run in cut.runs) < LOAD_MAX * 5 // 4
    places = {(row[-1][0], row[-1][1]) for row in rows(cut, MANY[0])}
    assert len(places) == times * (len(value) if isinstance(value, list) else 1)


@pytest.mark.parametrize(
    ("heavy", "kind"),
    [
        ([sample("hot/x", 1), sample("hot/x", NAN)] * 8_000, "Faults"),
        ([{"kind": "heartbeat", "service": "hot"}] * 20_000, "Beats"),
    ],
    ids=["alternating", "beats"],
)
def test_one_record_is_bounded_whatever_it_holds(heavy: list[Any], kind: str) -> None:
    """A record of any kind of reading that many gates ask for becomes a bounded run: one reading of it is left."""
    given = routes(1_500, ask=True)
    given.sources["hot"] = MANY
    cut = runs_of(given, [*heavy, sample("pay/amount", 1)])
    assert max(len(encode_run(run)) for _, run in cut.runs) < RECORD_LOAD_MAX
    assert [row[0] for row in rows(cut, MANY[3])] == [kind]
    assert [row[0] for row in rows(cut, "pay")] == ["Samples"]


def test_garbage_costs_a_bounded_multiple_of_its_bytes() -> None:
    """One-byte records become no evidence where no gate asks about them, and little more than their reasons where 1,000 do."""
    values = [b"x"] * 500
    quiet, asked = runs_of(routes(1_000), *values), runs_of(routes(1_000, ask=True), *values)
    assert sum(len(encode_run(run)) for _, run in quiet.runs) < 1_000
    size = sum(len(encode_run(run)) for _, run in asked.runs)
    assert size < PARTITIONS * (500 * 150 + 1_000 * 40)
    assert len(quiet.dead) == len(asked.dead) == 500


def test_what_cannot_be_believed_is_told_to_the_keys_series() -> None:
    """A record that is refused unread, because its time is not the broker's, is a fault of the series that its key names."""
    late = record(0, sample("hot/x"), key=b"pay/amount", time_type=0)
    cut = cutter().cut(chunk([late, mark(1)]), routes(2))
    assert [(row[0], row[1]) for row in rows(cut, "pay")] == [("Faults", "pay/amount")]


def test_a_block_travels_once() -> None:
    """What a run weighs does not grow with the gates that a series feeds, but for their names."""
    values = [sample("hot/x", 1)] * 2_000
    few, many = (sum(len(encode_run(run)) for _, run in runs_of(routes(hot), values).runs) for hot in (3, 300))
    assert many - few < 300 * 20


def test_a_full_table_of_names_costs_a_routed_series_nothing() -> None:
    """A producer that makes up names does not make each sample of another series a block of its own."""
    made_up = [[sample(f"made-up/{chunk}-{n}") for n in range(10_000)] for chunk in range(3)]
    cut = runs_of(routes(1), *made_up, [sample("pay/amount", n) for n in range(5)])
    blocks = [block for _, run in cut.runs for block in run.readings.get("pay", ())]
    assert [block.count for block in blocks if isinstance(block, Samples)] == [5]


GATES = ("a", "b", "c", "d")
block = st.builds(
    lambda name, count: Samples.of(name, [(n, 0, 1, 0.5) for n in range(count)]), st.sampled_from("xyz"), st.integers(1, 3)
)
some_gates = st.lists(st.sampled_from(GATES), min_size=1, unique=True).map(tuple)


@settings(max_examples=draws(200), deadline=None)
@given(st.lists(st.tuples(some_gates, block), max_size=8))
def test_what_was_packed_is_read_back_by_gate_and_in_order(blocks: list[tuple[tuple[str, ...], Reading]]) -> None:
    """Each gate finds its blocks in the order in which they were added, before the wire and behind it."""
    packer = Packer()
    plain: dict[str, list[Reading]] = {}
    for gates, reading in blocks:
        packer.add(packer.group(gates), reading)
        for gate in gates:
            plain.setdefault(gate, []).append(reading)
    shared = packer.shared()
    assert shared == plain
    for readings in (shared, plain):
        run = Run(2, "e", 1, 1, 1, "r", "telemetry", 0, 0, 9, 1, None, readings, [], b"made")
        assert decode_run(encode_run(run)).readings == plain


def test_a_run_packs_again_what_it_read() -> None:
    """A run that was read is written with the same meaning, though its blocks are nobody's in common any more."""
    shared = Shared(Packed(["a", "b"], [[0, 1]], [(0, Samples.of("x", [(1, 0, 1, 0.5)]))]))
    run = decode_run(encode_run(Run(2, "e", 1, 1, 1, "r", "telemetry", 0, 0, 9, 1, None, shared, [], b"made")))
    assert decode_run(encode_run(run)).readings == shared
    assert partition_of("a") in range(PARTITIONS)
