"""Conditions: what each says of evidence, and when it says that there is not enough."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from log import policy

from failshut_breakers.conditions import Condition, Demand, Moment, Status, build
from failshut_breakers.evidence.records import Beats, FaultRow, Faults, Lags, OutcomeRow, Outcomes, Samples, Unreadable
from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import Adwin

NOW = Moment(1_000_000, 1_000_000)


def condition(text: str) -> Condition:
    return build(parse_policy(policy(text)).conditions[0])


def later(ms: int) -> Moment:
    return Moment(NOW.evidence_ms + ms, NOW.newest_ms + ms)


def samples(values: list[float], first: int = 0, ms: int = 0) -> Samples:
    return Samples.of("s/x", [FaultRow(first + n, 0, NOW.evidence_ms + ms, value) for n, value in enumerate(values)])


def faults(count: int, first: int = 0) -> Faults:
    return Faults("s/x", [FaultRow(first + n, 0, NOW.evidence_ms, "not a number") for n in range(count)])


@pytest.mark.parametrize(
    "text",
    [
        "drift: {series: s/x, detector: adwin}",
        "drift: {series: s/x, detector: page_hinkley}",
        'conformance: {series: s/x, rule: "value < 9"}',
        "heartbeat: {source: a, grace: 3s}",
        "lag: {group: g, topic: t, allowed: 1, behind: 1s}",
    ],
)
def test_no_evidence_is_not_enough(text: str) -> None:
    """A condition that has read nothing is insufficient, and stays so while only time passes."""
    one = condition(text)
    assert one.status is Status.INSUFFICIENT
    assert not one.tick(later(3_600_000))
    assert one.status is Status.INSUFFICIENT


@pytest.mark.parametrize("text", ["failure_rate: {window: 60s, at_least: 20, over: 0.5}", "unreadable: {at_least: 1}"])
def test_what_needs_no_evidence_to_begin_holds(text: str) -> None:
    """A gate that has not executed yet must be able to begin."""
    assert condition(text).status is Status.HOLDS


class TestDrift:
    """Drift of values."""

    TEXT = "drift: {series: s/x, detector: adwin, warm_up: 30, unreadable_in_a_row: 5}"

    def test_it_warms_up(self) -> None:
        """The condition holds from the reading on that completes the warm-up."""
        one = condition(self.TEXT)
        one.feed(samples([48.0] * 29), 0, NOW)
        assert one.status is Status.INSUFFICIENT
        one.feed(samples([48.0], 29), 0, NOW)
        assert one.status is Status.HOLDS

    def test_it_demands_at_the_reading_where_the_detector_speaks(self) -> None:
        """The demand names the reading, whatever the block, and says from what to what."""
        values = [48.0] * 200 + [97.0] * 200
        expected = [7 + Adwin().feed(values)[0].index]
        one = condition(self.TEXT)
        demands = one.feed(samples(values, 7), 0, NOW)
        assert [demand.offset for demand in demands] == expected
        assert demands[0].text.startswith("drift in x: mean 48 to ")

    def test_a_demand_stands_until_readings_from_after_it_are_back(self) -> None:
        """Neither time nor the new level ends it, nor good readings from before it: a window of those from after it does."""
        one = condition(self.TEXT)
        one.feed(samples([48.0, 49.0] * 100 + [97.0] * 200), 0, NOW)
        assert one.status is Status.DEMANDS
        for ms in range(0, 60_000, 500):
            one.feed(samples([97.0], 400, ms), 0, later(ms))
        one.feed(samples([48.0, 49.0] * 100, 500), 0, later(60_000))
        one.tick(later(60_500))
        assert one.status is Status.DEMANDS, "those good ones bear times from before the demand"
        for ms in range(61_000, 61_000 + 500 * 19, 500):
            one.feed(samples([48.5], 700, ms), 0, later(ms))
        assert one.status is Status.DEMANDS, "19 are no window"
        one.feed(samples([48.5], 701, 71_000), 0, later(71_000))
        assert one.status is Status.HOLDS

    def test_readings_below_what_counts_are_left_out(self) -> None:
        """Rows before `lo` were judged before."""
        one = condition(self.TEXT)
        one.feed(samples([48.0] * 40), 20, NOW)
        assert one.status is Status.INSUFFICIENT

    def test_readings_that_are_no_numbers_demand_when_they_do_not_end(self) -> None:
        """Five in a row demand, at the fifth; a good one in between begins anew."""
        one = condition(self.TEXT)
        one.feed(samples([48.0] * 40), 0, NOW)
        assert one.feed(faults(4, 40), 0, NOW) == []
        one.feed(samples([48.0], 44), 0, NOW)
        demands = one.feed(faults(5, 45), 0, NOW)
        assert [demand.offset for demand in demands] == [49]
        one.tick(later(3_600_000))
        assert one.status is Status.DEMANDS, "nothing readable came since"
        assert one.absent
        one.feed(samples([48.0], 50, 3_600_000), 0, later(3_600_000))
        assert one.status is Status.HOLDS

    def test_more_than_half_that_are_no_numbers_demand(self) -> None:
        """Nine of ten, for ever, and never ten in a row: more than twenty of the last forty are missing evidence."""
        one = condition("drift: {series: s/x, detector: adwin}")
        one.feed(samples([48.0] * 40), 0, NOW)
        demands = []
        for n in range(40, 90):
            demands += one.feed(samples([48.0], n) if n % 10 == 0 else faults(1, n), 0, NOW)
        assert [demand.offset for demand in demands] == [63]
        assert "more than half of the last 40" in demands[0].text
        assert (one.status, one.absent) == (Status.DEMANDS, True)
        one.feed(samples([48.0] * 20, 90), 0, NOW)
        assert one.status is Status.HOLDS

    @pytest.mark.parametrize("detector", ["adwin", "page_hinkley, threshold: 50, delta: 0.5"])
    @pytest.mark.parametrize("value", [1e200, -1e308, 1.0000001e100])
    def test_a_value_that_overflows_does_not_blind_the_detector(self, detector: str, value: float) -> None:
        """I8: one value whose square is no number is kept from the detector, which still finds the drift that follows."""
        one = condition(f"drift: {{series: s/x, detector: {detector}}}")
        rng = random.Random(1)
        one.feed(samples([rng.gauss(50, 1) for _ in range(300)] + [value]), 0, NOW)
        one.feed(samples([rng.gauss(50, 1) for _ in range(300)], 301, 60_000), 0, later(60_000))
        demands = one.feed(samples([rng.gauss(90, 1) for _ in range(300)], 601, 61_000), 0, later(61_000))
        assert demands

    def test_values_that_overflow_demand_when_they_do_not_end(self) -> None:
        """Too large values count as faults in a row, however the run was cut."""
        values = [48.0] * 40 + [1e200] * 4 + [48.0] + [1e200] * 6
        whole, cut = condition(self.TEXT), condition(self.TEXT)
        demands = whole.feed(samples(values), 0, NOW)
        apart = [demand for n, value in enumerate(values) for demand in cut.feed(samples([value], n), 0, NOW)]
        assert demands == apart
        assert [demand.offset for demand in demands] == [49]


class TestConformance:
    """Events judged by a rule."""

    TEXT = 'conformance: {series: s/x, rule: "value <= 500", window: 20, over: 0.25, confidence: 0.001}'

    def test_it_demands_where_the_share_is_passed(self) -> None:
        """More than a quarter of the window breaks the rule: the demand is at the reading that passes it."""
        one = condition(self.TEXT)
        demands = one.feed(samples([1.0] * 20 + [501.0] * 6 + [1.0] * 4), 0, NOW)
        assert demands[-1].offset == 25
        assert one.status is Status.DEMANDS
        assert "6 of the last 20 of x do not conform to 'value <= 500'" in one.text

    def test_a_stream_that_never_conformed_demands_too(self) -> None:
        """A detector that sees only a fall is not all: six of the first six are too many."""
        assert [demand.offset for demand in condition(self.TEXT).feed(samples([501.0] * 6), 0, NOW)] == [5]

    def test_readings_that_are_no_numbers_do_not_conform(self) -> None:
        """NaN breaks every rule, also the one that it would satisfy."""
        one = condition('conformance: {series: s/x, rule: "not value > 3", window: 20, over: 0.25}')
        assert [demand.offset for demand in one.feed(faults(6), 0, NOW)] == [5]


class TestHeartbeat:
    """A sign of life."""

    TEXT = "heartbeat: {source: a, grace: 3s}"

    def beat(self, one: Condition, time_ms: int, moment: Moment = NOW) -> list[Demand]:
        return one.feed(Beats("a", [(1, 0, time_ms)]), 0, moment)

    def test_it_is_missing_after_its_grace(self) -> None:
        """To the millisecond, by evidence time; and it is found missing once."""
        one = condition(self.TEXT)
        self.beat(one, NOW.evidence_ms)
        assert not one.tick(later(3_000))
        assert one.status is Status.HOLDS
        assert one.tick(later(3_001))
        assert not one.tick(later(3_200))
        assert (one.status, one.text) == (Status.DEMANDS, "no heartbeat from a for 3.2 s")

    def test_an_old_beat_is_an_old_beat(self) -> None:
        """A beat that is delivered late is no sign of life. As the first one it is missing at the mark: a demand."""
        one = condition(self.TEXT)
        assert not self.beat(one, NOW.evidence_ms - 3_001)
        assert one.tick(NOW)
        assert one.status is Status.DEMANDS
        self.beat(one, NOW.evidence_ms)
        self.beat(one, NOW.evidence_ms - 9_000)
        assert not one.tick(NOW)
        assert one.status is Status.HOLDS

    def test_a_value_that_cannot_be_read_is_no_sign_of_life(self) -> None:
        """A series that sends nothing but NaN is silent."""
        one = condition("heartbeat: {series: s/x, grace: 3s}")
        one.feed(faults(1), 0, NOW)
        assert one.status is Status.INSUFFICIENT
        one.feed(samples([1.0]), 0, NOW)
        one.feed(Faults("s/x", [FaultRow(1, 0, NOW.evidence_ms + 3_001, "nan")]), 0, later(3_001))
        assert one.tick(later(3_001))

    def test_one_instance_that_lives_does_not_speak_for_another(self) -> None:
        """Of three that must live one dies: missing. Instances are told apart by name; beats without one are one's."""
        one = condition("heartbeat: {source: a, instances: 3, grace: 3s}")
        for ms in (0, 2_000, 4_000):
            names = ["i1", "i2", "i3"] if ms < 4_000 else ["i1", "i2", "i1"]
            for n, name in enumerate(names):
                one.feed(Beats("a", [(ms + n, 0, NOW.evidence_ms + ms)], name), 0, later(ms))
            one.tick(later(ms))
            assert one.status is Status.HOLDS
        assert one.tick(later(5_001))
        assert (one.text, one.absent) == ("2 of 3 instances of a live", True)
        lone = condition("heartbeat: {source: a, instances: 2, grace: 3s}")
        lone.feed(Beats("a", [(0, 0, NOW.evidence_ms), (1, 0, NOW.evidence_ms)]), 0, NOW)
        assert lone.status is Status.INSUFFICIENT

    def test_what_is_kept_of_instances_is_bounded(self) -> None:
        """A producer that makes up a name for every beat costs no memory, and its last names live."""
        one = condition("heartbeat: {source: a, instances: 3, grace: 3s}")
        for n in range(1_000):
            one.feed(Beats("a", [(n, 0, NOW.evidence_ms + n)], f"i{n}"), 0, later(n))
        assert len(one._last_ms) == 12  # type: ignore[attr-defined]
        one.tick(later(1_000))
        assert one.status is Status.HOLDS

    def test_other_readings_are_no_sign_of_life(self) -> None:
        """What is of another kind is left alone."""
        one = condition(self.TEXT)
        one.feed(Unreadable([FaultRow(1, 0, NOW.evidence_ms, "x")]), 0, NOW)
        assert one.status is Status.INSUFFICIENT


