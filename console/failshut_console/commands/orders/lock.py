"""`failshut lock`: a gate is closed until an operator unlocks it."""

from __future__ import annotations

from failshut_console.commands.options import (
    FOLDER,
    AsJson,
    Broker,
    Folder,
    Installation,
    OperatorKey,
    Prefix,
    Store,
    where,
)
from failshut_console.commands.orders.sending import By, Gate, Wait, Why, send, signed


def lock(
    gate: Gate,
    why: Why,
    by: By = "",
    broker: Broker = "",
    store: Store = "",
    prefix: Prefix = "",
    installation: Installation = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    wait: Wait = 15.0,
    as_json: AsJson = False,
) -> None:
    """Close a gate until an operator unlocks it. Nothing else reopens it: no cooldown, no fresh evidence, no bypass.

    The command is signed with your key and written to the log with your name and reason. It is done when a
    governor's decision says so.

    Exit status: 0 locked, 1 refused (it says why), 2 wrong usage, 3 nobody answered: it says whether the command is on the log.
    """
    from failshut_breakers.command import Lock

    at = where(state, store=store, broker=broker, key=key, prefix=prefix, installation=installation)
    send(at, Lock(gate=gate, **signed(at, by, why)), wait, as_json)
