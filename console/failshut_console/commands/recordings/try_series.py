"""`failshut try`: what a gate would have done on a series that you have, before there is any monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Prefix, where
from failshut_console.commands.recordings.options import DecimalComma, Force, TimeColumn, ValueColumn, Zone


def try_series(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A file: .csv, .parquet, .json, .jsonl. Without one a running Kafka is read."),
    ] = None,
    series: Annotated[
        str, typer.Option(help="The series: SERVICE/METRIC, or for a CSV or Parquet file also the column that names it.")
    ] = "",
    detector: Annotated[
        list[str] | None, typer.Option("--detector", help="A detector to try beside the defaults. Repeat for more.")
    ] = None,
    last: Annotated[str, typer.Option(help="How far back to read Kafka, for example 7d.")] = "7d",
    picture: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The picture to write, .png or .svg.")
    ] = None,
    time_column: TimeColumn = "time",
    value_column: ValueColumn = "value",
    zone: Zone = "",
    decimal_comma: DecimalComma = False,
    as_json: AsJson = False,
    force: Force = False,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Try a series: what a gate would have done on it, which incidents it would hear, and three lines of policy to paste.

    The gate is the one that a monitor runs, at the series' own pace. It is tried with the conditions that suit the series, and
    with each detector that you name. Incidents of nine kinds are put into the series at up to five places. Probes are assumed
    to succeed. Nothing is sent anywhere, and no gate of yours is concerned.

    Exit status: 0 tried, 2 wrong usage or input, 3 Kafka does not answer.
    """
    from failshut_console.recordings.try_series import Wanted, from_file, from_kafka, work

    wanted = Wanted(series, detector or [], picture, as_json, force)
    if file is not None:
        work(wanted, lambda: from_file(file, series, (time_column, value_column), zone, decimal_comma))
    else:
        work(wanted, lambda: from_kafka(where(state, broker=broker, prefix=prefix), series, last))
