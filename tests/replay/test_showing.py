"""Comparisons, pictures, reports, and the commands that make them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from replay import made
from typer.testing import CliRunner

from failshut_console.app import app
from failshut_console.exits import Trouble
from failshut_replay.errors import ReplayError
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.verdict import check
from failshut_replay.replay.what_if import Assumed
from failshut_replay.story.differences import compare
from failshut_replay.story.labels import Incident
from failshut_replay.story.picture import picture
from failshut_replay.story.report import report
from failshut_replay.story.story import replayed

INCIDENTS = Path(__file__).parents[2] / "replay" / "incidents"
STRICTER = INCIDENTS / "policies" / "payments-refund-stricter.yaml"


def failshut(*arguments: object) -> str:
    """Run a command; return what it says. Raises Trouble as the command line would report it."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, Trouble):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_the_first_divergence_is_where_they_part(incident: Recording) -> None:
    """A deaf policy parts from the other at the trip, and stays apart until the other opens again."""
    one = replayed(incident, "one")
    two = replayed(incident, "two", {"x.yaml": made.DEAF})
    (difference,) = compare(one, two)
    trip = one.timelines["pay"].trips[0]
    assert difference.first_ms == trip.at_ms
    assert difference.first == ("closed over drift, TRIPPED", "open, ARMED")
    closed = next(span for span in one.timelines["pay"].spans if span.cause == "drift")
    assert difference.apart_ms == closed.end_ms - closed.start_ms
    assert difference.trips == (1, 0)


@pytest.mark.slow
def test_what_is_alike_has_no_divergence(incident: Recording) -> None:
    """And stories of different times are not compared."""
    one = replayed(incident, "one")
    assert [found.first_ms for found in compare(one, one)] == [None]
    other = replayed(Recording(INCIDENTS / "drift.parquet"))
    with pytest.raises(ReplayError, match="different times"):
        compare(one, other)


@pytest.mark.slow
def test_a_picture_is_a_picture(incident: Recording) -> None:
    """PNG for a chat message, SVG for a report; the same bytes each time."""
    stories = [replayed(incident, "one"), replayed(incident, "two", {"x.yaml": made.DEAF}, Assumed(True))]
    labels = [Incident("pay", made.START_MS + 40_000, made.START_MS + 70_000, "doubled <b>")]
    png = picture(stories, labels, "title")
    assert png.startswith(b"\x89PNG")
    assert png == picture(stories, labels, "title")
    svg = picture(stories, labels, kind="svg")
    assert b"<svg" in svg
    assert svg == picture(stories, labels, kind="svg")


class Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.found.append(f"{tag} {value}")
        if tag in ("script", "link", "iframe", "img"):
            self.found.append(tag)


@pytest.mark.slow
def test_a_report_needs_nothing_else(incident: Recording) -> None:
    """One file: no script, no picture or style from elsewhere; the digest, the policy and the verdict stand in it."""
    labels = [Incident("pay", made.START_MS + 40_000, made.START_MS + 70_000, "doubled")]
    html = report(incident, [replayed(incident, "as it happened")], labels, check(incident))
    page = Outside()
    page.feed(html)
    assert page.found == []
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    assert incident.digest in html
    assert "byte for byte" in html
    assert "detector: adwin" in html
    assert "never-fire" in html
    assert "@media print" in html


@pytest.mark.slow
def test_what_came_from_outside_is_escaped(tmp_path: Path) -> None:
    """A note, a policy's comment or a cause cannot become part of the page."""
    evil = "# <script>alert(1)</script>\n" + made.DRIFT
    recording = made.recording(tmp_path / "a.parquet", pay=evil)
    labels = [Incident("pay", made.START_MS + 40_000, made.START_MS + 70_000, "<script>alert(2)</script>")]
    html = report(recording, [replayed(recording)], labels, check(recording))
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html


# --- the commands ---