class TestFailureRate:
    """Executions that fail."""

    TEXT = "failure_rate: {window: 10s, at_least: 4, over: 0.5}"

    def outcome(self, one: Condition, ok: bool, count: int = 1, ms: int = 0, offset: int = 1) -> list[Demand]:
        return one.feed(
            Outcomes([OutcomeRow(offset, 0, NOW.evidence_ms + ms, 1, "", "ok" if ok else "failed", count)]), 0, later(ms)
        )

    def test_few_executions_say_nothing(self) -> None:
        """Three failures of three are too few; the fourth execution is the demand."""
        one = condition(self.TEXT)
        assert not self.outcome(one, ok=False, count=3)
        assert one.status is Status.HOLDS
        assert self.outcome(one, ok=False, offset=9) == [Demand(9, 0, "4 executions in a row failed")]

    def test_half_is_not_more_than_half(self) -> None:
        """The share must be passed."""
        one = condition("failure_rate: {window: 10s, at_least: 8, over: 0.5}")
        for offset in range(4):
            self.outcome(one, ok=True, offset=offset)
            assert not self.outcome(one, ok=False, offset=offset)
        assert self.outcome(one, ok=False)

    def test_a_row_of_failures_is_heard_at_once(self) -> None:
        """An hour of successes does not outvote fourteen failures in a row, and 13 of them are no row."""
        one = condition("failure_rate: {window: 1h, at_least: 20, over: 0.5}")
        self.outcome(one, ok=True, count=100_000)
        assert not self.outcome(one, ok=False, count=13)
        assert self.outcome(one, ok=False)[0].text == "14 executions in a row failed"

    def test_the_last_executions_are_looked_at_by_themselves(self) -> None:
        """Nine of ten fail, never 14 in a row: more than three quarters of the last twenty is heard within them."""
        one = condition("failure_rate: {window: 1h, at_least: 20, over: 0.5}")
        self.outcome(one, ok=True, count=100_000)
        demands = [self.outcome(one, ok=n % 10 == 0, offset=n) for n in range(20)]
        assert demands[-1] or demands[-2]

    def test_whatever_was_carried_out_and_did_not_succeed_failed(self) -> None:
        """An outcome that this code does not know is no success; what was cancelled was not carried out."""
        one = condition(self.TEXT)
        one.feed(Outcomes([OutcomeRow(0, 0, NOW.evidence_ms, 1, "", "cancelled", 9)]), 0, NOW)
        assert one.status is Status.HOLDS
        assert one.feed(Outcomes([OutcomeRow(1, 0, NOW.evidence_ms, 1, "", "interrupted", 4)]), 0, NOW)

    def test_quiet_closes_where_the_policy_says_so(self) -> None:
        """A gate that is open for a whole window with fewer executions than can be judged: absence."""
        one, other = condition(self.TEXT.replace("}", ", quiet: closes}")), condition(self.TEXT)
        for each in (one, other):
            each.gate_is_open(True, False, NOW)
            assert not each.tick(later(9_999))
        assert one.text == "too few executions to judge: 0 of 4 in 10 s"
        assert one.tick(later(10_000))
        assert (one.status, one.absent) == (Status.DEMANDS, True)
        assert not other.tick(later(10_000))
        one.gate_is_open(False, True, later(10_000))
        one.tick(later(60_000))
        assert one.status is Status.HOLDS, "a closed gate has no executions"

    def test_a_lapse_lasts_until_somebody_accepts(self) -> None:
        """A gate that it closes has no executions, so nothing else can say that the cause is gone."""
        one = condition(self.TEXT.replace("}", ", action: lapse}"))
        self.outcome(one, ok=False, count=9)
        one.tick(later(3_600_000))
        assert one.status is Status.DEMANDS
        assert one.accept(NOW) == ""
        assert one.status is Status.HOLDS

    def test_the_window_slides(self) -> None:
        """What is older than the window is forgotten, by the marks alone."""
        one = condition(self.TEXT)
        self.outcome(one, ok=False, count=9)
        one.tick(later(9_000))
        assert one.status is Status.DEMANDS
        one.tick(later(11_000))
        assert (one.status, one.text) == (Status.HOLDS, "too few executions to judge: 0 of 4 in 10 s")

    def test_an_outcome_from_before_the_window_does_not_count(self) -> None:
        """An outcome delivered very late is left out rather than kept for ever."""
        one = condition(self.TEXT)
        self.outcome(one, ok=True, ms=60_000)
        assert not self.outcome(one, ok=False, count=99, ms=0)
        assert one.text == "too few executions to judge: 1 of 4 in 10 s"


