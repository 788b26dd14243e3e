"""Options that the commands on recordings share.

These files hold the signatures alone. The code that carries them out is in recordings/. It needs the extra `replay` (pyarrow,
matplotlib ...) and takes a second to import. So it is imported only when one of these commands runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording, *.parquet.")]
Files = Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Recordings, with their labels beside them.")]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="The file of labels. Default: NAME.labels.yaml beside NAME.parquet.")
]
Settle = Annotated[str, typer.Option("--settle", help="A trip within this time after an incident's end is not false.")]
Probes = Annotated[
    bool,
    typer.Option(
        "--probes-pass/--no-probes",
        help="In a what-if, assume that every probe succeeds at the next mark, or (--no-probes) that nobody runs any.",
    ),
]
Resets = Annotated[
    str,
    typer.Option("--reset-after", help="In a what-if, assume that after this time an operator resets what only operators can."),
]
Policies = Annotated[list[Path] | None, typer.Option("--policy", metavar="FILE", help="A policy file. Repeat for more.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
TimeColumn = Annotated[str, typer.Option(help="The column of times.")]
ValueColumn = Annotated[str, typer.Option(help="The column of values.")]
Zone = Annotated[str, typer.Option(help="Zone of times without one, for example Europe/Berlin.")]
DecimalComma = Annotated[bool, typer.Option("--decimal-comma", help="Values in a CSV file have a decimal comma: 48,5.")]
