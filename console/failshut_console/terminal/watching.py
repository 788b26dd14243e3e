"""What each gate does and why, drawn again and again, or a line for each change where there is no terminal."""

from __future__ import annotations

import json
import sys
import time

import typer
from rich.text import Text

from failshut_console.exits import Trouble
from failshut_console.monitor.gate_views import Look, Looker, View
from failshut_console.terminal import gate_table
from failshut_console.terminal.live import Live

TROUBLES_MAX = 6
"""Lines below the live table for what workers say of each other; `failshut gates` shows all."""


def follow(looker: Looker, every_s: float, seconds: float, as_json: bool) -> None:
    """Show the gates until Ctrl-C, or for so many seconds; 0: without an end.

    Raises:
        Trouble: the store does not answer at the beginning. Later it is said, and asked again.
    """
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
                time.sleep(every_s)
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
