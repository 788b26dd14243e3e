"""Control: signed commands become evidence, whole and in order, however much of it there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from streams import front_door
from streams.front_door import EVIDENCE_ID, INSTALLATION, PARTITIONS, START_MS, mark, partition_of

from failshut.signing import TYP_COMMAND, SigningKey
from failshut_breakers.command import AcceptGap, Activate, Command, Hold, OpenTerm, Reset
from failshut_breakers.coverage import BROKER_SKEW_MS
from failshut_breakers.evidence import AcceptedGap, Activation, Commanded, Run, Term, encode_run
from failshut_breakers.governor import Governor
from failshut_breakers.taken import IDS_MAX, STEP_BACK_MS, VALID_MS, Taken
from failshut_streams import control
from failshut_streams.control import UNSIGNED, ControlCut, ControlCutter
from failshut_streams.cutter import APPEND_TIME, Cut
from failshut_streams.operator import command_key, read_command
from failshut_streams.topics import CONTROL_BYTES_MAX, EVIDENCE_BYTES_MAX
from failshut_streams.transport import Record

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
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
    drift = f"conditions:\n  - drift: {{series: {series}, detector: adwin, demand_for: 1s}}\n"
    return f'gate: {gate}\npermit: {{ttl: 2s}}\nsubjects: ["*"]\n{drift}'


def activate(version: int, pad: int = 0) -> Activate:
    files = {f"{gate}.yaml": policy(gate) for gate in GATES}
    return Activate(**WHO, version=version, files={**files, "notes.txt": "x" * pad})


def record(offset: int, command: Command | bytes | None, key: SigningKey = KEY, time_type: int = APPEND_TIME) -> Record:
    known = command is None or isinstance(command, bytes)
    value = command if known else key.sign(command.model_dump(mode="json"), TYP_COMMAND).encode()  # type: ignore[union-attr]
    return Record(offset, START_MS + offset, time_type, b"k", value, ())  # type: ignore[arg-type]


def cutter() -> ControlCutter:
    return ControlCutter(KEY.key_set(), EVIDENCE_ID, PARTITIONS, "tester", partition_of, 100)


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
    governor = Governor(partition, EVIDENCE_ID, PARTITIONS, lambda gate: partition_of(gate) == partition)
    runs = [run for cut in cuts for at, run in cut.runs if at == partition]
    for offset, run in enumerate(runs):
        governor.step(offset, run)
    return governor


def test_everything_is_told_to_everyone() -> None:
    """A router that starts tells every evidence partition all of control, from its beginning to its end, in one go."""
    at = cutter()
    cut = at.everything(
        [record(0, TERM), record(3, activate(1)), record(4, Hold(**WHO, signed_ms=START_MS, gate="a")), mark(7, partitions=1)],
        9,
    )
    assert sorted((partition, run.previous, run.upto) for partition, run in cut.runs) == [(n, 0, 9) for n in range(PARTITIONS)]
    assert [type(notice) for notice in notices(cut)] == [Term, Activation]
    assert all(run.mark is not None and run.mark.time_ms == START_MS + 7 for _, run in cut.runs)
    held = [gate for partition, run in cut.runs for gate in run.readings if partition_of(gate) == partition]
    assert held == ["a"]
    assert at.routes.routing == 3
    assert at.applied == [(3, START_MS + 3)]


@pytest.mark.parametrize("live", [False, True], ids=["at-the-start", "in-one-batch"])
def test_any_number_of_bundles_fits(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles that no single evidence record could hold are told in several, and governors know the last of them."""
    assert control.PIECE_BYTES_MAX + CONTROL_BYTES_MAX < EVIDENCE_BYTES_MAX
    size, count, piece = 10_000, 40, 100_000
    monkeypatch.setattr(control, "PIECE_BYTES_MAX", piece)
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
    monkeypatch.setattr(control, "PIECE_BYTES_MAX", 1)
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
        at.cut([record(2, Hold(**WHO, signed_ms=START_MS, gate="a"))], 3),
        at.cut([record(3, Hold(**WHO, signed_ms=START_MS, gate="b"))], 4),
    ]
    cuts += [at.cut([mark(10, partitions=1)], 11), at.cut([record(12, activate(2)), mark(13, partitions=1)], 14)]
    joins(*cuts)
    assert [len(cut.runs) for cut in cuts[1:]] == [1, 1, PARTITIONS, PARTITIONS]
    assert cuts[-1].applied == [(12, START_MS + 12)]


