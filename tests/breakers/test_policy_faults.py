"""Where a policy is wrong is a value: a path of keys and numbers, or a line where the text is no policy."""

from __future__ import annotations

import pytest
from log import policy

from failshut_breakers.policy.faults import PolicyFault, faults_of
from failshut_breakers.policy.policy import POLICY_CHARS_MAX, PolicyError, parse_policy, policy_files

BEAT = "heartbeat: {source: a, grace: 3s}"


def test_a_policy_that_can_be_used_has_no_faults() -> None:
    """What is read without an error is not complained of."""
    assert faults_of(policy(BEAT)) == []


def test_every_bad_condition_is_found_with_its_number_and_its_kind() -> None:
    """Reading ends at the first; whoever mends the policy is told of all, and of what is wrong beside them."""
    text = policy(BEAT, "heartbeat: {sauce: a, grace: 3s}", "drift: {series: a/b, detector: magic}") + "subject: me\n"
    assert [fault.path for fault in faults_of(text)] == [
        ("conditions", "1", "heartbeat", "sauce"),
        ("conditions", "2", "drift", "detector"),
        ("subject",),
    ]


def test_a_fault_that_the_whole_shows_is_in_the_field_that_has_it() -> None:
    """Its place does not depend on how its words begin."""
    (fault,) = faults_of(policy(BEAT) + "trip_on: 2 of 9\n")
    assert fault == PolicyFault(("trip_on",), "'2 of 9': the policy has 0 conditions whose demand trips")


def test_words_with_a_semicolon_are_one_fault() -> None:
    """Faults are apart as values: whatever stands in a fault's words splits nothing."""
    (fault,) = faults_of(policy(BEAT.replace("3s", '"x; y: z"')))
    assert fault.path == ("conditions", "0", "heartbeat", "grace")
    assert "x; y: z" in fault.why


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (policy(BEAT) + "gate: b\n", policy(BEAT).count("\n") + 1, "'gate' is given twice"),
        ("a: &b {}\nc: *b\n", 2, "aliases are not taken: write it out"),
        ("\n\nx: [" + "a," * 10_001 + "]\n", 3, "more than 10000 values"),
        ("a: b: c\n", 1, "not YAML: mapping values are not allowed"),
        ("- a\n", 1, "not a policy"),
        ("x" * (POLICY_CHARS_MAX + 1), 1, f"a policy of {POLICY_CHARS_MAX + 1} characters"),
    ],
)
def test_a_text_that_is_no_policy_has_a_line(text: str, line: int, why: str) -> None:
    """There is no path in it; the line is a number, and the words do not repeat it."""
    (fault,) = faults_of(text)
    assert (fault.path, fault.line) == ((), line)
    assert fault.why.startswith(why)


def test_the_log_is_told_where_as_well() -> None:
    """A decision's words have the line in them, as they always had; a kept error says the same each time."""
    text = policy(BEAT) + "gate: b\n"
    for read in (parse_policy, policy_files.of, policy_files.of):
        with pytest.raises(PolicyError) as caught:
            read(text)
        assert str(caught.value) == f"line {caught.value.line}: {caught.value.why}"
        assert caught.value.line == text.count("\n")


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (policy(BEAT, in_fligt="cancel"), "in_fligt", "did you mean 'in_flight'?"),
        (policy(BEAT, in_flight="cancle"), "in_flight", "'cancle' is none of cancel, finish; did you mean 'cancel'?"),
        (policy(BEAT).replace("ttl", "tll"), "permit.tll", "no such setting: known are ttl; did you mean 'ttl'?"),
        (policy(BEAT).replace("ttl", "tll"), "permit.ttl", "it is missing, and must be given"),
        (policy("heartbeet: {source: a, grace: 3s}"), "conditions.0.heartbeet", "did you mean 'heartbeat'?"),
        (policy("heartbeat: {sorce: a, grace: 3s}"), "conditions.0.heartbeat.sorce", "did you mean 'source'?"),
        (policy("lag: {group: w, topic: r, allowed: -1, behind: 5s}"), "conditions.0.lag.allowed", "at least 0, and is -1"),
        (policy("lag: {group: w, topic: r, allowed: few, behind: 5s}"), "conditions.0.lag.allowed", "must be a whole number"),
        (policy(BEAT, subjects="me"), "subjects", "must be a list, and is 'me'"),
        (policy(BEAT, zzz="1"), "zzz", "no such setting: known are conditions"),
    ],
)
def test_faults_say_what_to_write(text: str, path: str, why: str) -> None:
    """In plain words, with the nearest name where one is near; the log's own words do not change by it."""
    found = {".".join(fault.path): fault.why for fault in faults_of(text)}
    assert why in found[path]
    assert "Input should" not in found[path]
    assert "Extra inputs" not in found[path]
    with pytest.raises(PolicyError):
        parse_policy(text)


def test_a_long_wrong_value_is_not_quoted_whole() -> None:
    """Whatever a policy holds, a fault fits on a line."""
    (fault,) = faults_of(policy(BEAT, in_flight="x" * 5_000))
    assert len(fault.why) < 150
