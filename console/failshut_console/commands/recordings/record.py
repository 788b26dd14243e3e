"""`failshut record`: a monitor's evidence and decisions, or somebody else's file, as a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, Broker, Folder, Prefix, where
from failshut_console.commands.recordings.options import DecimalComma, Force, Output, Policies, TimeColumn, ValueColumn, Zone
from failshut_console.exits import Trouble


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
    time_column: TimeColumn = "time",
    value_column: ValueColumn = "value",
    zone: Zone = "",
    decimal_comma: DecimalComma = False,
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
    from failshut_console.recordings.record import record as work
    from failshut_console.recordings.record import take_in

    if imported is not None:
        if gate or begin or end or lead:
            raise Trouble("--gate, --from, --to and --lead are for a running monitor", "nothing was recorded")
        columns = (time_column, value_column)
        take_in(imported, output, policy or [], series, columns, zone, decimal_comma, mark_every, force)
    else:
        work(output, gate or [], begin, end, lead, where(state, broker=broker, prefix=prefix), force)
