"""`failshut gates`: what each gate does, and why, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Folder, Installation, Jwks, Store, where
from failshut_console.exits import Exit

if TYPE_CHECKING:
    from failshut_console.monitor.gate_views import View

PIPE_COLUMNS = 160
"""Width of the table where standard output is no terminal, so that reasons are not cut for no reason."""

Names = Annotated[list[str] | None, typer.Argument(metavar="[GATE]...", help="Only these gates. Default: all.")]


def gates(
    names: Names = None,
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show every gate once: OPEN or CLOSED as a guard would judge it, its breaker, why, and the permit's remaining life.

    A gate is OPEN only if its permit is in the store, verifies with the monitor's keys and has not expired.
    UNKNOWN means that the keys are missing: give --jwks.

    If you name a gate, it also shows each condition's reading, and a bypass in force: who, why, over what, until when.

    Exit status: 0 shown, 1 a named gate is not open, 2 wrong usage, 3 the store does not answer.
    """
    from failshut_console.monitor.gate_views import OPEN, Looker
    from failshut_console.terminal import gate_table

    at = where(state, store=store, jwks=jwks, installation=installation)
    looker = Looker(at.store, at.jwks, installation=at.installation)
    look = looker.look(names or ())
    if as_json:
        typer.echo(json.dumps(look.as_json()))
    elif not look.gates:
        typer.echo("no gates yet: activate a policy (failshut policy activate DIR)")
    else:
        console = gate_table.make_console()
        console.print(gate_table.header("failshut gates", [looker.server()], look))
        console.print(gate_table.table(look.gates, console.width if console.is_terminal else PIPE_COLUMNS))
        for trouble in look.troubles:
            typer.echo(trouble)
        _details(look.gates if names else (), look.now_ms)
    if names and any(view.state != OPEN for view in look.gates):
        raise typer.Exit(Exit.REFUSED)


def _details(views: tuple[View, ...], now_ms: int) -> None:
    """Print the bypass in force and what each condition says, for gates that were asked for by name."""
    from failshut_console.monitor.bypass_view import nameless_lines

    for view in views:
        typer.echo(f"\n{view.gate}: epoch {view.epoch or '-'}, policy {view.policy[:19] or '-'}")
        nameless = nameless_lines(view.gate) if view.mode == "bypass" else []
        for line in view.bypass.lines(view.gate, now_ms) if view.bypass is not None else nameless:
            typer.echo(f"  {line}")
        for name, status, text in view.readings:
            typer.echo(f"  {status:<12} {name}: {text}")
