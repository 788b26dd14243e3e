"""Options that several commands share, each also settable by an environment variable.

A command's file holds its signature, and imports what carries it out inside the function. So help and completion of a command
cost what reading its options does, and no client library.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.exits import Trouble

if TYPE_CHECKING:
    from failshut_console.local.state import Runtime

Folder = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="FAILSHUT_STATE",
        help="State folder: keys, and where the servers of a running `failshut up` listen.",
        show_default=True,
    ),
]
Store = Annotated[
    str,
    typer.Option(envvar="FAILSHUT_STORE", help="The store, redis://HOST:PORT/0. Default: that of a running `failshut up`."),
]
Broker = Annotated[
    str,
    typer.Option(envvar="FAILSHUT_BROKER", help="Kafka, kafka://HOST:PORT. Default: that of a running `failshut up`."),
]
Prefix = Annotated[str, typer.Option(envvar="FAILSHUT_PREFIX", help="Prefix of every topic's name, if the cluster is shared.")]
Jwks = Annotated[
    str,
    typer.Option(envvar="FAILSHUT_JWKS", help="The monitor's public keys (JWKS file). Without them no permit can be judged."),
]
OperatorKey = Annotated[
    str,
    typer.Option("--key", envvar="FAILSHUT_OPERATOR_KEY", help="Your private key (PEM). It signs your commands."),
]
Installation = Annotated[
    str,
    typer.Option(
        envvar="FAILSHUT_INSTALLATION",
        help="The installation's id. Default: the one in the monitor's JWKS file, or else the one in the log.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

LogFormat = Annotated[
    str, typer.Option(envvar="FAILSHUT_LOG_FORMAT", help="text, or json: one object a line, for a collector.")
]

FOLDER = Path(".failshut")


def log_as(form: str, level: str = "INFO") -> None:
    """Have this process log to standard error in a form of `LogFormat`. Raises `Trouble` where there is no such form."""
    from failshut_streams.logs.beginning import log_to

    try:
        log_to(form=form, level=level)
    except ValueError as error:
        raise Trouble(f"--log-format: {error}", "nothing was started", "say text or json") from error


def where(
    state: Path,
    store: str = "",
    broker: str = "",
    jwks: str = "",
    key: str = "",
    prefix: str = "",
    installation: str = "",
) -> Runtime:
    """Return where to ask, and of whom, from options and from a running `failshut up`."""
    from failshut_console.local.state import found

    return found(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