def test_a_lead_needs_what_it_leads_up_to(tmp_path: Path) -> None:
    """So long before nothing is no time."""
    with pytest.raises(Trouble, match="--lead needs --from"):
        failshut("record", "-o", tmp_path / "a.parquet", "--lead", "6h")
    with pytest.raises(Trouble, match="--lead: 'soon' is not a duration"):
        failshut("record", "-o", tmp_path / "a.parquet", "--from", "2026-03-02T09:00:00Z", "--lead", "soon")


@pytest.mark.slow
def test_the_words_of_the_readme_run(tmp_path: Path) -> None:
    """Replay, compare, score and report, on an incident that ships with the project."""
    drift = INCIDENTS / "drift.parquet"
    assert "identical: 10 decisions" in failshut("replay", drift)
    assert "what if:" in failshut("replay", drift, "--policy", STRICTER, "--quiet")
    told = failshut("compare", "recorded", STRICTER, "--on", drift, "-o", tmp_path / "c.png")
    assert "payments.refund: first differs at 2026-03-02T09:00" in told
    assert "open inside incidents for 32s / 32s of 5m" in told
    inside = json.loads(failshut("compare", "recorded", STRICTER, "--on", drift, "--json"))[0]["gates"][0]["incidents_ms"]
    assert inside == [32_000, 32_000, 300_000]
    scored = failshut("score", *sorted(INCIDENTS.glob("*.parquet")))
    assert "0 of 3" in scored
    assert "payments.refund: noticed after 32 s by drift, open for 32 of 300 s" in scored, "closed from then to its end"
    assert "never-fire" in scored
    assert "always-fire" in scored
    failshut("report", drift, "-o", tmp_path / "r.html", "--png", tmp_path / "r.png", "--policy", STRICTER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "r.html", "r.png"]


@pytest.mark.slow
def test_two_versions_are_compared_by_what_each_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same evidence, decided again by another version, and what is on record in each beside the other."""
    from failshut_breakers.conditions import on_series

    drift = INCIDENTS / "drift.parquet"
    failshut("replay", drift, "--save", tmp_path / "same.parquet")
    assert "no difference" in failshut("compare", drift, tmp_path / "same.parquet")
    monkeypatch.setattr(
        on_series.DriftCondition, "_values", lambda self, samples, skip, times_ms, moment: []
    )  # a version that sees no drift
    failshut("replay", drift, "--save", tmp_path / "other.parquet")
    assert "first differs at 2026-03-02T09:00" in failshut("compare", drift, tmp_path / "other.parquet")
    with pytest.raises(Trouble, match="different evidence"):
        failshut("compare", drift, INCIDENTS / "silent-death.parquet")


@pytest.mark.slow
def test_machines_get_json() -> None:
    """Each command's figures as JSON."""
    drift = INCIDENTS / "drift.parquet"
    assert json.loads(failshut("replay", drift, "--json"))["identical"] is True
    assert json.loads(failshut("score", drift, "--json"))["on record"]["missed"] == 0
    assert (
        json.loads(failshut("compare", "recorded", STRICTER, "--on", drift, "--json"))[0]["gates"][0]["gate"]
        == "payments.refund"
    )


@pytest.mark.slow
def test_tune_runs_on_the_shipped_incidents(tmp_path: Path) -> None:
    """With few draws it leaves three policies and their figures."""
    policy = INCIDENTS / "policies" / "fleet-scale.yaml"
    told = failshut("tune", INCIDENTS, "--policy", policy, "-o", tmp_path, "--budget", "60s", "--draws", 3, "--workers", 1)
    assert "held-out" in told
    assert (tmp_path / "balanced.yaml").is_file()


def test_a_file_is_imported(tmp_path: Path) -> None:
    """A CSV becomes a recording that replays."""
    lines = [f"{event.time_ms},{event.item[2]}" for event in made.values(200)]
    (tmp_path / "v.csv").write_text("\n".join(["time,value", *lines]) + "\n")
    (tmp_path / "p.yaml").write_text(made.DRIFT)
    out = tmp_path / "a.parquet"
    failshut("record", "-o", out, "--import", tmp_path / "v.csv", "--policy", tmp_path / "p.yaml", "--series", made.SERIES)
    assert "identical" in failshut("replay", out)


