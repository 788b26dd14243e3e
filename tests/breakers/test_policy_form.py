"""A policy is named by what it says, and an activation of the same in other words changes nothing of its gate."""

from __future__ import annotations

import pytest
from breakers.log import World, policy

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.policy.policy import Entry, PolicyBook, parse_policy

DRIFT = "drift: {series: s/x, detector: adwin}"
LOW = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'

FULL = """
gate: pay
permit: {ttl: 3s}
subjects: [agent:a, agent:b]
context: {environment: production, region: eu}
conditions:
  - drift: {series: s/x, detector: adwin}
  - conformance: {series: s/x, rule: "value <= 500 and rate < 10"}
  - heartbeat: {source: a, grace: 3s}
  - anomaly: {series: s/y, name: odd}
trip_on: any
reset: {after: 30s, probes: 5}
"""


def opened(text: str) -> World:
    """Return a world in which the gate of a policy is open."""
    world = World(text)
    world.mark()
    world.samples([48.0] * 40)
    world.marks(1_000)
    assert world.is_open()
    return world


SAME = [
    ("a comment", FULL, "# why\n" + FULL.replace("permit:", "permit:  # short\n ")),
    ("a unit", "ttl: 3s", "ttl: 3000ms"),
    ("a default", "grace: 3s", "grace: 3s, every: 1s, action: lapse"),
    ("a default of the whole", "trip_on: any", "trip_on: any\nin_flight: cancel"),
    ("a default left out", "trip_on: any\n", ""),
    ("votes by number", "trip_on: any", "trip_on: 1 of 3"),
    ("a detector's default", "detector: adwin", "detector: adwin, delta: 0.002"),
    ("the default detector", "name: odd", "name: odd, detector: local_seasonal"),
    ("the default name", "grace: 3s", "grace: 3s, name: 'heartbeat:a'"),
    ("blanks in a rule", "value <= 500 and rate < 10", " value<=500  and rate <10"),
    ("order of subjects", "[agent:a, agent:b]", "[agent:b, agent:a]"),
    ("order of the context", "{environment: production, region: eu}", "{region: eu, environment: production}"),
    ("order of keys", "series: s/x, detector: adwin", "detector: adwin, series: s/x"),
    (
        "order of conditions",
        "  - heartbeat: {source: a, grace: 3s}\n  - anomaly: {series: s/y, name: odd}",
        "  - anomaly: {series: s/y, name: odd}\n  - heartbeat: {source: a, grace: 3s}",
    ),
]

OTHER = [
    ("ttl: 3s", "ttl: 4s"),
    ("[agent:a, agent:b]", "[agent:a]"),
    ("environment: production", "environment: staging"),
    ("detector: adwin", "detector: adwin, delta: 0.01"),
    ("detector: adwin", "detector: page_hinkley"),
    ("detector: adwin", "false_trips: 1 per 30d"),
    ("value <= 500", "value <= 50"),
    ("value <= 500", "value < 500"),
    ("rate < 10", "rate < 100"),
    ("grace: 3s", "grace: 3s, action: trip"),
    ("source: a", "series: s/x"),
    ("name: odd", "name: even"),
    ("trip_on: any", "trip_on: 2 of 3"),
    ("trip_on: any", "trip_on: any\nin_flight: finish"),
    ("reset: {after: 30s, probes: 5}", "reset: {probes: 5}"),
    ("trip_on: any", "trip_on: any\noperations: [pay]"),
]


@pytest.mark.parametrize(("old", "new"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_what_says_the_same_has_one_name(old: str, new: str) -> None:
    """Comments, units, order and defaults leave no trace in the digest."""
    text = FULL.replace(old, new)
    assert text != FULL
    assert parse_policy(text).digest == parse_policy(FULL).digest


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_what_says_something_else_has_another(old: str, new: str) -> None:
    """Each setting is in the digest."""
    text = FULL.replace(old, new)
    assert text != FULL
    assert parse_policy(text).digest != parse_policy(FULL).digest


def test_names_of_policies_stay_the_same_from_version_to_version() -> None:
    """A digest that changed at an upgrade would take away every permit: guards find it in each seal."""
    assert parse_policy(FULL).digest == "sha256:85bc4666dc0dcc385bee16d665227f6b8e0fe9e5b6ab78fca3594ff11b2a76e5"


class TestActivations:
    """What an activation that says the same does to a gate: nothing."""

    @pytest.mark.parametrize(
        "edited",
        [
            "# a comment\n" + policy(DRIFT, LOW),
            policy(LOW, DRIFT),
            policy(DRIFT, LOW).replace("ttl: 3s", "ttl: 3000ms"),
        ],
        ids=["comment", "order", "unit"],
    )
    def test_no_epoch_is_raised(self, edited: str) -> None:
        """The gate stays open, under the epoch and the permit that it had, and evidence goes on."""
        world = opened(policy(DRIFT, LOW))
        world.marks(2_000)
        epoch, said = world.gate().epoch, len([one for one in world.said if one.kind is not Kind.NOTE])
        world.activate(edited)
        world.marks(4_000)
        assert world.is_open()
        assert world.gate().epoch == epoch
        assert len([one for one in world.said if one.kind is not Kind.NOTE]) == said
        assert [coverage.version for coverage in world.governors[0].coverages] == [world.gate().version]

    def test_another_file_says_the_same(self) -> None:
        """A policy that moves to another file of the bundle is the policy that it was."""
        world = opened(policy(DRIFT))
        epoch = world.gate().epoch
        world.activate(version=9, moved=policy(DRIFT))
        world.marks(2_000)
        assert (world.is_open(), world.gate().epoch) == (True, epoch)

    def test_a_bypass_stays_in_force(self) -> None:
        """An operator's word counts until what it was about changes."""
        world = opened(policy(DRIFT))
        world.command("bypass", conditions=["drift:s/x"], until_ms=world.now_ms + 60_000, epoch=str(world.gate().epoch))
        world.mark()
        assert world.gate().bypass is not None
        world.activate("# a comment\n" + policy(DRIFT))
        world.mark()
        assert world.gate().bypass is not None

    def test_a_fault_that_is_mended_in_other_words_opens_again(self) -> None:
        """An entry without a policy says nothing that another could say as well."""
        world = opened(policy(DRIFT))
        world.activate("gate: g\npermit: {ttl")
        world.mark()
        assert not world.is_open()
        world.activate("# a comment\n" + policy(DRIFT))
        world.marks(2_000)
        assert world.is_open()


def test_entries_without_a_policy_are_compared_whole() -> None:
    """Two faults are the same only if they are equal."""
    one, two = Entry("g", "a", "d", None, "x"), Entry("g", "a", "d", None, "y")
    assert one.says_the_same_as(Entry("g", "a", "d", None, "x"))
    assert not one.says_the_same_as(two)
    assert not one.says_the_same_as(None)


def test_a_replaced_control_topic_changes_every_gate() -> None:
    """Offsets began again: what each gate counts from is no longer a place in it, however the same its policy is."""
    book = PolicyBook()
    book.apply(1_000, 1, {"a.yaml": FULL}, "")
    assert book.apply(3, 2, {"a.yaml": "# again\n" + FULL}, "")[1] == {"pay"}
