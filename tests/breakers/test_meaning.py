"""A policy means what it reads: absence, votes, resets and demands, as docs/policy.md says, through the whole of a governor."""

from __future__ import annotations

import pytest
from log import START_MS, policy
from play import Play, beats, lags, once_in, share, values

from failshut_breakers.conditions import Moment, Status, build
from failshut_breakers.decisions.decision import Breaker, Kind
from failshut_breakers.evidence.records import FaultRow, Unreadable
from failshut_breakers.policy.policy import parse_policy

pytestmark = pytest.mark.slow

RESET = {"reset": "{after: 30s, probes: 3}"}
ADWIN_X, ADWIN_Y = (f"drift: {{series: s/{name}, detector: adwin}}" for name in "xy")
RULE_X, RULE_Y, RULE_Z = (f'conformance: {{series: s/{name}, rule: "value <= 500"}}' for name in "xyz")
BEAT = "heartbeat: {source: a, grace: 3s}"
LAG = "lag: {group: w, topic: r, allowed: 1000, behind: 5s}"
FAILURES = "failure_rate: {window: 60s, at_least: 20, over: 0.5}"
X, Y = values("s/x", 48.0), values("s/y", 48.0, seed=2)
BAD_X = values("s/x", 96.0, seed=9)


def play(*conditions: str, trip_on: str = "any", **more: str) -> Play:
    return Play(policy(*conditions, trip_on=f"'{trip_on}'", **{**RESET, **more}))


class TestAbsence:
    """Absence is never consent."""

    @pytest.mark.parametrize(
        "condition",
        [
            ADWIN_X,
            RULE_X,
            "anomaly: {series: s/x, detector: standard_absolute_deviation}",
            "drift: {series: s/x, false_trips: 1 per 30d}",
        ],
    )
    def test_a_series_that_stops_closes_the_gate(self, condition: str) -> None:
        """Half a minute after its last reading, whatever goes on beside it, and for as long as it is silent."""
        one = play(condition, BEAT, trip_on="all" if "adwin" in condition else "any")
        one.run(30, X, beats())
        assert one.is_open
        one.run(60, beats())
        assert one.open_ms <= 30_500
        assert "no reading of x for 30" in one.world.last().because

    def test_how_long_is_the_policys_or_the_streams_own(self) -> None:
        """`stale` says it; without it a slow stream has ten of its intervals."""
        quick = play("drift: {series: s/x, detector: adwin, stale: 2s}").run(60, X).run(60)
        assert quick.open_ms <= 2_500
        slow = Play(policy(ADWIN_X, ttl="30s"), step_ms=1_000).run(1_800, once_in(30, 48.0)).run(900)
        assert 260_000 <= slow.open_ms <= 330_000

    def test_it_opens_again_when_the_series_is_back(self) -> None:
        """Silence is no demand: nothing has to be reset."""
        one = play(ADWIN_X).run(60, X).run(60).run(2, X)
        assert one.is_open

    def test_old_readings_are_no_evidence(self) -> None:
        """A pipeline an hour late: its honest readings say nothing of now."""
        old = lambda t: [("sample", "s/x", 48.0, START_MS + int(t * 1000) - 3_600_000)]  # noqa: E731
        assert play(RULE_X).run(120, old).open_ms == 0

    def test_a_queue_that_drains_does_not_outvote_what_is_read_now(self) -> None:
        """Ten old good readings beside each bad one of now."""
        one = play(RULE_X).run(120, X)
        backlog = lambda t: [("sample", "s/x", 48.0, START_MS + int(t * 200)) for _ in range(40)]  # noqa: E731
        one.run(60, backlog, values("s/x", 900.0))
        assert one.open_ms <= 1_000
        assert one.world.gate().conditions[0].late > 1_000  # type: ignore[attr-defined]

    @pytest.mark.parametrize("trip_on", ["all", "2 of 3"])
    def test_worse_evidence_never_opens(self, trip_on: str) -> None:
        """Lag that is unknown, a heartbeat that is missing, a series of nothing but NaN: each closes alone, for ever."""
        fine = lags(lambda t: int(100 * t), lambda t: int(100 * t))
        nan = lambda t: [("fault", "s/y", "NaN")]  # noqa: E731
        unknown = play(ADWIN_X, ADWIN_Y, LAG, trip_on=trip_on).run(30, X, Y, fine).run(60, X, Y)
        assert unknown.open_ms <= 10_500
        source = play(ADWIN_X, ADWIN_Y, BEAT.replace("}", ", action: trip}"), trip_on=trip_on)
        assert source.run(30, X, Y, beats()).run(60, X, Y).open_ms <= 3_500
        assert play(ADWIN_X, ADWIN_Y, RULE_Z, trip_on=trip_on).run(60, X, nan, values("s/z", 48.0)).open_ms == 0
        assert play(RULE_X, ADWIN_Y, RULE_Z, trip_on=trip_on).run(60, share(1.0), Y, values("s/z", 48.0)).open_ms == 0

    def test_a_source_of_many_instances(self) -> None:
        """Nine of ten die; with `instances` the one that lives does not speak for them."""
        names = [f"i{n}" for n in range(10)]
        one = play("heartbeat: {source: a, instances: 8, grace: 3s}").run(60, beats("a", *names))
        assert one.is_open
        one.run(60, beats("a", "i0"))
        assert one.open_ms <= 3_500
        assert one.world.last().because == "1 of 8 instances of a live"