def test_what_cannot_be_done_is_said_in_words(tmp_path: Path) -> None:
    """A damaged recording, a bad speed, a topic that is not for rehearsals, labels that are not there."""
    drift = INCIDENTS / "drift.parquet"
    (tmp_path / "cut.parquet").write_bytes(drift.read_bytes()[:5000])
    for words, arguments in {
        "truncated": ["replay", tmp_path / "cut.parquet"],
        "--speed fast": ["replay", drift, "--speed", "fast"],
        "rehearsal": ["replay", drift, "--to-kafka", "kafka://127.0.0.1:1", "--topic", "telemetry"],
        "--on is missing": ["compare", "recorded", STRICTER],
        "no broker is known": ["record", "-o", tmp_path / "x.parquet", "--state", tmp_path],
        "not in the recording": ["replay", drift, "--policy", INCIDENTS / "policies" / "fleet-scale.yaml"],
    }.items():
        with pytest.raises(Trouble, match=words):
            failshut(*arguments)
    shutil.copy(drift, tmp_path / "bare.parquet")
    with pytest.raises(Trouble, match="no labels"):
        failshut("score", tmp_path / "bare.parquet")


def test_a_replay_that_differs_ends_with_status_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incident: Recording
) -> None:
    """A script can tell "not identical" from "could not be read"."""
    from failshut_breakers.gate import step as gate_step

    monkeypatch.setattr(gate_step, "RESIGNED_MS", 600)
    done = CliRunner().invoke(app, ["replay", str(incident.path), "-q"])
    assert done.exit_code == 1
    assert "First difference" in done.output


@pytest.mark.slow
def test_scores_are_1_where_a_condition_demands_and_nowhere_else(tmp_path: Path) -> None:
    """Each condition's way to its demand is kept, and is drawn between the series and the gate."""
    rule = made.policy(
        f'conformance: {{series: {made.SERIES}, rule: "value <= 80", window: 20, over: 0.5}}',
        f"drift: {{series: {made.SERIES}, detector: cusum, learn: 100}}",
        f"heartbeat: {{series: {made.SERIES}, every: 1s, grace: 2s}}",
    )
    story = replayed(made.recording(tmp_path / "a.parquet", pay=rule))
    assert {name.split(":")[0] for _, name in story.scores} == {"conformance", "drift", "heartbeat"}
    (change,) = [story.timelines["pay"].trips[0].at_ms]
    for (_, name), trace in story.scores.items():
        assert all(0.0 <= low <= high <= 1.0 for low, high, _, _ in trace.columns.values())
        reached = [story.column_ms(column) for column, held in trace.columns.items() if held[1] == 1.0]
        assert bool(reached) is not name.startswith("heartbeat")
        assert all(at_ms > change - 2_000 for at_ms in reached)
    heartbeat = story.scores["pay", f"heartbeat:{made.SERIES}"]
    assert 0.0 < max(held[1] for held in heartbeat.columns.values()) < 1.0
    svg = picture([story], kind="svg")
    assert len(svg) > len(picture([replace(story, scores={})], kind="svg")) + 1_000


@pytest.mark.slow
@pytest.mark.parametrize(("gates", "long"), [(1, False), (12, True)])
def test_a_printed_picture_stands_on_the_first_page_unless_it_is_too_long(incident: Recording, gates: int, long: bool) -> None:
    """Beside the heading where it can be read there; over several pages where it would be too small."""
    story = replayed(incident)
    for number in range(1, gates):
        story.timelines[f"pay{number}"] = story.timelines["pay"]
        story.traces[f"pay{number}", made.SERIES] = story.traces["pay", made.SERIES]
    html = report(incident, [story])
    assert f'<div class="{"long" if long else "fits"}">' in html
