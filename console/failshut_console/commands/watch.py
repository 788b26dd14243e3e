"""`failshut watch`: what each gate does, and why, until Ctrl-C."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer
from rich.text import Text

from failshut_console.commands.options import FOLDER, AsJson, Folder, Installation, Jwks, Store, where
from failshut_console.exits import Trouble
from failshut_console.monitor.gate_views import Look, Looker, View
from failshut_console.terminal import gate_table
from failshut_console.terminal.live import Live

TROUBLES_MAX = 6
"""Lines below the live table for what workers say of each other; `failshut gates` shows all."""


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
    changed = gate_table.changes(seen, look.gates)
    if as_json:
        for view in changed:
            typer.echo(json.dumps({"now_ms": look.now_ms, "evidence_age_ms": look.evidence_age_ms, **view.as_json()}))
    elif live.enabled:
        clock = time.strftime("%H:%M:%S")
        head = gate_table.header("failshut watch", [clock, looker.server()], look)
        lines: list[Text | str] = [*look.troubles[:TROUBLES_MAX], *live.notes()]
        live.draw(lambda width: gate_table.picture(head, look.gates, lines, width, counts=False))
    else:
        for trouble in look.troubles:
            if trouble not in told:
                typer.echo(f"{time.strftime('%H:%M:%S')}  {trouble}")
        told.intersection_update(look.troubles)
        told.update(look.troubles)
        for view in changed:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {gate_table.plain(view)}")
    seen.clear()
    seen.update({view.gate: view for view in look.gates})
