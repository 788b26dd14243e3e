"""A watched consumer group is judged by its offsets alone, and unknown is never OK."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from failshut_breakers.conditions import lag as lag_module
from failshut_breakers.conditions.base import Moment, Status
from failshut_breakers.conditions.lag import Health, LagCondition, judge_partition
from failshut_breakers.evidence import Lags
from failshut_breakers.policy import Lag


def samples(*pairs: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Samples a second apart: committed, end."""
    return [(1_000 * (i + 1), committed, end) for i, (committed, end) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "health"),
    [
        pytest.param([(95, 100)], Health.OK, id="within-what-is-allowed"),
        pytest.param([(0, 500), (400, 500), (495, 500)], Health.OK, id="within-after-having-been-far-behind"),
        pytest.param([(-1, 0)], Health.OK, id="nothing-to-read"),
        pytest.param([(-1, 5)], Health.UNKNOWN, id="never-committed-though-there-is-little-to-read"),
        pytest.param([(50, 40)], Health.UNKNOWN, id="committed-beyond-the-end"),
        pytest.param([(0, 100)], Health.BEHIND, id="one-sample-gives-no-benefit-of-the-doubt"),
        pytest.param([(0, 100), (0, 100)], Health.STOPPED, id="nothing-moves"),
        pytest.param([(0, 100), (0, 200)], Health.STALLED, id="only-the-end-moves"),
        pytest.param([(0, 100), (20, 130), (40, 160)], Health.BEHIND, id="moves-and-falls-behind"),
        pytest.param([(0, 100), (50, 110), (80, 120)], Health.OK, id="catches-up"),
        pytest.param([(0, 100), (50, 100), (50, 100), (50, 100)], Health.STOPPED, id="stopped-for-longer-than-it-moved"),
        pytest.param([(0, 100), (50, 200), (50, 300), (50, 400)], Health.STALLED, id="stalled-for-longer-than-it-moved"),
        pytest.param([(0, 500), (100, 500), (200, 500), (200, 500)], Health.OK, id="a-pause-shorter-than-its-moving"),
        pytest.param([(80, 100), (20, 100), (60, 100)], Health.REWOUND, id="a-commit-went-back"),
        pytest.param([(80, 100), (20, 100), (95, 100)], Health.OK, id="went-back-and-came-again"),
    ],
)
def test_the_rules_judge_a_partition(pairs: list[tuple[int, int]], health: Health) -> None:
    """Each rule decides alone on the samples that only it is about (10 records are allowed)."""
    assert judge_partition(samples(*pairs), 10) is health


def condition(behind: str = "5s", stale: str = "3s", allowed: int = 10) -> LagCondition:
    policy = Lag.model_validate(
        {"name": "lag", "group": "g", "topic": "t", "allowed": allowed, "behind": behind, "stale": stale}
    )
    return LagCondition(policy)


def feed(one: LagCondition, time_s: float, partitions: Mapping[int, tuple[int, int]]) -> int:
    """Feed a sample; return how many demands began."""
    time_ms = int(time_s * 1000)
    rows = [(time_ms, 0, time_ms, dict(partitions))]
    return len(one.feed(Lags("g", "t", rows), 0, Moment(time_ms, time_ms)))


def test_without_a_sample_nothing_holds() -> None:
    """No sample yet is not enough evidence."""
    one = condition()
    assert one.status is Status.INSUFFICIENT
    assert not one.tick(Moment(1_000_000, 1_000_000))
    assert one.status is Status.INSUFFICIENT


def test_behind_for_too_long_demands_once() -> None:
    """A group that is behind for `behind` demands, at the sample that says so, and once."""
    one = condition()
    began = [feed(one, second, {0: (second * 10, 100 + second * 20)}) for second in range(1, 9)]
    assert began == [0, 0, 0, 0, 0, 1, 0, 0]
    assert one.status is Status.DEMANDS


