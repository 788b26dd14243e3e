"""`failshut verify`: one proof, checked offline, with a public key alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import AsJson


def verify(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="The file that `failshut proof` wrote.")],
    policy: Annotated[Path, typer.Option(help="Whom you trust: a C2SP trust policy, with the log's public key.")],
    as_json: AsJson = False,
) -> None:
    """Verify the proof of one decision, offline: what was decided, on which evidence, under which policy, and by whose key.

    It says what each check found. Nothing of the decision is shown unless all of them passed.

    Exit status: 0 verified, 1 not verified, 2 wrong usage, or a trust policy that cannot be read.
    """
    from failshut_console.exits import Exit
    from failshut_console.ledger.auditing import judge
    from failshut_console.ledger.page import as_json as said
    from failshut_console.ledger.page import as_page

    verdict = judge(proof, policy)
    typer.echo(json.dumps(said(verdict)) if as_json else "\n".join(as_page(verdict, proof.name)))
    if not verdict.passed:
        raise typer.Exit(Exit.REFUSED)
