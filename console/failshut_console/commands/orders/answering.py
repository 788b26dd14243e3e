"""What `failshut reset` and `failshut unlock` share: the options, and a command that answers the gate's present closing.

Both ask for a breaker to prove itself. They differ in which breakers they are for, and in nothing else that is typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

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


def answers_a_closing(kind: Literal["reset", "unlock"]) -> Callable[[Callable[[], None]], Callable[..., None]]:
    """Make a command of a name and a help text: it sends an order of this kind in answer to one closing."""

    def command_of(described: Callable[[], None]) -> Callable[..., None]:
        def command(
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
            from failshut_breakers.command import Reset, Unlock

            at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
            number = epoch if epoch >= 0 else epoch_of(seen_now(at, gate))
            order = Reset if kind == "reset" else Unlock
            send(at, order(gate=gate, **signed(at, by, why), epoch=number), wait, as_json)

        # Not functools.wraps: the signature is this one's, and not the empty one of what describes it.
        command.__name__, command.__qualname__, command.__doc__ = described.__name__, described.__qualname__, described.__doc__
        return command

    return command_of
