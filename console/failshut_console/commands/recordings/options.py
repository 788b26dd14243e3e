"""`failshut record`, `replay`, `compare`, `score`, `report`, `tune`: what happened, and what would have
happened.

This module holds the signatures alone. The code behind them needs the extra `replay` (pyarrow, matplotlib and others) and a
second to import. So it is imported when one of these commands runs, and never for `failshut hold`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Prefix, where
from failshut_console.exits import Trouble

File = Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording, *.parquet.")]
Files = Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Recordings, with their labels beside them.")]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="The file of labels. Default: NAME.labels.yaml beside NAME.parquet.")
]
Settle = Annotated[str, typer.Option("--settle", help="A trip within this time after an incident's end is not false.")]
Probes = Annotated[
    bool, typer.Option("--probes-pass/--no-probes", help="In a what-if: probes succeed at the next mark, or nobody runs any.")
]
Resets = Annotated[
    str, typer.Option("--reset-after", help="In a what-if: an operator resets after this long what only an operator can reset.")
]
Policies = Annotated[list[Path] | None, typer.Option("--policy", metavar="FILE", help="A policy file. Repeat for more.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def record(
    output: Output,
    gate: Annotated[list[str] | None, typer.Option("--gate", help="A gate. Repeat for more. Default: all.")] = None,
    begin: Annotated[str, typer.Option("--from", help="Where the incident begins, for example 2026-03-02T09:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--to", help="Leave out evidence that was appended later.")] = "",
    lead: Annotated[
        str,
        typer.Option(
            "--lead",
            help="Start this long before --from (for example 6h) instead of at the start of the log. A shorter recording may "
            "not replay byte for byte.",
        ),
    ] = "",
    imported: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Read this file instead of a monitor: .csv, .parquet, .json, .jsonl."),
    ] = None,
    policy: Policies = None,
    series: Annotated[
        str, typer.Option(help="The series of a CSV or Parquet file: SERVICE/METRIC, or the column that names it.")
    ] = "",
    time_column: Annotated[str, typer.Option(help="The column of times.")] = "time",
    value_column: Annotated[str, typer.Option(help="The column of values.")] = "value",
    zone: Annotated[str, typer.Option(help="Zone of times without one, for example Europe/Berlin.")] = "",
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Values in a CSV file have a decimal comma: 48,5.")
    ] = False,
    mark_every: Annotated[str, typer.Option(help="Time between two time marks in an import.")] = "1s",
    force: Force = False,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Record an incident: evidence from the log's beginning up to --to, the policies in it, and the decisions.

    A recording starts where the log starts, because a decision depends on all evidence before it. --from is the time from which
    you want to see it. If retention removed the log's beginning, the recording starts with what is left. With --lead it starts
    that long before --from. A replay of such a recording says from when on it compares. With --import, your file is sent to a
    front door in virtual time, under --policy. Anything odd in the file is reported on standard error before anything is
    recorded.

    Exit status: 0 written, 2 wrong usage or input, 3 Kafka does not answer. Whatever interrupts it, no unfinished file is left
    under that name.
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
    from failshut_console import replays

    assumed = replays.assumed_world(probes, reset_after)
    if save is not None:
        replays.save(recording, save)
        return
    replays.replay(recording, policy or [], speed, assumed, (to_kafka, topic), quiet, as_json)


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A policy file, the word `recorded`, or a recording.")],
    two: Annotated[str, typer.Argument(metavar="B", help="The same.")],
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
    """Score recordings against their labels: incidents missed, delay, false trips a week, time closed without
    cause.

    It scores the recorded decisions or, with --policy, what that policy would have decided. For comparison it also scores a
    gate that never closes, and one that is always closed.

    Exit status: 0 scored, 2 wrong usage, or labels that do not fit.
    """
    from failshut_console import replays

    replays.score(recordings, policy or [], labels, settle, replays.assumed_world(probes, reset_after), as_json)


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
    from failshut_console import replays

    replays.report(recording, output, png, policy or [], labels, replays.assumed_world(probes, reset_after), force)


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
    from failshut_console import replays, tunings

    tunings.tune(folder, policy, output, budget, draws, workers, settle, replays.assumed_world(probes, reset_after), as_json)
