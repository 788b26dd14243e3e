"""`failshut policy check`: what is wrong, on which line, and why, without a monitor."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from console.console_support import GOOD, Failshut

BAD = {
    "unknown detector": (GOOD.replace("adwin", "magic"), 6, "conditions.1.drift.detector", "no detector is named 'magic'"),
    "wrong unit": (GOOD.replace("grace: 3s", "grace: 3 parsecs"), 5, "conditions.0.heartbeat.grace", "not a duration"),
    "unknown condition": (GOOD.replace("- drift", "- drifft"), 6, "conditions.1.drifft", "did you mean 'drift'?"),
    "unknown field": (GOOD + "subject: me\n", 8, "subject", "did you mean 'subjects'?"),
    "rule that cannot be evaluated": (
        GOOD.replace(
            "drift: {series: refund-agent/amount_eur, detector: adwin}", 'conformance: {series: a/b, rule: "value <"}'
        ),
        6,
        "conditions.1.conformance.rule",
        "not a rule",
    ),
    "not YAML": (GOOD + "reset: [\n", 9, "file", "not YAML"),
    "a key given twice": (GOOD + "gate: other\n", 8, "file", "given twice"),
    "trip_on that cannot be": (GOOD + "trip_on: 3 of 4\n", 8, "trip_on", "3 of 4"),
    "not a mapping": ("- a\n", 1, "file", "not a policy"),
}


def written(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_good_policy_ends_with_status_0_and_says_what_it_does(failshut: Failshut, tmp_path: Path) -> None:
    """A good policy is summed up in a line: gate, conditions, ttl, and how it comes back."""
    ended = failshut("policy", "check", written(tmp_path, GOOD))
    assert ended.status == 0
    assert "payments.refund: 2 conditions" in ended.out
    assert "permits live 2 s" in ended.out
    assert "3 s after a trip" in ended.out


@pytest.mark.parametrize("case", BAD)
def test_a_bad_policy_ends_with_status_1_and_names_line_place_and_reason(failshut: Failshut, tmp_path: Path, case: str) -> None:
    """Each fault is told with its line, its place in the document and why, for people and for machines."""
    text, line, where, why = BAD[case]
    path = written(tmp_path, text)
    ended = failshut("policy", "check", path)
    assert ended.status == 1
    assert f"{path}:{line}: {where}: " in ended.err
    assert why in ended.err
    (told,) = json.loads(failshut("policy", "check", path, "--json").out)
    assert told["good"] is False
    assert [(fault["line"], fault["where"]) for fault in told["faults"]] == [(line, where)]


def test_every_bad_condition_is_told_not_only_the_first(failshut: Failshut, tmp_path: Path) -> None:
    """Two bad conditions are two faults in one run."""
    text = GOOD.replace("grace: 3s", "grace: 3x").replace("adwin", "magic")
    (told,) = json.loads(failshut("policy", "check", written(tmp_path, text), "--json").out)
    assert [fault["line"] for fault in told["faults"]] == [5, 6]


def test_two_policies_for_one_gate_are_both_bad(failshut: Failshut, tmp_path: Path) -> None:
    """Files that are good alone are bad together where they speak of one gate."""
    first, second = written(tmp_path, GOOD, "a.yaml"), written(tmp_path, GOOD, "b.yaml")
    ended = failshut("policy", "check", tmp_path)
    assert ended.status == 1
    assert f"{first}:1: gate: two policies for one gate" in ended.err
    assert f"{second}:1: gate: two policies for one gate" in ended.err


def test_a_file_that_is_not_there_is_wrong_usage(failshut: Failshut, tmp_path: Path) -> None:
    """Nothing checked is not the same as good."""
    ended = failshut("policy", "check", tmp_path / "none.yaml")
    assert ended.status == 2
    assert "nothing was checked" in ended.err
    assert failshut("policy", "check", tmp_path).status == 2


def test_bytes_that_are_no_text_are_a_fault(failshut: Failshut, tmp_path: Path) -> None:
    """A file that is not UTF-8 is bad, with a reason and no traceback."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"gate: a\xff\n")
    ended = failshut("policy", "check", path)
    assert ended.status == 1
    assert "cannot be read" in ended.err


def test_the_demonstrations_policies_are_good(failshut: Failshut) -> None:
    """What the demonstration puts in force would pass its own check."""
    with resources.as_file(resources.files("failshut_console.demo").joinpath("policies")) as folder:
        assert failshut("policy", "check", folder).status == 0


def test_a_bad_bundle_is_not_activated_unasked(failshut: Failshut, tmp_path: Path) -> None:
    """`policy activate` refuses a bundle with a bad policy before it asks any server."""
    written(tmp_path, BAD["wrong unit"][0])
    ended = failshut("policy", "activate", tmp_path)
    assert ended.status == 1
    assert "nothing was activated" in ended.err


def test_an_empty_bundle_is_not_activated(failshut: Failshut, tmp_path: Path) -> None:
    """A folder without policies would close every gate; it is taken for a mistake."""
    ended = failshut("policy", "activate", tmp_path)
    assert ended.status == 2
    assert "would close every gate" in ended.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "a closing cancels what runs (in_flight: cancel by default)"),
        ("in_flight: cancel\n", "a closing cancels what runs (in_flight: cancel)"),
        ("in_flight: finish\n", "a closing lets what runs finish (in_flight: finish)"),
    ],
)
def test_it_says_what_a_closing_does_to_what_runs(failshut: Failshut, tmp_path: Path, line: str, told: str) -> None:
    """Also where the policy says nothing of it."""
    text = "".join(part for part in GOOD.splitlines(keepends=True) if "in_flight" not in part) + line
    ended = failshut("policy", "check", written(tmp_path, text))
    assert ended.status == 0
    assert told in ended.out
