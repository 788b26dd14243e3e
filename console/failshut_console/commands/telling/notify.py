"""`failshut notify`: who is told of closings and openings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, Broker, Folder, LogFormat, Prefix, log_as

group = typer.Typer(
    no_args_is_help=True,
    help="Tell people and systems of each closing and opening: webhooks, Slack, PagerDuty, Alertmanager, mail, a topic.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The targets (TOML): docs/trouble/notifications.md.")]


@group.command("run")
def run(
    file: File,
    books: Annotated[
        Path | None,
        typer.Option(
            envvar="FAILSHUT_BOOKS", help="Folder that records how far each target was told. Default: in the state folder."
        ),
    ] = None,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
    log_format: LogFormat = "text",
) -> None:
    """Tell every target of each closing and opening, at least once and in order, until told to stop.

    It only reads the decisions topic, so no gate waits for it. A target that does not answer is tried again, and delays no
    other. A new target is told of what happens from its start on.

    Exit status: 0 told to stop, 1 refused, 2 wrong usage, or a file of targets that is not valid, 3 Kafka does not answer.
    """
    from failshut_console.commands.options import where
    from failshut_console.notify.running import run as tell

    log_as(log_format)
    at = where(state, broker=broker, prefix=prefix)
    tell(file, books or state / "notify", _known(at.broker), at.prefix)


@group.command("test")
def try_targets(
    file: File,
    target: Annotated[str, typer.Option(help="Try this one alone.")] = "",
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Tell every target, once, of a closing and an opening of a gate that does not exist.

    Exit status: 0 each took both, 1 one did not (it says why), 2 wrong usage, or a file of targets that is not valid.
    """
    from failshut_console.commands.options import where
    from failshut_console.notify.running import say_tried, try_once

    at = where(state, broker=broker, prefix=prefix)
    say_tried(try_once(file, at.broker, at.prefix, target))


def _known(broker: str) -> str:
    from failshut_console.exits import Trouble

    if not broker:
        raise Trouble("no broker is known", "nobody is told of anything", "name Kafka with --broker, or start `failshut up`")
    return broker