class TestDemands:
    """A demand stands until its cause is gone."""

    CONDITIONS = (
        ADWIN_X,
        "drift: {series: s/x, false_trips: 1 per 30d}",
        "drift: {series: s/x, detector: cusum}",
        "drift: {series: s/x, detector: kswin}",
        "drift: {series: s/x, detector: page_hinkley, false_trips: 1 per 30d}",
        "drift: {series: s/x, detector: [adwin, cusum, kswin], votes: 2, within: 100}",
        "anomaly: {series: s/x, detector: standard_absolute_deviation}",
        "anomaly: {series: s/x, detector: half_space_trees}",
        "anomaly: {series: s/x}",
    )

    @pytest.mark.parametrize(("condition", "action"), [*((one, "trip") for one in CONDITIONS), (CONDITIONS[0], "lapse")])
    def test_of_a_level_that_stays_away_and_comes_back(self, condition: str, action: str) -> None:
        """Closed from its first closing to the end of the fault, and open soon after."""
        bad = values("s/x", 480.0, seed=9)
        one = play(condition.replace("}", f", action: {action}}}", 1)).run(30, X)
        one.run(40, bad)
        assert one.open_ms <= 2_000, one.world.last()
        assert one.run(20, bad).open_ms == 0
        # Some detectors speak for nothing now and then, so it need not be open for all of what follows.
        assert one.run(20, X).open_ms > 0, one.world.last()

    @pytest.mark.parametrize("detector", ["fhddm", "hddm_a", "hddm_w", "ddm", "eddm"])
    def test_of_events_below_the_limit(self, detector: str) -> None:
        """A third breaks the rule where hardly any did, and the limit is above that: the detector's demand stands."""
        one = play(RULE_X.replace("}", f", over: 0.9, detector: {detector}}}")).run(60, share(0.02)).run(30, share(0.4))
        assert not one.is_open
        assert one.run(90, share(0.4)).open_share <= 0.02
        assert one.run(60, share(0.02, seed=5)).open_ms > 0

    def test_of_several_series_together(self) -> None:
        """Every one of them has to be back."""
        text = "anomaly: {series: [s/x, s/y, s/z], every: 1s}"
        normal = [values(f"s/{name}", 48.0, count=1, seed=n) for n, name in enumerate("xyz")]
        shifted = [values(f"s/{name}", 480.0, count=1, seed=n) for n, name in enumerate("xyz")]
        one = play(text).run(400, *normal)
        assert one.is_open
        one.run(60, *shifted)
        assert one.run(120, shifted[0], *normal[1:]).open_ms == 0
        assert one.run(120, *normal).is_open

    def test_it_ends_by_readings_alone(self) -> None:
        """A change of three seconds, then nothing for ever: no reset without one reading since the closing."""
        one = play(ADWIN_X).run(60, X).run(4, BAD_X).run(120)
        assert one.open_ms == 0

    def test_a_slow_stream_is_not_reset_before_it_says_something(self) -> None:
        """One reading a minute and a cooldown of half a minute."""
        text = policy("anomaly: {series: s/x, detector: standard_absolute_deviation}", ttl="30s", **RESET)
        one = Play(text, step_ms=5_000).run(7_200, once_in(60, 48.0))
        assert one.run(7_200, once_in(60, 480.0)).open_ms <= 60_000

    def test_a_detector_learns_nothing_while_its_demand_stands(self) -> None:
        """After an hour at ten times the level it is back with what it knew, and notices twice the level at once."""
        one = play("anomaly: {series: s/x, detector: standard_absolute_deviation}").run(60, X)
        one.run(100, values("s/x", 480.0)).run(30, X)
        assert one.is_open
        assert one.run(20, values("s/x", 144.0)).open_ms <= 1_000

    def test_an_operator_accepts_a_new_level(self) -> None:
        """By name and epoch, on the log; the breaker is then reset as after any demand. Nothing else is accepted."""
        one = play(ADWIN_X, RULE_Y).run(60, X, Y).run(120, BAD_X, Y)
        assert "no condition is named" in one.order("accept", condition="x")[0].because
        assert "no level" in one.order("accept", condition="conformance:s/y")[0].because
        assert "it answers epoch 1" in one.order("accept", condition="drift:s/x", epoch=1)[0].because
        said = one.order("accept", condition="drift:s/x")
        assert [(note.kind, note.because.startswith("accepted: ")) for note in said] == [(Kind.NOTE, True)]
        assert one.run(10, BAD_X, Y).is_open
        assert one.run(120, BAD_X, Y).closed_ms == 0

    def test_a_rule_is_not_accepted_away(self) -> None:
        """A limit is the policy's."""
        one = play(RULE_X).run(60, X).run(60, share(1.0))
        assert "a rule is a limit" in one.order("accept", condition="conformance:s/x")[0].because

    def test_a_policy_adopts_after_a_time(self) -> None:
        """`adopt: after 2m`: not before, and then by itself."""
        one = play(ADWIN_X.replace("}", ", adopt: after 2m}")).run(60, X)
        one.run(115, BAD_X)
        assert not one.is_open
        assert one.run(60, BAD_X).is_open

    def test_a_rule_is_a_limit(self) -> None:
        """Every fifth is a million: closed for all of it; one alone where `at_once` says so."""
        fifth = lambda t: [("sample", "s/x", 1e6 if n == 0 else 48.0) for n in range(5)]  # noqa: E731
        one = play(RULE_X).run(30, X).run(60, fifth)
        assert one.open_ms <= 3_500
        lone = play(RULE_X.replace("}", ", at_once: 1}")).run(60, X)
        lone.run(0.5, lambda t: [("sample", "s/x", 501.0)])
        assert not lone.is_open
        assert lone.run(60, X).is_open