def test_a_bundle_that_changes_nothing_is_taken_up_all_the_same() -> None:
    """Governors count by its version from then on: routers that stayed below it would never be counted again."""
    at = started(record(2, activate(2)))
    assert at.routes.routing == at.book.routing == 2
    assert at.applied == [(1, START_MS + 1), (2, START_MS + 2)]


def test_evidence_goes_on_behind_a_bundle_that_changes_nothing() -> None:
    """The next bundle's coverage joins: governors and routers begin it at the same mark."""
    at, front, home = cutter(), front_door.cutter(), partition_of("a")
    governor = Governor(home, EVIDENCE_ID, PARTITIONS, lambda gate: partition_of(gate) == home)

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
    assert [run.mark.time_ms - START_MS for partition, run in cut.runs if partition == 0 and run.mark] == [200, 350]


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(record(2, Hold(**WHO, signed_ms=START_MS, gate="a"), STRANGER), id="a-stranger's"),
        pytest.param(record(2, b"garbage"), id="garbage"),
        pytest.param(record(2, None), id="a-tombstone"),
        pytest.param(record(2, OpenTerm(**{**TERM.model_dump(), "term": 9, "id": "ninth"}), STRANGER), id="a-stranger's-term"),
        pytest.param(record(2, Hold(**WHO, signed_ms=START_MS, gate="a"), KEY, 0), id="its-producer's-time"),
        pytest.param(record(2, activate(9), KEY, 0), id="an-activation-at-its-producer's-time"),
        pytest.param(record(2, Hold(**WHO, signed_ms=START_MS, gate="nobody")), id="a-gate-that-no-policy-speaks-of"),
    ],
)
def test_what_is_not_an_operators_commands_nothing(token: Record) -> None:
    """It goes to the dead letters, and no governor hears of it."""
    at = started()
    cut = at.cut([token], 3)
    assert [dead.record for dead in cut.dead] == [token]
    assert not cut.runs
    assert not cut.applied
    assert at.term is not None
    assert at.term.term == 1


def test_an_activation_by_nobody_known_closes_its_gates() -> None:
    """A policy that somebody tampered with is no ground to keep executing on: it opens nothing and closes what it names."""
    at = started()
    cut = at.cut([record(2, Activate(**WHO, version=9, files={"a.yaml": policy("a", series="pay/x")}), STRANGER)], 3)
    (activation,) = notices(cut)
    assert (activation.fault, activation.signer) == (UNSIGNED, "")
    assert at.book.entries["a"].policy is None
    assert at.book.entries["b"].policy is not None
    assert "a" not in at.routes.gates
    assert at.book.version == 1


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
    assert [at.applied_since(routing) for routing in (-1, 1, 2, 3)] == [START_MS + 1, START_MS + 2, START_MS + 3, None]


# --- whose commands count, and how often ---


def test_a_command_of_another_installation_commands_nothing() -> None:
    """Copied from there, well signed and newer: it goes to the dead letters with words, and closes and opens nothing."""
    at = started()
    elsewhere = {**WHO, "installation": ELSEWHERE}
    tokens = [
        record(2, Activate(**elsewhere, version=9, files={"a.yaml": policy("a", series="pay/x")})),
        record(3, Hold(**elsewhere, signed_ms=START_MS, gate="a")),
        record(4, OpenTerm(**{**TERM.model_dump(), **elsewhere, "term": 9})),
        record(5, AcceptGap(**elsewhere, signed_ms=START_MS, topic="telemetry", partition=0, upto=9)),
        record(6, Activate(**elsewhere, version=9, files={"a.yaml": policy("a")}), STRANGER),
    ]
    cut = at.cut(tokens, 7)
    assert [dead.record for dead in cut.dead] == tokens
    assert all(f"of installation {ELSEWHERE}" in dead.reason for dead in cut.dead[:4])
    assert not cut.runs
    assert at.term is not None
    assert (at.term.term, at.book.version, at.book.entries["a"].fault) == (1, 1, "")


