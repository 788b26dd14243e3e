"""`failshut hold`: the old word for `failshut lock`, taken until version 0.3."""

from __future__ import annotations

import functools
from typing import Any

import typer

from failshut_console.commands.orders.lock import lock


@functools.wraps(lock)
def hold(**given: Any) -> None:
    """Lock a gate: the old word for `lock`, taken until version 0.3."""
    typer.echo("failshut hold is called failshut lock since version 0.2; the old word goes with 0.3", err=True)
    lock(**given)
