"""What all orders share: who says it, why, to which closing, and the wait for the answer."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_breakers.command import GateCommand
    from failshut_console.local.state import Runtime
    from failshut_console.monitor.gate_views import View
    from failshut_console.monitor.send_command import Answer

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


def reason(why: str) -> str:
    """Return the reason as it was given. Raises `Trouble` where it is none, or too long."""
    if not why.strip():
        raise Trouble("--why is empty", "nothing was sent", "say why: whoever reads the log asks it first")
    if not why.isprintable():
        raise Trouble("--why holds a character that cannot be printed", "nothing was sent", "say it in one line")
    if len(why) > 500:
        raise Trouble(f"--why has {len(why)} characters, at most 500 fit", "nothing was sent", "say it in fewer words")
    return why


def signed(at: Runtime, by: str, why: str) -> dict[str, Any]:
    """Return what every command says of itself: of which installation, by whom, why, its id, and when."""
    from failshut_console.local.state import who
    from failshut_streams.control.client import new_id
    from failshut_streams.sources.marks import wall_ms

    name = by or who()
    if not name.isprintable():
        raise Trouble("--by holds a character that cannot be printed", "nothing was sent", "write your name in one line")
    words = reason(why)  # before anybody is asked
    return {"installation": _installation(at), "by": name, "why": words, "id": new_id(), "signed_ms": wall_ms()}


def _installation(at: Runtime) -> str:
    """Return the one that was named, by option or by the JWKS file, or else the one whose log this is."""
    if at.installation:
        return at.installation
    from failshut_console.monitor.send_command import installation_there, load_operator_key

    _known_broker(at)
    return asyncio.run(installation_there(at.broker, at.prefix, load_operator_key(at.operator_key)))


def seen_now(at: Runtime, gate: str) -> View:
    """Return what the store shows of a gate now."""
    from failshut_console.monitor.gate_views import Looker

    look = Looker(at.store, at.jwks, installation=at.installation).look([gate])
    return look.gates[0]


def epoch_of(view: View) -> int:
    """Return the epoch that a command answers. Raises `Trouble` where the store shows none."""
    if not view.epoch.isdigit():
        raise Trouble(
            f"the store shows no decision about {view.gate}",
            "a reset or bypass must name the epoch of the closing that it answers, so nothing was sent",
            f"look at `failshut gates`; if the store was flushed, `failshut log {view.gate}` shows the epoch: --epoch N",
        )
    return int(view.epoch)


def _known_broker(at: Runtime) -> None:
    if not at.broker:
        raise Trouble(
            "no broker is known: no `failshut up` runs here and --broker was not given",
            "nothing was sent, and the gate is as it was",
            "run it where the monitor runs, or name its broker: --broker kafka://HOST:PORT",
        )


def send(at: Runtime, order: GateCommand, wait: float, as_json: bool) -> None:
    """Send a command, wait for the decision that answers it, and say it; a refusal is an exit status."""
    from failshut_console.monitor.send_command import load_operator_key, send_and_wait

    _known_broker(at)
    key = load_operator_key(at.operator_key)
    answer = asyncio.run(send_and_wait(at.broker, at.prefix, key, order, wait))
    typer.echo(json.dumps(answer.as_json()) if as_json else _told(answer), err=answer.status is not Exit.DONE and not as_json)
    if answer.status is not Exit.DONE:
        raise typer.Exit(int(answer.status))


_CALLED = {"end_bypass": "end of the bypass"}
"""Orders whose kind is no word of the command line."""


def _told(answer: Answer) -> str:
    called = _CALLED.get(answer.command, answer.command)
    if answer.result == "done" and answer.command in ("confirm", "accept"):
        return f"{answer.gate}: {answer.because}"
    if answer.result == "done":
        return f"{answer.gate}: {called} done. Gate {answer.state}, breaker {answer.breaker}: {answer.because}"
    if answer.result == "refused":
        return f"{answer.gate}: {called} refused: {answer.because}\n  which means: the gate is as it was"
    return f"{answer.gate}: {called}: no answer: {answer.because}"
