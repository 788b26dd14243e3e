"""Labels and scores: what an operations team acts on."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import made
from scipy.stats import chi2

from failshut_replay.errors import LabelFault
from failshut_replay.recording.reader import Recording
from failshut_replay.story.labels import Incident, beside, read_labels
from failshut_replay.story.scores import WEEK_MS, baselines, poisson_interval, score
from failshut_replay.story.story import on_record
from failshut_replay.story.timeline import Span, Timeline, Trip

HOUR_MS = 3_600_000


def timeline(*trips_ms: int, end_ms: int = 10 * HOUR_MS, closed_ms: int = 60_000) -> Timeline:
    """A gate that is open from the beginning, and closed for a while after each trip."""
    spans, at_ms = [], 0
    for trip_ms in trips_ms:
        spans.append(Span(at_ms, trip_ms, True, "", "ARMED", ""))
        at_ms = trip_ms + closed_ms
        spans.append(Span(trip_ms, at_ms, False, "drift", "TRIPPED", ""))
    spans.append(Span(at_ms, end_ms, True, "", "ARMED", ""))
    return Timeline("pay", spans, [Trip(trip_ms, "drift", "", True, True) for trip_ms in trips_ms])


def incident(start_ms: int, end_ms: int) -> Incident:
    return Incident("pay", start_ms, end_ms, "")


LABELS = [incident(HOUR_MS, 2 * HOUR_MS), incident(5 * HOUR_MS, 6 * HOUR_MS)]


def test_missed_delay_and_false_trips_are_counted() -> None:
    """One incident is noticed after ten minutes, one is missed, one trip is for nothing."""
    found = score([timeline(HOUR_MS + 600_000, 8 * HOUR_MS)], LABELS, 10 * HOUR_MS)
    assert (found.missed, len(found.incidents), found.false_trips) == (1, 2, 1)
    assert found.delay_s(50) == 600
    assert found.normal_ms == 8 * HOUR_MS
    assert found.closed_ms == 60_000  # what was closed inside the incident had a cause


def test_open_time_counts_after_the_first_closing_too() -> None:
    """A gate that closes at once and opens again before the end is open for the rest: no delay says that."""
    line = Timeline("g", [Span(0, 10_000, True, "", "ARMED", ""), Span(10_000, 20_000, False, "drift", "TRIPPED", "")])
    line.spans.append(Span(20_000, 60_000, True, "", "ARMED", ""))
    line.trips.append(Trip(10_000, "drift", "", True, True))
    found = score([line], [Incident("g", 8_000, 50_000, "")], 60_000)
    (one,) = found.incidents
    assert (one.delay_s, one.open_s, one.length_s) == (2.0, 32.0, 42.0)
    assert found.as_json()["open_s"] == 32.0


def test_only_the_earliest_trip_in_an_incident_is_its_delay() -> None:
    """Later ones are neither hits nor false."""
    found = score([timeline(HOUR_MS + 60_000, HOUR_MS + 900_000)], LABELS[:1], 10 * HOUR_MS)
    assert (found.delay_s(95), found.false_trips, found.missed) == (60, 0, 0)


def test_what_came_before_the_time_in_question_does_not_count() -> None:
    """A recording begins where the log begins; its score begins where it is about something."""
    found = score([timeline(600_000, 8 * HOUR_MS)], LABELS[1:], 10 * HOUR_MS, begin_ms=4 * HOUR_MS)
    assert (found.false_trips, found.normal_ms) == (1, 5 * HOUR_MS)


def test_the_tail_of_an_incident_is_neither() -> None:
    """The return to normal is a change too: with `settle` it is not counted as false."""
    trips = timeline(2 * HOUR_MS + 30_000)
    assert score([trips], LABELS[:1], 10 * HOUR_MS).false_trips == 1
    assert score([trips], LABELS[:1], 10 * HOUR_MS, settle_ms=60_000).false_trips == 0


def test_a_gate_that_is_closed_anyway_notices_nothing() -> None:
    """One that never opens misses every incident, and was closed without cause all the time: it is no perfect detector."""
    again = [Trip(at_ms, "drift", "", True, False) for at_ms in range(0, 10 * HOUR_MS, 60_000)]
    never = Timeline("pay", [Span(0, 10 * HOUR_MS, False, "drift", "TRIPPED", "")], again)
    found = score([never], LABELS, 10 * HOUR_MS)
    assert found.missed == 2
    assert found.closed_ms == found.normal_ms == 8 * HOUR_MS


def test_a_gate_without_a_decision_was_never_watched() -> None:
    """Without normal time there is no rate, rather than a rate of zero."""
    assert score([Timeline("pay")], [], HOUR_MS).false_per_week() is None


def test_the_interval_is_exact() -> None:
    """Garwood's interval, as chi-square quantiles give it."""
    for count in range(30):
        low, high = poisson_interval(count)
        assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0, abs=1e-6)
        assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2, rel=1e-6)


