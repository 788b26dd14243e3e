"""`failshut gates` and `failshut watch`: what each gate does, and why."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer
from rich.text import Text

from failshut_console import screen
from failshut_console.commands.options import FOLDER, AsJson, Folder, Installation, Jwks, Store, where
from failshut_console.exits import Exit, Trouble
from failshut_console.live import Live
from failshut_console.looking import OPEN, Look, Looker, View

PIPE_COLUMNS = 160
"""Width of the table where standard output is no terminal, so that reasons are not cut for no reason."""

TROUBLES_MAX = 6
"""Lines below the live table for what workers say of each other; `failshut gates` shows all."""

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

    Exit status: 0 shown, 1 a named gate is not open, 2 wrong usage, 3 the store does not answer.
    """
    at = where(state, store=store, jwks=jwks, installation=installation)
    looker = Looker(at.store, at.jwks, installation=at.installation)
    look = looker.look(names or ())
    if as_json:
        typer.echo(json.dumps(look.as_json()))
    elif not look.gates:
        typer.echo("no gates yet: activate a policy (failshut policy activate DIR)")
    else:
        console = screen.make_console()
        console.print(screen.header("failshut gates", [looker.server()], look))
        console.print(screen.table(look.gates, console.width if console.is_terminal else PIPE_COLUMNS))
        for trouble in look.troubles:
            typer.echo(trouble)
        _readings(look.gates if names else ())
    if names and any(view.state != OPEN for view in look.gates):
        raise typer.Exit(Exit.REFUSED)


def _readings(views: tuple[View, ...]) -> None:
    """For gates that were asked for by name: what each condition says."""
    for view in views:
        typer.echo(f"\n{view.gate}: epoch {view.epoch or '-'}, policy {view.policy[:19] or '-'}")
        for name, status, text in view.readings:
            typer.echo(f"  {status:<12} {name}: {text}")


def watch(
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    state: Folder = FOLDER,
    every: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between two readings of the store.")] = 0.3,
    seconds: Annotated[float, typer.Option(min=0, help="End after this many seconds. 0: at Ctrl-C.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Show the gates live until Ctrl-C. If standard output is no terminal, print one line for each change.

    --json prints one object a line: the state of a gate each time that it changes.

    If the store does not answer, the view says so and asks again. Meanwhile gates are closed to every guard whose lease
    has run out.

    Exit status: 0 ended by Ctrl-C or --seconds, 2 wrong usage, 3 the store did not answer when the watch began.
    """
    at = where(state, store=store, jwks=jwks, installation=installation)
    looker = Looker(at.store, at.jwks, installation=at.installation)
    look = looker.look()
    started = time.monotonic()
    seen: dict[str, View] = {}
    told: set[str] = set()  # troubles of workers that stand, so that each is said once
    live = Live(enabled=sys.stdout.isatty() and not as_json)
    try:
        with live:
            while True:
                _show(look, looker, live, seen, told, as_json)
                if seconds and time.monotonic() - started >= seconds:
                    return
                time.sleep(every)
                look = _again(looker, look, live)
    except KeyboardInterrupt:
        return


def _again(looker: Looker, before: Look, live: Live) -> Look:
    try:
        found = looker.look()
        live.note("")
        return found
    except Trouble as trouble:
        live.note(trouble.what)
        lost = [View(view.gate, "UNKNOWN", because="the store does not answer") for view in before.gates]
        return Look(int(time.time() * 1000), tuple(lost), (), before.store)


def _show(look: Look, looker: Looker, live: Live, seen: dict[str, View], told: set[str], as_json: bool) -> None:
    changed = screen.changes(seen, look.gates)
    if as_json:
        for view in changed:
            typer.echo(json.dumps({"now_ms": look.now_ms, "evidence_age_ms": look.evidence_age_ms, **view.as_json()}))
    elif live.enabled:
        clock = time.strftime("%H:%M:%S")
        head = screen.header("failshut watch", [clock, looker.server()], look)
        lines: list[Text | str] = [*look.troubles[:TROUBLES_MAX], *live.notes()]
        live.draw(lambda width: screen.picture(head, look.gates, lines, width, counts=False))
    else:
        for trouble in look.troubles:
            if trouble not in told:
                typer.echo(f"{time.strftime('%H:%M:%S')}  {trouble}")
        told.intersection_update(look.troubles)
        told.update(look.troubles)
        for view in changed:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {screen.plain(view)}")
    seen.clear()
    seen.update({view.gate: view for view in look.gates})
