"""`failshut compare`: two policies, or two versions, on the same recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import AsJson
from failshut_console.commands.recordings.options import Labels, Probes, Resets


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A policy file, the word `recorded`, or a recording.")],
    two: Annotated[str, typer.Argument(metavar="B", help="What to compare it with: the same choices as A.")],
    on: Annotated[
        list[Path] | None, typer.Option("--on", metavar="RECORDING", help="A recording to compare on. Repeat for more.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A picture, *.png. If there are several, each name has a number.")
    ] = None,
    probes: Probes = True,
    reset_after: Resets = "",
    labels: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Compare two policies on the same recordings, or one with the recorded decisions: which gates, when, why.

    If A and B are recordings (of the same evidence, decided by two versions), their recorded decisions are compared.

    Exit status: 0 compared, whether they differ or not; 2 wrong usage.
    """
    from failshut_console.recordings.compare import compare as work
    from failshut_console.recordings.shared import assumed_world

    work(one, two, on or [], output, assumed_world(probes, reset_after), labels, as_json)
