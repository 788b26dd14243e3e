"""A gate counts only the runs of routers that read its policy as its governor does."""

from __future__ import annotations

import msgspec
import pytest
from log import CONTROL, Router, World, policy

from failshut.cause import Cause
from failshut_breakers.agreement import (
    FAULT_CHARS_TOLD_MAX,
    FAULTS_TOLD_MAX,
    ROUTINGS_KEPT,
    TABLES_KEPT,
    Agreement,
    digest_of_control,
    digest_of_table,
    feed_of,
    feeds_of,
)
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.evidence import lanes
from failshut_breakers.evidence.records import EvidenceError, OlderWire, decode_run, encode_run
from failshut_breakers.held_back import disputes, owed
from failshut_breakers.policy.policy import Entry, parse_policy

RULE = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
G = policy(RULE, gate="g", ttl="2s")
H = policy(RULE, gate="h", ttl="2s")


class Two(World):
    """A prompt router, and beside it `other`, which routes telemetry while `turned` is set: a partition that changed hands."""

    def __init__(self, *policies: str, blind: str = "g") -> None:
        super().__init__(*policies)
        self.other = Router(self.door, self.log, "b", blind=frozenset({blind}))
        self.turned = False

    def flush(self) -> list[Decision]:
        if not hasattr(self, "other"):
            return super().flush()
        here, there = (self.other, self.router) if self.turned else (self.router, self.other)
        for router in (here, there):
            router.route(CONTROL)
        for key in self.door.logs:
            if key != CONTROL:
                here.route(key)
                there.position[key] = here.position[key]  # it commits where the other one stood
                for partition in range(len(self.log.records)):
                    there.told[key, partition] = here.position[key]
        return self.feed()

    def bad(self, seconds: int) -> list[Decision]:
        """Values that all break the rule."""
        said: list[Decision] = []
        for _ in range(seconds * 5):
            said += self.samples([500.0] * 4)
            said += self.mark()
        return said

    def good(self, seconds: int) -> None:
        for _ in range(seconds * 5):
            self.samples([50.0] * 4)
            self.mark()

    def tell_again(self) -> list[Decision]:
        """What the monitor does for a gate that is owed evidence: the router that agrees goes back."""
        for key, position in owed(self.governors[0]).items():
            self.router.position[key] = position
            self.router.told[key, 0] = position
        return self.flush()


def opened(*policies: str, blind: str = "g") -> Two:
    world = Two(*policies, blind=blind)
    world.good(3)
    assert world.is_open("g")
    return world


def test_a_router_that_cannot_read_a_policy_vouches_for_nothing() -> None:
    """Evidence time of its gate stands still: no permit outlives the last evidence that was really told."""
    world = opened(G, H)
    world.turned = True
    before_ms = world.now_ms
    world.bad(4)
    renewals = [one for one in world.said if one.gate == "g" and one.kind is not Kind.CLOSE]
    assert max(one.evidence_ms for one in renewals) <= before_ms
    assert not world.is_open("g")


def test_the_old_flaw_is_back_without_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every run counts for every gate, a router that feeds a gate nothing keeps it open over what breaks its rule."""
    monkeypatch.setattr(Agreement, "disputed", lambda self, run, versions: frozenset())
    world = opened(G, H)
    world.turned = True
    world.bad(4)
    assert world.is_open("g")


def test_the_closing_names_the_worker_and_its_fault() -> None:
    """Once the permit has run out, the gate says which worker's runs do not count, and why."""
    world = opened(G, H)
    world.turned = True
    world.bad(4)
    last = world.last("g")
    assert (last.kind, last.cause) == (Kind.CLOSE, Cause.ROUTING)
    assert last.because.startswith("worker b cannot read this gate's policy and feeds it nothing")
    assert "no detector is called 'newer'" in last.because
    assert disputes(world.governors[0]) == [("g", last.because)]


def test_other_gates_go_on() -> None:
    """What one policy cannot be read for costs the gates of the others nothing: they are judged, and trip."""
    world = opened(G, H)
    world.turned = True
    said = [one.cause for one in world.bad(1) if one.gate == "h" and one.kind is Kind.CLOSE]
    assert said[0] is Cause.CONFORMANCE


