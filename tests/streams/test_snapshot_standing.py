"""What another version reads of a snapshot: what gates are, if it is authentic and whole, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from breakers.log import World, policy

from failshut_breakers.decisions.decision import Breaker
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.governor import Governor
from failshut_streams.governor import snapshots
from failshut_streams.governor.snapshots import BadSnapshot, Snapshots

KEY = b"k" * 32
DRIFT = "drift: {series: s/x, detector: adwin, warm_up: 20}"
Table = dict[str, bytes]


def owns(gate: str) -> bool:
    return True


def taken(of: Governor) -> Table:
    return {name: data for name, data in Snapshots(0, KEY).cut(of) if data is not None}


@pytest.fixture
def governor() -> Governor:
    """Two gates: one open, one TRIPPED."""
    world = World(policy(DRIFT), policy(DRIFT.replace("s/x", "s/y"), gate="h"))
    for n in range(40):
        world.samples([48.0 + n % 3])
        world.samples([48.0 + n % 3 if n < 30 else 97.0], series="s/y")
        world.mark()
    world.samples([97.0] * 40, series="s/y")
    world.mark()
    assert (world.is_open("g"), world.last("h").breaker) == (True, Breaker.TRIPPED)
    governor: Governor = world.governors[0]
    return governor


@pytest.fixture
def table(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Its snapshot, which from now on is another version's."""
    made = taken(governor)
    monkeypatch.setattr(snapshots, "_code", lambda: "another version")
    return made


def test_another_version_reads_what_gates_are(governor: Governor, table: Table) -> None:
    """The state itself it refuses; the form it reads: the same place, the same gates, and no gate that is open."""
    with pytest.raises(BadSnapshot, match="made by failshut"):
        Snapshots(0, KEY).restore(table, governor.log, owns)
    found = Snapshots(0, KEY).stand(table, governor.log, owns)
    assert found is not None
    assert (found.offset, found.term, found.installation) == (governor.offset, governor.term, governor.installation)
    assert {name: gate.breaker.state for name, gate in found.gates.items()} == dict.fromkeys("gh", Breaker.TRIPPED)
    assert {name: gate.epoch for name, gate in found.gates.items()} == {n: g.epoch for n, g in governor.gates.items()}
    assert found.coverages[-1].covered == governor.coverages[-1].covered


def test_a_later_piece_says_what_a_gate_is(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a gate that was written twice the later word counts, as for the state itself."""
    kept, made = Snapshots(0, KEY), Table()
    for round_ in range(2):
        governor.gates["g"].waits = str(round_)
        governor.changed.add("g")
        made |= {name: data for name, data in kept.cut(governor) if data is not None}
    monkeypatch.setattr(snapshots, "_code", lambda: "another version")
    found = Snapshots(0, KEY).stand(made, governor.log, owns)
    assert found is not None
    assert found.gates["g"].waits == "1"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.update({"0": table["0"][:-1] + bytes([table["0"][-1] ^ 1])}),
        lambda table: table.update({name: data + b"x" for name, data in table.items() if "/" in name}),
        lambda table: [table.pop(name) for name in list(table) if "/" in name][:1],
    ],
)
def test_what_is_not_authentic_or_not_whole_says_nothing(
    governor: Governor, table: Table, spoil: Callable[[Table], object]
) -> None:
    """A changed head, a changed piece, a piece that is gone."""
    spoil(table)
    with pytest.raises(BadSnapshot):
        Snapshots(0, KEY).stand(table, governor.log, owns)


def test_it_stands_for_its_own_log_partition_and_key(governor: Governor, table: Table) -> None:
    """Of another topic, another partition or another key it is nobody's."""
    with pytest.raises(BadSnapshot, match="of partition"):
        Snapshots(0, KEY).stand(table, EvidenceLog("another", 1), owns)
    with pytest.raises(BadSnapshot, match="of partition"):
        Snapshots(1, KEY).stand({"1": table["0"]}, governor.log, owns)
    with pytest.raises(BadSnapshot, match="not authentic"):
        Snapshots(0, b"l" * 32).stand(table, governor.log, owns)


def test_without_a_snapshot_or_a_term_there_is_nothing(governor: Governor) -> None:
    """Then the log says all that is known, or nobody does."""
    assert Snapshots(0, KEY).stand({}, governor.log, owns) is None
    assert Snapshots(0, KEY).stand(taken(Governor(0, governor.log, owns)), governor.log, owns) is None
