"""A watched consumer group is judged by its offsets alone, and unknown is never OK."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from failshut_breakers.conditions import lag as lag_module
from failshut_breakers.conditions.base import Moment, Status
from failshut_breakers.conditions.lag import Health, LagCondition, Sampled, judge_partition
from failshut_breakers.evidence.records import LagRow, Lags, Offsets
from failshut_breakers.policy.policy import Lag


def samples(*pairs: tuple[int, int]) -> list[Sampled]:
    """Samples a second apart: committed, end."""
    return [Sampled(1_000 * (i + 1), committed, end, committed) for i, (committed, end) in enumerate(pairs)]


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


def condition(behind: str = "5s", stale: str = "3s", allowed: int = 10, without_commit: str = "unknown") -> LagCondition:
    settings = {"group": "g", "topic": "t", "allowed": allowed, "behind": behind, "stale": stale}
    return LagCondition(Lag.model_validate({"name": "lag", **settings, "without_commit": without_commit}))


def feed(
    one: LagCondition, time_s: float, partitions: Mapping[int, tuple[int, ...]], topic_id: str = "", told: str = ""
) -> int:
    """Feed a sample (committed, end, start, stable, readable, as far as it says); return how many demands began."""
    time_ms = int(time_s * 1000)
    row = LagRow(time_ms, 0, time_ms, {number: Offsets(*at) for number, at in partitions.items()}, topic_id, told)
    return len(one.feed(Lags("g", "t", [row]), 0, Moment(time_ms, time_ms)))


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


def test_samples_that_stop_are_unknown_and_lapse() -> None:
    """A healthy group whose samples stop is unknown after `stale`. However long that is, it demands nothing."""
    one = condition()
    feed(one, 1, {0: (100, 100)})
    assert one.status is Status.HOLDS
    assert not one.tick(Moment(4_000, 4_000))
    assert one.status is Status.HOLDS
    assert not one.tick(Moment(4_001, 4_001))
    assert one.status is Status.INSUFFICIENT
    assert not one.tick(Moment(600_000, 600_000))
    assert one.status is Status.INSUFFICIENT
    feed(one, 601, {0: (100, 100)})
    assert one.status is Status.HOLDS


def test_silence_is_no_time_of_being_behind() -> None:
    """A group that was behind for two seconds before a broker was away has three seconds left of its five."""
    one = condition()
    feed(one, 1, {0: (0, 100)})
    feed(one, 3, {0: (0, 100)})
    assert not one.tick(Moment(15_000, 15_000))
    assert one.status is Status.INSUFFICIENT
    assert feed(one, 16, {0: (0, 150)}) == 0
    assert one.status is Status.HOLDS
    assert feed(one, 18.9, {0: (0, 150)}) == 0
    assert feed(one, 19, {0: (0, 150)}) == 1


def test_a_demand_stands_through_silence_and_ends_with_a_healthy_sample() -> None:
    """Nobody gets a tripped gate's group declared healthy by switching the sampler off."""
    one = condition()
    for second in range(1, 8):
        feed(one, second, {0: (0, 100)})
    one.tick(Moment(60_000, 60_000))
    assert (one.status, one.absent) == (Status.DEMANDS, False)
    feed(one, 61, {0: (0, 100)})
    assert one.status is Status.DEMANDS
    feed(one, 62, {0: (100, 100)})
    assert one.status is Status.HOLDS


def test_a_group_that_never_committed_is_unknown_and_lapses() -> None:
    """Never committed is not a lag of zero, and no time of being behind either."""
    one = condition()
    feed(one, 1, {0: (-1, 5)})
    assert one.status is Status.INSUFFICIENT
    assert feed(one, 60, {0: (-1, 5)}) == 0
    assert one.status is Status.INSUFFICIENT


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
    one, behind = condition(), condition()
    feed(one, 1, {0: (9, 9), 999_999: (0, 0)})
    feed(behind, 1, {0: (9, 9), 1: (0, 100)})
    demands = 0
    for second in range(2, 10):
        feed(one, second, {0: (9, 9)})
        demands += feed(behind, second, {0: (9, 9)})
    assert (one.status, behind.status, demands) == (Status.INSUFFICIENT, Status.DEMANDS, 1)
    feed(one, 10, {0: (9, 9)})
    feed(one, 11, {0: (9, 9)})
    assert one.status is Status.HOLDS


