"""`failshut accept`: a new level is normal from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from failshut_console.commands.options import (
    FOLDER,
    AsJson,
    Broker,
    Folder,
    Installation,
    Jwks,
    OperatorKey,
    Prefix,
    Store,
    where,
)
from failshut_console.commands.orders.sending import By, Epoch, Gate, Wait, Why, epoch_of, seen_now, send, signed


def accept(
    gate: Gate,
    condition: Annotated[str, typer.Argument(help="The condition that demands, as `failshut gates GATE` names it.")],
    why: Why,
    by: By = "",
    epoch: Epoch = -1,
    broker: Broker = "",
    store: Store = "",
    jwks: Jwks = "",
    prefix: Prefix = "",
    installation: Installation = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    wait: Wait = 15.0,
    as_json: AsJson = False,
) -> None:
    """Accept a condition's present level as normal from now on. Its demand ends, and it learns its present readings.

    A demand lasts until its series is back at its former level. If the new level is right, the series never returns, so
    accept it. The breaker is reset as after any demand: by the policy's cooldown, or by `failshut reset`. A rule is a
    limit, and only the policy changes it. After failed executions, accepting replaces the probes.

    Exit status: 0 accepted, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    from failshut_breakers.command import Accept

    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    number = epoch if epoch >= 0 else epoch_of(seen_now(at, gate))
    order = Accept(gate=gate, **signed(at, by, why), epoch=number, condition=condition)
    send(at, order, wait, as_json)
