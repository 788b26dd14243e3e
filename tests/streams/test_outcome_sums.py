"""Outcomes that are put together say what they said one by one, to every condition that reads them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.entries import EPOCH, GATE, decoded

from failshut_breakers.conditions import build
from failshut_breakers.conditions.base import Condition, Moment
from failshut_breakers.conditions.sent import Holes
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import InternalDecoder
from failshut_streams.router.run_builder import RunBuilder
from failshut_streams.sources.outcome_records import encoded
from failshut_streams.sources.outcome_sums import COUNT_MAX, WAIT_MS, Said, Waits, put_together, wait_ms_of

NOW_MS = 1_800_000_000_000
OUTCOMES = ("ok", "failed", "interrupted", "cancelled")
POLICY = "gate: payments.refund\npermit: {ttl: 3s}\nconditions:\n"
RATE = "  - failure_rate: {window: 60s, at_least: 10, over: 0.5}\n"


def said(outcome: str = "ok", count: int = 1, total: int = 0, guard: str = "", **more: Any) -> Said:
    one = {"kind": "outcome", "gate": GATE, "epoch": EPOCH, "token": "", "outcome": outcome, "count": count, "id": "1-0"}
    return one | {"lost": 0, "guard": guard, "total": total, **more}


def short(records: list[Said]) -> list[tuple[str, str, int, int]]:
    return [(one["outcome"], one["guard"], one["count"], one["total"]) for one in records]


def book(*conditions: str) -> PolicyBook:
    made = PolicyBook()
    made.apply(1, 1, {"p": POLICY + "".join(conditions)}, "")
    return made


def fed(outcomes: list[Said]) -> Condition:
    """A condition that has read the records of these outcomes."""
    policies = book(RATE)
    policy = policies.entries[GATE].policy
    assert policy is not None
    condition = build(policy.conditions[0])
    table = RunBuilder(Routes.of(policies), lambda gate: 0, InternalDecoder().names)
    for offset, one in enumerate(outcomes):
        table.take(offset, NOW_MS, InternalDecoder().decode(*encoded(one), (), NOW_MS))
    for reading in table.end().get(0, {}).get(GATE, []):
        condition.feed(reading, 0, Moment(NOW_MS, NOW_MS))
    return condition


def test_a_second_of_good_executions_is_one_record_of_each_process() -> None:
    """Whatever the order in which two processes told of them."""
    entries = [said(guard=guard, count=2, total=2 * n) for n in range(1, 11) for guard in ("a", "b")]
    assert short(put_together(entries)) == [("ok", "a", 20, 20), ("ok", "b", 20, 20)]


def test_what_failed_keeps_its_place() -> None:
    """A row of failures is a row still, and two that a success parted are two."""
    order = ["ok", "ok", "failed", "failed", "ok", "failed", "interrupted", "interrupted"]
    entries = [said(outcome, total=at + 1, guard="a") for at, outcome in enumerate(order)]
    counted = [(outcome, count) for outcome, _, count, _ in short(put_together(entries))]
    assert counted == [(outcome, len([*same])) for outcome, same in itertools.groupby(order)]


def test_what_was_cancelled_parts_nothing() -> None:
    """It counts as nothing, and its numbers came."""
    entries = [said(guard="a", total=1), said("cancelled", guard="b", total=1), said(guard="a", total=2)]
    assert short(put_together(entries)) == [("ok", "a", 2, 2), ("cancelled", "b", 1, 1)]


def test_probes_are_told_one_by_one() -> None:
    """Each by its own token, in its place; nothing is put together across one."""
    token = f"{EPOCH}:0"
    entries = [
        said(total=1, guard="a"),
        said(total=2, guard="a", token=token),
        said(total=3, guard="a"),
        said(total=4, guard="a"),
    ]
    found = put_together(entries)
    assert [(one["token"], one["count"]) for one in found] == [("", 1), (token, 1), ("", 2)]


def test_a_hole_in_a_guards_count_stays_one() -> None:
    """Numbers that do not follow each other are never said as if they did."""
    entries = [said(guard="a", total=3, count=3), said(guard="a", total=9, count=2)]
    assert short(put_together(entries)) == [("ok", "a", 3, 3), ("ok", "a", 2, 9)]


def test_no_record_says_more_than_a_record_can() -> None:
    """At the largest count another begins: the decoder would refuse the sum, and all of it would be lost."""
    entries = [said(count=COUNT_MAX - 1), said(count=2), said(count=1)]
    found = put_together(entries)
    assert [one["count"] for one in found] == [COUNT_MAX - 1, 3]
    assert [decoded(*encoded(one)).count for one in found] == [COUNT_MAX - 1, 3]
    lost = put_together([said(lost=COUNT_MAX), said(lost=5)])
    assert [one["lost"] for one in lost] == [COUNT_MAX, 5]


def test_epochs_and_processes_are_told_apart() -> None:
    """Whose executions a thief's permit admitted is found by their epoch."""
    entries = [said(epoch="0" * 16), said(epoch="1" * 16), said(epoch="0" * 16, instance="pod-2")]
    assert len(put_together(entries)) == 3


