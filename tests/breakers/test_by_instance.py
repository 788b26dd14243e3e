"""Evidence from many is judged as many: each instance by a state of its own (docs/policy.md, By instance)."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable

import pytest
from log import TELEMETRY, policy
from play import Item, Play, Producer

from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.conditions.by_instance import NOBODYS_MAX, ByInstanceCondition
from failshut_breakers.evidence.records import FromMany, decode_run
from failshut_breakers.policy.policy import PolicyError, parse_policy

START_MS = 1_700_000_000_000
RULE = 'conformance: {series: s/x, rule: "0 < value <= 500", window: 20, stale: 10s, '
TEN = [f"i{number}" for number in range(10)]


def fleet(names: Iterable[str], value: Callable[[str, float], float | None] = lambda name, t: 48.0) -> Producer:
    """A reading of each instance at every step; None is no reading."""

    def produce(t: float) -> list[Item]:
        told = [(name, value(name, t)) for name in names]
        return [("from", "s/x", name, one) for name, one in told if one is not None]

    return produce


class Judge:
    """A condition by instance, fed by hand: a second passes with each call of `send`."""

    def __init__(self, settings: str) -> None:
        (given,) = parse_policy(policy(settings)).conditions
        self.condition = build(given)
        self.now_ms, self.offset = START_MS, 0

    def send(self, *values: tuple[str, float | str], times: int = 1) -> list[str]:
        """Let each instance send a value, or something unreadable, so many times; return what was demanded."""
        said: list[str] = []
        for _ in range(times):
            names = list(dict.fromkeys(name for name, _ in values))
            rows = [(self.offset, at, self.now_ms, names.index(name), value) for at, (name, value) in enumerate(values)]
            moment = Moment(self.now_ms, self.now_ms)
            said += [one.text for one in self.condition.feed(FromMany("s/x", names, rows), 0, moment)]
            self.offset += 1
            self.now_ms += 1_000
            self.condition.tick(Moment(self.now_ms, self.now_ms))
        return said

    def all(self, names: Iterable[str], times: int = 25, value: float = 48.0) -> Judge:
        self.send(*((name, value) for name in names), times=times)
        return self

    def wait(self, seconds: int) -> Judge:
        for _ in range(seconds):
            self.now_ms += 1_000
            self.condition.tick(Moment(self.now_ms, self.now_ms))
        return self

    @property
    def status(self) -> Status:
        return self.condition.status

    @property
    def text(self) -> str:
        return self.condition.text


# --- one does not speak for another ---


def test_one_of_twenty_that_breaks_a_rule_closes_the_gate() -> None:
    """It is 5 % of the readings, which a series judged as one stream allows where its detector does not hear of it."""
    names = [f"i{number:02}" for number in range(20)]
    bad = fleet(names, lambda name, t: 900.0 if name == "i07" and t > 60 else 48.0)
    as_one = Play(policy(RULE.replace("window: 20", "window: 100, detector: fhddm") + "}")).run(120, bad)
    assert as_one.is_open
    by_instance = Play(policy(RULE + "by: instance, instances: 20}")).run(60, bad)
    assert by_instance.is_open
    by_instance.run(10, bad)
    assert not by_instance.is_open
    assert by_instance.statuses == {"conformance:s/x by instance": "demands"}
    closings = [one.because for one in by_instance.world.said if one.kind == "close" and one.cause == "conformance"]
    assert closings[0].startswith("instance i07: 2 of the last 20 of x do not conform to")


@pytest.mark.parametrize("fleet_of", ["by: instance", "by: instance, instances: 8, forget: 20s", "by: instance, forget: 1h"])
def test_one_that_lives_does_not_speak_for_nine_that_died(fleet_of: str) -> None:
    """Where enough of them must be judged no time passes over it; the words name one, and count the others."""
    dying = fleet(TEN, lambda name, t: 48.0 if t < 30 or name == "i3" else None)
    play = Play(policy(RULE + fleet_of + "}")).run(30, dying)
    assert play.is_open
    play.run(15, dying)
    for _ in range(10):
        assert not play.is_open
        assert play.world.last().cause == "insufficient"
        play.run(10, dying)
    text = play.world.gate().conditions[0].text
    assert text.startswith("instance i0: no reading of x for")
    assert text.endswith("and 8 more: i1, i2, ..")
    assert Play(policy(RULE + "}")).run(160, dying).is_open  # as one stream


def test_nine_of_ten_that_degrade_are_nine_demands_and_one_that_does_not_degrade_is_none() -> None:
    """A detector of each instance knows its own level, however far those of others are."""
    rng = random.Random(5)
    level = {name: 50.0 * number for number, name in enumerate(TEN, 1)}
    judge = Judge("drift: {series: s/x, detector: adwin, by: instance, instances: 10}")
    judge.send_many = lambda shift, times: [  # type: ignore[attr-defined]
        judge.send(*((name, rng.gauss(level[name], 4.0) + (0.0 if name == "i3" else shift)) for name in TEN))
        for _ in range(times)
    ]
    judge.send_many(0.0, 150)  # type: ignore[attr-defined]
    assert judge.status is Status.HOLDS, judge.text
    judge.send_many(25.0, 100)  # type: ignore[attr-defined]
    assert judge.status is Status.DEMANDS
    assert judge.text.startswith("instance i0: drift in x")
    assert judge.text.endswith("and 8 more: i1, i2, ..")


def test_too_few_that_are_judged_are_too_little_evidence() -> None:
    """However well those do that are there."""
    judge = Judge(RULE + "by: instance, instances: 4}").all(TEN[:3])
    assert (judge.status, judge.text) == (Status.INSUFFICIENT, "3 of 4 instances of x are judged")
    assert Judge(RULE + "by: instance}").text == "no reading of x yet"


def test_unreadable_readings_count_for_the_instance_that_sent_them() -> None:
    """Ten in a row of one are a demand, whatever the others send in between."""
    judge = Judge(RULE + "by: instance, over: 0.9}").all(TEN)
    assert not judge.send(*((name, 48.0) for name in TEN[1:]), ("i0", "NaN"), times=9)
    said = judge.send(*((name, 48.0) for name in TEN[1:]), ("i0", "NaN"), times=2)
    assert said == ["instance i0: 10 readings of x in a row are NaN"]
    assert judge.condition.absent


def test_an_unreadable_reading_that_names_nobody_counts_for_each() -> None:
    """Nobody can be shown not to have sent it; what a flood of them costs is bounded, and they make no instance."""
    judge = Judge(RULE + "by: instance, unreadable_in_a_row: 3}").all(["a", "b"])
    said = judge.send(("", "NaN"), ("", "NaN"), ("", "NaN"))
    assert [text for text in said if "in a row" in text] == [
        f"instance {name}: 3 readings of x in a row are NaN" for name in ("a", "b")
    ]
    judge.all(["a", "b"], times=80)
    assert judge.status is Status.HOLDS
    fed: list[int] = []
    instance = judge.condition._instances["a"].condition  # type: ignore[attr-defined]
    instance.feed = lambda block, lo, moment: fed.append(len(block.rows)) or []  # type: ignore[method-assign]
    judge.send(*[("", "NaN")] * 10_000)
    assert fed == [NOBODYS_MAX]


def test_readings_that_name_no_instance_are_those_of_one() -> None:
    """What cannot be read and names none is then of that one alone."""
    judge = Judge(RULE + "by: instance, instances: 2}").all(["", "a"])
    assert judge.status is Status.HOLDS
    said = judge.send(("a", 48.0), ("", "NaN"), times=2)
    assert said == ["an instance without a name: 2 of the last 20 of x do not conform to '0 < value <= 500'"]


# --- instances come and leave ---


def test_a_new_instance_closes_the_gate_until_it_has_learnt() -> None:
    """Without `newcomer` nobody vouches for what is not known yet."""
    judge = Judge(RULE + "by: instance, instances: 2}").all(["a", "b"])
    judge.send(("a", 48.0), ("b", 48.0), ("c", 48.0))
    assert judge.status is Status.INSUFFICIENT
    assert judge.text.startswith("instance c: not enough readings of x yet")
    judge.all(["a", "b", "c"])
    assert (judge.status, judge.text) == (Status.HOLDS, "x: 3 instances judged, 2 needed")


def test_a_newcomer_may_learn_while_enough_others_decide() -> None:
    """For its time, and no longer; and where too few others are judged, not at all."""
    settings = RULE + "by: instance, instances: 2, newcomer: 30s}"
    judge = Judge(settings).all(["a", "b"])
    judge.send(("a", 48.0), ("b", 48.0), ("c", 48.0))
    assert (judge.status, judge.text) == (Status.HOLDS, "x: 2 instances judged, 2 needed, 1 new")
    for at in range(31):  # it sends too slowly to be learnt
        judge.send(("a", 48.0), ("b", 48.0), *([("c", 48.0)] if at % 5 == 0 else []))
    assert judge.status is Status.INSUFFICIENT
    assert judge.text.startswith("instance c: not enough readings")
    few = Judge(settings).all(["a"]).all(["a", "b"], times=5)
    assert few.status is Status.INSUFFICIENT
    assert few.text.startswith("1 of 2 instances of x are judged; instance b: not enough readings")


def test_an_instance_that_was_learnt_is_no_newcomer() -> None:
    """If it has to learn again within that time, it closes the gate."""
    judge = Judge(RULE + "by: instance, newcomer: 1h}").all(["a", "b"])
    known = judge.condition._instances["b"].condition  # type: ignore[attr-defined]
    known._memory.detector = known._memory._detection.build()
    judge.all(["a", "b"], times=1)
    assert judge.status is Status.INSUFFICIENT
    assert judge.text.startswith("instance b: not enough readings of x yet")


def test_an_old_reading_that_comes_late_makes_no_instance_silent() -> None:
    """The newest one counts, in whatever order they come; and what names nobody keeps nobody alive."""
    judge = Judge(RULE + "by: instance, forget: 20s}").all(["a", "b"])
    late = FromMany("s/x", ["a"], [(judge.offset, 0, judge.now_ms - 60_000, 0, 48.0)])
    judge.condition.feed(late, 0, Moment(judge.now_ms, judge.now_ms))
    judge.condition.tick(Moment(judge.now_ms, judge.now_ms))
    assert (judge.status, list(judge.condition._instances)) == (Status.HOLDS, ["a", "b"])  # type: ignore[attr-defined]
    for at in range(40):
        judge.send(("a", 48.0), *([("", "NaN")] if at % 25 == 0 else []))
    assert list(judge.condition._instances) == ["a"]  # type: ignore[attr-defined]


def test_a_rule_is_a_limit_from_a_newcomers_first_readings_on() -> None:
    """And what demands without having held closes the gate by itself: it has nothing to vote by."""
    judge = Judge(RULE + "by: instance, newcomer: 1h}").all(["a"])
    said = judge.send(("a", 48.0), ("b", 900.0), times=3)
    assert said == ["instance b: 2 of the last 2 of x do not conform to '0 < value <= 500'"]
    assert judge.condition.absent
    judge = Judge(RULE + "by: instance}").all(["a", "b"])
    judge.send(("a", 48.0), ("b", 900.0), times=3)
    assert judge.status is Status.DEMANDS
    assert not judge.condition.absent


def test_a_silent_instance_closes_the_gate_until_it_is_back_or_accepted() -> None:
    """Without `forget` no time passes over it."""
    judge = Judge(RULE + "by: instance}").all(["a", "b"])
    judge.all(["a"], times=500)
    assert judge.status is Status.INSUFFICIENT
    assert judge.text == "instance b: no reading of x for 501.0 s, 10s is allowed"
    judge.all(["a", "b"], times=1)
    assert judge.status is Status.HOLDS
    judge.all(["a"], times=15)
    assert judge.condition.accept(Moment(judge.now_ms, judge.now_ms)) == ""
    assert (judge.status, judge.text) == (Status.HOLDS, "x: 1 instances judged, 1 needed")


def test_a_silent_instance_is_forgotten_once_enough_others_are_judged() -> None:
    """It closes the gate from `stale` to `forget`; equal ones leave the count alone to decide."""
    judge = Judge(RULE + "by: instance, instances: 2, forget: 30s}").all(["a", "b", "c"])
    judge.all(["a", "b"], times=29)
    assert judge.status is Status.INSUFFICIENT
    judge.all(["a", "b"], times=2)
    assert (judge.status, judge.text) == (Status.HOLDS, "x: 2 instances judged, 2 needed")
    judge.all(["a"], times=100)
    assert judge.status is Status.INSUFFICIENT
    assert judge.text.startswith("instance b: no reading of x")
    fleet_of = Judge(RULE + "by: instance, instances: 2, newcomer: 1m, forget: 10s}").all(["a", "b"])
    for number in range(20):  # replaced one after the other, all day
        fleet_of.all(["a" if number % 2 else "b", f"new{number}", f"new{number - 1}" if number else "a"])
        assert fleet_of.status is not Status.DEMANDS
    assert len(fleet_of.condition._instances) <= 5  # type: ignore[attr-defined]


def test_what_was_forgotten_takes_its_demand_with_it_and_the_breaker_stays_tripped() -> None:
    """Nothing can come back of an instance that is gone; a reset still needs news of those that are there."""
    settings = RULE + "by: instance, instances: 2, forget: 20s}"
    faulty = fleet("abc", lambda name, t: 48.0 if name != "c" or t < 30 else 900.0 if t < 35 else None)
    play = Play(policy(settings)).run(45, faulty)
    assert play.world.last().breaker == "TRIPPED"
    assert "the cause persists: instance c" in play.order("reset")[-1].because
    play.run(20, faulty)
    assert play.statuses == {"conformance:s/x by instance": "holds"}
    assert (play.world.last().breaker, play.is_open) == ("TRIPPED", False)
    play.order("reset")
    play.run(5, faulty)
    assert play.is_open


def test_more_instances_than_are_judged_close_the_gate() -> None:
    """It says so, and ends when those beyond have been silent for as long as readings may be old."""
    judge = Judge(RULE + "by: instance, instances: 2, instances_max: 3}").all("abc")
    assert judge.status is Status.HOLDS
    judge.all("abcd", times=1)
    assert judge.status is Status.INSUFFICIENT
    assert judge.text == "more than 3 instances send x, and no more are judged (instances_max)"
    judge.all("abc", times=9)
    assert judge.status is Status.INSUFFICIENT
    judge.all("abc", times=2)
    assert judge.status is Status.HOLDS
    made_up = Judge(RULE + "by: instance}")
    made_up.send(*((f"i{number}", 48.0) for number in range(1_000)))
    assert len(made_up.condition._instances) == 16  # type: ignore[attr-defined]
    assert made_up.condition.unjudged == 984  # type: ignore[attr-defined]


# --- votes, resets, accepting, editing ---


def test_a_condition_has_one_vote_however_many_of_its_instances_demand() -> None:
    """And one that lacks evidence as well is no vote: it closes by itself."""
    other = 'conformance: {series: s/y, name: other, rule: "value > 0", stale: 10s, window: 20}'
    text = policy(RULE + "name: many, by: instance}", other, trip_on="2 of 2")
    y: Producer = lambda t: [("sample", "s/y", 1.0)]  # noqa: E731
    two_bad = fleet("abc", lambda name, t: 900.0 if name in "ab" and 30 < t < 35 else 48.0)
    play = Play(text).run(40, two_bad, y)
    assert play.statuses == {"many": "demands", "other": "holds"}
    assert play.is_open
    silent = fleet("abc", lambda name, t: None if name == "c" and t > 50 else 900.0 if name in "ab" and t > 42 else 48.0)
    play.run(40, silent, y)
    assert play.world.last().breaker == "ARMED"
    assert not play.is_open
    assert "; instance c: no reading of x" in play.world.gate().conditions[0].text


def test_news_is_asked_of_each_instance() -> None:
    """A window of readings from after the closing of every one that must be judged, not of one."""
    judge = Judge(RULE + "by: instance, instances: 2}").all(["a", "b"])
    closed_ms = judge.now_ms - 1
    assert judge.condition.news(closed_ms) == "0 of 20 readings of x from after the closing, of instance a"
    judge.send(*[("a", 48.0)] * 20, ("b", 48.0))
    assert judge.condition.news(closed_ms) == "1 of 20 readings of x from after the closing, of instance b"
    judge.send(*[("b", 48.0)] * 19)
    assert judge.condition.news(closed_ms) == ""
    assert Judge(RULE + "by: instance}").condition.news(0) == "readings of 1 instances of x from after the closing"


def test_an_operator_accepts_levels_and_never_a_limit() -> None:
    """The level of each instance that demands is normal from then on, and its detector learns it."""
    rng = random.Random(2)
    judge = Judge("drift: {series: s/x, detector: adwin, by: instance}")
    for _ in range(150):
        judge.send(*((name, rng.gauss(48.0, 4.0)) for name in "abc"))
    for _ in range(60):
        judge.send(*((name, rng.gauss(48.0 if name == "a" else 80.0, 4.0)) for name in "abc"))
    assert judge.text.endswith("; and 1 more: c")
    assert judge.condition.accept(Moment(judge.now_ms, judge.now_ms)) == ""
    assert judge.status is Status.HOLDS, judge.text
    refused = judge.condition.accept(Moment(judge.now_ms, judge.now_ms))
    assert "no level that could be accepted, and no instance is silent" in refused
    rule = Judge(RULE + "by: instance}").all(["a", "b"])
    rule.send(("a", 900.0), ("b", 48.0), times=3)
    assert rule.condition.accept(Moment(rule.now_ms, rule.now_ms)).startswith("instance a: a rule is a limit")


def edited(before: Condition, settings: str) -> ByInstanceCondition:
    (given,) = parse_policy(policy(settings)).conditions
    condition = build(given)
    condition.inherit(before)
    assert isinstance(condition, ByInstanceCondition)
    return condition


def test_an_edit_keeps_the_instances_and_their_demands() -> None:
    """With the fleet's settings nothing is learnt again; a changed rule inherits what was demanded."""
    judge = Judge(RULE + "by: instance}").all(["a", "b"])
    moment = Moment(judge.now_ms, judge.now_ms)
    more = edited(judge.condition, RULE + "by: instance, instances: 2}")
    more.tick(moment)
    assert more.status is Status.HOLDS
    fewer = edited(judge.condition, RULE + "by: instance, instances_max: 1}")
    fewer.tick(moment)
    assert fewer.status is Status.INSUFFICIENT
    assert fewer.text.startswith("more than 1 instances send x")
    judge.send(*((name, 48.0) for name in ("a", "b", *map(str, range(20)))))
    crowded = edited(judge.condition, RULE + "by: instance, instances_max: 22}")
    crowded.tick(Moment(judge.now_ms, judge.now_ms))
    assert crowded.text.startswith("more than 22 instances send x")
    judge = Judge(RULE + "by: instance}").all(["a", "b"])
    judge.send(("a", 48.0), ("b", 900.0), times=3)
    other = edited(judge.condition, RULE.replace("500", "501") + "by: instance}")
    other.tick(moment)
    assert other.status is Status.DEMANDS
    assert other.text.startswith("instance b: ")
    as_one = edited(build(parse_policy(policy(RULE + "}")).conditions[0]), RULE + "by: instance}")
    assert as_one.status is Status.INSUFFICIENT


