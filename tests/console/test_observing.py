"""`failshut policy check --live`: a policy beside what producers really send."""

from __future__ import annotations

import pytest

from failshut_console.checks import check_text
from failshut_console.monitor.observed_series import Observed, pace_of
from failshut_streams.codecs import Beat, Sample

HEAD = 'gate: g\npermit: {ttl: 3s}\nsubjects: ["a"]\nconditions:\n'
MINUTE_MS = 60_000
START_MS = 1_772_366_400_000


def observed() -> Observed:
    """Half an hour: s/x once a minute, s/y once a second in the last minute, and source a every two seconds."""
    seen = Observed()
    for minute in range(30):
        at_ms = START_MS + minute * MINUTE_MS
        seen.take([Sample("s/x", 1.0, at_ms, None)], at_ms)
    for second in range(60):
        at_ms = START_MS + 29 * MINUTE_MS + second * 1_000
        seen.take([Sample("s/many", 1.0, None, f"i{second % 20}")], at_ms)
        seen.take([Sample("s/y", 1.0, None, None), *([Beat("a", None)] if second % 2 == 0 else [])], at_ms)
    return seen


CASES = {
    "a name that nobody sends": (
        "drift: {series: s/xx, detector: adwin, stale: 5m}",
        "nobody sent s/xx in the last 1799s; write s/x",
    ),
    "many instances as one stream": (
        "drift: {series: s/many, detector: adwin, stale: 5m}",
        "20 instances send s/many, and it is judged as one stream: each is a part of it; write by: instance, instances: 20",
    ),
    "more instances asked for than there are": (
        "drift: {series: s/many, detector: adwin, stale: 5m, by: instance, instances: 21, forget: 5m}",
        "21 instances must be judged, and 20 send s/many; write instances: 20",
    ),
    "more instances than are judged": (
        "drift: {series: s/many, detector: adwin, stale: 5m, by: instance, instances: 4, forget: 5m}",
        "20 instances send s/many, and 16 are judged at most: the gate closes; write instances_max: 40",
    ),
    "a source that nobody is": ("heartbeat: {source: b, grace: 30s}", "nobody sent b in the last"),
    "a short stale": ("drift: {series: s/x, detector: adwin, stale: 90s}", "s/x comes once in 60s, so stale: 90s"),
    "a short grace": ("heartbeat: {source: a, grace: 3s}", "it comes once in 2s, so a grace of 3s"),
    "a short period": ("anomaly: {series: [s/x, s/y], every: 10s, stale: 5m}", "most periods of 10s lack it; write every: 60s"),
    "long learning": ("anomaly: {series: s/x, stale: 5m}", "before the gate can open"),
    "a reset before anything is read": (
        "drift: {series: s/x, detector: adwin, stale: 5m}",
        "a reset after 30s, and s/x comes once in 60s",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_policy_is_held_against_what_is_sent(case: str) -> None:
    """One warning for each kind, with what to write."""
    condition, words = CASES[case]
    text = f"{HEAD}  - {condition}\nreset: {{after: 30s, probes: 3}}\n"
    assert not [one for one in check_text("p.yaml", text).warnings if words in one.why], "nobody knows without a monitor"
    found = check_text("p.yaml", text, observed()).warnings
    assert [one for one in found if words in one.why], found


def test_what_fits_is_not_warned_of() -> None:
    """Settings above the pace, and names that are sent."""
    conditions = "  - drift: {series: s/y, detector: adwin, stale: 30s}\n  - heartbeat: {source: a, grace: 10s}\n"
    assert check_text("p.yaml", f"{HEAD}{conditions}reset: {{after: 30s, probes: 3}}\n", observed()).warnings == ()


def test_a_pace_is_the_median_of_its_intervals() -> None:
    """Times may come in any order, and twice; one time alone has no pace."""
    assert pace_of([3_000, 1_000, 2_000, 2_000, 60_000]) == 1_000
    assert pace_of([5]) == 0


def test_much_is_not_kept() -> None:
    """Of a name the last times, and so many names at most."""
    seen = Observed()
    for at in range(1_000):
        seen.take([Sample("s/x", 1.0, at + 1, None)], at + 1)
    assert len(seen.series["s/x"]) == 200
    seen.take([Sample("s/x", 1.0, 1, f"i{number}") for number in range(5_000)], 1)
    assert len(seen.instances["s/x"]) == 1_000
