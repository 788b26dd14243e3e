"""Control: signed commands become evidence, whole and in order, however much of it there is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from streams import front_door
from streams.front_door import EVIDENCE_ID, INSTALLATION, LOG, PARTITIONS, START_MS, STEP_MS, at_ms, mark, partition_of

from failshut.signing import TYP_COMMAND, SigningKey
from failshut_breakers.command import AcceptGap, Activate, Command, Lock, OpenTerm, Reset
from failshut_breakers.evidence.coverage import BROKER_SKEW_MS
from failshut_breakers.evidence.records import AcceptedGap, Activation, Commanded, Run, Term, encode_run
from failshut_breakers.governor import Governor
from failshut_breakers.policy import yaml_reader
from failshut_streams.codecs import DeadKind
from failshut_streams.control import cutter as control_cutter
from failshut_streams.control.cutter import UNSIGNED, ControlCut, ControlCutter
from failshut_streams.control.operators import OperatorsInForce
from failshut_streams.kafka.topics import CONTROL_BYTES_MAX, EVIDENCE_BYTES_MAX
from failshut_streams.router.cutter import Cut
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME

KEY, STRANGER, MONITOR = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
ELSEWHERE = "anotherinstallation"


class _Who(Mapping[str, Any]):
    """What every command of these tests says of itself; each has an id of its own."""

    numbers = itertools.count()
    said: ClassVar[dict[str, Any]] = {"installation": INSTALLATION, "by": "ada", "why": "a test"}

    def __getitem__(self, name: str) -> Any:
        return f"id-{next(self.numbers)}" if name == "id" else self.said[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("id", *self.said))

    def __len__(self) -> int:
        return 1 + len(self.said)


WHO = _Who()
STARTS = {"telemetry": {0: 0}, "control": {0: 0}}
TERM = OpenTerm(**WHO, term=1, evidence_id=EVIDENCE_ID, evidence_partitions=PARTITIONS, starts=STARTS)
GATES = ("a", "b", "c")


def policy(gate: str, series: str = "pay/amount") -> str:
    drift = f"conditions:\n  - drift: {{series: {series}, detector: adwin}}\n"
    return f'gate: {gate}\npermit: {{ttl: 2s}}\nsubjects: ["*"]\n{drift}'


def activate(version: int, pad: int = 0) -> Activate:
    files = {f"{gate}.yaml": policy(gate) for gate in GATES}
    return Activate(**WHO, version=version, files={**files, "notes.txt": "x" * pad})


def record(offset: int, command: Command | bytes | None, key: SigningKey = KEY, time_type: int = APPEND_TIME) -> Record:
    known = command is None or isinstance(command, bytes)
    value = command if known else key.sign(command.model_dump(mode="json"), TYP_COMMAND).encode()  # type: ignore[union-attr]
    return Record(offset, at_ms(offset), time_type, b"k", value, ())  # type: ignore[arg-type]


def cutter() -> ControlCutter:
    in_force = OperatorsInForce(KEY.key_set(), MONITOR.key_set(), EVIDENCE_ID)
    return ControlCutter(in_force, LOG, "tester", partition_of, 100 * STEP_MS)


def started(*records: Record) -> ControlCutter:
    at = cutter()
    at.everything([record(0, TERM), record(1, activate(1)), *records], 2 + len(records))
    return at


def joins(*cuts: ControlCut) -> None:
    told = [0] * PARTITIONS
    for cut in cuts:
        for partition, run in cut.runs:
            assert run.previous == told[partition] < run.upto
            told[partition] = run.upto


def notices(cut: ControlCut, partition: int = 0) -> list[Any]:
    return [notice for at, run in cut.runs for notice in run.notices if at == partition]


def governor_after(partition: int, *cuts: ControlCut) -> Governor:
    governor = Governor(partition, LOG, lambda gate: partition_of(gate) == partition)
    runs = [run for cut in cuts for at, run in cut.runs if at == partition]
    for offset, run in enumerate(runs):
        governor.step(offset, run)
    return governor


def test_everything_is_told_to_everyone() -> None:
    """A router that starts tells every evidence partition all of control, from its beginning to its end, in one go."""
    at = cutter()
    cut = at.everything(
        [record(0, TERM), record(3, activate(1)), record(4, Lock(**WHO, signed_ms=START_MS, gate="a")), mark(7, partitions=1)],
        9,
    )
    assert sorted((partition, run.previous, run.upto) for partition, run in cut.runs) == [(n, 0, 9) for n in range(PARTITIONS)]
    assert [type(notice) for notice in notices(cut)] == [Term, Activation]
    assert all(run.mark is not None and run.mark.time_ms == at_ms(7) for _, run in cut.runs)
    held = [gate for partition, run in cut.runs for gate in run.readings if partition_of(gate) == partition]
    assert held == ["a"]
    assert at.routes.routing == 3
    assert at.applied == [(3, at_ms(3))]


@pytest.mark.parametrize("live", [False, True], ids=["at-the-start", "in-one-batch"])
def test_any_number_of_bundles_fits(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles that no single evidence record could hold are told in several, and governors know the last of them."""
    assert control_cutter.PIECE_BYTES_MAX + CONTROL_BYTES_MAX < EVIDENCE_BYTES_MAX
    size, count, piece = 10_000, 40, 100_000
    monkeypatch.setattr(control_cutter, "PIECE_BYTES_MAX", piece)
    bundles = [record(2 + n, activate(n + 1, pad=size)) for n in range(count)]
    at = cutter()
    cuts = [at.everything([record(0, TERM), *([] if live else bundles)], 2 if live else 2 + count)]
    if live:
        cuts.append(at.cut(bundles, 2 + count))
    joins(*cuts)
    for cut in cuts:
        assert max(len(encode_run(run)) for _, run in cut.runs) < piece + 2 * size
    assert [notice.version for cut in cuts for notice in notices(cut) if isinstance(notice, Activation)] == [
        *range(1, count + 1)
    ]
    governor = governor_after(1, *cuts)
    assert governor.book.version == count
    assert governor.coverages[-1].covered["control", 0] == 2 + count