def test_a_sample_with_too_many_partitions_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large to be read is not read in part."""
    monkeypatch.setattr(lag_module, "PARTITIONS_MAX", 2)
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
    rows = [LagRow(5, 0, 1_000, {0: Offsets(0, 100)}), LagRow(6, 0, 20_000, {0: Offsets(0, 100)})]
    assert one.feed(Lags("g", "t", rows), 6, Moment(20_000, 20_000)) == []


def test_what_retention_removed_is_not_behind() -> None:
    """A commit below the log's start leaves what the log still holds to read; how much was removed is said."""
    one = condition(allowed=0)
    feed(one, 1, {0: (40, 100, 100)})
    assert (one.status, one.text) == (Status.HOLDS, "g on t: 0 records behind, 60 more were removed before it committed them")
    feed(one, 2, {0: (40, 130, 100)})
    assert one.text.startswith("g on t: 30 records behind")
    feed(one, 3, {0: (120, 130, 100)})
    assert one.text == "g on t: 10 records behind"


def test_retention_that_eats_a_backlog_is_no_progress() -> None:
    """A group that commits nothing is stopped, although its backlog shrinks because retention removes it."""
    one = condition()
    began = [feed(one, second, {0: (0, 1_000, second * 50)}) for second in range(1, 10)]
    assert sum(began) == 1
    assert one.text.startswith("g on t is stopped, 550 records behind")


def test_retention_that_eats_a_backlog_faster_than_it_grows_is_no_progress_of_a_group_that_crawls() -> None:
    """It commits a record each second, below the log's start, and falls behind: what retention took is not its work."""
    one = condition()
    began = [feed(one, second, {0: (second, 1_000 + 20 * second, second * 50)}) for second in range(1, 10)]
    assert sum(began) == 1
    assert one.text.startswith("g on t is behind, 730 records behind")


def test_an_emptied_partition_without_a_commit_has_nothing_to_read() -> None:
    """Never committed is unknown only where something stands."""
    one = condition(allowed=0)
    feed(one, 1, {0: (-1, 100, 100), 1: (7, 7, 0)})
    assert one.status is Status.HOLDS


def test_offsets_that_hold_no_record_are_not_behind() -> None:
    """Where nothing readable stands between the commit and a place, the group is there: markers, aborted, compacted records."""
    one = condition(allowed=0)
    for second in range(1, 9):
        feed(one, second, {0: (30, 32, 0, 32, 32), 1: (-1, 2, 0, 2, 2)})
    assert (one.status, one.text) == (Status.HOLDS, "g on t: 0 records behind")
    feed(one, 9, {0: (30, 60, 0, 60, 50), 1: (-1, 2, 0, 2, 2)})
    assert one.text == "g on t: 10 records behind"


def test_records_of_an_open_transaction_are_behind_and_it_is_named() -> None:
    """What waits behind an open transaction is not read, whoever holds it up; the words say which one it is."""
    one = condition(allowed=0)
    for second in range(1, 9):
        feed(one, second, {0: (30, 80, 0, 30, 30)})
    assert one.status is Status.DEMANDS
    assert one.text == "g on t is stopped, 50 records behind, behind a transaction that is open in partition 0 since offset 30"


def test_a_partition_without_a_commit_is_named_with_what_to_do() -> None:
    """The words name the first partition, how many more there are, what stands there, and the setting."""
    one = condition(allowed=0)
    feed(one, 1, {0: (5, 5), 1: (-1, 30), 2: (-1, 4, 2)})
    said = (
        "never committed in partition 1, where 30 records stand, "
        "nor in 1 more; without_commit in the policy says what that means"
    )
    assert (one.status, one.text) == (Status.INSUFFICIENT, f"g on t: unknown, {said}")
    feed(one, 6, {0: (5, 5), 1: (-1, 30), 2: (-1, 4, 2)})
    assert (one.status, one.text) == (Status.INSUFFICIENT, f"g on t: unknown, {said}")


