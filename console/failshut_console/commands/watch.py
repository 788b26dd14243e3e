"""`failshut watch`: what each gate does, and why, until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Folder, Installation, Jwks, Store, where


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
    from failshut_console.monitor.gate_views import Looker
    from failshut_console.terminal.watching import follow

    at = where(state, store=store, jwks=jwks, installation=installation)
    follow(Looker(at.store, at.jwks, installation=at.installation), every, seconds, as_json)
