"""`failshut replay`: a recording decided again, as it was, under another policy, or as a rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import AsJson
from failshut_console.commands.recordings.options import File, Policies, Probes, Resets


def replay(
    recording: File,
    policy: Policies = None,
    speed: Annotated[str, typer.Option(help="max, or for example 10x or 1x.")] = "max",
    probes: Probes = True,
    reset_after: Resets = "",
    to_kafka: Annotated[str, typer.Option(help="Write the telemetry to this broker, for a rehearsal.")] = "",
    topic: Annotated[str, typer.Option(help="The topic to write to; its name must say rehearsal.")] = "rehearsal-telemetry",
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FILE", help="Write a recording of the same evidence with this version's decisions, to compare."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a recording through the governor that runs live, in virtual time.

    Without --policy the decisions are compared with the recorded ones, byte for byte. With --policy, that policy replaces the
    recorded one of its gate from the start, and the command shows what would have happened.

    Exit status: 0 identical (or the what-if was done), 1 not identical (it says where first) or nothing to compare, 2 wrong
    usage, a damaged recording, or a bad policy.
    """
    from failshut_console.recordings.replay import replay as work
    from failshut_console.recordings.replay import save as save_again
    from failshut_console.recordings.shared import assumed_world

    assumed = assumed_world(probes, reset_after)
    if save is not None:
        save_again(recording, save)
        return
    work(recording, policy or [], speed, assumed, (to_kafka, topic), quiet, as_json)
