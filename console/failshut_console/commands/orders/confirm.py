"""`failshut confirm`: a trip had a cause, and does not count as a false one."""

from __future__ import annotations

from typing import Annotated

import typer

from failshut_console.commands.options import (
    FOLDER,
    AsJson,
    Broker,
    Folder,
    Installation,
    OperatorKey,
    Prefix,
    where,
)
from failshut_console.commands.orders.sending import By, Gate, Wait, Why, send, signed


def confirm(
    gate: Gate,
    why: Why,
    epoch: Annotated[int, typer.Option(min=0, help="Epoch of the trip: `failshut gates GATE` shows the present one.")],
    by: By = "",
    broker: Broker = "",
    prefix: Prefix = "",
    installation: Installation = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    wait: Wait = 15.0,
    as_json: AsJson = False,
) -> None:
    """Confirm that a trip had a cause, so that it does not count against its condition's budget of false trips.

    A condition with `false_trips: 1 per 30d` reports two numbers: the trips that nobody has confirmed, and those that
    its budget allows. The gate itself does not change.

    Exit status: 0 confirmed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    from failshut_breakers.command import Confirm

    at = where(state, broker=broker, key=key, prefix=prefix, installation=installation)
    send(at, Confirm(gate=gate, **signed(at, by, why), epoch=epoch), wait, as_json)
