"""`failshut proof`: one decision, with all that proves it, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def proof(
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="GATE@EPOCH as `failshut log` prints them, or an index.")],
    ledger: Annotated[Path, typer.Option(envvar="FAILSHUT_LEDGER", help="The ledger's folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for example d.tlog-proof.")],
) -> None:
    """Write the proof of one decision: the signed decision, its place in the ledger, and the signed checkpoint.

    The file is a C2SP tlog-proof. With it and the ledger's public key, `failshut verify` needs nothing else. If witnesses have
    cosigned the decision's leaf, the file holds their cosignatures.

    Exit status: 0 written, 1 the ledger holds no such decision, or is damaged, 2 wrong usage.
    """
    from failshut_console.ledger.auditing import write_proof

    index, others, cosigned = write_proof(ledger, decision, out)
    typer.echo(f"{out}: leaf {index}")
    if cosigned is not None:
        typer.echo(f"without cosignatures: witnesses have cosigned {cosigned} leaves, and this one comes behind them")
    if others:
        shown = ", ".join(map(str, others[:10]))
        typer.echo(f"said under the same epoch as well: leaf {shown}{' and more' if len(others) > 10 else ''}")