def test_what_is_put_together_is_not_changed() -> None:
    """Entries are encoded again if Kafka did not take them."""
    entries = [said(total=1, guard="a"), said(total=2, guard="a")]
    before = json.dumps(entries)
    put_together(entries)
    assert json.dumps(entries) == before


one_entry = st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 4), st.sampled_from("ab"), st.booleans(), st.integers(0, 2))


@settings(max_examples=200, deadline=None)
@given(st.lists(one_entry, max_size=60))
def test_a_condition_reads_the_same(entries: list[tuple[str, int, str, bool, int]]) -> None:
    """Shares, rows, losses and holes are those of the entries one by one, whatever is missing among them."""
    totals = {"a": 0, "b": 0}
    outcomes = []
    for outcome, count, guard, arrives, lost in entries:
        totals[guard] += count
        if arrives:
            outcomes.append(said(outcome, count, totals[guard], guard, lost=lost))
    together = put_together(outcomes)
    one, other = fed(outcomes), fed(together)
    for name in ("_total", "_failed", "_lost", "_row", "_seconds"):
        assert getattr(one, name) == getattr(other, name), name
    holes = one._holes, other._holes  # type: ignore[attr-defined]
    assert missing(holes[0]) == missing(holes[1])


def missing(holes: Holes) -> dict[str, tuple[int, set[int]]]:
    """The greatest number of each guard, and the numbers below it that did not come."""
    return {
        guard: (count.top, {number for low, high, _ in count.holes for number in range(low, high)})
        for guard, count in holes._counts.items()
    }


@pytest.mark.parametrize(
    ("conditions", "wait_ms"),
    [
        (["  - drift: {series: s/a, detector: adwin}\n"], WAIT_MS),
        ([RATE], WAIT_MS),
        (["  - failure_rate: {window: 10s, at_least: 10, over: 0.5}\n"], 500),
        ([RATE, "  - failure_rate: {name: quick, window: 1s, at_least: 1, over: 0.5, quiet: closes}\n"], 50),
    ],
)
def test_what_waits_does_so_for_a_twentieth_of_its_window(conditions: list[str], wait_ms: int) -> None:
    """A window of a second would else hold nothing, and then everything."""
    assert wait_ms_of(book(*conditions).entries[GATE]) == wait_ms


def test_waits_follow_the_policies_in_force() -> None:
    """An edit counts at once; a gate of which no policy speaks waits for nothing."""
    now = book(RATE)
    waits = Waits(lambda: now.entries)
    assert waits(GATE) == WAIT_MS
    now = book("  - failure_rate: {window: 2s, at_least: 10, over: 0.5}\n")
    assert waits(GATE) == 100
    assert waits("nobody") == 0