def test_what_did_not_count_is_told_again_and_judged() -> None:
    """A router that agrees goes back to where the gate stands; the values that broke the rule then trip it."""
    world = opened(G, H)
    world.turned = True
    world.bad(4)
    assert owed(world.governors[0]) == {}, "while no router agrees, telling again changes nothing"
    world.turned = False
    world.good(1)
    missing = owed(world.governors[0])
    assert set(missing) == {key for key in world.door.logs if key != CONTROL}
    said = [one for one in world.tell_again() if one.gate == "g"]
    assert {one.cause for one in said if one.kind is Kind.CLOSE} == {Cause.CONFORMANCE}
    assert world.governors[0].lanes.forks == []
    assert owed(world.governors[0]) == {}
    assert disputes(world.governors[0]) == []


def test_a_gate_opens_again_once_all_was_told_and_was_good() -> None:
    """A disagreement during which nothing went wrong ends by itself."""
    world = opened(G, H)
    world.turned = True
    world.good(4)
    assert world.last("g").cause is Cause.ROUTING
    world.turned = False
    world.good(1)
    world.tell_again()
    world.good(1)
    assert world.is_open("g")


def test_a_standby_that_disagrees_closes_nothing() -> None:
    """Where a router that agrees tells the same, it is its runs that count, whichever come first."""
    world = opened(G, H)
    for turn in range(20):
        position, told = dict(world.router.position), dict(world.router.told)
        world.other.position, world.other.told = dict(position), dict(told)
        world.samples([50.0] * 4, flush=False)
        world.now_ms += 200
        world.door.mark_all(world.now_ms)
        for router in (world.other, world.router) if turn % 2 else (world.router, world.other):
            router.route_all()
        world.feed()
        assert world.is_open("g"), f"turn {turn}"


def test_a_policy_that_is_activated_while_evidence_is_owed_still_asks_for_it() -> None:
    """The next policy may ask for the same series: its evidence time does not pass what was never told."""
    world = opened(G, H)
    world.turned = True
    world.bad(1)
    world.activate(G + "# 2\n", H)
    world.turned = False
    world.good(2)
    assert world.governors[0].coverage_of(world.gate("g")).evidence_ms < world.now_ms - 1_500
    said = [one for one in world.tell_again() if one.gate == "g"]
    assert Cause.CONFORMANCE in [one.cause for one in said]


def test_an_operator_signs_for_what_cannot_be_told_again() -> None:
    """An accepted gap ends a dispute over what it covers."""
    world = opened(G, H)
    world.turned = True
    world.good(1)
    world.turned = False
    world.control(*(("accept_gap", *key, world.router.position[key] + 1) for key in world.door.logs if key != CONTROL))
    world.good(4)
    assert world.is_open("g")


