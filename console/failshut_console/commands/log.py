"""`failshut log`: what happened to each gate, why, and by whose word."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, Broker, Folder, Prefix, where
from failshut_console.exits import Trouble


def log(
    gate: Annotated[str, typer.Argument(metavar="[GATE]", help="Only this gate. Default: all.")] = "",
    since: Annotated[str, typer.Option(help="Start 90s, 1h or 7d ago, or at a time, for example 2026-03-01T12:00:00Z.")] = "1h",
    until: Annotated[str, typer.Option(help="End at this time, written as for --since. Default: now.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also show what happens from now on, until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most this many entries, the newest.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Show what happened to each gate, the newest last: opened, closed, probing, locked, bypassed, policy activated.

    It reads governors' decisions from Kafka: when, which gate, what, the cause, by whose word and why, the epoch, and which
    record of the evidence was judged. Renewals of permits are not shown. If two governors decide the same from one record, it
    is shown once. Times are those at which decisions were written.

    At most the newest 200,000 decisions are read. If the span holds more, or more entries than --last, standard error says
    what is missing.

    Exit status: 0 shown, or ended by Ctrl-C, 2 wrong usage, 3 Kafka does not answer.
    """
    from failshut.store.names import check_gate
    from failshut_console.terminal.telling import Question, tell

    if follow and until:
        raise Trouble("--follow has no end, and --until names one", "nothing was read", "leave one of them out")
    now_ms = time.time_ns() // 1_000_000
    try:
        check_gate(gate or "any")
    except ValueError as error:
        raise Trouble(str(error), "nothing was read", "look at `failshut gates` for the names of gates") from error
    since_ms = _when(since, "--since", now_ms)
    until_ms = _when(until, "--until", now_ms) if until else 0
    if until and until_ms <= since_ms:
        raise Trouble("--until is not after --since", "nothing was read", "name a later end, or an earlier beginning")
    tell(where(state, broker=broker, prefix=prefix), Question(gate, since_ms, until_ms, last, follow, as_json))


def _when(text: str, option: str, now_ms: int) -> int:
    from failshut_console.terminal.times import read_when_ms

    try:
        return read_when_ms(text, now_ms)
    except ValueError as error:
        raise Trouble(f"{option}: {error}", "nothing was read, and no gate is concerned", "failshut log --help") from error
