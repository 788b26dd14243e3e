"""What a second reading of docs/policy.md found in the governor: one small test for each."""

from __future__ import annotations

from log import INSTALLATION, START_MS, policy

from failshut_breakers.command import Bypass
from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.evidence.records import (
    FaultRow,
    LagRow,
    Lags,
    Offsets,
    OutcomeRow,
    Outcomes,
    Place,
    Reading,
    Samples,
    Unreadable,
)
from failshut_breakers.gate.orders import could_not_open
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Record, Step
from failshut_breakers.gate.turn import Turn
from failshut_breakers.policy.policy import Entry, parse_policy

RULE = 'conformance: {series: s/x, rule: "value <= 100", window: 5, over: 0.5, confidence: 1e-9}'
FAILURES = "failure_rate: {window: 10s, at_least: 3, over: 0.5}"
GOOD, BAD = 1.0, 900.0


def condition(text: str) -> Condition:
    return build(parse_policy(policy(text)).conditions[0])


def at(ms: int) -> Moment:
    return Moment(START_MS + ms, START_MS + ms)


def values(*those: float, ms: int = 0) -> Samples:
    return Samples.of("s/x", [(ms, n, START_MS + ms, value) for n, value in enumerate(those)])


def outcomes(outcome: str, count: int = 1, ms: int = 0) -> Outcomes:
    return Outcomes([OutcomeRow(ms, n, START_MS + ms, 0, "", outcome, 1) for n in range(count)])


class OneGate:
    """A gate that is fed records."""

    def __init__(self, text: str) -> None:
        self.gate, self.offset = Gate("g"), 0
        entry = Entry("g", "p.yaml", "sha256:0", parse_policy(text), "")
        self.gate.activate(entry, 0, Place("control", 0, 0, 0), "operator", Turn())

    def mark(self, ms: int, *readings: Reading) -> str:
        """Take a record that ends with a mark; return how the gate is open, or nothing."""
        step = Step(self.gate, Turn(), Record(INSTALLATION, 1, 0, self.offset, "telemetry", 0), at(ms))
        self.offset += 1
        step.read(list(readings), 0)
        step.tick(Place("telemetry", 0, self.offset, 0))
        step.conclude()
        return self.gate.shown.mode


def test_a_limit_that_is_kept_again_in_a_block_counts_the_rest_of_it() -> None:
    """The demand ends at the fifth reading of a block, the last two make the window good, and then three of five are bad."""
    one = condition(RULE)
    one.feed(values(*[GOOD] * 5, *[BAD] * 3), 0, at(0))
    one.feed(values(BAD, BAD, *[GOOD] * 5, ms=1_000), 0, at(1_000))
    assert one.status is Status.HOLDS
    one.feed(values(*[BAD] * 3, ms=2_000), 0, at(2_000))
    assert one.status is Status.DEMANDS


def test_which_readings_are_old_does_not_depend_on_how_blocks_are_cut() -> None:
    """The second reading of a stream shows its pace, and by that the third is too old: in one block as in three."""
    late = []
    for cut in (1, 3):
        one = condition(RULE)
        rows = [(n, 0, START_MS + ms, GOOD) for n, ms in enumerate((0, 1_000, 1_500))]
        for first in range(0, 3, cut):
            one.feed(Samples.of("s/x", rows[first : first + cut]), 0, at(50_000))
        late.append(one.late)  # type: ignore[attr-defined]
    assert late == [1, 1]


def test_an_unreadable_record_that_comes_late_pushes_out_no_newer_one() -> None:
    """Partitions are read one after the other: what counts is when a record came to its topic, and not when it is read."""
    one = condition("unreadable: {at_least: 2, window: 10s}")
    one.feed(Unreadable([FaultRow(n, 0, START_MS + ms, "x") for n, ms in enumerate((8_000, 9_000, 1_000))]), 0, at(9_000))
    one.tick(at(12_000))
    assert one.status is Status.DEMANDS
    one.tick(at(18_000))
    assert one.status is Status.HOLDS