class TestVotes:
    """Votes overlap by standing, and absence is none."""

    def test_demands_that_begin_apart_meet(self) -> None:
        """x at 120 s and y 12 s later, both for ever."""
        one = play(ADWIN_X, ADWIN_Y, trip_on="all").run(60, X, Y).run(12, BAD_X, Y)
        assert one.is_open
        one.run(120, BAD_X, values("s/y", 96.0))
        assert one.open_ms <= 2_000

    def test_a_bypassed_condition_counts_as_demanding(self) -> None:
        """Two of three: x bypassed, y bad. And x and y bypassed, z bad. And all of two: x bypassed, y bad."""
        producers = X, Y, values("s/z", 48.0, seed=3)
        one = play(RULE_X, RULE_Y, RULE_Z, trip_on="2 of 3").run(60, *producers)
        one.order("bypass", conditions=["conformance:s/x"])
        assert one.run(20, *producers).is_open
        assert one.run(25, X, share(1.0, "s/y"), producers[2]).open_ms <= 1_000
        bad = share(1.0), share(1.0, "s/y")
        two = play(RULE_X, RULE_Y, RULE_Z, trip_on="2 of 3").run(60, *producers).run(5, *bad, producers[2])
        two.order("bypass", conditions=["conformance:s/x", "conformance:s/y"])
        assert two.run(20, *bad, producers[2]).is_open
        assert two.run(60, *bad, share(1.0, "s/z")).open_ms <= 1_000
        both = play(RULE_X, RULE_Y, trip_on="all").run(60, X, Y)
        both.order("bypass", conditions=["conformance:s/x"])
        assert both.run(25, X, share(1.0, "s/y")).open_ms <= 1_000

    def test_a_condition_that_never_held_is_no_vote(self) -> None:
        """Bad from its first reading on, it knows no normal: the gate is closed until it holds once."""
        one = play(RULE_X, ADWIN_Y, trip_on="all").run(120, share(1.0), Y)
        assert one.open_ms == 0
        assert one.run(60, X, Y).is_open
        assert one.run(60, share(1.0), Y).closed_ms == 0, "then it is one vote of two"