def test_latest_counts_from_where_a_partition_ended_when_the_group_was_first_seen() -> None:
    """A quiet partition with old records alone is not behind; what comes later is, until the group commits there."""
    one = condition(allowed=0, without_commit="latest")
    feed(one, 1, {0: (5, 5), 1: (-1, 30)})
    assert (one.status, one.text) == (Status.HOLDS, "g on t: 0 records behind")
    began = [feed(one, second, {0: (5, 5), 1: (-1, 33)}) for second in range(2, 9)]
    assert sum(began) == 1
    assert one.text == "g on t is stalled, 3 records behind (partition 1)"
    feed(one, 9, {0: (5, 5), 1: (33, 33)})
    assert one.status is Status.HOLDS


def test_what_a_topic_was_before_its_group_says_nothing_of_the_group() -> None:
    """Seen empty, or seen at all, before the group committed anywhere: where the group begins was not known then."""
    plain, latest = condition(allowed=0), condition(allowed=0, without_commit="latest")
    for one in (plain, latest):
        feed(one, 1, {0: (-1, 0), 1: (-1, 0)})
        assert one.status is Status.HOLDS
        feed(one, 2, {0: (-1, 0), 1: (-1, 20)})
        assert one.status is Status.INSUFFICIENT
        feed(one, 3, {0: (2, 2), 1: (-1, 30)})
    assert "never committed in partition 1, where 30 records stand" in plain.text
    assert (latest.status, latest.text) == (Status.HOLDS, "g on t: 0 records behind")
    feed(latest, 4, {0: (2, 2), 1: (-1, 31)})
    assert latest.text == "g on t: 1 records behind"


def test_earliest_counts_from_the_start_of_the_log() -> None:
    """A group that begins at the start has all that the log holds to read, and what retention removes no longer."""
    one = condition(allowed=10, without_commit="earliest")
    feed(one, 1, {0: (5, 5), 1: (-1, 30, 22)})
    assert (one.status, one.text) == (Status.HOLDS, "g on t: 8 records behind")
    for second in range(2, 9):
        feed(one, second, {0: (5, 5), 1: (-1, 50, 24)})
    assert one.text == "g on t is stalled, 26 records behind (partition 1)"


def test_commits_that_vanish_are_not_taken_for_a_new_group() -> None:
    """Where commits are deleted the group is unknown; a setting counts from the last one that was seen, not from the end."""
    plain, latest = condition(), condition(allowed=0, without_commit="latest")
    for one in (plain, latest):
        feed(one, 1, {0: (5, 5), 1: (20, 30)})
        feed(one, 2, {0: (5, 5), 1: (-1, 30)})
    assert plain.status is Status.INSUFFICIENT
    assert latest.text == "g on t: 10 records behind"


@pytest.mark.parametrize("without_commit", ["unknown", "earliest", "latest"])
def test_a_group_that_committed_nowhere_is_unknown_whatever_the_policy_says(without_commit: str) -> None:
    """A wrong name of a group never opens a gate: no setting makes a group out of nothing."""
    one = condition(allowed=1_000_000, without_commit=without_commit)
    feed(one, 1, {0: (-1, 0), 1: (-1, 0)})
    feed(one, 2, {0: (-1, 3), 1: (-1, 0)})
    assert (one.status, one.text) == (
        Status.INSUFFICIENT,
        "g on t: unknown, it has committed nothing at all (is this the group's name?)",
    )


def test_a_partition_that_was_seen_empty_is_known() -> None:
    """A new partition holds nothing before its first record, so the first one is a lag of one and not unknown."""
    one = condition(allowed=10)
    feed(one, 1, {0: (5, 5)})
    feed(one, 2, {0: (5, 5), 1: (-1, 0)})
    feed(one, 3, {0: (5, 5), 1: (-1, 4)})
    assert (one.status, one.text) == (Status.HOLDS, "g on t: 4 records behind")
    began = [feed(one, second, {0: (5, 5), 1: (-1, 40)}) for second in range(4, 11)]
    assert sum(began) == 1


