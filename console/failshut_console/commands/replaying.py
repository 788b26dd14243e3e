"""`failshut record`, `replay`, `compare`, `score`, `report`, `tune`: what happened, and what would have.

The signatures alone. What carries them out needs the extra `replay` (pyarrow, matplotlib ...), takes a second to import, and
so is imported when one of these commands runs, never for `failshut hold`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Prefix, where
from failshut_console.exits import Trouble

File = Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording, *.parquet.")]
Files = Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Recordings; labels stand beside them.")]
Labels = Annotated[Path | None, typer.Option("--labels", help="Labels. Default: NAME.labels.yaml beside NAME.parquet.")]
Settle = Annotated[str, typer.Option("--settle", help="So long after an incident's end a trip is its tail, and not false.")]
Probes = Annotated[
    bool, typer.Option("--probes-pass/--no-probes", help="In a what-if, probes succeed at the next mark, or nobody runs them.")
]
Resets = Annotated[
    str, typer.Option("--reset-after", help="In a what-if, an operator resets what only an operator can, after so long.")
]
Policies = Annotated[list[Path] | None, typer.Option("--policy", metavar="FILE", help="A policy; again for more.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def record(
    output: Output,
    gate: Annotated[list[str] | None, typer.Option("--gate", help="A gate; again for more. Default: all.")] = None,
    begin: Annotated[str, typer.Option("--from", help="What it is about begins here, such as 2026-03-02T09:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--to", help="Evidence appended later is left out.")] = "",
    lead: Annotated[
        str, typer.Option("--lead", help=LEAD)
    ] = "",
    imported: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Take this file instead of a monitor: .csv, .parquet, .json, .jsonl."),
    ] = None,
    policy: Policies = None,
    series: Annotated[str, typer.Option(help="SERVICE/METRIC of the values in a CSV or Parquet file, or a column.")] = "",
    time_column: Annotated[str, typer.Option(help="The column of times.")] = "time",
    value_column: Annotated[str, typer.Option(help="The column of values.")] = "value",
    zone: Annotated[str, typer.Option(help="Zone of times that name none, such as Europe/Berlin.")] = "",
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Values in a CSV file are written 48,5.")] = False,
    mark_every: Annotated[str, typer.Option(help="How often time is marked in an import.")] = "1s",
    force: Force = False,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Record an incident: evidence from the log's beginning up to --to, the policies in it, and the decisions that were taken.

    A recording begins where the log begins, because a decision depends on all evidence before it; --from says from when on it
    is looked at. Where retention removed the beginning it begins with what is left, or with --lead so long before --from, and a
    replay says from when on that can be compared. With --import a file of yours is played to a front door in virtual
    time, under --policy. What is odd about the file is said on standard error before anything is recorded.

    Exit status: 0 written, 2 wrong usage or input, 3 Kafka does not answer. Whatever interrupts it, nothing stands under the
    name that was not finished.
    """
    from failshut_console import recordings

    if imported is not None:
        if gate or begin or end or lead:
            raise Trouble("--gate, --from, --to and --lead are for a running monitor", "nothing was recorded")
        columns = (time_column, value_column)
        recordings.take_in(imported, output, policy or [], series, columns, zone, decimal_comma, mark_every, force)
    else:
        recordings.record(output, gate or [], begin, end, lead, where(state, broker=broker, prefix=prefix), force)


def replay(
    recording: File,
    policy: Policies = None,
    speed: Annotated[str, typer.Option(help="max, or such as 10x or 1x.")] = "max",
    probes: Probes = True,
    reset_after: Resets = "",
    to_kafka: Annotated[str, typer.Option(help="Write the telemetry to this broker, for a rehearsal.")] = "",
    topic: Annotated[str, typer.Option(help="The topic to write to; its name must say rehearsal.")] = "rehearsal-telemetry",
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the evidence with what this version decides, to compare."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The verdict alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a recording through the governor that runs live, in virtual time.

    Without --policy it is compared with what is on record, byte for byte. With --policy that policy replaces the recorded one
    of its gate from the start, and what would have happened is shown.

    Exit status: 0 identical (or a what-if that was done), 1 not identical (it says where first) or nothing to compare, 2 wrong
    usage, a recording that is not as it was made, or a bad policy.
    """
    from failshut_console import replays

    assumed = replays.assumed_world(probes, reset_after)
    if save is not None:
        replays.save(recording, save)
        return
    replays.replay(recording, policy or [], speed, assumed, (to_kafka, topic), quiet, as_json)


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A policy file, or the word `recorded`, or a recording.")],
    two: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    on: Annotated[
        list[Path] | None, typer.Option("--on", metavar="RECORDING", help="A recording to compare on; again.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A picture, *.png; a number is added for more.")] = None,
    probes: Probes = True,
    reset_after: Resets = "",
    labels: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Compare two policies on the same recordings, or one with what is on record: which gates, when, why.

    Where A and B are recordings (of the same evidence, decided by two versions), what is on record in each is compared.

    Exit status: 0 compared, whether they differ or not; 2 wrong usage.
    """
    from failshut_console import replays

    replays.compare(one, two, on or [], output, replays.assumed_world(probes, reset_after), labels, as_json)


def score(
    recordings: Files,
    policy: Policies = None,
    labels: Labels = None,
    settle: Settle = "0s",
    probes: Probes = True,
    reset_after: Resets = "",
    as_json: AsJson = False,
) -> None:
    """Score recordings against their labels: missed, delay, false trips a week, time closed without cause.

    The decisions on record are scored; with --policy, what that policy would have decided. Beside it stand a gate that never
    closes and one that is always closed.

    Exit status: 0 scored, 2 wrong usage, or labels that do not fit.
    """
    from failshut_console import replays

    replays.score(recordings, policy or [], labels, settle, replays.assumed_world(probes, reset_after), as_json)


def report(
    recording: File,
    output: Output,
    png: Annotated[Path | None, typer.Option("--png", help="The picture alone, for a chat message.")] = None,
    policy: Policies = None,
    labels: Labels = None,
    probes: Probes = True,
    reset_after: Resets = "",
    force: Force = False,
) -> None:
    """Write one HTML file about a recording that needs nothing else: timeline, tables, scores, policies. It prints well.

    With --policy, what would have happened under it stands beside what did.

    Exit status: 0 written, 2 wrong usage.
    """
    from failshut_console import replays

    replays.report(recording, output, png, policy or [], labels, replays.assumed_world(probes, reset_after), force)


def tune(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Recordings with labels beside them.")],
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy to tune.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the results go; found again, it goes on.")
    ],
    budget: Annotated[str, typer.Option(help="How long to search, such as 20m.")] = "20m",
    draws: Annotated[int, typer.Option(min=0, help="End after so many policies in all; 0: when the time is over.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    settle: Settle = "0s",
    probes: Probes = True,
    reset_after: Resets = "10m",
    as_json: AsJson = False,
) -> None:
    """Tune a policy's detectors and parameters against labelled incidents, and score what was chosen on those held out.

    Leaves three policies (cautious, balanced, quick), each with a diff against today's and its held-out score, and a picture of
    what can be had. Ctrl-C ends the search and writes what was found; run again with the same -o, it goes on.

    Exit status: 0 written, 2 wrong usage, or nothing to tune against.
    """
    from failshut_console import replays, tunings

    tunings.tune(folder, policy, output, budget, draws, workers, settle, replays.assumed_world(probes, reset_after), as_json)
