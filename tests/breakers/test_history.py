"""New conditions learn from telemetry of before their activation, and demand nothing over it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import pytest
from breakers.log import EVIDENCE_ID, TELEMETRY, Key, World, policy

from failshut.cause import Cause
from failshut_breakers.conditions import Status
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.evidence.history import WAITS_MS, history_of
from failshut_breakers.evidence.records import SCHEMA, Run, Samples, encode_run
from failshut_breakers.gate import twins
from failshut_breakers.policy.learn import wanted_history

ADWIN = "drift: {series: s/x, detector: adwin}"
RULE = 'conformance: {series: s/x, rule: "value < 100", window: 100, over: 0.05}'
BEAT = "heartbeat: {source: a, grace: 1h}"
OLD = policy(BEAT)


def told_before(values: Iterable[float], text: str = policy(BEAT, ADWIN), step_ms: int = 1_000) -> World:
    """Return a world whose series was sent while no policy asked for it, and then a policy that does."""
    world = World(OLD)
    world.send(("beat", "a", None))
    world.mark()
    for value in values:
        world.samples([value])
        world.mark(step_ms)
    world.activate(text)
    world.mark()
    if ends_known(world):
        history_of_all(world, but=(TELEMETRY,))
    return world


def ends_known(world: World) -> bool:
    """Return whether the newest activation has a history to be told."""
    return world.router.routes.routing in world.governors[0].learning.histories


def history(world: World, lo: int, hi: int, key: Key = TELEMETRY) -> list[Decision]:
    """Let a router tell the history of a partition from one offset to another. Return the decisions that it led to."""
    routes = world.router.routes
    rows = [
        (offset, index, entry.append_ms, item[2])
        for offset, entry in list(enumerate(world.door.logs[key]))[lo:hi]
        for index, item in enumerate(entry.items)
        if item[0] == "sample"
    ]
    for partition, records in enumerate(world.log.records):
        mine = {"g": [Samples.of("s/x", rows)]} if rows and world.log.partition_of("g") == partition else {}
        run = Run(
            *(SCHEMA, EVIDENCE_ID, len(world.log.records), world.router.term, routes.routing, "router", history_of(key[0])),
            *(key[1], lo, hi, world.now_ms, None, mine, []),
            made=routes.made[partition],
        )
        records.append(encode_run(run))
    return world.flush()


def ends(world: World) -> dict[Key, int]:
    """Return the offsets up to which history is whole, by partition: where live reading of the newest version begins."""
    return world.governors[0].learning.histories[world.router.routes.routing].ends


def everything(world: World) -> int:
    """Return the offset of telemetry up to which its history is whole."""
    return ends(world)[TELEMETRY]


def history_of_all(world: World, but: tuple[Key, ...] = ()) -> list[Decision]:
    """Tell the history of every partition but some, each in one run."""
    return [decision for key, end in ends(world).items() if key not in but for decision in history(world, 0, end, key)]


def test_a_gate_opens_as_soon_as_its_history_was_read() -> None:
    """Without one it waits until enough was sent; here not a single reading comes after the activation."""
    world = told_before([48.0 + n % 3 for n in range(60)])
    assert world.last().cause is Cause.INSUFFICIENT
    history_of_all(world)
    assert world.last().kind is Kind.OPEN
    world.mark()
    assert world.is_open()
    assert world.governors[0].learning.histories == {}


def test_it_knows_what_was_normal() -> None:
    """What it learnt is what a demand is made of: another level closes the gate within few readings."""
    world = told_before([48.0 + n % 3 for n in range(100)])
    history_of_all(world)
    assert world.is_open()
    for _ in range(40):
        world.samples([400.0])
        world.mark(1_000)
    assert (world.last().kind, world.last().cause) == (Kind.CLOSE, Cause.DRIFT)


def test_a_change_in_history_is_no_demand() -> None:
    """It is learnt: what came last is normal."""
    world = told_before([48.0] * 60 + [400.0] * 100)
    history_of_all(world)
    assert world.is_open()
    for _ in range(60):
        world.samples([400.0])
        world.mark(1_000)
    assert world.is_open()


def test_what_was_normal_is_what_came_last_in_history() -> None:
    """A change in history leaves no level behind that live readings could go back to: the former one is a drift."""
    world = told_before([48.0 + n % 3 for n in range(60)] + [400.0 + n % 3 for n in range(120)])
    history(world, 0, everything(world))
    assert world.is_open()
    for n in range(160):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    assert (world.last().cause, world.is_open()) == (Cause.DRIFT, False)
    for n in range(80):
        world.samples([400.0 + n % 3])
        world.mark(1_000)
    assert world.gate().conditions[1].status is Status.HOLDS


def test_a_change_is_learnt_once_however_history_is_cut() -> None:
    """One run or many: a detector reads each of its readings once, those behind an alarm as well."""
    values = [48.0 + n % 3 for n in range(40)] + [400.0 + n % 7 for n in range(60)]
    one, two = told_before(values), told_before(values)
    end = everything(one)
    history(one, 0, end)
    for lo in range(0, end, 7):
        history(two, lo, min(end, lo + 7))
    for world in (one, two):
        world.mark()
    assert one.is_open()
    assert one.gate().conditions[1].text == two.gate().conditions[1].text


def test_an_edit_gives_no_second_chance_to_what_cannot_be_read() -> None:
    """Readings that are no numbers count on from before the edit, though history has none of them."""
    world = World(policy(BEAT, ADWIN))
    world.send(("beat", "a", None))
    for n in range(60):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    assert world.is_open()
    for _ in range(6):
        world.send(("fault", "s/x", "nan"))
    world.activate(policy(BEAT, ADWIN.replace("}", ", warm_up: 100}")))  # it needs more than it remembers: so it reads history
    world.mark()
    history_of_all(world)
    assert world.last().cause is Cause.INSUFFICIENT
    for _ in range(4):
        world.send(("fault", "s/x", "nan"))
    world.mark()
    assert not world.is_open()
    assert "10 readings" in world.last().because


def test_a_changed_condition_that_remembers_enough_reads_no_history() -> None:
    """It goes on from what it has read."""
    world = World(policy(BEAT, ADWIN))
    world.send(("beat", "a", None))
    for n in range(60):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    world.activate(policy(BEAT, ADWIN.replace("}", ", delta: 0.01}")))
    world.mark()
    assert world.is_open()
    assert not ends_known(world)


def test_a_limit_is_not_passed_over_history() -> None:
    """A rule that most of history breaks closes for what comes now, and for nothing before."""
    world = told_before([400.0] * 100, policy(BEAT, RULE))
    history_of_all(world)
    assert world.last().cause is not Cause.CONFORMANCE
    for _ in range(10):
        world.samples([400.0])
        world.mark(1_000)
    assert world.last().cause is Cause.CONFORMANCE


def test_what_came_meanwhile_is_read_behind_it() -> None:
    """Readings of after the activation are judged, though they came into evidence before the history."""
    world = told_before([48.0 + n % 3 for n in range(100)])
    end = everything(world)
    for _ in range(40):
        world.samples([400.0])
        world.mark(1_000)
    assert world.last().cause is not Cause.DRIFT
    history(world, 0, end)
    assert world.last().cause is Cause.DRIFT


def test_a_demand_is_ended_by_no_history() -> None:
    """A condition that has learnt from news and demands is not replaced, though history knew its level."""
    world = told_before([400.0] * 60)
    end = everything(world)
    for n in range(150):
        world.samples([48.0 if n < 70 else 400.0])
        world.mark(1_000)
    assert world.last().cause is Cause.DRIFT
    epoch = world.last().epoch
    history(world, 0, end)
    assert (world.last().cause, world.last().epoch) == (Cause.DRIFT, epoch)
    assert world.gate().conditions[1].status is Status.DEMANDS


def test_a_hole_in_history_is_not_learnt_over() -> None:
    """A run that begins beyond what was reached does not count; once it is filled, all does."""
    world = told_before([48.0 + n % 3 for n in range(60)])
    end = everything(world)
    history(world, 0, 20)
    history(world, 40, end)
    assert not world.is_open()
    history(world, 20, end)
    assert world.is_open()


def test_history_that_comes_twice_counts_once() -> None:
    """Two routers tell it, in pieces of their own: the gate is as if one had."""
    one, two = (told_before([48.0 + n % 7 for n in range(90)]) for _ in range(2))
    end = everything(one)
    history(one, 0, end)
    for lo, hi in ((0, 30), (0, 50), (10, 40), (50, end), (0, end)):
        if two.governors[0].learning.histories:
            history(two, lo, hi)
    for world in (one, two):
        world.mark()
    assert one.gate().conditions[1].text == two.gate().conditions[1].text
    assert one.is_open()
    assert two.is_open()


def test_what_is_live_is_no_history() -> None:
    """A router that tells more than was asked for teaches nothing twice."""
    one, two = (told_before([48.0 + n % 7 for n in range(60)]) for _ in range(2))
    end = everything(one)
    for world in (one, two):
        for n in range(10):
            world.samples([48.0 + n % 7])
            world.mark(1_000)
    history(one, 0, end)
    history(two, 0, len(two.door.logs[TELEMETRY]))
    for world in (one, two):
        world.mark()
    assert one.gate().conditions[1].text == two.gate().conditions[1].text


def test_history_of_a_router_that_reads_otherwise_does_not_count() -> None:
    """One reading: whoever feeds the gate something else teaches it nothing either."""
    world = told_before([48.0 + n % 3 for n in range(60)])
    end = everything(world)
    made = world.router.routes.made
    object.__setattr__(world.router.routes, "made", (b"other" * 3 + b"x",))
    history(world, 0, end)
    assert not world.is_open()
    object.__setattr__(world.router.routes, "made", made)
    history(world, 0, end)
    assert world.is_open()


def test_all_partitions_must_be_told() -> None:
    """A series may come through any of them."""
    world = World(OLD, telemetry_partitions=2)
    world.send(("beat", "a", None))
    world.mark()
    for n in range(60):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    world.activate(policy(BEAT, ADWIN))
    world.mark()
    other = ("telemetry", 1)
    end = ends(world)[other]
    history_of_all(world, but=(other,))
    assert not world.is_open()
    history(world, 0, end, other)
    assert world.is_open()


def test_history_that_never_comes_is_waited_for_and_forgotten() -> None:
    """The condition has gone on without it, and learns from news as it always did."""
    world = told_before([48.0] * 20)
    for n in range(40):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    assert world.is_open()
    assert world.gate().twins.by_name
    world.marks(WAITS_MS + 1_000, 60_000)
    assert world.governors[0].learning.histories == {}
    assert not world.gate().twins.by_name
    epoch = world.gate().epoch
    history(world, 0, 20)
    world.mark()
    assert world.gate().epoch == epoch


def test_too_much_news_needs_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for twins is bounded."""
    monkeypatch.setattr(twins, "LIVE_ROWS_MAX", 400)
    world = told_before([48.0] * 20)
    values = [48.0 + n % 3 for n in range(100)]
    for _ in range(5):
        world.samples(values)
        world.mark(1_000)
    assert not world.gate().twins.by_name
    history_of_all(world)
    assert world.is_open()