def test_a_rate_is_by_the_week() -> None:
    """Two false trips in two weeks are one a week."""
    found = score([timeline(HOUR_MS, 9 * HOUR_MS, end_ms=2 * WEEK_MS)], [], 2 * WEEK_MS)
    rate = found.false_per_week()
    assert rate is not None
    assert rate[0] == pytest.approx(1)
    assert rate[1] < 1 < rate[2]


def test_never_fire_and_always_fire_stand_beside() -> None:
    """Silence misses everything and costs nothing; a gate that is always closed misses nothing and costs all."""
    beside_it = baselines([timeline()], LABELS, 10 * HOUR_MS)
    never, always = beside_it["never-fire"], beside_it["always-fire"]
    assert (never.missed, never.false_trips, never.closed_ms, never.nab) == (2, 0, 0, 0)
    assert (always.missed, always.closed_ms) == (0, always.normal_ms)
    assert always.nab is None


def test_nab_prefers_the_early() -> None:
    """At the start of the window nearly a full point, at its end half of one, outside less than silence."""
    early = score([timeline(HOUR_MS)], LABELS[:1], 10 * HOUR_MS).nab
    late = score([timeline(2 * HOUR_MS - 1)], LABELS[:1], 10 * HOUR_MS).nab
    outside = score([timeline(30_000)], LABELS[:1], 10 * HOUR_MS).nab
    assert early is not None
    assert late is not None
    assert outside is not None
    assert early == 100
    assert 49 < late < 51
    assert outside < 0


def test_a_lapse_shows_although_no_decision_says_so(incident_story: Timeline) -> None:
    """Between the end of a permit and the next one the gate was closed."""
    opened = next(span for span in incident_story.spans if span.open)
    lapse = incident_story.spans[incident_story.spans.index(opened) + 1]
    assert (lapse.open, lapse.cause, lapse.start_ms) == (False, "lapsed", opened.end_ms)
    assert opened.end_ms - opened.start_ms <= 3_000


@pytest.fixture
def incident_story(tmp_path: Path) -> Timeline:
    """Marks every ten seconds, permits of three."""
    from failshut_replay.recording.record import record
    from failshut_replay.sources.front_door import evidence_of

    record(tmp_path / "a.parquet", evidence_of(made.values(200, 200), {"pay.yaml": made.DRIFT}, 10_000))
    return on_record(Recording(tmp_path / "a.parquet")).timelines["pay"]


# --- labels ---


def labelled(folder: Path, text: str) -> Path:
    (folder / "labels.yaml").write_text(text)
    return folder / "labels.yaml"


def item(start: str = "2026-03-02T09:00:10Z", end: str = "2026-03-02T09:00:50Z", who: str = "gate: pay") -> str:
    return f"incidents:\n  - {who}\n    start: {start}\n    end: {end}\n    note: what happened\n"


def test_labels_are_read(tmp_path: Path, incident: Recording) -> None:
    """By gate, or by the series that a gate's policy watches; YAML's own timestamps count as they are written."""
    by_gate = read_labels(labelled(tmp_path, item()), incident.manifest)
    by_series = read_labels(labelled(tmp_path, item(who=f"series: {made.SERIES}")), incident.manifest)
    assert by_gate == by_series == [Incident("pay", made.START_MS + 10_000, made.START_MS + 50_000, "what happened")]
    assert beside(Path("x/drift.parquet")) == Path("x/drift.labels.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (item(end="2026-03-03T09:00:00Z"), "outside the recording"),
        (item(start="2026-03-01T09:00:00Z"), "outside the recording"),
        (item(start="2026-03-02 09:00:10"), "names no zone"),
        (item(start="'yesterday'"), "is not a time"),
        (item(end="2026-03-02T09:00:05Z"), "ends before it begins"),
        (item(who="gate: nope"), "gate nope is not in the recording"),
        (item(who="series: a/b"), "no policy in the recording watches series a/b"),
        (item(who="gate: pay\n    series: a/b"), "either a gate or a series"),
        (item(who="gate: pay\n    colour: red"), "unknown field 'colour'"),
        (item() + item().removeprefix("incidents:\n"), "overlap"),
        ("incidents:\n  - gate: pay\n    start: 2026-03-02T09:00:10Z\n", "`end` is missing"),
        ("- 1\n", "expected `incidents:`"),
        ("{", "cannot be read"),
    ],
)
def test_bad_labels_are_refused(tmp_path: Path, incident: Recording, text: str, why: str) -> None:
    """Labels that do not fit say which incident, and why: a score over them would mean nothing."""
    with pytest.raises(LabelFault, match=why):
        read_labels(labelled(tmp_path, text), incident.manifest)