def test_an_outcome_that_is_older_than_the_window_when_it_comes_does_not_count() -> None:
    """Three failures from a minute ago say nothing about the last ten seconds."""
    one = condition(FAILURES)
    assert not one.feed(Outcomes([OutcomeRow(0, 0, START_MS, 0, "", "failed", 3)]), 0, at(60_000))
    assert one.status is Status.HOLDS


def test_a_relapse_is_counted_where_three_in_a_row_are_the_row_anyway() -> None:
    """`at_least: 3` makes the row 3 from the beginning: executions that fail again are believed less all the same."""
    one = condition(FAILURES)
    for n in range(3):
        one.feed(outcomes("failed", 3, ms=n * 20_000), 0, at(n * 20_000))
        assert one.status is Status.DEMANDS
        one.tick(at(n * 20_000 + 12_000))
        assert one.status is Status.HOLDS
    assert one.relapses == 2


def test_a_gate_that_quiet_closes_without_a_trip_stays_closed() -> None:
    """Absence is no vote, so the breaker is ARMED and no probe will come: the gate does not open for one window in two."""
    one = OneGate(policy(FAILURES.replace("}", ", quiet: closes}"), "unreadable: {}", trip_on="all"))
    assert one.mark(0) == "armed"
    assert [one.mark(ms) for ms in range(10_000, 100_000, 5_000)] == [""] * 18
    assert one.gate.breaker.state is State.ARMED
    assert one.gate.conditions[0].accept(at(100_000)) == ""
    assert one.mark(100_200) == "armed"


def test_a_demand_that_ends_in_a_record_meets_one_that_begins_at_its_mark() -> None:
    """The rule is kept again by the readings of the record at whose mark the group has been behind for too long."""
    one = OneGate(policy(RULE, "lag: {group: w, topic: r, allowed: 10, behind: 5s}", trip_on="all"))

    def lag(ms: int, behind: int) -> Lags:
        return Lags("w", "r", [LagRow(ms, 99, START_MS + ms, {0: Offsets(100, 100 + behind)}, "", "")])

    assert one.mark(0, values(*[GOOD] * 5), lag(0, 0)) == "armed"
    one.mark(1_000, values(*[BAD] * 5, ms=500), lag(500, 0))
    one.mark(2_000, lag(1_500, 50))
    assert one.gate.breaker.state is State.ARMED
    one.mark(7_000, values(*[GOOD] * 5, ms=6_000))
    assert one.gate.breaker.closing is not None
    assert one.gate.breaker.closing.conditions == {"conformance:s/x", "lag:w/r"}


def test_news_is_as_much_as_ends_a_demand() -> None:
    """59 readings from after a closing are none where a demand ends with 60; 60 are, if nothing older is among them."""
    one = condition(RULE.replace("window: 5", "window: 100"))
    one.feed(values(*[GOOD] * 100), 0, at(0))
    one.feed(values(*[GOOD] * 59, ms=2_000), 0, at(2_000))
    assert one.news(START_MS + 1_000) == "59 of 60 readings of x from after the closing"
    one.feed(values(GOOD, ms=2_000), 0, at(2_000))
    assert one.news(START_MS + 1_000) == ""
    one.feed(values(GOOD, ms=1_000), 0, at(3_000))
    assert one.news(START_MS + 1_000) == "59 of 60 readings of x from after the closing"


def test_unreadable_records_count_together_in_whatever_order_they_come() -> None:
    """One partition is read far ahead of another: three within ten seconds are three, and two that lie far apart are none."""
    one = condition("unreadable: {at_least: 3, window: 10s}")
    demands = one.feed(Unreadable([FaultRow(n, 0, START_MS + ms, "x") for n, ms in enumerate((0, 100_000, 4_000))]), 0, at(0))
    assert (demands, one.status) == ([], Status.HOLDS)
    (demand,) = one.feed(Unreadable([FaultRow(3, 0, START_MS + 8_000, "x")]), 0, at(0))
    assert (demand.offset, one.status) == (3, Status.DEMANDS)
    one.tick(at(9_999))
    assert one.status is Status.DEMANDS
    one.tick(at(10_000))
    assert one.status is Status.HOLDS