@pytest.mark.parametrize("after", ["instances: 10", "instances: 9", "newcomer: 1m"])
def test_an_activation_that_keeps_how_an_instance_is_judged_keeps_what_it_knows(after: str) -> None:
    """The gate closes for no longer than a mark takes, and a reading that is read again counts once."""
    all_ten = fleet(TEN)
    play = Play(policy(RULE + "name: many, by: instance, instances: 10}")).run(30, all_ten)
    play.world.door.append(TELEMETRY, play.world.now_ms, *all_ten(0.0))
    play.world.activate(policy(RULE + f"name: many, by: instance, {after}}}", "heartbeat: {source: a, grace: 3s}"))
    play.run(2, all_ten)
    assert play.statuses == {"many": "holds", "heartbeat:a": "insufficient"}
    condition = play.world.gate().conditions[0]
    assert {one.condition._count for one in condition._instances.values()} == {65}  # type: ignore[attr-defined]


# --- a function of the log ---


def test_a_replay_decides_the_same_from_the_start_and_from_a_snapshot() -> None:
    """Byte for byte, with instances that come, degrade, are unreadable, leave and are forgotten."""
    rng = random.Random(11)

    def value(name: str, t: float) -> float | str | None:
        number = int(name[1:])
        if not number * 4 <= t < 60 + number * 5:
            return None
        return "NaN" if rng.random() < 0.01 else 900.0 if number == 2 and 40 < t < 50 else rng.gauss(48.0, 8.0)

    produce: Producer = lambda t: [  # noqa: E731
        ("from", "s/x", name, one) for name in [*TEN, ""] if (one := value(name or "i1", t)) is not None
    ]
    settings = RULE + "by: instance, instances: 2, newcomer: 20s, forget: 10s}"
    drift = "drift: {series: s/x, detector: adwin, by: instance, newcomer: 1h, forget: 30s}"
    play = Play(policy(settings, drift, reset="{after: 5s, probes: 0}")).run(120, produce)
    said = play.world.said
    assert len({one.kind for one in said}) > 2
    log = play.world.log
    replayed, governor = [], log.governor(0)
    for offset, data in enumerate(log.records[0]):
        replayed += governor.step(offset, decode_run(data))
        if offset % 50 == 0:
            governor = pickle.loads(pickle.dumps(governor))  # as a snapshot does
            governor.owns = lambda gate: True
    assert len(replayed) > 8
    assert replayed == said[len(said) - len(replayed) :]


# --- what a policy may say ---


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (RULE + "instances: 3}", "instances is of instances: write by: instance beside it"),
        (RULE + "forget: 1m}", "forget is of instances"),
        (RULE + "by: service}", "by: Input should be 'instance'"),
        (RULE + "by: instance, instances: 257}", "instances: Input should be less than or equal to 256"),
        (RULE + "by: instance, instances: 9, instances_max: 8}", "instances_max is below instances"),
        (RULE + "by: instance, forget: 9s}", "forget is shorter than stale"),
        (RULE.replace("20", "100000") + "by: instance, instances: 64}", "window times instances_max is above 2000000"),
        ("drift: {series: s/x, false_trips: 1 per 30d, by: instance}", "false_trips is a promise for one stream"),
        ("anomaly: {series: [s/x, s/y], every: 1s, by: instance}", "several series together are not judged by instance"),
        ("heartbeat: {series: s/x, grace: 3s, by: instance}", "by: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_judged_by_instance_is_refused(settings: str, fault: str) -> None:
    """While the policy is read, in words that say what to write."""
    with pytest.raises(PolicyError, match=fault.replace("(", r"\(")):
        parse_policy(policy(settings))
