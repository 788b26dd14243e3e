"""`failshut report`: one HTML file about a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.recordings.options import File, Force, Labels, Output, Policies, Probes, Resets


def report(
    recording: File,
    output: Output,
    png: Annotated[Path | None, typer.Option("--png", help="Also write the picture alone, for a chat message.")] = None,
    policy: Policies = None,
    labels: Labels = None,
    probes: Probes = True,
    reset_after: Resets = "",
    force: Force = False,
) -> None:
    """Write one self-contained HTML file about a recording: timeline, tables, scores, policies. It prints well.

    With --policy, the report shows what would have happened under it beside what did happen.

    Exit status: 0 written, 2 wrong usage.
    """
    from failshut_console.recordings.report import report as work
    from failshut_console.recordings.shared import assumed_world

    work(recording, output, png, policy or [], labels, assumed_world(probes, reset_after), force)