def test_unreadable_records_are_bounded_while_evidence_time_stands_still() -> None:
    """A flood is remembered by its newest records, which go on demanding until the window has left them behind."""
    one = condition("unreadable: {at_least: 2, window: 10s}")
    one.feed(Unreadable([FaultRow(n, 0, START_MS + n * 1_000, "x") for n in range(500)]), 0, at(0))
    assert len(one._times) <= 8  # type: ignore[attr-defined]
    one.tick(at(507_999))
    assert one.status is Status.DEMANDS
    one.tick(at(508_000))
    assert one.status is Status.HOLDS


def test_a_later_closing_forgets_nothing_that_only_probes_can_answer() -> None:
    """Executions failed, and a minute later a record cannot be read. What resets by itself must not forget the executions."""
    one = OneGate(policy(FAILURES, "unreadable: {window: 1s}", reset="{after: 5s, probes: 0}"))
    assert one.mark(0) == "armed"
    assert one.mark(1_000, outcomes("failed", 3, ms=500)) == ""
    assert one.mark(60_000, Unreadable([FaultRow(900, 0, START_MS + 60_000, "x")])) == ""
    assert one.gate.breaker.closing is not None
    assert one.gate.breaker.closing.conditions == {"failure_rate", "unreadable"}
    assert {one.mark(ms) for ms in range(61_000, 120_000, 1_000)} == {""}


def test_a_later_closing_forgets_no_condition_that_the_policy_lost() -> None:
    """An edit takes the condition that closed the gate away. A flaw that comes and goes is no reason to reset without it."""
    one = OneGate(policy(RULE, "unreadable: {window: 1s}", reset="{after: 5s, probes: 0}"))
    one.mark(0, values(*[GOOD] * 5))
    assert one.mark(1_000, values(*[BAD] * 5, ms=500)) == ""
    edited = parse_policy(policy("unreadable: {window: 1s}", reset="{after: 5s, probes: 0}"))
    entry = Entry("g", "p.yaml", "sha256:1", edited, "")
    one.gate.activate(entry, 1, Place("control", 0, 1, 0), "operator", Turn())
    assert one.mark(2_000, Unreadable([FaultRow(1_900, 0, START_MS + 1_900, "x")])) == ""
    assert {one.mark(ms) for ms in range(3_000, 60_000, 1_000)} == {""}


def test_a_reset_asks_what_the_bypass_covered() -> None:
    """A reset ends the bypass, so a condition without evidence would close the gate again at once: the order is refused."""
    one = OneGate(policy(RULE, "unreadable: {window: 1s}", "heartbeat: {source: a, every: 1s, grace: 3s}"))
    one.gate.bypass = Bypass(
        id="o1", gate="g", by="eve", why="so", installation=INSTALLATION, signed_ms=START_MS,
        epoch=one.gate.epoch, conditions=["heartbeat:a"], until_ms=START_MS + 3_600_000,
    )  # fmt: skip
    one.mark(0, values(*[GOOD] * 5))
    assert one.gate.interlock() is None
    assert could_not_open(one.gate, at(1_000)) == one.gate.interlock(bypassed=True).text  # type: ignore[union-attr]
    one.gate.bypass = None
    assert one.mark(1_000) == ""


def test_a_gate_that_was_quiet_is_not_quiet_again_under_a_bypass() -> None:
    """The breaker remembers that it tripped for want of executions, so an order in the meantime finds no new demand."""
    one = OneGate(policy(FAILURES.replace("}", ", quiet: closes}"), reset="{probes: 2}"))
    assert [one.mark(ms) for ms in (0, 10_000)] == ["armed", ""]
    assert one.gate.breaker.state is State.TRIPPED
    assert not one.gate.votes(bypassed=True)
    one.gate.bypass = Bypass(
        id="o1", gate="g", by="eve", why="so", installation=INSTALLATION, signed_ms=START_MS,
        epoch=one.gate.epoch, conditions=["failure_rate"], until_ms=START_MS + 3_600_000,
    )  # fmt: skip
    assert [one.mark(ms) for ms in range(11_000, 40_000, 1_000)] == ["bypass"] * 29
    assert not one.gate.votes(bypassed=True)
