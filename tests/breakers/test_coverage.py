"""Coverage: what has been vouched for, and how far evidence time has come."""

from __future__ import annotations

import pytest
from log import CONTROL, EVIDENCE_ID, INSTALLATION, TELEMETRY, Key, World, policy

from failshut_breakers.evidence.coverage import BROKER_SKEW_MS, Admission, Coverage
from failshut_breakers.evidence.records import SCHEMA, Mark, Run, Term

OTHER: Key = ("telemetry", 1)


def term(**starts: dict[int, int]) -> Term:
    return Term(0, 0, 1, EVIDENCE_ID, 1, dict(starts), "operator", INSTALLATION)


def run(
    previous: int,
    upto: int,
    mark_ms: int = 0,
    *,
    key: Key = TELEMETRY,
    routing: int = -1,
    append_ms: int = 0,
    partitions: int = 1,
) -> Run:
    mark = Mark(mark_ms, partitions) if mark_ms else None
    return Run(SCHEMA, EVIDENCE_ID, 1, 1, routing, "r", *key, previous, upto, append_ms or mark_ms, mark, {}, [])


@pytest.fixture
def coverage() -> Coverage:
    """One telemetry partition and control."""
    return Coverage.of_term(term(telemetry={0: 0}, control={0: 0}), -1)


def test_runs_that_join_count(coverage: Coverage) -> None:
    """A run that begins where covering ended counts from its beginning."""
    assert coverage.admit(run(0, 5)) == (Admission.FRESH, 0)
    assert coverage.admit(run(5, 7)) == (Admission.FRESH, 5)
    assert coverage.covered[TELEMETRY] == 7


def test_what_is_told_twice_counts_once(coverage: Coverage) -> None:
    """A run that was covered is a duplicate; of one that overlaps only the rest counts."""
    coverage.admit(run(0, 5))
    assert coverage.admit(run(2, 5)) == (Admission.DUPLICATE, 0)
    assert coverage.admit(run(3, 9)) == (Admission.FRESH, 5)


def test_a_gap_stops_its_partition(coverage: Coverage) -> None:
    """A run that begins beyond what is covered is refused with its mark, and so are all after it, until the hole is written."""
    coverage.admit(run(0, 5, 100))
    coverage.admit(run(0, 1, 100, key=CONTROL))
    assert coverage.admit(run(6, 9, 300)) == (Admission.GAP, 0)
    assert coverage.admit(run(9, 12, 500)) == (Admission.GAP, 0)
    coverage.admit(run(1, 2, 500, key=CONTROL))
    assert coverage.evidence_ms == 100
    assert coverage.gaps == {TELEMETRY: 9}
    assert coverage.admit(run(5, 12, 500))[0] is Admission.FRESH
    assert coverage.evidence_ms == 500
    assert not coverage.gaps


def test_an_operator_signs_for_a_gap(coverage: Coverage) -> None:
    """Where a gap was accepted, runs count again from its end, and what lay before is covered."""
    coverage.admit(run(0, 5, 100))
    coverage.admit(run(8, 9, 300))
    coverage.accept_gap(*TELEMETRY, 8)
    assert not coverage.gaps
    assert coverage.admit(run(5, 8, 200))[0] is Admission.DUPLICATE
    assert coverage.admit(run(8, 9, 300)) == (Admission.FRESH, 8)


def test_an_accepted_gap_stays_accepted_in_a_newer_version(coverage: Coverage) -> None:
    """A version that begins after a gap was accepted does not ask for what is lost again."""
    coverage.admit(run(0, 5, 100))
    coverage.accept_gap(*TELEMETRY, 8)
    after = coverage.succeeded_by(50, 10_000)
    assert after.admit(run(8, 9, 300, routing=50))[0] is Admission.FRESH


def test_an_accepted_gap_is_where_a_newer_version_starts_at_least(coverage: Coverage) -> None:
    """A version that goes back to before its activation does not go back to before what an operator signed for."""
    activated_ms = 50_000 + BROKER_SKEW_MS
    coverage.admit(run(0, 1, append_ms=activated_ms))
    coverage.accept_gap(*TELEMETRY, 40)
    after = coverage.succeeded_by(5, activated_ms)
    assert after.admit(run(40, 41, routing=5)) == (Admission.FRESH, 40)


def test_what_was_refused_is_owed_until_all_of_it_was_told(coverage: Coverage) -> None:
    """A part that is told again settles nothing."""
    coverage.refuse(run(0, 10, 100))
    coverage.admit(run(0, 5, 50))
    assert coverage.held_back_by() is not None
    coverage.admit(run(5, 10, 100))
    assert coverage.held_back_by() is None