def test_beyond_the_bound_a_disputed_run_counts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks are bounded: at the bound all gates of a coverage stand still, none is passed over."""
    monkeypatch.setattr(lanes, "FORKS_MAX", 0)
    world = opened(G, H)
    world.turned = True
    world.bad(4)
    assert not world.is_open("g")
    assert not world.is_open("h")


def test_a_record_of_an_older_version_counts_for_nobody() -> None:
    """Nothing says what its router made of the policies; what it told is not known, so gates that come later start LOCKED."""
    world = World(G)
    run = world.log.runs()[0]
    old = msgspec.msgpack.encode([1, *list(msgspec.to_builtins(run))[1:14]])
    with pytest.raises(OlderWire, match="wire form 1, this code reads 2"):
        decode_run(old)
    governor = world.log.governor()
    governor.pass_over(0)
    for offset, later in enumerate(world.log.runs(), 1):
        governor.step(offset, later)
    assert governor.gates["g"].breaker.state is Breaker.LOCKED
    nothing = msgspec.structs.replace(run, made=b"")
    with pytest.raises(EvidenceError, match="does not say what its router made of control"):
        decode_run(encode_run(nothing))


class TestControl:
    """Runs of control say whose commands their router believed."""

    @staticmethod
    def open(world: World) -> None:
        for _ in range(15):
            world.samples([50.0] * 4)
            world.mark()
        assert world.is_open("g")

    def test_a_router_that_believes_others_vouches_for_no_command(self) -> None:
        """Nothing of its run counts: not its commands, not its mark, for no gate."""
        world = World(G)
        self.open(world)
        world.router.operators = b"others"
        before_ms = world.gate("g").judged_ms
        said = world.command("lock") + world.marks(4_000)
        assert not [one for one in said if one.cause is Cause.LOCK]
        assert world.last("g").cause is Cause.ROUTING
        assert world.governors[0].coverages[-1].marks[CONTROL] <= before_ms + 500

    def test_control_told_by_a_router_that_agrees_brings_what_the_other_dropped(self) -> None:
        """It is told from its beginning by every router that starts."""
        world = World(G)
        self.open(world)
        world.router.operators = b"others"
        world.command("lock")
        fresh = Router(world.door, world.log, "c")
        fresh.route(CONTROL)
        said = world.feed()
        assert [one.cause for one in said if one.kind is Kind.CLOSE] == [Cause.LOCK]


def entry(gate: str, text: str | None = None, fault: str = "") -> Entry:
    return Entry(gate, f"{gate}.yaml", f"sha256:{gate}", None if fault else parse_policy(text or G), fault)


def test_a_feed_names_every_kind_of_reading() -> None:
    """Two policies that are fed differently have different digests, whatever else they say."""
    conditions = [
        "drift: {series: s/x, detector: adwin}",
        "drift: {series: s/y, detector: adwin}",
        "heartbeat: {source: s/x, grace: 3s}",
        "heartbeat: {series: s/z, grace: 3s}",
        "lag: {group: s, topic: x, allowed: 1, behind: 5s}",
        "lag: {group: s, topic: y, allowed: 1, behind: 5s}",
        "failure_rate: {window: 60s, at_least: 20, over: 0.5}",
        "unreadable: {at_least: 1}",
    ]
    digests = {feed_of(Entry("g", "g.yaml", "same", parse_policy(policy(one)), "")) for one in conditions}
    assert len(digests) == len(conditions)
    assert feed_of(entry("g")) == feed_of(entry("g"))
    with pytest.raises(ValueError, match="fed nothing"):
        feed_of(entry("g", fault="bad"))


def test_the_digest_of_a_table_does_not_depend_on_its_order() -> None:
    """Two routers that met the gates in another order agree."""
    assert digest_of_table({"a": b"1", "b": b"2"}) == digest_of_table({"b": b"2", "a": b"1"})
    assert digest_of_table({"a": b"1"}) != digest_of_table({"a": b"2"})
    assert digest_of_control(b"a") != digest_of_control(b"b")


def test_what_a_router_tells_is_bounded() -> None:
    """Faults are cut in length and in number; what a governor remembers is bounded too."""
    feeds = feeds_of([entry(f"g{n}", fault="x" * 10_000) for n in range(2 * FAULTS_TOLD_MAX)])
    assert len(feeds.faults) == FAULTS_TOLD_MAX
    assert {len(fault) for fault in feeds.faults.values()} == {FAULT_CHARS_TOLD_MAX}
    agreement = Agreement()
    world = World(G)
    run = next(run for run in world.log.runs() if run.feeds is not None)
    for number in range(2 * TABLES_KEPT):
        agreement.learn(msgspec.structs.replace(run, feeds=feeds_of([entry(f"g{number}")])))
        agreement.activated(number, [])
    assert len(agreement.told) == TABLES_KEPT
    for number in range(2 * ROUTINGS_KEPT):
        agreement.activated(number, [])
    assert len(agreement.by_routing) == ROUTINGS_KEPT


def test_a_table_that_was_never_told_counts_for_no_gate() -> None:
    """A digest without the table behind it proves nothing."""
    world = opened(G, H)
    run = next(run for run in reversed(world.log.runs()) if run.topic == "telemetry")
    unknown = msgspec.structs.replace(run, made=b"?" * 16)
    agreement = world.governors[0].agreement
    assert agreement.disputed(unknown, {"g": 1, "h": 1}) == {"g", "h"}
    assert "does not say what it feeds" in agreement.why("b", unknown.made, "g")
