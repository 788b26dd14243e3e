"""`failshut ledger`: the tamper-evident log of decisions, made, written, checked, handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, LogFormat, Prefix, log_as

group = typer.Typer(
    no_args_is_help=True,
    help="The ledger: a tamper-evident log of every decision, which others verify with a public key alone.",
)

Ledger = Annotated[Path, typer.Argument(metavar="DIR", help="The ledger's folder.")]
SecretKey = Annotated[Path, typer.Option(envvar="FAILSHUT_LEDGER_KEY", help="The ledger's secret key. It signs no permits.")]


@group.command("create")
def create(
    folder: Ledger,
    key: SecretKey,
    name: Annotated[
        str, typer.Option(help="The ledger's name, for a new key: like an address, without a scheme or a space.")
    ] = "",
) -> None:
    """Make an empty ledger, and its key if there is none. Prints the public key, which is all that a verifier needs.

    The secret key is written with mode 0600, the public one beside it with `.pub` behind its name. A ledger is made once: a
    folder that holds one is refused.

    Exit status: 0 made, 1 the folder holds one, or the disk refused, 2 wrong usage.
    """
    from failshut_console.ledger.running import create as make

    typer.echo(make(folder, key, name))


@group.command("run")
def run(
    folder: Ledger,
    key: SecretKey,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
    log_format: LogFormat = "text",
) -> None:
    """Write every decision of a monitor into the ledger, until told to stop.

    It begins where the checkpoint says. It stops at a gap: if the topic no longer holds what comes next, or was made anew. A
    ledger has one writer.

    Exit status: 0 told to stop, 1 a gap, a damaged ledger, a second writer or a full disk, 2 wrong usage, 3 Kafka does not
    answer.
    """
    from failshut_console.commands.options import where
    from failshut_console.exits import Trouble
    from failshut_console.ledger.running import run as follow

    log_as(log_format)
    at = where(state, broker=broker, prefix=prefix)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was written", "name Kafka with --broker, or start `failshut up`")
    follow(folder, key, at.broker, at.prefix)


@group.command("verify")
def verify(
    folder: Ledger,
    key: Annotated[list[str], typer.Option(help="A public key that you trust: its line, or its file.")],
    as_json: AsJson = False,
) -> None:
    """Check a whole ledger: each leaf's signature, each tile, the root, the checkpoint. It needs no Kafka and no network.

    Name the first key of the ledger. Later keys are found in it, each signed by the one before.

    Exit status: 0 everything verifies, 1 something does not, and it says what and where, 2 wrong usage.
    """
    from failshut_console.ledger.auditing import verify_ledger
    from failshut_console.ledger.key_files import load_verifier

    found = verify_ledger(folder, [load_verifier(one) for one in key])
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"VERIFIED  {found['origin']}: {found['size']} leaves, root {found['root']}")
    for kind, count in found["leaves"].items():
        typer.echo(f"  {count:>9}  {kind}")
    for one in found["keys"]:
        typer.echo(f"  signed by {one}")


@group.command("rotate")
def rotate(
    folder: Ledger,
    key: SecretKey,
    new_key: Annotated[Path, typer.Option(help="The new secret key; it is made if there is none.")],
) -> None:
    """Hand the ledger over to a new key, on the ledger itself. Prints the new public key.

    Both keys sign the leaf and the checkpoint behind it. From there on the old key signs nothing. Stop `failshut ledger run`
    first, and start it with the new key.

    Exit status: 0 handed over, 1 refused, 2 wrong usage.
    """
    from failshut_console.ledger.running import rotate as hand_over

    typer.echo(hand_over(folder, key, new_key))
