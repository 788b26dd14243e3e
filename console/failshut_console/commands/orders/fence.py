"""`failshut fence`: the store's lower bound for a gate, which only an operator can remove, by name."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from failshut_console.commands.options import (
    FOLDER,
    Folder,
    Installation,
    Jwks,
    Store,
    where,
)
from failshut_console.exits import Exit, Trouble, unreachable

group = typer.Typer(
    no_args_is_help=True,
    help="Fences: the epoch that the store holds for a gate. It refuses every write below that.",
)


@group.command("clear")
def clear_fence(
    gate: Annotated[str, typer.Argument(help="The gate's name, for example payments.refund.")],
    epoch: Annotated[int, typer.Option(min=0, max=(1 << 53) - 1, help="The epoch that the store holds, as the log names it.")],
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    state: Folder = FOLDER,
) -> None:
    """Remove a fence that no monitor of yours wrote, and the gate's record with it.

    A worker names such a fence in its log and in `failshut watch`, with this command. The fence's epoch is ahead of the
    monitors' writes, so the store refuses them all. First make sure that no monitor of a later term runs. The gate denies
    until a monitor writes its last decision again, within seconds. Whoever wrote the fence can write to your store: find out
    who it was.

    Exit status: 0 removed, 1 refused (the store holds another epoch by now), 2 wrong usage, 3 the store does not answer.
    """
    from failshut.epoch import digits
    from failshut_breakers.store.client import Store as StoreWriter
    from failshut_breakers.store.client import StoreUnreachable
    from failshut_console.monitor.gate_views import Looker

    at = where(state, store=store, jwks=jwks, installation=installation)
    if not at.store:
        raise Trouble("no store is known", "nothing was changed", "name it: --store redis://HOST:PORT/0")
    looker = Looker(at.store, at.jwks, installation=at.installation)
    names = looker.names
    looker.close()

    async def act() -> bool:
        async with StoreWriter(at.store) as writer:
            return await writer.clear_fence(names, gate, digits(epoch))

    try:
        removed = asyncio.run(act())
    except StoreUnreachable as error:
        raise unreachable(f"the store does not answer: {error}", "start it, or name another one with --store") from error
    except ValueError as error:
        raise Trouble(str(error), "nothing was changed", "name a gate and an epoch as the log does") from error
    if not removed:
        raise Trouble(
            f"the store holds another epoch than {epoch} for {gate}",
            "nothing was changed",
            f"look at `failshut gates {gate}`: a monitor may have written it by now",
            Exit.REFUSED,
        )
    typer.echo(f"{gate}: the fence of epoch {epoch} is removed; the gate denies until a monitor writes it again")


@group.callback()
def _fence() -> None:
    """Keep `clear` a command of its own."""
