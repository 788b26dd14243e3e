"""`failshut witness`: cosign somebody else's log, and never two trees of it that do not continue each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import AsJson, LogFormat, log_as

group = typer.Typer(
    no_args_is_help=True,
    help="A witness: it cosigns somebody else's log, and never two trees of it that do not continue each other.",
)

State = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's folder: which logs it knows, and what it cosigned.")]
SecretKey = Annotated[
    Path, typer.Option(envvar="FAILSHUT_WITNESS_KEY", help="The witness's secret key. It signs nothing else.")
]


@group.command("create")
def create(
    folder: State,
    key: SecretKey,
    name: Annotated[
        str, typer.Option(help="The witness's name, for a new key: like an address, without a scheme or a space.")
    ] = "",
) -> None:
    """Make a witness, and its key if there is none. Prints the public key, which belongs in trust policies.

    Exit status: 0 made, 1 the folder holds one, or the disk refused, 2 wrong usage.
    """
    from failshut_console.witness.running import create as make

    typer.echo(make(folder, key, name))


@group.command("add")
def add(
    folder: State,
    log: Annotated[str, typer.Argument(metavar="LOG", help="The log's public key: its line, or its file.")],
    key: SecretKey,
) -> None:
    """Witness a log from now on. For a log that is known already, add one more key, for example its new one. Stop `run` first.

    Exit status: 0 known, 1 refused, 2 wrong usage.
    """
    from failshut_console.witness.running import add as follow

    typer.echo("added" if follow(folder, key, log) else "known already")


@group.command("list")
def show(folder: State, key: SecretKey, as_json: AsJson = False) -> None:
    """Show each log with the last tree that was cosigned.

    Exit status: 0 shown, 1 the state is damaged, 2 wrong usage.
    """
    from failshut_console.witness.running import listed

    found = listed(folder, key)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        said = "nothing yet" if one["size"] is None else f"{one['size']} leaves, root {one['root']}"
        typer.echo(f"{one['origin']}: {said}")


@group.command("run")
def run(
    folder: State,
    key: SecretKey,
    bind: Annotated[
        str, typer.Option(envvar="FAILSHUT_WITNESS_BIND", help="Where to listen, HOST:PORT. Port 0: any free one.")
    ] = "127.0.0.1:7380",
    tls_cert: Annotated[
        str, typer.Option(envvar="FAILSHUT_TLS_CERT", help="Certificate chain (PEM), read again when it changes.")
    ] = "",
    tls_key: Annotated[str, typer.Option(envvar="FAILSHUT_TLS_KEY", help="Its private key (PEM).")] = "",
    connections: Annotated[int, typer.Option(min=1, max=4096, help="Connections at once; more are dropped.")] = 64,
    log_format: LogFormat = "text",
) -> None:
    """Answer logs by the C2SP witness protocol, until told to stop. The state is on the disk before a cosignature is sent.

    Needs the extra `gateway`. Without a certificate it speaks plain HTTP: a cosignature proves itself.

    Exit status: 0 told to stop, 1 the state is damaged, or another process is this witness, 2 wrong usage, or it cannot listen
    at that address.
    """
    from failshut_console.commands.serve import place_of
    from failshut_console.witness.running import NOTHING_COSIGNED
    from failshut_console.witness.running import run as answer

    log_as(log_format)
    ended = answer(folder, key, place_of(bind, NOTHING_COSIGNED), cert=tls_cert, tls_key=tls_key, connections_max=connections)
    raise typer.Exit(ended)
