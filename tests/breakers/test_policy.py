"""Reading policies: every way in which one can be wrong closes its gate, and none stops the reader."""

from __future__ import annotations

import pickle

import pytest
from log import policy

from failshut_breakers.conditions import build
from failshut_breakers.policy import policy as policy_module
from failshut_breakers.policy import yaml_reader
from failshut_breakers.policy.memo import Readings
from failshut_breakers.policy.policy import (
    POLICY_CHARS_MAX,
    PolicyBook,
    PolicyError,
    digest_of,
    gates_named,
    parse_policy,
    read_bundle,
)

BEAT = "heartbeat: {source: a, grace: 3s}"
DRIFT = "drift: {series: s/x, detector: adwin}"

WRONG = {
    "unknown detector": (
        policy("drift: {series: s/x, detector: magic}"),
        "no detector is named 'magic': under drift there are adwin",
    ),
    "no detector": (
        policy("drift: {series: s/x}"),
        "drift needs a detector, or false_trips, such as 1 per 30d: there are adwin",
    ),
    "wrong unit": (policy(BEAT, ttl="3 parsecs"), "is not a duration"),
    "no unit": (policy(BEAT, ttl="3"), "is not a duration"),
    "ttl too short": (policy(BEAT, ttl="999ms"), "between 1s and 1h"),
    "ttl too long": (policy(BEAT, ttl="2h"), "between 1s and 1h"),
    "ttl beyond all": (policy(BEAT, ttl="9" * 400 + "d"), "is not a duration"),
    "a rule that cannot be evaluated": (policy('conformance: {series: s/x, rule: "value < limit"}'), "not a rule"),
    "a rule with a number beyond all": (
        policy(f'conformance: {{series: s/x, rule: "value < 1{"0" * 400}"}}'),
        "finite numbers",
    ),
    "a rule that is no text": (policy("conformance: {series: s/x, rule: 5}"), "a rule is text"),
    "unknown condition": (policy("oddity: {series: s/x}"), "unknown condition 'oddity': known are drift"),
    "unknown field": (policy(BEAT, colour="red"), "colour: Extra inputs"),
    "unknown field of a condition": (policy("heartbeat: {source: a, grace: 3s, colour: red}"), "Extra inputs"),
    "adwin with a threshold": (
        policy("drift: {series: s/x, detector: adwin, threshold: 5}"),
        "adwin has no parameter 'threshold': it has delta",
    ),
    "adwin with a delta of one": (policy("drift: {series: s/x, detector: adwin, delta: 1}"), "delta is 1.0, must be"),
    "a threshold of infinity": (policy("drift: {series: s/x, detector: page_hinkley, threshold: .inf}"), "finite"),
    "a delta that is NaN": (policy("drift: {series: s/x, detector: page_hinkley, delta: .nan}"), "finite|greater"),
    "a series without a metric": (policy("drift: {series: sx, detector: adwin}"), "'sx' is no series"),
    "a heartbeat of a series without a metric": (policy("heartbeat: {series: sx, grace: 3s}"), "pattern"),
    "source and series": (policy("heartbeat: {source: a, series: s/x, grace: 3s}"), "either a source or a series"),
    "grace below every": (policy("heartbeat: {source: a, every: 5s, grace: 3s}"), "grace is shorter"),
    "failure rate without a window": (policy("failure_rate: {at_least: 1, over: 0.5}"), "window"),
    "failure rate of a day": (policy("failure_rate: {window: 1d, at_least: 1, over: 0.5}"), "between 1s and 1h"),
    "a share of one": (policy("failure_rate: {window: 60s, at_least: 1, over: 1}"), "less than 1"),
    "no conditions": ("gate: g\npermit: {ttl: 3s}\nconditions: []\n", "at least 1"),
    "conditions are a mapping": ("gate: g\npermit: {ttl: 3s}\nconditions: {heartbeat: {}}\n", "conditions is a list"),
    "a condition of two kinds": (policy(f"{BEAT}, {DRIFT}"), "a condition is one kind"),
    "a condition without settings": (policy("unreadable: "), "its settings are a mapping"),
    "two of one name": (policy(BEAT, BEAT), "two conditions are named 'heartbeat:a'"),
    "too many conditions": (policy(*(f"heartbeat: {{source: a{n}, grace: 3s}}" for n in range(65))), "at most 64"),
    "trip_on nonsense": (policy(DRIFT, trip_on="most"), "trip_on"),
    "trip_on of another number": (policy(DRIFT, trip_on="1 of 2"), "has 1 conditions whose demand trips"),
    "trip_on none": (policy(DRIFT, trip_on="0 of 1"), "trip_on"),
    "trip_on more than all": (policy(DRIFT, trip_on="2 of 1"), "trip_on"),
    "trip_on a number": (policy(DRIFT, trip_on="1"), "trip_on"),
    "a gate that is no name": (policy(BEAT, gate="a b"), "pattern"),
    "no gate": ("permit: {ttl: 3s}\nconditions: []\n", "gate: Field required"),
    "in_flight": (policy(BEAT, in_flight="ignore"), "in_flight"),
    "a context that is no text": (policy(BEAT, context="{a: true}"), "valid string"),
    "a key given twice": (policy(BEAT) + "permit: {ttl: 1h}\n", "line 5: 'permit' is given twice"),
    "a key given twice, deep": (policy("heartbeat: {source: a, grace: 3s, grace: 3d}"), "'grace' is given twice"),
    "two documents": (policy(BEAT) + "---\n" + policy(BEAT), "single document"),
    "torn in the middle of a text": (policy(BEAT)[:-1] + '\nin_flight: "can', "not YAML"),
    "torn in the middle of a mapping": ("gate: g\npermit: {ttl", "not YAML"),
    "not a mapping": ("just text", "not a policy"),
    "empty": ("", "not a policy"),
    "an alias": (policy(BEAT) + "context: &a {x: y}\nsubjects: *a\n", "line 6: aliases are not taken"),
    "a merge key": (policy(BEAT) + "x: &a {x: y}\ny: {<<: *a}\n", "aliases are not taken"),
    "an object's tag": (policy(BEAT) + "x: !!python/object/apply:os.system [id]\n", "not YAML"),
    "a date that is none": (policy(BEAT) + "x: 2024-13-45\n", "not YAML"),
    "a tag that does not fit": (policy(BEAT) + "x: !!int foo\n", "not YAML"),
    "a boolean that is none": (policy(BEAT) + "x: !!bool foo\n", "not YAML"),
    "a time that is none": (policy(BEAT) + "x: !!timestamp foo\n", "not YAML"),
    "a mapping that is none": (policy(BEAT) + "x: !!map foo\n", "not YAML"),
    "a number beyond all": (policy(BEAT) + "x: " + "9" * 5000 + "\n", "not YAML"),
    "nested beyond all": (policy(BEAT) + "x: " + "[" * 20_000 + "]" * 20_000 + "\n", "not YAML"),
    "half a surrogate as a field": (policy(BEAT) + '"\\ud800": 1\n', "not YAML"),
    "half a surrogate as a value": (policy(BEAT, subjects='["\\ud800"]'), "not YAML"),
    "a surrogate in a mapping": (policy(BEAT, context='{"\\ud800": x}'), "not YAML"),
    "too long": (policy(BEAT) + "#" * POLICY_CHARS_MAX, "at most 64000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_policy_is_refused_in_words(name: str) -> None:
    """A policy that cannot be used is a PolicyError, whose message names the fault, is bounded, and can be written anywhere."""
    text, words = WRONG[name]
    with pytest.raises(PolicyError, match=words) as caught:
        parse_policy(text)
    assert len(str(caught.value).encode()) < 5_000


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_policy_closes_its_gate_and_replaces_nothing_else(name: str) -> None:
    """Whatever is wrong with a file, the bundle is read: the gate that the file held is closed, and no other."""
    before = read_bundle(1, {"g.yaml": policy(BEAT), "h.yaml": policy(BEAT, gate="h")}, {})
    after = read_bundle(2, {"g.yaml": WRONG[name][0], "h.yaml": policy(BEAT, gate="h")}, before.entries)
    assert after.entries["g"].policy is None
    assert after.entries["g"].fault.startswith("g.yaml: ")
    assert after.entries["h"] == before.entries["h"]


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    """Nine levels of ten aliases each are refused at the first alias."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(PolicyError, match="aliases are not taken"):
        parse_policy("\n".join(levels) + "\npermit: {ttl: *a8}\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: " + "[" * 33 + "]" * 33, "line 1: nested more than 32 deep"),
        ("x:\n" + "- " * 40 + "a\n", "nested more than 32 deep"),
        ("x: [" + "{}," * 10_001 + "]\n", "more than 10000 values"),
        ("\n\nx: [" + "a," * 10_001 + "]\n", "line 3: more than 10000 values"),
    ],
)
def test_yaml_is_bounded_before_it_is_built(text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth and number of values are bounds that a text is held to while nothing of it is built."""
    monkeypatch.setattr(yaml_reader.yaml, "load", None)
    with pytest.raises(PolicyError, match=words):
        parse_policy(text)


def test_a_text_is_read_once() -> None:
    """Readings are kept by digest, refusals too; what is kept is bounded."""
    read: list[str] = []

    def reading(text: str) -> int:
        read.append(text)
        if text == "bad":
            raise PolicyError("no")
        return len(text)

    readings = Readings(reading, digest_of, kept_max=2)
    assert [readings.of("good"), readings.of("good")] == [4, 4]
    for _ in range(2):
        with pytest.raises(PolicyError, match="no"):
            readings.of("bad")
    assert read == ["good", "bad"]
    readings.prepare(["good", "bad", "another"])
    assert (len(readings), read[2:]) == (2, ["another"])
    assert readings.of("good") == 4
    assert read[3:] == ["good"]


def test_a_mapping_of_very_many_keys_is_read_in_one_pass() -> None:
    """Thousands of keys are looked at once each, not once for each other."""
    text = "x: {" + ", ".join(f"k{n}" for n in range(4_000)) + "}\n"
    with pytest.raises(PolicyError):
        parse_policy(policy(BEAT) + text)


@pytest.mark.parametrize(
    ("trip_on", "wanted"), [("any", 1), ("all", 3), ("2 of 3", 2), ("'3 of 3'", 3), ("1 of 3", 1), ("' 2  of 3 '", 2)]
)
def test_trip_on_counts_conditions_whose_demand_trips(trip_on: str, wanted: int) -> None:
    """any, all and k of n say how many demands trip; a heartbeat that only lapses is not among the n."""
    conditions = [f"drift: {{series: s/{n}, detector: adwin}}" for n in range(3)]
    assert parse_policy(policy(*conditions, BEAT, trip_on=trip_on)).demands_to_trip == wanted


def test_the_example_of_the_documentation_is_a_policy() -> None:
    """Every kind of condition, with every setting, is read, and its condition can be built, pickled and compared."""
    text = policy(
        'conformance: {series: refunds/amount, rule: "value <= 500", window: 50, confidence: 0.001, over: 0.2}',
        "drift: {series: refunds/amount, detector: adwin, delta: 0.01, warm_up: 10, unreadable_in_a_row: 3}",
        "drift: {name: slow, series: refunds/amount, detector: page_hinkley, threshold: 10, delta: 0.1, action: lapse}",
        "heartbeat: {source: refund-agent, every: 1s, grace: 3s}",
        "heartbeat: {series: refunds/amount, grace: 3s, action: trip}",
        "lag: {group: refund-workers, topic: refunds, allowed: 1000, behind: 5s, stale: 20s}",
        "failure_rate: {window: 60s, at_least: 20, over: 0.5}",
        "unreadable: {at_least: 3, window: 10s}",
        gate="payments.refund",
        subjects="['agent:refund-*']",
        context="{environment: production}",
        reset="{after: 30s, probes: 5, deadline: 2m}",
        in_flight="cancel",
        trip_on="2 of 6",
    )
    read = parse_policy(text)
    assert read == parse_policy(text)
    assert pickle.loads(pickle.dumps(read)) == read
    for condition in read.conditions:
        assert pickle.loads(pickle.dumps(build(condition))).brief() == build(condition).brief()


@pytest.mark.parametrize(
    "text",
    [
        "gate: g",
        "gate:   g  # mine",
        "'gate': \"g\"",
        "  gate: g",
        "{gate: g, permit: {ttl",
        '{"permit": {}, "gate": "g"}',
        "x: [\ngate: g\r\n",
    ],
)
def test_the_gate_of_a_torn_file_is_recognised(text: str) -> None:
    """A file that cannot be read still says which gate it was about, however it is written."""
    assert gates_named(text) == ["g"]


def test_two_policies_for_one_gate_close_it() -> None:
    """Neither of two files for one gate is believed, also where one of them cannot be read, and also where there are three."""
    good = policy(BEAT)
    for files in (
        {"a": good, "b": good},
        {"a": good, "b": "gate: g\n"},
        {"a": "gate: g\n", "b": good},
        {"a": good, "b": good, "c": good},
    ):
        entry = read_bundle(1, files, {}).entries["g"]
        assert entry.policy is None
        assert "two policies for one gate" in entry.fault


class TestPolicyBook:
    """What activations make of the policies in force."""

    def test_a_version_that_is_not_higher_is_refused(self) -> None:
        """An activation with the version in force, or a lower one, changes nothing."""
        book = PolicyBook()
        assert book.apply(3, 2, {"g.yaml": policy(BEAT)}, "") == ("", {"g"})
        for version in (2, 1):
            refusal, changed = book.apply(9, version, {"h.yaml": policy(BEAT, gate="h")}, "")
            assert "is not above version 2" in refusal
            assert not changed
        assert (book.routing, book.version, set(book.entries)) == (3, 2, {"g"})

    def test_an_unsigned_bundle_closes_what_it_names(self) -> None:
        """A bundle that must not be trusted closes its gates, leaves the others, uses up no version and sends nobody back."""
        book = PolicyBook()
        book.apply(3, 2, {"g.yaml": policy(BEAT), "h.yaml": policy(BEAT, gate="h")}, "")
        refusal, changed = book.apply(5, 99, {"evil.yaml": policy(BEAT)}, "signed by nobody known")
        assert (refusal, changed) == ("", {"g"})
        assert book.entries["g"].policy is None
        assert book.entries["g"].fault == "signed by nobody known"
        assert book.entries["h"].policy is not None
        assert (book.version, book.routing) == (2, 3)
        assert book.apply(6, 99, {"evil.yaml": policy(BEAT)}, "signed by nobody known")[1] == set()

    def test_an_unsigned_bundle_that_names_nothing_changes_nothing(self) -> None:
        """A bundle without a gate that must not be trusted is refused."""
        book = PolicyBook()
        assert book.apply(5, 1, {"x": "gibberish"}, "unsigned") == ("unsigned; it names no gate that has a policy", set())
        assert book.routing == -1

    def test_an_unsigned_bundle_makes_no_gate(self) -> None:
        """However many gates a bundle names that must not be trusted, those that no policy speaks of are not made."""
        book = PolicyBook()
        book.apply(3, 2, {"g.yaml": policy(BEAT)}, "")
        many = "".join(f"gate: made-up-{n}\n" for n in range(100_000)) + "x: ["
        assert book.apply(5, 3, {"f.yaml": many, "g.yaml": "gate: g"}, "unsigned") == ("", {"g"})
        assert set(book.entries) == {"g"}

    def test_an_untrusted_bundle_is_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What nobody known has signed is looked through for names, and costs no reading of YAML, whatever stands in it."""
        book = PolicyBook()
        book.apply(3, 2, {"g.yaml": policy(BEAT)}, "")
        monkeypatch.setattr(policy_module, "policy_files", None)
        monkeypatch.setattr(policy_module, "nodes_of", None)
        deep = "gate: g\nx: " + "[" * 30_000
        assert book.apply(5, 3, {f"f{n}.yaml": deep for n in range(100)}, "unsigned") == ("", {"g"})

    def test_a_file_that_cannot_be_read_makes_few_gates(self) -> None:
        """A broken file of a signed bundle closes every gate in force that it names, and makes up no others by the thousand."""
        book = PolicyBook()
        book.apply(3, 1, {f"g{n}.yaml": policy(BEAT, gate=f"g{n}") for n in range(30)}, "")
        broken = "".join(f"gate: new{n}\ngate: g{n}\n" for n in range(1_000)) + "x: ["
        refusal, changed = book.apply(4, 2, {"all.yaml": broken}, "")
        assert not refusal
        assert {f"g{n}" for n in range(30)} < changed
        assert len(changed) == 30 + policy_module.NEW_GATES_MAX

    def test_a_bundle_beyond_all_is_refused_in_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bundle that would take longer to read than permits live is refused; the policies in force stay."""
        monkeypatch.setattr(policy_module, "BUNDLE_NODES_MAX", 50)
        book = PolicyBook()
        book.apply(3, 1, {"g.yaml": policy(BEAT)}, "")
        files = {f"g{n}.yaml": policy(BEAT, gate=f"g{n}") for n in range(10)}
        refusal, changed = book.apply(4, 2, files, "")
        assert "more than 50 values in all" in refusal
        assert (changed, book.version, set(book.entries)) == (set(), 1, {"g"})

    def test_what_no_policy_speaks_of_is_forgotten(self) -> None:
        """One bundle says that a gate has no policy any more; the next leaves nothing of it, and its policy may come back."""
        book = PolicyBook()
        book.apply(3, 1, {"g.yaml": policy(BEAT), "h.yaml": policy(BEAT, gate="h")}, "")
        assert book.apply(4, 2, {"g.yaml": policy(BEAT)}, "") == ("", {"h"})
        assert book.apply(5, 3, {"g.yaml": policy(BEAT)}, "") == ("", set())
        assert set(book.entries) == {"g"}
        assert book.apply(6, 4, {"h.yaml": policy(BEAT, gate="h")}, "") == ("", {"g", "h"})

    def test_a_gate_that_is_left_out_has_no_policy(self) -> None:
        """A gate that no file speaks of any more is closed, not kept on what it had."""
        book = PolicyBook()
        book.apply(3, 1, {"g.yaml": policy(BEAT), "h.yaml": policy(BEAT, gate="h")}, "")
        assert book.apply(4, 2, {"g.yaml": policy(BEAT)}, "") == ("", {"h"})
        assert book.entries["h"].policy is None
        assert book.entries["h"].digest == ""

    def test_a_file_that_breaks_closes_the_gates_that_it_held(self) -> None:
        """A file that no longer even names its gate closes the gate that it held before."""
        book = PolicyBook()
        book.apply(3, 1, {"g.yaml": policy(BEAT)}, "")
        assert book.apply(4, 2, {"g.yaml": "\x00"}, "") == ("", {"g"})
        assert book.entries["g"].policy is None

    def test_an_unchanged_policy_is_unchanged(self) -> None:
        """Activating a bundle again under a higher version changes no gate, whatever its conditions are."""
        text = policy('conformance: {series: s/x, rule: "value < 3"}', DRIFT, BEAT)
        book = PolicyBook()
        book.apply(3, 1, {"g.yaml": text}, "")
        assert book.apply(4, 2, {"g.yaml": text}, "") == ("", set())
        assert book.routing == 4


def test_after_control_was_replaced_every_gate_counts_anew() -> None:
    """Offsets of a replaced control topic begin again: gates whose policy did not change take the new ones all the same."""
    book = PolicyBook()
    book.apply(1_000, 1, {"a.yaml": policy("heartbeat: {source: a, grace: 3s}", gate="pay")}, "")
    refusal, changed = book.apply(3, 2, {"a.yaml": policy("heartbeat: {source: a, grace: 3s}", gate="pay")}, "")
    assert (refusal, changed, book.routing) == ("", {"pay"}, 3)


def test_a_closing_cancels_what_runs_unless_the_policy_says_finish() -> None:
    """Silence is `cancel`: no work goes on past a closing because nobody wrote anything."""
    assert parse_policy(policy(BEAT)).in_flight == "cancel"
    assert parse_policy(policy(BEAT, in_flight="finish")).in_flight == "finish"