@pytest.mark.parametrize("first", [True, False], ids=["before-ours", "after-ours"])
def test_the_evidence_topic_says_whose_control_this_is(first: bool) -> None:
    """A term of another evidence topic fixes nothing, wherever it was copied to; the first that names this one does."""
    theirs = record(0, OpenTerm(**{**TERM.model_dump(), **WHO, "installation": ELSEWHERE, "evidence_id": "theirs", "term": 7}))
    ours = record(1, TERM)
    records = [theirs, ours] if first else [ours, theirs]
    at = cutter()
    cut = at.everything([one._replace(offset=n) for n, one in enumerate(records)] + [record(2, activate(1))], 3)
    assert (at.belonging.installation, at.term and at.term.term, at.book.version) == (INSTALLATION, 1, 1)
    assert len(cut.dead) == 1


def test_what_stood_before_the_term_counts_if_it_is_of_its_installation() -> None:
    """A renewed term keeps the installation, and with it the policies that were in force before."""
    at = cutter()
    elsewhere = {**WHO, "installation": ELSEWHERE}
    lax = Activate(**elsewhere, version=5, files={"a.yaml": policy("a", series="pay/x")})
    at.everything([record(0, lax), record(1, activate(1)), record(2, TERM)], 3)
    assert (at.book.version, at.routes.series.get("pay/x")) == (1, None)


def test_without_a_term_of_this_evidence_topic_nothing_counts() -> None:
    """No term, no installation: every command is refused, and the worker says why it does not start."""
    at = cutter()
    cut = at.everything([record(0, TERM.model_copy(update={"evidence_id": "gone"})), record(1, activate(1))], 2)
    assert (at.term, at.book.version, len(cut.dead)) == (None, 0, 2)
    assert at.belonging.elsewhere is not None


def test_a_second_command_with_an_id_that_is_taken_is_refused() -> None:
    """A hold that is sent twice holds once: the copy goes to the dead letters, whoever routes it."""
    hold = record(2, Hold(**WHO, signed_ms=START_MS, gate="a"))
    copy = hold._replace(offset=3, timestamp_ms=hold.timestamp_ms + 1, key=b"another key")
    at = started()
    cuts = [at.cut([hold], 3), at.cut([copy], 4)]
    assert [len(cut.runs) for cut in cuts] == [1, 0]
    assert "counts once" in cuts[1].dead[0].reason
    again = cutter()
    cut = again.everything([record(0, TERM), record(1, activate(1)), hold, copy], 4)
    assert [len(run.readings.get("a", [])) for at, run in cut.runs if at == partition_of("a")] == [1]


def test_a_gap_that_is_accepted_counts_once_and_now() -> None:
    """Brought out again in a later term it would vouch for what nobody has seen: its id is taken, and it is too old."""
    at = started()
    gap = record(2, AcceptGap(**WHO, signed_ms=START_MS, topic="telemetry", partition=0, upto=9))
    cuts = [at.cut([gap], 3), at.cut([gap._replace(offset=3)], 4)]
    assert [len(notices(cut)) for cut in cuts] == [1, 0]
    late = gap._replace(offset=4, timestamp_ms=START_MS + VALID_MS + 10_000)
    assert "sign it anew" in at.cut([late], 5).dead[0].reason


def test_a_gap_of_an_earlier_term_is_none_in_the_next() -> None:
    """Control is told whole; offsets that were signed for in another term say nothing of this one's."""
    gaps = [AcceptGap(**WHO, signed_ms=START_MS, topic="telemetry", partition=0, upto=upto) for upto in (900, 5)]
    second = TERM.model_copy(update={"term": 2, "id": "second"})
    cut = cutter().everything([record(0, TERM), record(1, gaps[0]), record(2, second), record(3, gaps[1])], 4)
    assert governor_after(0, cut).coverages[-1].covered["telemetry", 0] == 5