def test_a_fault_that_tripped_the_gate_teaches_nothing() -> None:
    """What was sent while it was tripped is left out: a new condition does not take the fault for normal."""
    world = World(policy(BEAT, RULE, reset="{after: 1h, probes: 0}"))
    world.send(("beat", "a", None))
    for n in range(120):
        world.samples([48.0 + n % 3])
        world.mark(1_000)
    assert world.is_open()
    for _ in range(60):
        world.samples([400.0])
        world.mark(1_000)
    assert world.last().cause is Cause.CONFORMANCE
    world.activate(policy(BEAT, RULE, ADWIN, reset="{after: 1h, probes: 0}"))
    world.mark()
    history_of_all(world)
    assert world.gate().conditions[2].text.startswith("x: mean 49")


def test_policies_that_ask_for_no_history_have_none() -> None:
    """`from: nothing` waits for news, and so does an edit of what is kept."""
    world = told_before([48.0] * 60, policy(BEAT, ADWIN, learn="{from: nothing}"))
    assert world.governors[0].learning.histories == {}
    world = World(policy(BEAT, ADWIN))
    first = set(world.governors[0].learning.histories)
    world.mark()
    world.activate(policy(BEAT, ADWIN, ttl="4s"))
    assert set(world.governors[0].learning.histories) == first