class TestUnreadable:
    """Records that nobody could read."""

    def test_so_many_in_the_window_demand(self) -> None:
        """The third within ten seconds demands; then they pass."""
        one = condition("unreadable: {at_least: 3, window: 10s}")
        rows = [FaultRow(n, 0, NOW.evidence_ms + n, "not JSON") for n in range(3)]
        assert [demand.offset for demand in one.feed(Unreadable(rows), 0, NOW)] == [2]
        assert one.status is Status.DEMANDS
        one.tick(later(10_002))
        assert one.status is Status.HOLDS


def _mixed(rng: random.Random) -> list[Samples | Faults]:
    """Blocks of one reading each."""
    blocks: list[Samples | Faults] = []
    for n in range(1200):
        level = 50.0 if n < 500 else 80.0
        bad = rng.random() < (0.02 if n < 900 else 0.5)
        value = rng.choice([1e200, rng.gauss(level, 3)]) if rng.random() < 0.01 else rng.gauss(level, 3)
        blocks.append(faults(1, n) if bad else samples([value], n))
    return blocks


def _joined(blocks: list[Samples | Faults], cuts: Callable[[], int]) -> list[list[Samples | Faults]]:
    """The same readings in runs of several, neighbours of a kind in one block."""
    runs, at = [], 0
    while at < len(blocks):
        upto = at + cuts()
        run: list[Samples | Faults] = []
        for kind, some in itertools.groupby(blocks[at:upto], type):
            rows = [row for block in some for row in block.rows]
            run.append(Samples.of("s/x", rows) if kind is Samples else Faults("s/x", rows))
        runs.append(run)
        at = upto
    return runs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "text",
    [
        "drift: {series: s/x, detector: adwin, unreadable_in_a_row: 3}",
        "drift: {series: s/x, detector: page_hinkley, unreadable_in_a_row: 3}",
        'conformance: {series: s/x, rule: "40 < value < 70", window: 30, over: 0.6}',
    ],
)
def test_the_cut_of_runs_does_not_matter(text: str, seed: int) -> None:
    """The same readings demand at the same places, one by one or in runs of any length."""
    rng = random.Random(seed)
    blocks = _mixed(rng)
    alone, together = condition(text), condition(text)
    assert blocks
    one_by_one = [demand for block in blocks for demand in alone.feed(block, 0, NOW)]
    in_runs = [
        demand
        for run in _joined(blocks, lambda: rng.randint(1, 90))
        for block in run
        for demand in together.feed(block, 0, NOW)
    ]
    assert [(one.offset, one.index) for one in one_by_one] == [(one.offset, one.index) for one in in_runs], f"seed {seed}"
    assert one_by_one
    assert (alone.status, alone.text) == (together.status, together.text)


def test_a_reading_of_another_kind_changes_nothing() -> None:
    """A condition that is handed what it does not read stays as it was."""
    for text in ("lag: {group: g, topic: t, allowed: 1, behind: 1s}", "failure_rate: {window: 60s, at_least: 20, over: 0.5}"):
        one = condition(text)
        before = one.brief()
        assert one.feed(samples([1.0]), 0, NOW) == []
        assert one.brief() == before
    for text in ("unreadable: {}", "heartbeat: {source: a, grace: 3s}"):
        one = condition(text)
        before = one.brief()
        assert one.feed(Lags("g", "t", [(0, 0, 1, {0: (0, 9)})]), 0, NOW) == []
        assert one.brief() == before