class TestResets:
    """Nothing reopens without news."""

    def test_an_operators_reset_needs_news(self) -> None:
        """Refused while the demand stands, with a bypass over it as well, and before enough was read."""
        one = play(RULE_X, reset="{probes: 0}").run(60, X).run(10, share(1.0))
        assert "the cause persists" in one.order("reset")[0].because
        one.order("bypass", conditions=["conformance:s/x"])
        assert "the cause persists" in one.order("reset")[0].because
        one.run(5, X)
        assert one.order("reset")[0].breaker is Breaker.ARMED

    def test_a_missing_heartbeat_keeps_proving_from_beginning(self) -> None:
        """PROVING begins only where it could open; until then a note says what for."""
        one = play(RULE_X, BEAT).run(60, X, beats()).run(5, share(1.0), beats())
        one.run(120, X)
        assert one.open_ms == 0
        assert all(decision.breaker is not Breaker.PROVING for decision in one.world.said)
        assert any("a reset waits for no heartbeat from a" in decision.because for decision in one.world.said)
        assert "waits for no heartbeat" in one.order("reset")[0].because
        assert one.run(5, X, beats()).is_open

    def test_old_good_readings_are_no_news(self) -> None:
        """Good ones with times from before the closing come after it, and nothing else."""
        one = play(RULE_X.replace("}", ", stale: 1h}")).run(60, X).run(30, share(1.0))
        old = lambda t: [("sample", "s/x", 48.0, START_MS + int(t * 100)) for _ in range(20)]  # noqa: E731
        assert one.run(120, old).open_ms == 0

    def test_after_a_lock_the_demand_still_stands(self) -> None:
        """A lock over a tripped gate, and its reset, reopen nothing into the fault."""
        one = play(ADWIN_X).run(60, X).run(30, BAD_X)
        one.order("lock")
        one.run(60, BAD_X)
        assert "the cause persists" in one.order("reset")[0].because

    def test_after_a_bypass_the_demand_still_stands(self) -> None:
        """Its end closes again, for as long as the fault lasts."""
        one = play(ADWIN_X).run(60, X).run(10, BAD_X)
        one.order("bypass", conditions=["drift:s/x"], until_ms=one.world.now_ms + 60_000)
        assert one.run(59, BAD_X).is_open
        assert one.run(300, BAD_X).open_ms <= 1_000

    def test_failures_without_probes_wait_for_an_operator(self) -> None:
        """A closed gate has no executions: neither time nor a reset says that they succeed; `accept` does."""
        one = Play(policy(FAILURES, reset="{after: 30s, probes: 0}"))
        one.execute = lambda t: (0, 2) if 20 <= t < 60 else (2, 0)
        one.run(20).run(300)
        assert not one.is_open
        assert "reset.probes is 0" in one.order("reset")[0].because
        assert one.order("accept", condition="failure_rate")[0].because.startswith("accepted: ")
        assert one.run(30).is_open

    def test_probes_that_succeed_where_executions_fail_are_believed_less_each_time(self) -> None:
        """Two percent of the fault at most is open after the first closing."""
        one = play(FAILURES)
        one.execute = lambda t: (0, 2) if t >= 20 else (2, 0)
        one.run(20).run(5)
        assert not one.is_open
        assert one.run(1_800).open_share <= 0.02