def test_a_coverage_that_something_is_owed_to_reaches_as_far_as_no_other(coverage: Coverage) -> None:
    """A fork that goes back to the others while it is owed a run would never be told it."""
    refused, gap = coverage.forked(1), coverage.forked(2)
    assert coverage.same_reach(refused)
    assert coverage.same_reach(gap)
    refused.refuse(run(0, 10, 100))
    gap.admit(run(5, 10, 100))
    assert not coverage.same_reach(refused)
    assert not gap.same_reach(coverage)


def test_evidence_time_is_the_oldest_partitions_newest_mark() -> None:
    """One partition that nobody marks holds evidence time back, whatever the others say."""
    coverage = Coverage.of_term(term(telemetry={0: 0, 1: 0}, control={0: 0}), -1)
    coverage.admit(run(0, 1, 100))
    coverage.admit(run(0, 1, 120, key=CONTROL))
    assert coverage.evidence_ms == 0
    assert coverage.missing() == [OTHER]
    assert coverage.oldest() is None
    coverage.admit(run(0, 1, 90, key=OTHER))
    assert (coverage.evidence_ms, coverage.newest_ms, coverage.oldest()) == (90, 120, OTHER)
    coverage.admit(run(1, 2, 500))
    assert (coverage.evidence_ms, coverage.newest_ms) == (90, 500)


def test_a_mark_of_an_older_time_takes_nothing_back(coverage: Coverage) -> None:
    """A mark writer with a slow clock does not move evidence time, in neither direction."""
    coverage.admit(run(0, 1, 100))
    coverage.admit(run(0, 1, 100, key=CONTROL))
    coverage.admit(run(1, 2, 50))
    assert coverage.evidence_ms == 100
    coverage.admit(run(2, 3, 200))
    coverage.admit(run(3, 4, 50))
    coverage.admit(run(1, 2, 300, key=CONTROL))
    assert coverage.evidence_ms == 200


def test_a_new_partition_holds_evidence_time_back(coverage: Coverage) -> None:
    """Once a mark speaks of two partitions, evidence time stands still until the second has one."""
    coverage.admit(run(0, 1, 100))
    coverage.admit(run(0, 1, 100, key=CONTROL))
    coverage.admit(run(1, 2, 200, partitions=2))
    coverage.admit(run(1, 2, 200, key=CONTROL))
    assert coverage.evidence_ms == 100
    coverage.admit(run(2, 3, 300, partitions=1))  # a writer whose metadata is older takes nothing back
    coverage.admit(run(2, 3, 300, key=CONTROL))
    assert coverage.evidence_ms == 100
    assert coverage.admit(run(0, 3, 250, key=OTHER, partitions=2)) == (Admission.FRESH, 0)
    assert coverage.evidence_ms == 250


def test_a_mark_that_claims_absurdly_many_partitions_stops_evidence_time(coverage: Coverage) -> None:
    """A claim of a billion partitions costs no memory and opens nothing."""
    coverage.admit(run(0, 1, 100, partitions=10**9))
    coverage.admit(run(0, 1, 100, key=CONTROL))
    assert coverage.evidence_ms == 0


def test_a_topic_that_the_term_does_not_name_counts_for_nothing(coverage: Coverage) -> None:
    """Runs of another topic are foreign: they neither count nor hold anything back."""
    assert coverage.admit(run(0, 1, 100, key=("elsewhere", 0))) == (Admission.FOREIGN, 0)


