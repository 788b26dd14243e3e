"""`failshut shadow`: what gates in shadow would have done."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Prefix, where
from failshut_console.commands.recordings.options import Policies
from failshut_console.connection_options import reaching
from failshut_console.exits import Trouble

if TYPE_CHECKING:
    from failshut_console.local.state import Runtime
    from failshut_console.monitor.shadow_report import Shadow

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Gates whose policy says `mode: shadow`: they decide, and withhold nothing.",
)


@group.callback()
def _shadow() -> None:
    """Have a command of one word below it: typer makes a group with one command that command."""


@group.command("report")
@reaching
def report(
    gate: Annotated[str, typer.Argument(metavar="[GATE]", help="Only this gate. Default: all in shadow.")] = "",
    since: Annotated[str, typer.Option(help="Start 90s, 1h or 7d ago, or at a time, for example 2026-03-01T12:00:00Z.")] = "7d",
    on: Annotated[
        Path | None, typer.Option("--on", metavar="RECORDING", help="A recording, replayed, instead of a running monitor.")
    ] = None,
    policy: Policies = None,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show what each gate in shadow would have done: how often it would have closed and over what, and its share of open time.

    If nothing was wrong in this time, each trip would have been a false one. When you are content with their number, write
    `mode: enforce` into the policy: what was learnt stays.

    With --on it needs no server: failshut shadow report --on replay/weeks/shadow-week.parquet.

    Exit status: 0 shown, 2 wrong usage, a damaged recording, or a bad policy, 3 Kafka does not answer.
    """
    if policy and on is None:
        raise Trouble("--policy is for a recording", "nothing was read", "give --on RECORDING, or activate the policy")
    found = _recorded(on, policy or []) if on is not None else _read(since, where(state, broker=broker, prefix=prefix))
    found = [one for one in found if gate in ("", one.gate)]
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=1))
        return
    if not found:
        typer.echo("no gate was in shadow: write `mode: shadow` in its policy")
    for one in found:
        _tell(one)


def _recorded(recording: Path, policies: list[Path]) -> list[Shadow]:
    from failshut_console.recordings.shared import plain_errors, texts
    from failshut_console.terminal.shadow import replayed

    with plain_errors():
        return replayed(recording, texts(policies))


def _read(since: str, at: Runtime) -> list[Shadow]:
    from failshut_console.terminal.shadow import gather
    from failshut_console.terminal.times import read_when_ms

    now_ms = time.time_ns() // 1_000_000
    try:
        since_ms = read_when_ms(since, now_ms)
    except ValueError as error:
        raise Trouble(f"--since: {error}", "nothing was read, and no gate is concerned", "write it as 7d") from error
    if not at.broker:
        raise Trouble("no broker is known", "nothing was read", "start `failshut up`, or give --broker kafka://HOST:PORT")
    return asyncio.run(gather(at.broker, at.prefix, since_ms, now_ms))


def _tell(one: Shadow) -> None:
    hours = (one.upto_ms - one.from_ms) / 3_600_000
    causes = ", ".join(f"{count} {cause}" for cause, count in one.causes.most_common())
    typer.echo(f"{one.gate}: would have been open for {100 * one.open_share:.2f} % of {hours:.1f} h")
    often = f"would have closed {one.closings} times ({causes}), for {one.longest_ms / 1000:.0f} s at most" if causes else ""
    typer.echo(f"    {often or 'would never have closed'}; would have tripped {one.trips_a_week:.1f} times a week")