def test_a_healthy_sample_ends_the_demand() -> None:
    """Once the group has caught up the condition holds, and being behind counts from anew."""
    one = condition()
    for second in range(1, 9):
        feed(one, second, {0: (0, 100)})
    feed(one, 9, {0: (100, 100)})
    assert one.status is Status.HOLDS
    assert feed(one, 10, {0: (100, 200)}) == 0
    assert one.status is Status.HOLDS


def test_the_worst_partition_counts() -> None:
    """One partition that stopped is not made good by many that are well."""
    one = condition()
    for second in range(1, 8):
        feed(one, second, {0: (100, 100), 1: (0, 100), 2: (7, 7)})
    assert one.status is Status.DEMANDS
    assert "stopped, 100 records behind" in one.text


def test_samples_that_stop_are_unknown_and_demand() -> None:
    """A healthy group whose samples stop is unknown after `stale`, and demands after `behind`."""
    one = condition()
    feed(one, 1, {0: (100, 100)})
    assert one.status is Status.HOLDS
    assert not one.tick(Moment(4_000, 4_000))
    assert one.status is Status.HOLDS
    assert not one.tick(Moment(4_001, 4_001))
    assert one.status is Status.INSUFFICIENT
    assert one.tick(Moment(6_000, 6_000))
    assert one.status is Status.DEMANDS


def test_a_group_that_never_committed_is_unknown_and_demands() -> None:
    """Never committed is not a lag of zero."""
    one = condition()
    feed(one, 1, {0: (-1, 5)})
    assert one.status is Status.INSUFFICIENT
    assert feed(one, 6, {0: (-1, 5)}) == 1


def test_a_topic_made_anew_is_not_taken_for_caught_up() -> None:
    """Committed offsets beyond the end are unknown, not a negative lag."""
    one = condition()
    feed(one, 1, {0: (5_000, 5_000)})
    feed(one, 2, {0: (5_000, 3)})
    assert one.status is Status.INSUFFICIENT


def test_a_partition_that_is_missing_is_unknown() -> None:
    """A sample without a partition that was there says nothing about it: no OK comes from leaving the bad one out."""
    one = condition()
    feed(one, 1, {0: (9, 9), 1: (0, 100)})
    feed(one, 2, {0: (9, 9)})
    assert one.status is Status.INSUFFICIENT
    demands = sum(feed(one, second, {0: (9, 9)}) for second in range(3, 9))
    assert demands == 1


def test_a_partition_that_stays_away_is_forgotten_after_it_could_demand() -> None:
    """One sample with a partition that does not exist does not blind the condition for ever."""
    one = condition()
    feed(one, 1, {0: (9, 9), 999_999: (0, 0)})
    for second in range(2, 10):
        feed(one, second, {0: (9, 9)})
    assert one.status is Status.DEMANDS
    feed(one, 10, {0: (9, 9)})
    feed(one, 11, {0: (9, 9)})
    assert one.status is Status.HOLDS


def test_a_sample_with_too_many_partitions_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large to be read is not read in part."""
    monkeypatch.setattr(lag_module, "MAX_PARTITIONS", 2)
    one = condition()
    feed(one, 1, {0: (1, 1), 1: (1, 1), 2: (0, 100)})
    assert one.status is Status.INSUFFICIENT
    feed(one, 2, {})
    assert one.status is Status.INSUFFICIENT


def test_an_older_sample_changes_nothing() -> None:
    """A sample that arrives late does not undo a newer one."""
    one = condition()
    feed(one, 5, {0: (0, 100)})
    before = one.text
    assert feed(one, 4, {0: (100, 100)}) == 0
    assert one.text == before
    assert one.status is Status.HOLDS  # behind, but not yet for long enough


def test_rows_before_the_run_do_not_count() -> None:
    """Rows that an earlier run covered are passed over."""
    one = condition()
    rows = [(5, 0, 1_000, {0: (0, 100)}), (6, 0, 20_000, {0: (0, 100)})]
    assert one.feed(Lags("g", "t", rows), 6, Moment(20_000, 20_000)) == []