def test_an_id_counts_once_for_bundles_and_terms_too() -> None:
    """Another command under an id that was taken is refused, whatever it says."""
    at = started()
    first = activate(2)
    cut = at.cut([record(2, first), record(3, activate(3).model_copy(update={"id": first.id}))], 4)
    assert (at.book.version, len(cut.dead)) == (2, 1)


@pytest.mark.parametrize("late_ms", [-VALID_MS - 10_000, VALID_MS + 10_000])
def test_a_command_counts_near_the_time_of_its_signing(late_ms: int) -> None:
    """An old one that is brought out again, or one of a clock that is far ahead, is refused with words."""
    at = started()
    cut = at.cut([record(2, Hold(**WHO, signed_ms=START_MS - late_ms, gate="a"))], 3)
    assert not cut.runs
    assert "sign it anew" in cut.dead[0].reason


def test_what_is_remembered_of_ids_is_bounded() -> None:
    """By time: what is forgotten is refused for its age. By number: only an operator's own key reaches the bound."""
    taken = Taken()
    assert [taken.take(f"{n}", n, n) for n in range(1, IDS_MAX + 1)] == [""] * IDS_MAX
    assert "wait" in taken.take("one more", IDS_MAX, IDS_MAX)
    later_ms = IDS_MAX + VALID_MS + STEP_BACK_MS + 1
    assert taken.take("one more", later_ms, later_ms) == ""
    assert len(taken.ids) == 1
    assert "sign it anew" in taken.take("1", 1, later_ms)


def test_a_key_that_is_used_again_is_written_anew() -> None:
    """Compaction would remove the bundle or the term in force for routers that start later; so a router restores it."""
    term, bundle = own_key(record(0, TERM)), own_key(record(1, activate(1)))
    at = cutter()
    assert at.everything([term, bundle], 2).restore == []
    copy = own_key(record(2, Hold(**WHO, signed_ms=START_MS, gate="a")))._replace(key=bundle.key)
    cut = at.cut([copy, record(3, b"garbage")._replace(key=term.key)], 4)
    assert sorted(cut.restore) == sorted([(term.key, term.value), (bundle.key, bundle.value)])
    said_again = [one._replace(offset=4 + n) for n, one in enumerate((term, bundle, term, bundle))]
    cut = at.cut(said_again, 8)
    assert (cut.restore, cut.dead, cut.runs) == ([], [], [])
    # A router that starts when compaction has been there finds what it needs, later in the log.
    late = cutter()
    late.everything([copy._replace(key=b"hold"), *said_again[2:]], 8)
    assert late.term is not None
    assert (late.term.term, late.book.entries) == (1, at.book.entries)


def test_one_that_starts_later_restores_as_well() -> None:
    """While the original is still there, whichever router reads both writes it again, once."""
    term, bundle = own_key(record(0, TERM)), own_key(record(1, activate(1)))
    spoiled = record(2, None)._replace(key=bundle.key)
    assert cutter().everything([term, bundle, spoiled], 3).restore == [(bundle.key, bundle.value)]
    assert cutter().everything([term, bundle, spoiled, bundle._replace(offset=3)], 4).restore == []


def test_a_bundle_that_is_not_in_force_any_more_need_not_stand() -> None:
    """Only the newest bundle and term are restored: what one spoiler costs does not grow with the log."""
    old, new = own_key(record(1, activate(1))), own_key(record(2, activate(2)))
    at = cutter()
    cut = at.everything([own_key(record(0, TERM)), old, new, record(3, b"x")._replace(key=old.key)], 4)
    assert cut.restore == []


def test_commands_of_an_older_version_are_named() -> None:
    """A term without an installation opens nothing, and the worker can say that it is of an older version."""
    claims = {name: value for name, value in TERM.model_dump(mode="json").items() if name != "installation"}
    at = cutter()
    cut = at.everything([Record(0, START_MS, APPEND_TIME, b"k", KEY.sign(claims, TYP_COMMAND).encode(), ())], 1)
    assert at.term is None
    assert at.belonging.nameless
    assert "names no installation" in cut.dead[0].reason


def own_key(one: Record) -> Record:
    """The record under its command's own key."""
    return one._replace(key=command_key(read_command(one.value, KEY.key_set())))
