"""`failshut tune`: a policy's detectors and parameters against labelled incidents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import AsJson
from failshut_console.commands.recordings.options import Probes, Resets, Settle


def tune(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Recordings with labels beside them.")],
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy to tune.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the results. Run again with the same folder, the search continues.",
        ),
    ],
    budget: Annotated[str, typer.Option(help="How long to search, for example 20m.")] = "20m",
    draws: Annotated[int, typer.Option(min=0, help="End after this many policies in all. 0: when the time is over.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Number of processes. 0: one for each core.")] = 0,
    settle: Settle = "0s",
    probes: Probes = True,
    reset_after: Resets = "10m",
    as_json: AsJson = False,
) -> None:
    """Tune a policy's detectors and parameters against labelled incidents, and score the choice on held-out ones.

    It writes three policies (cautious, balanced, quick), each with a diff against today's and its held-out score. It also
    writes a picture of the possible choices. Ctrl-C ends the search and writes what was found. Run again with the same -o, the
    search continues.

    Exit status: 0 written, 2 wrong usage, or nothing to tune against.
    """
    from failshut_console.recordings.shared import assumed_world
    from failshut_console.recordings.tune import tune as work

    work(folder, policy, output, budget, draws, workers, settle, assumed_world(probes, reset_after), as_json)