class TestVersions:
    """A coverage counts runs of its version and newer, and older ones that cannot lack anything."""

    def test_a_run_of_an_older_version_after_the_activation_does_not_count(self, coverage: Coverage) -> None:
        """A router that still has the old policy vouches for nothing, though its runs join."""
        coverage.admit(run(0, 1, 10_000))
        after = coverage.succeeded_by(7, 20_000)
        assert after.admit(run(1, 2, 20_500))[0] is Admission.OLDER
        assert after.admit(run(1, 2, 20_500, routing=7))[0] is Admission.FRESH

    @pytest.mark.parametrize(
        ("append_ms", "admission"), [(18_999, Admission.FRESH), (19_000, Admission.OLDER), (20_000, Admission.OLDER)]
    )
    def test_an_older_run_counts_if_all_of_it_came_before(
        self, coverage: Coverage, append_ms: int, admission: Admission
    ) -> None:
        """F1, F2: strictly before the activation less the brokers' skew, by append time; its readings count with its marks."""
        after = coverage.succeeded_by(7, 20_000)
        assert after.admit(run(0, 1, 100, append_ms=append_ms))[0] is admission
        assert (after.covered[TELEMETRY] == 1) is (admission is Admission.FRESH)

    def test_it_starts_at_the_last_mark_before_the_activation(self, coverage: Coverage) -> None:
        """F2: boundaries are compared by append time: a mark with an old time of its own behind new records is none."""
        coverage.admit(run(0, 3, 18_000))
        coverage.admit(run(3, 5, 18_500, append_ms=19_500))
        after = coverage.succeeded_by(7, 20_000)
        assert after.covered[TELEMETRY] == 3
        assert after.marks[TELEMETRY] == 18_000
        assert after.admit(run(5, 6, 20_500, routing=7))[0] is Admission.GAP
        assert after.admit(run(3, 6, 20_500, routing=7)) == (Admission.FRESH, 3)

    def test_control_needs_no_version(self, coverage: Coverage) -> None:
        """Control is read whole under whatever routing: its coverage goes on where it was."""
        coverage.admit(run(0, 4, 18_000, key=CONTROL))
        after = coverage.succeeded_by(7, 10_000)
        assert after.covered[CONTROL] == 4
        assert after.admit(run(4, 5, 30_000, key=CONTROL, routing=-1))[0] is Admission.FRESH

    def test_an_older_run_must_lack_nothing_of_any_version_between(self, coverage: Coverage) -> None:
        """F4: a run cut under version 1 after version 2 was activated does not count for version 3, though 3 came later."""
        second = coverage.succeeded_by(2, 10_000)
        third = second.succeeded_by(3, 60_000)
        assert third.admit(run(0, 4, 30_000, routing=-1))[0] is Admission.OLDER
        assert third.admit(run(0, 4, 30_000, routing=2))[0] is Admission.FRESH

    def test_a_third_version_starts_from_the_second_not_the_first(self, coverage: Coverage) -> None:
        """F4: what a version 1 router passed over after the second activation is not covered for the third."""
        coverage.admit(run(0, 1, 5_000))
        second = coverage.succeeded_by(2, 10_000)
        for one in (coverage, second):
            one.admit(run(1, 9, 30_000, routing=-1))
        third = second.succeeded_by(3, 60_000)
        assert coverage.covered[TELEMETRY] == 9
        assert third.covered[TELEMETRY] == 1

    def test_a_version_so_old_that_its_successors_are_forgotten_does_not_count(self, coverage: Coverage) -> None:
        """After 256 activations a run of the first version is refused, however early it was appended."""
        newest = coverage
        for version in range(300):
            newest = newest.succeeded_by(version, 100_000 + version)
        assert newest.admit(run(0, 1, 100, routing=-1))[0] is Admission.OLDER
        assert newest.admit(run(0, 1, 100, routing=299))[0] is Admission.FRESH


SILENT = policy(
    "drift: {series: s/y, detector: adwin, warm_up: 10}",
    'conformance: {series: s/x, rule: "value < 1", window: 10, over: 0.05}',
)


def opened(text: str) -> World:
    world = World(text)
    world.samples([0.0] * 20)
    world.samples([0.0] * 20, series="s/y")
    for _ in range(20):
        world.mark()
    assert world.is_open()
    return world


def test_f1_a_bad_value_that_an_old_router_forwards_counts() -> None:
    """F1: a successor that routes a bad value under the old version does not carry evidence time past it unjudged."""
    world = opened(SILENT)
    late = world.router.boundary[TELEMETRY]
    world.door.append(TELEMETRY, world.now_ms, ("sample", "s/x", 5.0))
    world.now_ms += BROKER_SKEW_MS + 500
    world.door.mark(TELEMETRY, world.now_ms - BROKER_SKEW_MS - 100)
    # Control is read first, then the router dies; its successor still has the old policy where it begins.
    world.door.append(CONTROL, world.now_ms, ("activate", 2, {"0.yaml": SILENT + "# 2\n"}, "operator", ""))
    old = world.router.routes
    world.router.route(CONTROL)
    world.router.routes, world.router.position[TELEMETRY] = old, late
    world.router.told = {}
    world.router.route(TELEMETRY)
    decisions = world.feed()
    assert [one.cause for one in decisions if one.cause == "conformance"], "the bad value was passed over"


def test_a_newer_version_goes_on_behind_readings_from_before_its_activation() -> None:
    """Where all that is covered is older than the activation, an older router's next run joins: no gap for ever."""
    term = Term(0, 0, 1, "log", 1, {"telemetry": {0: 0}}, "", INSTALLATION)
    older = Coverage.of_term(term, 1)

    def run(previous: int, upto: int, append_ms: int, mark: Mark | None, routing: int = 1) -> Run:
        return Run(1, "log", 1, 1, routing, "r", "telemetry", 0, previous, upto, append_ms, mark, {}, [])

    older.admit(run(0, 5, 1_000, Mark(1_000, 1)))
    older.admit(run(5, 9, 1_100, None))
    newer = older.succeeded_by(2, 10_000)
    assert newer.admit(run(9, 12, 1_200, Mark(1_200, 1)))[0] is Admission.FRESH
    assert newer.evidence_ms == 1_200
    straddling = run(12, 20, 9_500, None)
    assert newer.admit(straddling)[0] is Admission.OLDER
    assert newer.covered["telemetry", 0] == 12