def test_a_commit_beyond_the_end_is_said_as_numbers() -> None:
    """Which partition, what was committed there, and where it ends."""
    one = condition()
    feed(one, 1, {0: (5, 5), 3: (50, 40)})
    assert one.text == "g on t: unknown, it has committed 50 in partition 3, which ends at 40"


def test_a_topic_made_anew_is_judged_anew() -> None:
    """Samples of another topic id say nothing of this one: neither its partitions nor that a backlog shrinks."""
    one = condition()
    feed(one, 1, {0: (0, 9_000), 1: (7, 7)}, "old")
    feed(one, 2, {0: (0, 500)}, "new")
    feed(one, 3, {0: (1, 501)}, "new")
    assert one.status is Status.HOLDS  # no partition is missing, and it is not yet behind for long enough
    began = [feed(one, second, {0: (second, 500 + second)}, "new") for second in range(4, 9)]
    assert sum(began) == 1
    assert "behind, 500 records" in one.text


def test_what_the_sampler_was_told_is_said() -> None:
    """Before a first sample, and once samples are stale; meanwhile the last good sample counts."""
    one = condition()
    assert feed(one, 1, {}, told="no such topic") == 0
    assert (one.status, one.text) == (Status.INSUFFICIENT, "no sample of g on t: no such topic")
    feed(one, 2, {0: (5, 5)})
    feed(one, 3, {}, told="no such topic")
    assert one.status is Status.HOLDS
    one.tick(Moment(6_000, 6_000))
    assert one.text == "g on t: unknown, no sample for 4 s, the sampler was told: no such topic"


def test_what_a_sample_lacks_is_said_where_it_counts() -> None:
    """A sampler that may not read the topic counts markers as records: whoever sees a lag is told so, nobody else."""
    one = condition(allowed=0)
    feed(one, 1, {0: (5, 5)}, told="not allowed to read the topic")
    assert one.text == "g on t: 0 records behind"
    feed(one, 2, {0: (5, 6)}, told="not allowed to read the topic")
    assert one.text == "g on t: 1 records behind (not allowed to read the topic)"


@pytest.mark.parametrize(
    ("group", "topic", "wrong"),
    [
        ("g", "refunds-*", "topic"),
        ("g", "refunds/eu", "topic"),
        ("g", "refunds eu", "topic"),
        ("g", "remboursés", "topic"),
        ("g", "..", "topic"),
        ("g", "", "topic"),
        ("g", "t\n", "topic"),
        ("g", "t" * 250, "topic"),
        ("console-consumer-*", "t", "group"),
        ("^refund", "t", "group"),
        ("refund$", "t", "group"),
        ("refund.+", "t", "group"),
        ("refund-[0-9]", "t", "group"),
        ("a|b", "t", "group"),
        ("", "t", "group"),
        (" g", "t", "group"),
        ("g\x1b", "t", "group"),
    ],
)
def test_patterns_and_names_that_kafka_cannot_have_are_refused(group: str, topic: str, wrong: str) -> None:
    """A condition watches one group on one topic: what can name neither is a fault of the policy, not a wait for ever."""
    with pytest.raises(ValidationError) as caught:
        Lag.model_validate({"group": group, "topic": topic, "allowed": 0, "behind": "5s"})
    assert [error["loc"] for error in caught.value.errors()] == [(wrong,)]


@pytest.mark.parametrize(("group", "topic"), [("refunds.eu_1-a", "t" * 249), ("Bar$Worker (1)", "__consumer_offsets")])
def test_names_that_kafka_has_are_taken(group: str, topic: str) -> None:
    """Every legal topic, and groups whatever they are called."""
    Lag.model_validate({"group": group, "topic": topic, "allowed": 0, "behind": "5s"})
