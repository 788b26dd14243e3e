"""`failshut hold`, `reset`, `bypass`: an operator's commands, signed, with a reason, on the log."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any

import typer

from failshut_breakers.command import Accept, Bypass, Confirm, GateCommand, Hold, Reset
from failshut_breakers.units import parse_duration_ms
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
from failshut_console.exits import Exit, Trouble
from failshut_console.looking import Looker, View
from failshut_console.ordering import Answer, installation_there, load_operator_key, send_and_wait
from failshut_console.state import Runtime, who
from failshut_streams.marks import wall_ms
from failshut_streams.operator import new_id

Gate = Annotated[str, typer.Argument(help="The gate's name, for example payments.refund.")]
Why = Annotated[str, typer.Option("--why", help="The reason. The log stores it with your name.")]
By = Annotated[str, typer.Option("--by", envvar="FAILSHUT_BY", help="Your name on the log. Default: user@host.")]
Wait = Annotated[float, typer.Option("--wait", min=1, max=300, help="Seconds to wait for the governor's answer.")]
Epoch = Annotated[
    int,
    typer.Option(
        min=-1, help="Epoch of the closing that you answer. Default: the one that the gate shows now (failshut gates GATE)."
    ),
]


def hold(
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
    """Close a gate until an operator resets it. Nothing else reopens it: no cooldown, no fresh evidence, no bypass.

    The command is signed with your key and written to the log with your name and reason. It is done when a
    governor's decision says so.

    Exit status: 0 held, 1 refused (it says why), 2 wrong usage, 3 nobody answered: the command is on the log and will count.
    """
    at = where(state, store=store, broker=broker, key=key, prefix=prefix, installation=installation)
    _send(at, Hold(gate=gate, **signed(at, by, why)), wait, as_json)


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
    """Let a tripped or held breaker prove itself. A reset answers one closing, by its epoch; a later demand voids it.

    It is refused while the cause persists. If the policy asks for probes, the gate is PROVING first: a few executions
    are admitted, and their outcomes decide.

    Exit status: 0 the breaker proves itself or is armed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    number = epoch if epoch >= 0 else _epoch(_seen(at, gate))
    _send(at, Reset(gate=gate, **signed(at, by, why), epoch=number), wait, as_json)


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
    at = where(state, broker=broker, key=key, prefix=prefix, installation=installation)
    _send(at, Confirm(gate=gate, **signed(at, by, why), epoch=epoch), wait, as_json)


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
    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    number = epoch if epoch >= 0 else _epoch(_seen(at, gate))
    order = Accept(gate=gate, **signed(at, by, why), epoch=number, condition=condition)
    _send(at, order, wait, as_json)


def bypass(
    gate: Gate,
    why: Why,
    duration: Annotated[str, typer.Option("--for", help="How long, for example 90s or 10m; at most 24h.")] = "10m",
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="A condition to override. Repeat for more. Default: those that demand now."),
    ] = None,
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

    It overrides the demands of those conditions, and nothing else. Identity, signature and expiry still count, a hold
    remains, and a gate whose evidence stops still lapses. It answers one epoch; a demand of another condition voids it.

    Exit status: 0 bypassed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
    try:
        length_ms = parse_duration_ms(duration)
    except ValueError as error:
        raise Trouble(f"--for {error}", "nothing was sent", "write it as 90s, 10m or 2h") from error
    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    seen = _seen(at, gate) if epoch < 0 or not condition else None
    names = tuple(condition or ()) or tuple(name for name, status, _ in (seen.readings if seen else ()) if status == "demands")
    if not names:
        raise Trouble(
            f"no condition of {gate} demands anything now, as far as the store shows",
            "nothing was sent: a bypass names what it overrides",
            f"look at `failshut gates {gate}` and name one: --condition NAME",
        )
    number = epoch if epoch >= 0 or seen is None else _epoch(seen)
    until_ms = int(time.time() * 1000) + length_ms
    _warn_of_votes(gate, names, seen)
    order = Bypass(gate=gate, **signed(at, by, why), epoch=number, conditions=names, until_ms=until_ms)
    _send(at, order, wait, as_json)


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


# --- sending ----------------------------------------------------------------------------------------------------


def reason(why: str) -> str:
    """The reason as it was given. Raises `Trouble` where it is none, or too long."""
    if not why.strip():
        raise Trouble("--why is empty", "nothing was sent", "say why: whoever reads the log asks it first")
    if not why.isprintable():
        raise Trouble("--why holds a character that cannot be printed", "nothing was sent", "say it in one line")
    if len(why) > 500:
        raise Trouble(f"--why has {len(why)} characters, at most 500 fit", "nothing was sent", "say it in fewer words")
    return why


def signed(at: Runtime, by: str, why: str) -> dict[str, Any]:
    """What every command says of itself: of which installation, by whom, why, its id, and when."""
    name = by or who()
    if not name.isprintable():
        raise Trouble("--by holds a character that cannot be printed", "nothing was sent", "write your name in one line")
    words = reason(why)  # before anybody is asked
    return {"installation": _installation(at), "by": name, "why": words, "id": new_id(), "signed_ms": wall_ms()}


def _installation(at: Runtime) -> str:
    """The one that was named, by option or by the JWKS file, or else the one whose log this is."""
    if at.installation:
        return at.installation
    _known_broker(at)
    return asyncio.run(installation_there(at.broker, at.prefix, load_operator_key(at.operator_key)))


def _seen(at: Runtime, gate: str) -> View:
    look = Looker(at.store, at.jwks, installation=at.installation).look([gate])
    return look.gates[0]


def _epoch(view: View) -> int:
    if not view.epoch.isdigit():
        raise Trouble(
            f"the store shows no decision about {view.gate}",
            "a reset or bypass must name the epoch of the closing that it answers, so nothing was sent",
            "look at `failshut gates`; if the store was flushed, take the epoch from the decisions topic: --epoch N",
        )
    return int(view.epoch)


def _known_broker(at: Runtime) -> None:
    if not at.broker:
        raise Trouble(
            "no broker is known: no `failshut up` runs here and --broker was not given",
            "nothing was sent, and the gate is as it was",
            "run it where the monitor runs, or name its broker: --broker kafka://HOST:PORT",
        )


def _send(at: Runtime, order: GateCommand, wait: float, as_json: bool) -> None:
    _known_broker(at)
    key = load_operator_key(at.operator_key)
    answer = asyncio.run(send_and_wait(at.broker, at.prefix, key, order, wait))
    typer.echo(json.dumps(answer.as_json()) if as_json else _told(answer), err=answer.status is not Exit.DONE and not as_json)
    if answer.status is not Exit.DONE:
        raise typer.Exit(int(answer.status))


def _told(answer: Answer) -> str:
    if answer.result == "done" and answer.command in ("confirm", "accept"):
        return f"{answer.gate}: {answer.because}"
    if answer.result == "done":
        return f"{answer.gate}: {answer.command} done. Gate {answer.state}, breaker {answer.breaker}: {answer.because}"
    if answer.result == "refused":
        return f"{answer.gate}: {answer.command} refused: {answer.because}\n  which means: the gate is as it was"
    return f"{answer.gate}: {answer.command}: no answer: {answer.because}"
