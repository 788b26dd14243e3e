"""`failshut reset`: a breaker proves itself again, in answer to one closing."""

from __future__ import annotations

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


def reset(
    gate: Gate,
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
    """Let a tripped or locked breaker prove itself. A reset answers one closing, by its epoch; a later demand voids it.

    `failshut unlock` is for a locked breaker alone, and refuses any other.

    It is refused while the cause persists. If the policy asks for probes, the gate is PROVING first: a few executions
    are admitted, and their outcomes decide.

    Exit status: 0 the breaker proves itself or is armed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    from failshut_breakers.command import Reset

    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    number = epoch if epoch >= 0 else epoch_of(seen_now(at, gate))
    send(at, Reset(gate=gate, **signed(at, by, why), epoch=number), wait, as_json)
