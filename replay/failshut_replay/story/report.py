"""Reports: one HTML file that needs nothing else, for whoever was not there, and for paper.

It first says whether a replay makes the recorded decisions, and names the recording by its digest. It also holds the
picture, the scores, the policies, and the decisions that changed something. Everything that came from outside is
escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.policy.units import format_ms
from failshut_replay.recording.manifest import Manifest, versions
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.verdict import Verdict
from failshut_replay.story.labels import Incident
from failshut_replay.story.picture import picture
from failshut_replay.story.scores import Score, baselines, score
from failshut_replay.story.story import Story
from failshut_replay.times import iso

CHANGES_SHOWN_MAX = 500

KINDS = {Kind.OPEN: "opens", Kind.CLOSE: "closes", Kind.NOTE: "noted", Kind.RENEW: "renewed"}


def report(
    recording: Recording,
    stories: Sequence[Story],
    labels: Sequence[Incident] = (),
    verdict: Verdict | None = None,
    policies: Mapping[str, str] | None = None,
    title: str = "",
) -> str:
    """Return the report as HTML.

    Args:
        recording: what it is about.
        stories: the first is told in full, the others stand beside it.
        labels: what is known of incidents; scores are left out without any.
        verdict: whether a replay decided what is on record; None where that was not asked.
        policies: file name to text of policies that replaced the recorded ones.
        title: a heading.
    """
    manifest, story = recording.manifest, stories[0]
    shown = {**policies_of(manifest), **{f"{file} (what if)": text for file, text in (policies or {}).items()}}
    heading = title or f"Failshut replay: {recording.path.stem}"
    environment = Environment(
        loader=PackageLoader("failshut_replay.story", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    said, look = _verdict(verdict)
    svg = _inline_svg(picture(stories, labels, kind="svg"))
    return environment.get_template("report.html.j2").render(
        title=heading,
        begin=iso(story.begin_ms),
        end=iso(story.end_ms),
        gates=list(manifest.gates),
        manifest=manifest,
        digest=recording.digest,
        now=versions(),
        verdict=said,
        verdict_class=look,
        complaints=[complaint for each in stories for complaint in each.complaints],
        svg=svg,
        long=_is_long(svg),
        gate_rows=[row for each in stories for row in gate_rows(each)],
        scores=score_rows(stories, labels) if labels else [],
        incidents=_incidents(story, labels),
        decisions=story.decisions,
        left_out=story.changes_left_out + max(0, len(story.changes) - CHANGES_SHOWN_MAX),
        changes=[_change(at_ms, decision) for at_ms, decision in story.changes[:CHANGES_SHOWN_MAX]],
        policies=sorted(shown.items()),
    )


def policies_of(manifest: Manifest) -> dict[str, str]:
    """Return the policies that were in force for the recorded gates, every version of each."""
    found: dict[str, str] = {}
    for activated in manifest.policies:
        for file, text in activated.files.items():
            if text not in found.values():
                found[f"{file}, version {activated.version}"] = text
    return found


def _verdict(verdict: Verdict | None) -> tuple[str, str]:
    if verdict is None:
        return "Whether a replay decides what is on record was not asked.", "unknown"
    return verdict.told(), "same" if verdict.same else "differs"


def _inline_svg(svg: bytes) -> str:
    text = svg.decode()
    return text[text.index("<svg") :]


def _is_long(svg: str) -> bool:
    """Return whether a picture is too long to be read where it is printed on one page."""
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    return height > 1.2 * width


def gate_rows(story: Story) -> list[dict[str, Any]]:
    """Return for each gate of a story how it fared."""
    rows = []
    for gate, timeline in story.timelines.items():
        causes: Counter[str] = Counter()
        for span in timeline.spans:
            if not span.open:
                causes[span.cause] += max(0, min(span.end_ms, story.end_ms) - max(span.start_ms, story.begin_ms))
        closed_ms = sum(causes.values())
        rows.append(
            {
                "gate": gate,
                "story": story.name,
                "open": share(story.end_ms - story.begin_ms - closed_ms, story.end_ms - story.begin_ms),
                "closed": seconds(closed_ms),
                "trips": len(timeline.trips),
                "causes": ", ".join(f"{cause} {seconds(length)}" for cause, length in causes.most_common() if length),
            }
        )
    return rows


def score_rows(stories: Sequence[Story], labels: Sequence[Incident]) -> list[list[str]]:
    """Return the table of scores: each story, and beside them never-fire and always-fire."""
    rows = [
        score_cells(each.name, score(each.timelines.values(), labels, each.end_ms, begin_ms=each.begin_ms)) for each in stories
    ]
    beside = baselines(list(stories[0].timelines.values()), labels, stories[0].end_ms, begin_ms=stories[0].begin_ms)
    return rows + [score_cells(name, one) for name, one in beside.items()]


def score_cells(name: str, one: Score) -> list[str]:
    """Return a score as the cells of a row."""
    rate, p50, p95 = one.false_per_week(), one.delay_s(50), one.delay_s(95)
    weekly = "{} ({} to {})".format(*map(_rate, rate)) if rate else "no normal time"
    return [
        name,
        f"{one.missed} of {len(one.incidents)}",
        f"{one.open_s:g} s" + (f" ({100 * one.open_share:.1f} %)" if one.open_share is not None else ""),
        "-" if p50 is None else f"{p50:g} s",
        "-" if p95 is None else f"{p95:g} s",
        str(one.false_trips),
        weekly,
        f"{seconds(one.closed_ms)} ({share(one.closed_ms, one.normal_ms)})",
        "-" if one.nab is None else f"{one.nab:g}",
    ]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


SCORE_HEADS = [
    "",
    "missed",
    "open in incidents",
    "delay p50",
    "delay p95",
    "false trips",
    "a week (95 %)",
    "closed without cause",
    "NAB",
]


def _incidents(story: Story, labels: Sequence[Incident]) -> list[dict[str, str]]:
    return [
        {
            "start": iso(one.start_ms),
            "gate": one.gate,
            "delay": "missed" if one.delay_s is None else f"{one.delay_s:g} s",
            "open": f"{one.open_s:g} of {one.length_s:g} s",
            "cause": one.cause,
            "note": one.note,
        }
        for one in score(story.timelines.values(), labels, story.end_ms).incidents
    ]


def _change(at_ms: int, decision: Any) -> dict[str, str]:
    origin = decision.origin
    return {
        "time": iso(at_ms)[:-1].replace("T", " "),
        "gate": decision.gate,
        "kind": KINDS[decision.kind],
        "look": {Kind.OPEN: "open", Kind.CLOSE: "closed"}.get(decision.kind, ""),
        "breaker": decision.breaker.value,
        "cause": str(decision.cause or ""),
        "because": decision.because + (f" [{decision.by}]" if decision.by else ""),
        "place": f"{decision.partition}/{decision.offset}"
        + (f" from {origin.topic}/{origin.partition}/{origin.offset}" if origin else ""),
    }


def seconds(length_ms: int) -> str:
    """Return a length of time for a person."""
    return format_ms(length_ms) if length_ms else "0s"


def share(part_ms: int, whole_ms: int) -> str:
    """Return a share in per cent."""
    return f"{100 * part_ms / whole_ms:.1f} %" if whole_ms > 0 else "-"
