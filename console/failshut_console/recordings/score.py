"""Carries out `failshut score`: recordings against their labels."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from failshut_console.recordings.shared import duration_ms, labels_of, plain_errors, texts
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.what_if import Assumed
from failshut_replay.story.report import SCORE_HEADS, score_cells
from failshut_replay.story.scores import Score, baselines
from failshut_replay.story.scores import score as score_of
from failshut_replay.story.story import Story, on_record, replayed
from failshut_replay.times import iso


def score(
    recordings: list[Path], policies: list[Path], labels: Path | None, settle: str, assumed: Assumed, as_json: bool
) -> None:
    """Score recordings against their labels."""
    settle_ms = duration_ms(settle, "--settle")
    totals: dict[str, Score] = {}
    with plain_errors():
        for path in recordings:
            recording = Recording(path)
            story = _story(recording, texts(policies), assumed)
            known = labels_of(recording, labels, needed=True)
            timelines = [story.timelines[gate] for gate in story.timelines]
            own = score_of(timelines, known, story.end_ms, path.stem, settle_ms, story.begin_ms)
            for name, each in {story.name: own, **baselines(timelines, known, story.end_ms, settle_ms, story.begin_ms)}.items():
                totals.setdefault(name, Score()).join(each)
    if as_json:
        typer.echo(json.dumps({name: each.as_json() for name, each in totals.items()}, indent=1))
        return
    for name, each in totals.items():
        for head, cell in zip(SCORE_HEADS[1:], score_cells(name, each)[1:], strict=True):
            typer.echo(f"{name:<14} {head:<22} {cell}")
        typer.echo("")
    for noticed in next(iter(totals.values())).incidents:
        said_of = "missed" if noticed.delay_s is None else f"noticed after {noticed.delay_s:g} s by {noticed.cause}"
        said_of += f", open for {noticed.open_s:g} of {noticed.length_s:g} s"
        typer.echo(f"{noticed.recording} {iso(noticed.start_ms)} {noticed.gate}: {said_of}   {noticed.note}")


def _story(recording: Recording, policies: dict[str, str], assumed: Assumed) -> Story:
    if not policies:
        return on_record(recording)
    story = replayed(recording, "what if", policies, assumed, series=False)
    for complaint in story.complaints:
        typer.echo(f"{recording.path}: {complaint}", err=True)
    return story
