"""`failshut policy check` warns of what looks safe and is not: one policy for each kind, and the line that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from console.console_support import Failshut

from failshut_console.checks import check_text

HEAD = 'gate: g\npermit: {ttl: 3s}\nsubjects: ["a"]\nconditions:\n'
STALE = "stale: 30s"
SAFE = f"  - drift: {{series: s/x, detector: adwin, {STALE}}}\n"

HAZARDS = {
    "silence": ("  - drift: {series: s/x, detector: adwin}\n", 5, "how long s/x may be silent"),
    "a counter": (f"  - drift: {{series: s/x.total, detector: adwin, {STALE}}}\n", 5, "is a counter"),
    "a lapse of a detector": (
        f"  - drift: {{series: s/x, detector: adwin, action: lapse, {STALE}}}\n",
        *(5, "no breaker behind it"),
    ),
    "a detector that cannot speak": (
        f'  - conformance: {{series: s/x, rule: "value <= 5", window: 6, detector: fhddm, {STALE}}}\n',
        *(5, "cannot speak"),
    ),
    "a rule that is always true": (
        f'  - conformance: {{series: s/x, rule: "value <= 500 or value > 400", {STALE}}}\n',
        *(5, "always true"),
    ),
    "a rule that is never true": (
        f'  - conformance: {{series: s/x, rule: "value < 4 and value > 400", {STALE}}}\n',
        *(5, "never true"),
    ),
    "a rule of silence": (f'  - conformance: {{series: s/x, rule: "interval <= 2", {STALE}}}\n', 5, "says nothing of silence"),
    "instances without a number": (
        f"  - drift: {{series: s/x, detector: adwin, by: instance, forget: 5m, {STALE}}}\n",
        *(5, "one instance that is judged is enough"),
    ),
    "instances that come and leave": (
        f"  - drift: {{series: s/x, detector: adwin, by: instance, instances: 8, {STALE}}}\n",
        *(5, "one that leaves for ever"),
    ),
    "a wide limit": (f'  - conformance: {{series: s/x, rule: "value < 5", over: 0.5, {STALE}}}\n', 5, "up to 50 of 100"),
    "a long grace": ("  - heartbeat: {source: a, grace: 1h}\n", 5, "may be silent for 60m"),
    "executions that never come": ("  - failure_rate: {window: 1s, at_least: 1000000, over: 0.9}\n", 5, "never judges"),
    "a lapse of executions": ("  - failure_rate: {window: 60s, at_least: 2, over: 0.9, action: lapse}\n", 5, "accepts it"),
    "no probes of executions": (
        "  - failure_rate: {window: 60s, at_least: 2, over: 0.9}\nreset: {probes: 0}\n",
        *(5, "only `failshut accept`"),
    ),
    "votes that cannot be": (SAFE + "  - heartbeat: {source: a, grace: 3s, action: trip}\ntrip_on: all\n", 7, "can never trip"),
    "votes of all": (SAFE + SAFE.replace("s/x", "s/y") + "trip_on: all\n", 7, "one of them alone"),
    "a reset at once": (SAFE + "reset: {after: 1ms}\n", 6, "a reset after 1ms"),
    "a reset within a period": (
        f"  - anomaly: {{series: [s/x, s/y], every: 1m, {STALE}}}\nreset: {{after: 30s}}\n",
        *(6, "less than one period"),
    ),
    "probes that cannot come back": (SAFE + "reset: {after: 30s, probes: 10000, deadline: 1s}\n", 6, "will hardly come back"),
    "long learning": (
        f"  - anomaly: {{series: [s/x, s/y], every: 1h, {STALE}}}\n",
        *(5, "before the gate can open"),
    ),
    "no operations": (SAFE + "operations: []\n", 6, "nothing may be executed"),
    "a setting that has gone": (SAFE.replace("stale", "demand_for: 10s, stale"), 5, "no effect"),
}


@pytest.mark.parametrize("kind", HAZARDS)
def test_each_kind_is_named_on_its_line(kind: str) -> None:
    """The policy is good, and its warning says what is unsafe and what to write."""
    rest, line, words = HAZARDS[kind]
    checked = check_text("p.yaml", HEAD + rest)
    assert checked.good, checked.faults
    found = [one for one in checked.warnings if words in one.why]
    assert [one.line for one in found] == [line], checked.warnings
    assert any(words in found[0].why for words in ("; write ", "; leave ", "; look ", "; judge ")), found


def test_of_the_whole_policy() -> None:
    """A long ttl, and nobody who may execute."""
    checked = check_text("p.yaml", (HEAD + SAFE).replace("3s", "1h").replace('["a"]', "[]"))
    assert {one.line for one in checked.warnings} == {2, 3}


def test_a_careful_policy_has_none(failshut: Failshut, tmp_path: Path) -> None:
    """Also with --strict; one warning fails there, and is told everywhere."""
    (tmp_path / "good.yaml").write_text(HEAD + SAFE + "reset: {after: 30s, probes: 3}\n")
    (tmp_path / "loose.yaml").write_text(HEAD.replace("gate: g", "gate: h") + HAZARDS["silence"][0])
    assert failshut("policy", "check", "--strict", tmp_path / "good.yaml").status == 0
    loose = failshut("policy", "check", tmp_path / "loose.yaml")
    assert (loose.status, "loose.yaml:5: warning: " in loose.out) == (0, True)
    assert failshut("policy", "check", "--strict", tmp_path / "loose.yaml").status == 1
