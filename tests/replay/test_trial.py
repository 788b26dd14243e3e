"""What a gate would have done on a series: the gate itself, incidents that are put in, and what is suggested."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from failshut_breakers.policy.policy import Heartbeat, parse_policy
from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event
from failshut_replay.story.picture import WIDTH_MIN
from failshut_replay.trial.injected import KINDS, SHARES, injected, length_of
from failshut_replay.trial.lived import READINGS_MIN, live, points_of
from failshut_replay.trial.series import READINGS_MIN as FEW
from failshut_replay.trial.series import Series, series_of
from failshut_replay.trial.suggested import Tried, round_ms, tried
from failshut_replay.trial.trial_picture import trial_picture

START_MS = 1_772_366_400_000
MINUTE_MS = 60_000


def latency(count: int = 3_000, every_ms: int = MINUTE_MS) -> Series:
    """A latency with hours in it."""
    rng = random.Random(1)
    values: list[float | None] = [
        100 + 30 * math.sin(n * every_ms / 86_400_000 * 2 * math.pi) + rng.gauss(0, 5) for n in range(count)
    ]
    return Series("api/ms", [START_MS + n * every_ms for n in range(count)], values)


def outcomes(count: int = 2_000) -> Series:
    """One of a hundred requests fails."""
    rng = random.Random(2)
    return Series("api/ok", [START_MS + n * 1_000 for n in range(count)], [float(rng.random() > 0.01) for n in range(count)])


def limit(series: Series, value: float) -> Tried:
    """A policy that anybody can read: one reading above a limit closes the gate, for a minute at least."""
    rule = f'conformance: {{series: {series.name}, rule: "value <= {value:g}", window: 10, at_once: 1}}'
    return Tried("limit", (rule, f"heartbeat: {{series: {series.name}, grace: 3m}}"), MINUTE_MS)


def test_it_says_when_the_gate_was_closed_and_over_what() -> None:
    """A spike of five minutes closes it from its first reading until sixty readings behind it are good: edges are exact."""
    series = latency(400)
    series.values[200:205] = [900.0] * 5
    lived = live(limit(series, 500), series)
    (closed,) = lived.closed
    assert (closed.start_ms, closed.cause, closed.tripped) == (START_MS + 200 * MINUTE_MS, "conformance", True)
    assert closed.end_ms == START_MS + 264 * MINUTE_MS
    assert lived.opened_ms == START_MS + 9 * MINUTE_MS
    assert lived.closed_share == pytest.approx(64 / (399 - 9))


def test_silence_closes_it_while_it_lasts() -> None:
    """Marks go on where readings are missing, so a heartbeat notices after its grace and not at the next reading."""
    series = latency(300)
    series.times_ms[100:] = [time_ms + 30 * MINUTE_MS for time_ms in series.times_ms[100:]]
    (closed,) = live(limit(series, 500), series).closed
    assert closed.cause == "heartbeat"
    assert not closed.tripped
    assert closed.start_ms == START_MS + (99 + 4) * MINUTE_MS
    assert closed.end_ms == START_MS + 130 * MINUTE_MS


def test_readings_that_nobody_can_read_close_it() -> None:
    """What is missing in a file is no evidence of health."""
    series = latency(300)
    series.values[100:140] = [None] * 40
    closed = live(limit(series, 500), series).closed
    assert closed[0].start_ms == START_MS + 100 * MINUTE_MS


def test_a_gate_that_never_opens_is_closed_all_the_time() -> None:
    """Thirty readings are too few for a detector that wants a hundred."""
    series = latency(30)
    lived = live(tried(series, [])[0], series)
    assert (lived.opened_ms, lived.closed, lived.closed_share, lived.closings_a_week) == (0, [], 1.0, 0.0)
    assert lived.told("double") == (0, 0, None)


def test_incidents_close_copies_of_the_gate_and_leave_it_as_it_was() -> None:
    """Triple is above the limit at once, and half of it is not; the gate itself never closes."""
    series = latency()
    lived = live(limit(series, 200), series)
    assert lived.closed == []
    assert lived.told("triple") == (len(points_of(series)), len(points_of(series)), 0)
    tried_at, heard, delay_ms = lived.told("to half")
    assert (tried_at, heard, delay_ms) == (len(points_of(series)), 0, None)


def test_a_series_that_is_too_short_gets_no_incidents() -> None:
    """There must be room behind an incident, and readings before it that a detector learns from."""
    assert points_of(latency(READINGS_MIN)) == []
    assert len(points_of(latency())) == 5


@pytest.mark.parametrize("kind", [*KINDS, *SHARES])
def test_each_kind_of_incident_is_what_its_name_says(kind: str) -> None:
    """On a series about 10, or of ones."""
    rng = random.Random(3)
    values = np.array([1.0 if kind in SHARES else rng.gauss(10, 1) for _ in range(400)])
    changed, usual = injected(kind, values, 100, 60), values[100 : 100 + length_of(kind, 60)]
    assert len(changed) == len(usual) == length_of(kind, 60)
    ratio = changed / usual
    means = {
        "up by half": (1.5, 1.5), "double": (2.0, 2.0), "triple": (3.0, 3.0), "to half": (0.5, 0.5), "to zero": (0.0, 0.0),
        "ramp": (1.0, 2.0), "5 % bad": (0.0, 1.0), "10 % bad": (0.0, 1.0), "50 % bad": (0.0, 1.0), "all bad": (0.0, 0.0),
    }  # fmt: skip
    if kind in means:
        assert (ratio.min(), ratio.max()) == pytest.approx(means[kind], abs=0.02)
    if kind in SHARES:
        assert np.mean(changed == 0.0) == pytest.approx(SHARES[kind], abs=0.08)
    if kind == "variance":
        assert 3.0 < np.std(changed) / np.std(usual) < 5.0
        assert np.mean(changed) == pytest.approx(np.mean(usual), abs=1.0)
    if kind == "stuck":
        assert set(changed) == {values[99]}
    if kind == "second":
        assert set(changed[30:]) == {0.0}
        assert ratio[0] == pytest.approx(1.5)
    assert values[100] == usual[0]  # the series itself is as it was


def test_what_suits_the_series_is_suggested() -> None:
    """Values, slow values, events, and what is nearly always 0: each gets its conditions, and each is a policy."""
    rare = Series(
        "api/errors", [START_MS + n * MINUTE_MS for n in range(1_000)], [float(4 * (n % 40 == 0)) for n in range(1_000)]
    )
    cases = {
        "anomaly: {series: api/ms}": latency(),
        "anomaly: {series: api/ms, detector: seasonal_record}": latency(300, 3_600_000),
        'conformance: {series: api/ok, rule: "value == 1"}': outcomes(),
        'conformance: {series: api/errors, rule: "value <= 4"}': rare,
    }
    for wanted, series in cases.items():
        first, adopting, *others = tried(series, ["cusum"])
        assert first.conditions[0] == wanted
        assert adopting.conditions[0] == wanted.removesuffix("}") + f", adopt: after {adopting.conditions[0].split()[-1]}"
        assert [one.name for one in others][-1] == "cusum"
        for one in (first, adopting, *others):
            assert isinstance(parse_policy("\n".join(["gate: g", "permit: {ttl: 3s}", *one.lines()])).conditions[1], Heartbeat)
            assert parse_policy(one.policy("g")).reset.probes == 0


def test_a_grace_is_longer_than_the_usual_gaps() -> None:
    """A series with a gap of five minutes once in fifty readings gets a grace that these do not exceed."""
    series = latency(1_000)
    shift = 0
    for n in range(1_000):
        shift += 4 * MINUTE_MS if n % 50 == 49 else 0
        series.times_ms[n] += shift
    assert "grace: 10m" in tried(series, [])[0].conditions[1]
    assert round_ms(1) == 1_000


def events(*series: str, count: int = 40) -> list[Event]:
    return [Event(START_MS + n * 1_000, ("sample", one, float(n))) for n in range(count) for one in series]


def test_one_series_is_taken() -> None:
    """The only one, or the one that was named. Others, beats and faults of others are left out."""
    more = [*events("a/x", "b/y"), Event(START_MS + 60_000, ("fault", "a/x", "nan")), Event(START_MS + 60_000, ("beat", "a"))]
    one = series_of(more, "a/x")
    assert (len(one), one.values[-1], one.values[0], one.pace_ms) == (41, None, 0.0, 1_000)
    assert len(series_of(events("a/x"))) == 40


@pytest.mark.parametrize(
    ("these", "name", "says"),
    [
        (events("a/x"), "a/y", "there are no readings of a/y"),
        (events("a/x", "b/y"), "", "there are 2 series: name one (--series) of a/x, b/y"),
        (events("a/x", count=FEW - 1), "", "a/x has 19 readings"),
        ([Event(START_MS, ("sample", "a/x", 1.0))] * 40, "", "40 readings over 0 ms"),
        ([], "", "there are no readings"),
    ],
)
def test_what_cannot_be_tried_is_said(these: list[Event], name: str, says: str) -> None:
    """No series, several, or too little of one."""
    with pytest.raises(ImportFault, match=says.replace("(", r"\(").replace(")", r"\)")):
        series_of(these, name)


@pytest.mark.slow
def test_a_picture_shows_a_closing_of_minutes_in_weeks() -> None:
    """It is as wide as a few pixels at least; and the picture is the same each time."""
    series = latency(20_000)
    series.values[10_000:10_003] = [900.0] * 3
    lived = live(limit(series, 500), series)
    (closed,) = lived.closed
    assert (closed.end_ms - closed.start_ms) / series.span_ms < WIDTH_MIN
    png, svg = trial_picture(series, [lived]), trial_picture(series, [lived], "svg")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert svg == trial_picture(series, [lived], "svg")
    assert b"#e06666" in svg
