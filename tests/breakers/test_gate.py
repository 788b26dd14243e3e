"""A gate's life, told from the front door: warm-up, opening, renewal, trips, interlocks, faults, terms."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from log import CONTROL, START_MS, TELEMETRY, World, policy

from failshut.cause import Cause
from failshut_breakers.conditions.on_series import DriftCondition
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Kind
from failshut_breakers.decisions.permits import LIFE_MS
from failshut_breakers.evidence.records import EvidenceError, Place
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Step
from failshut_detectors import Adwin

BEAT = "heartbeat: {source: a, grace: 1s}"
DRIFT = "drift: {series: s/x, detector: adwin}"
LOW = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
LOW_Y = 'conformance: {series: s/y, rule: "value < 100", window: 10, over: 0.05}'
FAILURES = "failure_rate: {window: 60s, at_least: 2, over: 0.5}"


def opened(text: str, warm: int = 40) -> World:
    world = World(text)
    world.send(("beat", "a", None))
    for series in ("s/x", "s/y"):
        world.samples([48.0] * warm, series)
    world.mark()
    assert world.last().kind is Kind.OPEN
    return world


class TestOpening:
    """What must be there before a gate opens, and what keeps it open."""

    def test_it_opens_when_there_is_enough_evidence(self) -> None:
        """Closed as insufficient until all conditions hold and all partitions have been marked; then a new epoch."""
        world = World(policy(DRIFT))
        assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.INSUFFICIENT)
        world.mark()
        assert world.last().cause is Cause.INSUFFICIENT
        world.samples([48.0] * 29)
        world.mark()
        assert not world.is_open()
        before = world.last().epoch
        world.samples([48.0])
        last = world.last()
        assert (last.kind, last.mode, last.breaker, last.cause) == (Kind.OPEN, "armed", State.ARMED, None)
        assert last.epoch > before
        assert (last.evidence_ms, last.exp_ms) == (world.now_ms, world.now_ms + 3_000)

    @pytest.mark.parametrize("missing", [TELEMETRY, CONTROL, ("otlp_metrics", 0)])
    def test_no_partition_may_be_silent(self, missing: tuple[str, int]) -> None:
        """A partition without marks keeps the gate from opening, and lets it lapse once its marks stop."""
        world = World(policy(FAILURES))
        keys = [key for key in world.door.logs if key != missing]
        world.mark(keys=keys)
        assert not world.is_open()
        world.mark()
        assert world.is_open()
        for _ in range(20):
            world.mark(keys=keys)
        assert not world.is_open()
        assert world.last().exp_ms <= START_MS + 400 + 3_000

    def test_renewals_are_bounded(self) -> None:
        """Under a bypass a permit is renewed when evidence time came a sixth of its ttl further, under the same epoch."""
        world = opened(policy(BEAT))
        until_ms = world.now_ms + 60_000
        world.command("bypass", epoch=world.gate().epoch, conditions=["heartbeat:a"], until_ms=until_ms)
        world.marks(6_000, beat="a")
        said = [one for one in world.said if one.kind is Kind.RENEW]
        assert len(said) == 10
        assert len({one.epoch for one in said}) == 1
        assert all(one.exp_ms == one.evidence_ms + 3_000 for one in said)
        assert all(later.evidence_ms - one.evidence_ms == 600 for one, later in pairwise(said))
        assert world.is_open()

    def test_a_permit_ends_ttl_after_its_evidence_when_nothing_more_comes(self) -> None:
        """A stalled router opens nothing: no decision follows, and the last permit runs out."""
        world = opened(policy(FAILURES))
        world.now_ms += 2_999
        assert world.is_open()
        world.now_ms += 1
        assert not world.is_open()


class TestTripping:
    """A demand closes the gate, at its reading."""

    def test_it_trips_at_the_very_reading(self) -> None:
        """The closing cites the reading at which a bare detector speaks first, also when it speaks again in the same run."""
        values = [48.0] * 300 + [97.0] * 100 + [10.0] * 400
        alarms = [alarm.index for alarm in Adwin().feed(values)]
        assert len(alarms) > 1
        world = World(policy(DRIFT))
        world.mark()
        first = len(world.door.logs[TELEMETRY])
        world.samples(values)
        trip = world.last()
        assert (trip.kind, trip.cause, trip.breaker) == (Kind.CLOSE, Cause.DRIFT, State.TRIPPED)
        assert trip.origin == Place("telemetry", 0, first + alarms[0], 0)
        assert trip.because.startswith("drift in x: mean 48 to ")
        assert len([one for one in world.said if one.breaker is State.TRIPPED]) == 1

    def test_it_latches(self) -> None:
        """A tripped breaker stays tripped when the demand is long over."""
        world = opened(policy(LOW))
        world.samples([500.0])
        world.samples([48.0] * 40)
        world.marks(60_000)
        assert (world.last().kind, world.last().breaker, world.last().cause) == (Kind.CLOSE, State.TRIPPED, Cause.CONFORMANCE)

    def test_a_later_demand_says_the_closing_again(self) -> None:
        """The epoch grows with every later demand, so that nothing answers the older closing."""
        world = opened(policy(LOW, LOW_Y))
        world.samples([500.0])
        epoch = world.last().epoch
        world.samples([500.0], "s/y")
        assert world.last().epoch > epoch
        assert world.gate().breaker.closing.conditions == {"conformance:s/x", "conformance:s/y"}  # type: ignore[union-attr]

    @pytest.mark.parametrize("cut", [1, 2, 3, 1000])
    def test_two_of_three_trip_at_the_second(self, cut: int) -> None:
        """k of n: the closing cites the demand that completes them, however the run was cut."""
        three = [f'conformance: {{series: s/{name}, rule: "value < 100", window: 10, over: 0.05}}' for name in "xyz"]
        world = World(policy(*three, trip_on="2 of 3"))
        for name in "xyz":
            world.samples([48.0] * 10, f"s/{name}")
        world.mark()
        first = len(world.door.logs[TELEMETRY])
        for name in "xxyxzx":
            world.door.append(TELEMETRY, world.now_ms, ("sample", f"s/{name}", 500.0 if name in "xz" else 1.0))
        while world.router.pending(TELEMETRY):
            world.router.route(TELEMETRY, cut)
            world.feed()
        trip = next(one for one in world.said if one.breaker is State.TRIPPED)
        assert trip.origin == Place("telemetry", 0, first + 4, 0)

    def test_one_of_two_that_must_agree_does_not_trip(self) -> None:
        """all: one demand alone leaves the gate open, and the other trips it."""
        world = opened(policy(LOW, LOW_Y, trip_on="all"))
        world.samples([500.0])
        world.mark()
        assert world.last().kind is not Kind.CLOSE
        world.samples([500.0], "s/y")
        assert world.last().cause is Cause.CONFORMANCE

    def test_values_that_are_no_numbers_close_the_gate(self) -> None:
        """I8: ten NaN in a row trip a drift gate; nine and a good one do not."""
        world = opened(policy(DRIFT))
        for _ in range(9):
            world.send(("fault", "s/x", "not a number"))
        world.samples([48.0])
        for _ in range(9):
            world.send(("fault", "s/x", "not a number"))
        assert world.is_open()
        world.send(("fault", "s/x", "not a number"))
        assert (world.last().cause, world.last().breaker) == (Cause.DRIFT, State.TRIPPED)
        assert "10 readings of x in a row are not a number" in world.last().because

    def test_unreadable_records_close_every_gate_that_asks(self) -> None:
        """A record that nobody can read is a demand where the policy says so."""
        world = opened(policy("unreadable: {at_least: 1}"))
        world.send(("unreadable", "not JSON"))
        assert (world.last().cause, world.last().because) == (Cause.UNREADABLE, "1 unreadable records in 60 s: not JSON")


class TestInterlocks:
    """What lapses comes back by itself."""

    def test_a_heartbeat_lapses_and_comes_back(self) -> None:
        """Closed at the first mark past the grace, without a trip; open again at the first mark behind a beat: a new epoch."""
        world = opened(policy(BEAT))
        world.marks(800)
        assert world.is_open()
        world.mark()
        lapse = world.last()
        assert (lapse.kind, lapse.cause, lapse.breaker) == (Kind.CLOSE, Cause.HEARTBEAT, State.ARMED)
        world.send(("beat", "a", None))
        assert world.last() is lapse
        world.mark()
        assert world.last().kind is Kind.OPEN
        assert world.last().epoch > lapse.epoch

    def test_a_heartbeat_that_trips_latches(self) -> None:
        """With action trip the gate stays closed when the beat comes back."""
        world = opened(policy("heartbeat: {source: a, grace: 1s, action: trip}"))
        world.marks(1_400)
        world.marks(4_000, beat="a")
        assert (world.last().cause, world.last().breaker) == (Cause.HEARTBEAT, State.TRIPPED)

    def test_what_only_lapses_never_trips(self) -> None:
        """A drift with action lapse closes the gate while it stands."""
        world = opened(policy("drift: {series: s/x, detector: adwin, action: lapse}"))
        world.samples([97.0] * 200)
        assert (world.last().cause, world.last().breaker) == (Cause.DRIFT, State.ARMED)
        for _ in range(100):
            world.samples([97.0])
            world.mark()
        assert not world.is_open()
        for _ in range(30):
            world.samples([48.0])
            world.mark()
        assert world.last().kind in (Kind.OPEN, Kind.RENEW)

    def test_a_changed_condition_starts_without_evidence(self) -> None:
        """An activation raises the epoch and closes until a condition that it changes has evidence of its own."""
        world = opened(policy(FAILURES))
        epoch = world.last().epoch
        world.marks(2_000)
        world.activate(policy(DRIFT))
        assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.INSUFFICIENT)
        assert world.last().epoch > epoch
        world.samples([48.0] * 30)
        world.marks(400)
        assert world.is_open()

    def test_a_condition_that_an_edit_does_not_change_goes_on(self) -> None:
        """A comment, a ttl, another condition: what it knows it still knows, and the gate stays open with a new permit."""
        world = opened(policy(DRIFT))
        world.mark(1_000)
        world.activate("# a comment\n" + policy(DRIFT, ttl="5s"))
        world.mark()
        assert world.is_open()
        assert world.last().ttl_ms == 5_000

    def test_what_a_kept_condition_has_read_it_reads_once(self) -> None:
        """Routers go back to the mark before an activation: the readings since then come again, and count once."""
        one, other = opened(policy(DRIFT)), opened(policy(DRIFT))
        for world in (one, other):
            world.mark(1_000)
            for n in range(10):
                world.now_ms += 10
                world.samples([48.0 + n])
        one.activate(policy(DRIFT, ttl="5s"))
        for world in (one, other):
            world.marks(600)
        assert one.gate().conditions[0].text == other.gate().conditions[0].text

    def test_an_unchanged_gate_goes_on_through_an_activation(self) -> None:
        """A bundle that changes another gate leaves this one open, on the evidence that it had."""
        text = policy(DRIFT, LOW)
        world = opened(text)
        epoch = world.last().epoch
        world.marks(2_000)
        world.activate(text, policy(BEAT, gate="h"))
        world.marks(4_000)
        assert world.is_open()
        assert world.last().epoch == epoch
        assert [coverage.version for coverage in world.governors[0].coverages] == [world.gate().version]

    @pytest.mark.parametrize("text", ["gate: g\npermit: {ttl", policy("drift: {series: s/x, detector: magic}"), "\x00"])
    def test_a_bad_policy_closes_its_gate(self, text: str) -> None:
        """The policy before is not kept alive, and the gate names the fault."""
        world = opened(policy(DRIFT))
        world.activate(text)
        assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.BAD_POLICY)
        assert world.last().because.startswith("0.yaml: ")
        world.marks(2_000)
        assert not world.is_open()

    def test_an_unsigned_policy_closes_its_gate(self) -> None:
        """A bundle that nobody known has signed opens nothing, also under a higher version."""
        world = opened(policy(DRIFT))
        world.activate(policy(FAILURES), fault="signed by nobody known")
        assert (world.last().cause, world.last().because) == (Cause.BAD_POLICY, "signed by nobody known")

    def test_a_gate_without_a_policy_is_closed(self) -> None:
        """Left out of a bundle, a gate is closed for the want of a policy."""
        world = opened(policy(DRIFT))
        world.activate(policy(DRIFT, gate="other"))
        assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.NO_POLICY)


class TestFaults:
    """What goes wrong inside one gate's step stays there."""

    def test_a_fault_in_a_step_locks_that_gate_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """I8: the other gate of the same run is judged, and the worker goes on."""
        world = World(policy(DRIFT), policy(LOW, gate="h"))
        world.samples([48.0] * 40)
        world.mark()

        def broken(*_: object) -> None:
            raise ZeroDivisionError("boom")

        monkeypatch.setattr(DriftCondition, "feed", broken)
        world.samples([48.0])
        monkeypatch.undo()
        assert (world.last("g").cause, world.last("g").breaker) == (Cause.FAULT, State.LOCKED)
        assert world.last("g").because == "a fault in this gate's step: ZeroDivisionError: boom"
        assert world.is_open("h")
        world.samples([48.0] * 40)
        world.marks(4_000)
        assert not world.is_open("g")
        assert world.is_open("h")

    @pytest.mark.parametrize("where", ["wanted", "tick", "_kind", "_decision", "wakes_ms"])
    def test_a_fault_anywhere_in_the_step_locks(self, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also a fault in the conclusion, which is concluded again, ends in LOCKED."""
        world = opened(policy(DRIFT))
        owner = Gate if where == "wanted" else Step
        real, failed = getattr(owner, where), []

        def once(*arguments: object) -> object:
            if not failed:
                failed.append(1)
                raise RuntimeError("boom")
            return real(*arguments)

        monkeypatch.setattr(owner, where, once)
        world.samples([48.0], flush=False)
        world.mark(LIFE_MS if where == "_decision" else 1_000)
        assert failed
        assert (world.last().kind, world.last().cause, world.last().breaker) == (Kind.CLOSE, Cause.FAULT, State.LOCKED)

    def test_a_policy_that_cannot_be_built_closes_its_gate_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A condition whose constructor fails is a bad policy: no gate without conditions opens."""

        def broken(*_: object) -> None:
            raise ValueError("boom")

        monkeypatch.setattr(DriftCondition, "__init__", broken)
        world = World(policy(DRIFT), policy(FAILURES, gate="h"))
        world.mark()
        assert (world.last("g").kind, world.last("g").cause) == (Kind.CLOSE, Cause.BAD_POLICY)
        assert "boom" in world.last("g").because
        assert world.is_open("h")


class TestLog:
    """The log itself: terms, lost beginnings, foreign records."""

    def test_a_new_term_locks_every_gate(self) -> None:
        """Gates are LOCKED at once, and evidence of the new term does not open them: an operator resets."""
        world = opened(policy(DRIFT))
        ends = {topic: {0: len(world.door.logs[topic, 0])} for topic in world.door.counts}
        decisions = world.open_term(2, ends)
        assert [(one.kind, one.cause, one.breaker) for one in decisions] == [(Kind.CLOSE, Cause.TERM, State.LOCKED)]
        assert decisions[0].epoch > f"{2 << 40:016d}"
        world.samples([48.0] * 40)
        world.marks(4_000)
        assert not world.is_open()

    def test_what_happened_in_a_record_ends_with_it(self) -> None:
        """A policy, a demand, a command and a term are said once: the next record of the gate begins with nothing."""
        world = opened(policy(LOW))
        for happens in (
            lambda: world.activate(policy(LOW, LOW_Y)),
            lambda: world.samples([500.0]),
            lambda: world.command("lock"),
            lambda: world.open_term(2, {topic: {0: len(world.door.logs[topic, 0])} for topic in world.door.counts}),
        ):
            happens()
            said = world.last()
            assert world.governors[0]._turns == {}
            world.mark()
            assert world.last() is said, "said a second time"

    def test_a_log_whose_beginning_is_lost_locks_its_gates(self) -> None:
        """A governor that does not see the first record trusts nothing that it has not seen."""
        world = World(policy(FAILURES))
        late = world.log.governor()
        runs = world.log.runs()
        for offset, run in enumerate(runs[1:], 1):
            assert late.step(offset, run) == []
        assert late.term == 0
        shifted = world.log.governor()
        decisions = [one for offset, run in enumerate(runs, 5) for one in shifted.step(offset, run)]
        assert [(one.cause, one.breaker) for one in decisions] == [(Cause.TERM, State.LOCKED)]

    def test_evidence_of_another_topic_stops_the_worker(self) -> None:
        """A record of another evidence topic, or of another partition count, raises and is not judged."""
        world = opened(policy(FAILURES))
        run = world.log.runs()[0]
        for other in (msgspec.structs.replace(run, evidence_id="x"), msgspec.structs.replace(run, evidence_partitions=9)):
            with pytest.raises(EvidenceError, match="No gate of it opens again"):
                world.governors[0].step(10_000, other)

    def test_records_of_another_term_count_for_nothing(self) -> None:
        """A router that still writes under the old term is not heard."""
        world = opened(policy(FAILURES))
        world.now_ms += 200
        before = world.governors[0].coverages[0].evidence_ms
        world.door.mark_all(world.now_ms)
        at = len(world.log.records[0])
        world.router.route_all()
        for offset, run in enumerate(world.log.runs()[at:], at):
            assert world.governors[0].step(offset, msgspec.structs.replace(run, term=9)) == []
        assert world.governors[0].coverages[0].evidence_ms == before

    def test_a_record_that_was_judged_is_skipped(self) -> None:
        """Reading a record again decides nothing again."""
        world = opened(policy(FAILURES))
        last = world.governors[0].offset
        for offset, run in enumerate(world.log.runs()):
            assert world.governors[0].step(offset, run) == []
            assert world.governors[0].offset == last

    def test_each_evidence_partition_decides_its_own_gates(self) -> None:
        """Two governors share the gates by name, and both hear of every activation and mark."""
        names = [f"gate-{n}" for n in range(8)]
        world = World(*(policy(FAILURES, gate=name) for name in names), evidence_partitions=2)
        world.mark()
        assert {one.gate for one in world.said} == set(names)
        for partition, governor in enumerate(world.governors):
            assert governor.gates
            assert {one.partition for one in world.said if one.gate in governor.gates} == {partition}
        assert all(world.is_open(name) for name in names)