class TestEdits:
    """An edit keeps what it does not change."""

    def test_a_fault_is_not_learnt_because_of_a_comment(self) -> None:
        """Neither before the detector speaks nor after."""
        for before in (0.4, 30):
            one = play(ADWIN_X).run(60, X).run(before, BAD_X)
            one.world.activate("# a comment\n" + policy(ADWIN_X, trip_on="'any'", **RESET))
            assert one.run(120, BAD_X).open_ms <= 2_000

    def test_a_changed_condition_inherits_the_demand(self) -> None:
        """Other settings, the same name and series: what was normal is remembered."""
        one = play(ADWIN_X).run(60, X).run(30, BAD_X)
        one.world.activate(policy(ADWIN_X.replace("}", ", delta: 0.01}"), **RESET))
        assert one.run(120, BAD_X).open_ms == 0
        assert one.run(60, X).is_open

    def test_a_changed_condition_knows_that_its_series_is_silent(self) -> None:
        """Other settings make no old evidence new: a gate that is closed over silence stays so until a reading comes."""
        for condition in (ADWIN_X, RULE_X):
            one = play(condition).run(60, X).run(120)
            assert not one.is_open
            one.world.activate(policy(condition.replace("}", ", unreadable_in_a_row: 12}"), **RESET))
            assert one.run(600).open_ms == 0
            assert one.run(5, X).is_open

    def test_a_changed_condition_knows_what_it_could_not_read(self) -> None:
        """Readings that are no numbers count on: other settings give them no second chance."""
        nan = lambda t: [("sample", "s/x", float("nan"))] if t % 2 == 0 else []  # noqa: E731
        lapse = ADWIN_X.replace("}", ", action: lapse, stale: 10m}")
        one = play(lapse).run(60, X).run(30, nan)
        assert not one.is_open
        one.world.activate(policy(lapse.replace("}", ", delta: 0.01}"), **RESET))
        assert one.run(60, nan).open_ms == 0
        assert one.run(60, X).is_open

    def test_a_changed_rule_inherits_the_limit_that_was_passed(self) -> None:
        """Every fifth reading is bad, one each two seconds: until a whole window is within the limit it stays closed."""
        good = lambda t: [("sample", "s/x", 48.0)] if t % 2 == 0 else []  # noqa: E731
        fifth = lambda t: [("sample", "s/x", 48.0 if t % 10 else 900.0)] if t % 2 == 0 else []  # noqa: E731
        one = play(RULE_X).run(300, good).run(100, fifth)
        assert not one.is_open
        one.world.activate(policy(RULE_X.replace("}", ", unreadable_in_a_row: 12}"), **RESET))
        assert one.run(300, fifth).open_ms == 0
        assert one.run(240, good).is_open

    def test_a_changed_lag_knows_since_when_the_group_is_behind(self) -> None:
        """The time for which it may be behind does not begin again."""
        lag = "lag: {group: w, topic: r, allowed: 10, behind: 2m, stale: 10m}"
        behind = lags(lambda t: 0 if t >= 60 else int(t), lambda t: 1_000 + int(t) if t >= 60 else int(t))
        one = play(lag).run(60, behind).run(240, behind)
        assert not one.is_open
        one.world.activate(policy(lag.replace("allowed: 10", "allowed: 20"), **RESET))
        assert one.run(300, behind).open_ms == 0

    def test_a_changed_unreadable_condition_knows_what_could_not_be_read(self) -> None:
        """What was unreadable in its window is so under other settings."""
        first, second = (
            build(parse_policy(policy(f"unreadable: {{at_least: 2, window: {window}}}")).conditions[0])
            for window in ("60s", "90s")
        )
        first.feed(Unreadable([FaultRow(1, 0, START_MS, "x"), FaultRow(2, 0, START_MS, "x")]), 0, Moment(START_MS, START_MS))
        second.inherit(first)
        second.tick(Moment(START_MS + 80_000, START_MS + 80_000))
        assert second.status is Status.DEMANDS

    def test_a_changed_failure_rate_inherits_a_lapse(self) -> None:
        """It lasts until it is accepted, whatever else is set."""
        lapse = FAILURES.replace("}", ", action: lapse}")
        one = Play(policy(lapse, **RESET))
        one.execute = lambda t: (0, 2) if t >= 20 else (2, 0)
        one.run(20).run(30)
        assert not one.is_open
        one.world.activate(policy(lapse.replace("window: 60s", "window: 90s"), **RESET))
        assert one.run(300).open_ms == 0

    def test_a_policy_that_was_away_finds_its_demand_again(self) -> None:
        """Removed and added again."""
        one = play(ADWIN_X).run(60, X).run(30, BAD_X)
        one.world.activate(policy(BEAT, gate="other"))
        one.run(5, BAD_X)
        one.world.activate(policy(ADWIN_X, **RESET))
        assert one.run(120, BAD_X).open_ms == 0

    def test_a_condition_that_closed_the_gate_and_is_gone_needs_an_operator(self) -> None:
        """Nobody else can say that its cause is gone."""
        one = play(RULE_X, RULE_Y).run(60, X, Y).run(5, share(1.0), Y)
        one.world.activate(policy(RULE_Y, **RESET))
        assert one.run(120, X, Y).open_ms == 0
        assert any("an operator's reset" in decision.because for decision in one.world.said)
        assert one.order("reset")[0].breaker is Breaker.PROVING
