"""`failshut bypass`: named conditions are overridden, for a limited time, by name and with a reason; --end ends it early."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

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
from failshut_console.exits import Trouble

if TYPE_CHECKING:
    from failshut_console.monitor.gate_views import View


FOR = "10m"
"""How long a bypass lasts if nobody says."""


def bypass(
    gate: Gate,
    why: Why,
    duration: Annotated[
        str, typer.Option("--for", help=f"How long, for example 90s or 10m; at most 24h. Default: {FOR}.")
    ] = "",
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="A condition to override. Repeat for more. Default: those that demand now."),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End the bypass that is in force, now.")] = False,
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
    """Keep a gate open against the demands of named conditions, for a limited time, by name and with a reason.

    It overrides the demands of those conditions, and nothing else. Identity, signature and expiry still count, a lock
    remains, and a gate whose evidence stops still lapses. It answers one epoch; a demand of another condition voids it.

    --end ends it early. A breaker that is TRIPPED, and whatever demands then, closes the gate at once. It names no epoch, so it
    counts even if the gate has changed.

    Exit status: 0 bypassed or ended, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    from failshut_breakers.command import Bypass, EndBypass
    from failshut_breakers.policy.units import parse_duration_ms

    if end:
        _only_an_end(bool(duration), bool(condition), epoch >= 0)
        at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
        send(at, EndBypass(gate=gate, **signed(at, by, why)), wait, as_json)
        return
    try:
        length_ms = parse_duration_ms(duration or FOR)
    except ValueError as error:
        raise Trouble(f"--for {error}", "nothing was sent", "write it as 90s, 10m or 2h") from error
    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    seen = seen_now(at, gate) if epoch < 0 or not condition else None
    names = tuple(condition or ()) or tuple(name for name, status, _ in (seen.readings if seen else ()) if status == "demands")
    if not names:
        raise Trouble(
            f"no condition of {gate} demands anything now, as far as the store shows",
            "nothing was sent: a bypass names what it overrides",
            f"look at `failshut gates {gate}` and name one: --condition NAME",
        )
    number = epoch if epoch >= 0 or seen is None else epoch_of(seen)
    until_ms = int(time.time() * 1000) + length_ms
    _warn_of_votes(gate, names, seen)
    order = Bypass(gate=gate, **signed(at, by, why), epoch=number, conditions=names, until_ms=until_ms)
    send(at, order, wait, as_json)


def _only_an_end(duration: bool, condition: bool, epoch: bool) -> None:
    """Refuse options of a bypass beside --end: whoever gives them may believe that they shorten it, or end a part of it."""
    given = [name for name, there in (("--for", duration), ("--condition", condition), ("--epoch", epoch)) if there]
    if given:
        raise Trouble(
            f"--end ends a bypass, and {given[0]} is for giving one",
            "nothing was sent, and the bypass is as it was",
            "end it whole: failshut bypass --end GATE --why ...; then give a new one for what should stay bypassed",
        )


def _warn_of_votes(gate: str, names: tuple[str, ...], seen: View | None) -> None:
    """Say, before it is sent, what the bypass leaves: those that it names count as demanding, where several are needed."""
    left = [name for name, _, _ in seen.readings if name not in names] if seen else []
    if seen is not None and not left:
        typer.echo(f"{gate}: this leaves no condition that could close the gate, until the bypass ends", err=True)
    elif len(names) > 0:
        typer.echo(
            f"{gate}: where trip_on asks for several, those bypassed count as demanding: "
            f"{len(left) if seen else 'some'} others are left, and fewer of them trip",
            err=True,
        )