def test_a_snapshot_in_the_middle_goes_on() -> None:
    """A governor that is restored between two pieces of history decides what the other does."""
    world = told_before([48.0 + n % 3 for n in range(60)])
    end = everything(world)
    history(world, 0, 30)
    restored = pickle.loads(pickle.dumps(world.governors[0]))
    restored.owns = world.governors[0].owns
    said = history(world, 30, end)
    again = [decision for offset, run in enumerate(world.log.runs()) for decision in restored.step(offset, run)]
    assert said
    assert again == said


@pytest.mark.parametrize("learn", ["{from: 31d}", "{from: yesterday}", "{since: 1h}", "24h"])
def test_what_learn_may_not_say_is_a_fault(learn: str) -> None:
    """Bounded, a duration, under its own name."""
    world = World(policy(BEAT, learn=learn))
    assert world.last().cause is Cause.BAD_POLICY


@pytest.mark.parametrize(
    "condition",
    ["drift: {series: s/x, detector: adwin, by: instance}", "anomaly: {series: [s/x, s/y], every: 1s}"],
    ids=["by-instance", "together"],
)
def test_conditions_of_many_learn_from_news_alone(condition: str) -> None:
    """They have no twins, and nothing is asked of routers."""
    world = told_before([48.0] * 5, policy(BEAT, condition))
    assert not ends_known(world)
    assert wanted_history({}, world.router.book.entries, ["g"]).series == {}