def test_pieces_of_an_earlier_term_count_in_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where control is told in pieces, a policy from before the term that is open now is known to its governors."""
    monkeypatch.setattr(control_cutter, "PIECE_BYTES_MAX", 1)
    second = TERM.model_copy(update={"term": 2, "id": "second"})
    records = [record(0, activate(1)), record(1, TERM), record(2, activate(2)), record(3, second), mark(4, partitions=1)]
    at = cutter()
    cut = at.everything(records, 5)
    joins(cut)
    assert len(cut.runs) == 5 * PARTITIONS
    assert {run.term for _, run in cut.runs} == {2}
    for partition in range(PARTITIONS):
        governor = governor_after(partition, cut)
        assert (governor.term, governor.book.version) == (2, 2)
        assert governor.coverages[-1].covered["control", 0] == 5


def test_live_records_join_what_was_told() -> None:
    """Runs of control follow each other for each evidence partition, whoever each batch concerned."""
    at = cutter()
    cuts = [at.everything([record(0, TERM), record(1, activate(1))], 2)]
    cuts += [
        at.cut([record(2, Lock(**WHO, signed_ms=START_MS, gate="a"))], 3),
        at.cut([record(3, Lock(**WHO, signed_ms=START_MS, gate="b"))], 4),
    ]
    cuts += [at.cut([mark(10, partitions=1)], 11), at.cut([record(12, activate(2)), mark(13, partitions=1)], 14)]
    joins(*cuts)
    assert [len(cut.runs) for cut in cuts[1:]] == [1, 1, PARTITIONS, PARTITIONS]
    assert cuts[-1].applied == [(12, at_ms(12))]


def test_a_bundle_that_changes_nothing_is_taken_up_all_the_same() -> None:
    """Governors count by its version from then on: routers that stayed below it would never be counted again."""
    at = started(record(2, activate(2)))
    assert at.routes.routing == at.book.routing == 2
    assert at.applied == [(1, at_ms(1)), (2, at_ms(2))]


def test_evidence_goes_on_behind_a_bundle_that_changes_nothing() -> None:
    """The next bundle's coverage joins: governors and routers begin it at the same mark."""
    at, front, home = cutter(), front_door.cutter(), partition_of("a")
    governor = Governor(home, LOG, lambda gate: partition_of(gate) == home)

    def told(cut: ControlCut | Cut) -> None:
        for partition, run in cut.runs:
            if partition == home:
                governor.step(governor.offset + 1, run)

    def routed(start: int, upto: int) -> None:
        records = [mark(offset, partitions=1) for offset in range(start, upto)]
        told(front.cut(front_door.chunk(records), at.routes))

    told(at.everything([record(0, TERM), record(1, activate(1))], 2))
    routed(0, 4_000)
    for offset, version in ((4_000, 2), (8_000, 3)):
        cut = at.cut([record(offset, activate(version, pad=version // 3))], offset + 1)
        told(cut)
        back = front.last_boundary_before(cut.applied[0][1] - BROKER_SKEW_MS) if cut.applied else offset
        assert back is not None
        routed(back, offset + 4_000)
    newest = governor.coverages[-1]
    assert (newest.version, newest.gaps) == (8_000, {})
    assert newest.covered["telemetry", 0] == 12_000


def test_marks_are_forwarded_now_and_then() -> None:
    """A mark too soon after the last one is passed over; what stood before it goes with the next."""
    at = started()
    cut = at.cut([mark(200, partitions=1), mark(201, partitions=1), mark(350, partitions=1)], 351)
    assert [run.mark.time_ms for partition, run in cut.runs if partition == 0 and run.mark] == [at_ms(200), at_ms(350)]


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(record(2, Lock(**WHO, signed_ms=START_MS, gate="a"), STRANGER), id="a-stranger's"),
        pytest.param(record(2, b"garbage"), id="garbage"),
        pytest.param(record(2, None), id="a-tombstone"),
        pytest.param(record(2, OpenTerm(**{**TERM.model_dump(), "term": 9, "id": "ninth"}), STRANGER), id="a-stranger's-term"),
        pytest.param(record(2, Lock(**WHO, signed_ms=START_MS, gate="a"), KEY, 0), id="its-producer's-time"),
        pytest.param(record(2, activate(9), KEY, 0), id="an-activation-at-its-producer's-time"),
    ],
)
def test_what_is_not_an_operators_commands_nothing(token: Record) -> None:
    """It goes to the dead letters, and no governor hears of it."""
    at = started()
    cut = at.cut([token], 3)
    kind = DeadKind.COMMAND if token.timestamp_type == APPEND_TIME else DeadKind.OTHER
    assert [(dead.record, dead.kind) for dead in cut.dead] == [(token, kind)]
    assert not cut.runs
    assert not cut.applied
    assert at.term is not None
    assert at.term.term == 1


def test_a_command_for_a_gate_that_is_not_known_here_is_told_all_the_same() -> None:
    """Another version may know the gate: its governor decides, and here the record is a dead letter as well."""
    at = started()
    cut = at.cut([record(2, Lock(**WHO, signed_ms=START_MS, gate="nobody"))], 3)
    assert [dead[1:] for dead in cut.dead] == [("a command for a gate that no policy speaks of: nobody", DeadKind.COMMAND)]
    assert [gate for _, run in cut.runs for gate in run.readings] == ["nobody"]


def test_a_signed_command_of_a_newer_version_is_told_to_its_gate() -> None:
    """A router that cannot read a signed command does not vouch for its absence: a lock that it drops leaves a gate open."""
    at = started()
    newer = {**WHO, "kind": "lock", "gate": "a", "until": "tomorrow"}
    token = record(2, KEY.sign(newer, TYP_COMMAND).encode())
    forged = record(3, STRANGER.sign(newer, TYP_COMMAND).encode())
    cut = at.cut([token, forged], 4)
    told = [reading for _, run in cut.runs for reading in run.readings.get("a", [])]
    assert [json.loads(one.claims)["kind"] for one in told if isinstance(one, Commanded)] == ["lock"]
    assert [dead.record.offset for dead in cut.dead] == [2, 3]


def test_an_activation_by_nobody_known_closes_its_gates() -> None:
    """A policy that somebody tampered with is no ground to keep executing on: it opens nothing and closes what it names. Only
    the names go on, and no router goes back for it."""
    at = started()
    files = {"a.yaml": policy("a", series="pay/x"), "more.txt": "gate: made-up\n" + "x" * 500_000}
    cut = at.cut([record(2, Activate(**WHO, version=9, files=files), STRANGER)], 3)
    (activation,) = notices(cut)
    assert (activation.fault, activation.signer, activation.files) == (UNSIGNED, "", {"a": "gate: a"})
    assert sum(len(encode_run(run)) for _, run in cut.runs) < 1_000
    assert (cut.applied, at.routes.routing) == ([], 1)
    assert at.book.entries["a"].policy is None
    assert at.book.entries["b"].policy is not None
    assert "a" not in at.routes.gates
    assert (at.book.version, sorted(at.book.entries)) == (1, list(GATES))


def test_a_bundle_by_nobody_known_about_nobody_is_a_dead_letter() -> None:
    """It costs its signature check: nothing of it is read as a policy, told, or taken up, however often it comes."""
    at = started()
    deep = "gate: nobody\nx: " + "[" * 800 + "]" * 800
    token = record(2, Activate(**WHO, version=9, files={f"f{n}": deep for n in range(60)}), STRANGER)
    cut = at.cut([token._replace(offset=2 + n) for n in range(20)], 22)
    assert len(cut.dead) == 20
    assert (cut.runs, cut.applied, cut.refused) == ([], [], [])


def test_a_bundle_that_was_prepared_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker reads large signed bundles in a thread; taking them up, for routers and governors, reads no YAML then."""
    bundle = record(2, activate(2, pad=control_cutter.SMALL_BYTES))
    forged = record(3, activate(3, pad=control_cutter.SMALL_BYTES + 1), STRANGER)
    at = started()
    at.prepare([forged, bundle, mark(4, partitions=1)])
    monkeypatch.setattr(yaml_reader, "read_yaml", None)
    monkeypatch.setattr(yaml_reader, "_events", None)
    cut = at.cut([bundle], 3)
    assert cut.applied == [(2, at_ms(2))]
    assert at.book.entries["a"].policy is not None


def test_an_older_bundle_is_told_and_not_applied() -> None:
    """A refused activation sends no router back, and governors refuse it by the same function."""
    at = started()
    cut = at.cut([record(2, activate(1))], 3)
    assert cut.refused
    assert not cut.applied
    assert len(notices(cut)) == 1
    assert at.routes.routing == 1


def test_marks_that_control_cannot_have_are_none() -> None:
    """More than one partition, a producer's time, garbage: no mark of these moves evidence time."""
    at = started()
    odd = [mark(200, partitions=2), mark(201, partitions=1, time_type=0), mark(202, partitions=1)._replace(value=b"x")]
    cut = at.cut(odd, 203)
    assert not cut.runs
    assert len(cut.dead) == 3


def test_readings_and_gaps_reach_whom_they_concern() -> None:
    """A command goes to its gate's partition, an accepted gap to every one."""
    at = started()
    gap = AcceptGap(**WHO, signed_ms=START_MS, topic="telemetry", partition=1, upto=9)
    cut = at.cut([record(2, Reset(**WHO, signed_ms=START_MS, gate="b", epoch=5)), record(3, gap)], 4)
    runs: dict[int, Run] = dict(cut.runs)
    assert sorted(runs) == [*range(PARTITIONS)]
    assert all(isinstance(run.notices[0], AcceptedGap) for run in runs.values())
    (reset,) = runs[partition_of("b")].readings["b"]
    assert isinstance(reset, Commanded)
    assert reset.offset == 2


def test_what_came_since_a_version_is_known() -> None:
    """The oldest activation above a routing version decides how far a router goes back."""
    at = started(record(2, activate(2)), record(3, activate(3)))
    assert [at.applied_since(routing) for routing in (-1, 1, 2, 3)] == [at_ms(1), at_ms(2), at_ms(3), None]
