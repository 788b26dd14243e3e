"""Carries out `failshut report`: one file, written whole."""

from __future__ import annotations

from pathlib import Path

import typer

from failshut.whole_file import write_whole
from failshut_console.exits import Trouble
from failshut_console.recordings.shared import labels_of, plain_errors, texts
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.verdict import check
from failshut_replay.replay.what_if import Assumed
from failshut_replay.story.picture import picture
from failshut_replay.story.report import report as write_report
from failshut_replay.story.story import replayed


def report(
    recording: Path,
    output: Path,
    png: Path | None,
    policies: list[Path],
    labels: Path | None,
    assumed: Assumed,
    force: bool,
) -> None:
    """Write a report."""
    with plain_errors():
        for path in (output, png):
            if path is not None and path.exists() and not force:
                raise Trouble(f"{path} is there already", "nothing was written", "give another name, or --force")
        opened = Recording(recording)
        verdict = check(opened)
        stories = [replayed(opened, "as it happened")]
        if policies:
            stories.append(replayed(opened, "what if", texts(policies), assumed))
        known = labels_of(opened, labels)
        html = write_report(opened, stories, known, verdict, texts(policies))
        write_whole(output, html.encode("utf-8", "replace"))
        if png is not None:
            write_whole(png, picture(stories, known, opened.path.stem))
    typer.echo(f"{output}: {verdict.told()}")
