"""Carries out `failshut compare`: which gates differ, from when, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from failshut_console.exits import Trouble
from failshut_console.recordings.shared import labels_of, plain_errors, texts
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.what_if import Assumed
from failshut_replay.story.differences import Difference
from failshut_replay.story.differences import compare as compare_stories
from failshut_replay.story.picture import picture
from failshut_replay.story.report import seconds
from failshut_replay.story.story import Story, on_record, replayed
from failshut_replay.times import iso


def compare(
    one: str, two: str, on: list[Path], output: Path | None, assumed: Assumed, labels: Path | None, as_json: bool
) -> None:
    """Compare two sides on recordings."""
    found: list[dict[str, object]] = []
    with plain_errors():
        pairs = _pairs(one, two, on, assumed)
        for number, (recording, left, right) in enumerate(pairs):
            known = labels_of(recording, labels)
            differences = compare_stories(left, right, known)
            if not as_json:
                _tell_differences(recording, left, right, differences)
            found.append({"recording": str(recording.path), "gates": [asdict(difference) for difference in differences]})
            if output is not None:
                path = output if number == 0 else output.with_stem(f"{output.stem}-{number + 1}")
                path.write_bytes(picture([left, right], known, f"{left.name} and {right.name}"))
                typer.echo(f"picture: {path}", err=as_json)
    if as_json:
        typer.echo(json.dumps(found, indent=1))


def _pairs(one: str, two: str, on: list[Path], assumed: Assumed) -> list[tuple[Recording, Story, Story]]:
    if not on:
        if not (one.endswith(".parquet") and two.endswith(".parquet")):
            raise Trouble("--on is missing", "nothing was compared", "name the recordings to compare on: --on incident.parquet")
        left, right = Recording(one), Recording(two)
        evidence = [[group for group in each.manifest.groups if group.kind == "evidence"] for each in (left, right)]
        if [group.digest for group in evidence[0]] != [group.digest for group in evidence[1]]:
            raise Trouble(
                f"{one} and {two} hold different evidence",
                "their decisions cannot be compared",
                "name two recordings of the same evidence (failshut replay --save), or two policies: --on RECORDING",
            )
        return [(left, on_record(left, left.path.stem), on_record(right, right.path.stem))]
    return [(recording, _side(one, recording, assumed), _side(two, recording, assumed)) for recording in map(Recording, on)]


def _side(side: str, recording: Recording, assumed: Assumed) -> Story:
    if side == "recorded":
        return replayed(recording, "recorded")
    return replayed(recording, Path(side).stem, texts([Path(side)]), assumed)


def _tell_differences(recording: Recording, left: Story, right: Story, differences: list[Difference]) -> None:
    typer.echo(f"{recording.path}: {left.name} and {right.name}")
    for complaint in (*left.complaints, *right.complaints):
        typer.echo(f"  {complaint}", err=True)
    for one in differences:
        inside = ""
        if one.incidents_ms[2]:
            inside = "open inside incidents for {} / {} of {}".format(*map(seconds, one.incidents_ms))
        if one.first_ms is None or one.first is None:
            typer.echo(f"  {one.gate}: no difference" + (f", {inside}" if inside else ""))
            continue
        typer.echo(f"  {one.gate}: first differs at {iso(one.first_ms)}: {one.first[0]} / {one.first[1]}")
        before, after = one.open_ms
        typer.echo(f"    open for {seconds(before)} / {seconds(after)}, apart for {seconds(one.apart_ms)}")
        if inside:
            typer.echo(f"    {inside}")
        typer.echo(f"    closings {one.closings[0]} / {one.closings[1]}, demands {one.trips[0]} / {one.trips[1]}")
