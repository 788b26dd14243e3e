"""`failshut ledger`: the tamper-evident log of decisions, made, written, cosigned, checked, handed over."""

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
Witnesses = Annotated[
    Path | None,
    typer.Option(
        envvar="FAILSHUT_WITNESSES", help="A trust policy (C2SP tlog-policy) whose witnesses are asked: each with its address."
    ),
]
Authority = Annotated[
    str,
    typer.Option(
        envvar="FAILSHUT_WITNESS_AUTHORITY", help="The authority of the witnesses' certificates (PEM), if it is no public one."
    ),
]
MetricsPort = Annotated[
    int, typer.Option(min=0, max=65_535, help="Port on which Prometheus asks for the ledger and its witnesses. 0: none.")
]
MetricsAddress = Annotated[str, typer.Option(help="Address of that port. Whoever reaches it reads the metrics.")]
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
    witnesses: Witnesses = None,
    authority: Authority = "",
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = "127.0.0.1",
    state: Folder = FOLDER,
    log_format: LogFormat = "text",
) -> None:
    """Write every decision of a monitor into the ledger, until told to stop.

    It starts at the position in the checkpoint. It stops at a gap: the topic no longer holds the next decisions, or was deleted
    and created again. A ledger has one writer. With --witnesses, witnesses cosign each checkpoint while it writes on.
    `failshut ledger cosign` does the same in a separate process.

    Exit status: 0 told to stop, 1 a gap, a fork, a damaged ledger, a second writer or a full disk, 2 wrong usage, 3 Kafka
    does not answer.
    """
    from failshut_console.commands.options import where
    from failshut_console.exits import Trouble
    from failshut_console.ledger.running import run as follow

    log_as(log_format)
    at = where(state, broker=broker, prefix=prefix)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was written", "name Kafka with --broker, or start `failshut up`")
    follow(folder, key, at.broker, at.prefix, witnesses, authority, _listen(metrics_address, metrics_port))


@group.command("cosign")
def cosign(
    folder: Ledger,
    witnesses: Annotated[
        Path, typer.Option(envvar="FAILSHUT_WITNESSES", help="A trust policy (C2SP tlog-policy): witnesses with addresses.")
    ],
    authority: Authority = "",
    every_ms: Annotated[int, typer.Option(min=50, max=86_400_000, help="Ask for a checkpoint at most this often (ms).")] = 500,
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = "127.0.0.1",
    log_format: LogFormat = "text",
) -> None:
    """Have witnesses cosign a ledger, until told to stop. Run it on the folder of the ledger, beside the writer's process.

    Once the quorum has cosigned a checkpoint, it is published as `checkpoint.cosigned`. A witness that is down, slow or lying
    delays neither the others nor the writer. If one shows that the ledger's key has signed another tree, the proof is published
    as `checkpoint.fork`. Then no witness is asked any more, and the writer stops.

    Exit status: 0 told to stop, 1 a fork, a damaged ledger, or another process asks, 2 wrong usage.
    """
    from failshut_console.ledger.running import cosign as ask

    log_as(log_format)
    ask(folder, witnesses, authority, every_ms, _listen(metrics_address, metrics_port))


def _listen(address: str, port: int) -> tuple[str, int] | None:
    return (address, port) if port else None


@group.command("status")
def status(
    folder: Ledger,
    policy: Annotated[Path, typer.Option(help="Whom you trust: a C2SP trust policy, with the log and its witnesses.")],
    younger_than: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Cosignatures that are older do not count for the quorum.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which witnesses have cosigned a ledger, how old that is, and what each said last. It checks no leaf.

    Exit status: 0 the quorum is met, 1 it is not, or the ledger is a fork or damaged, 2 wrong usage.
    """
    from failshut_console.exits import Exit
    from failshut_console.ledger.witness_status import as_lines, load_policy
    from failshut_console.ledger.witness_status import status as found_of

    found = found_of(folder, load_policy(policy), younger_than)
    typer.echo(json.dumps(found) if as_json else "\n".join(as_lines(found)))
    if found["fork"] or not found["quorum_met"]:
        raise typer.Exit(Exit.REFUSED)


@group.command("verify")
def verify(
    folder: Ledger,
    key: Annotated[list[str], typer.Option(help="A public key that you trust: its line, or its file.")],
    policy: Annotated[
        Path | None, typer.Option(help="A trust policy: its quorum of witnesses must have cosigned this ledger.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a whole ledger: each leaf's signature, each tile, the root, the checkpoint. It needs no Kafka and no network.

    Give --key the first key of the ledger. The ledger holds the later keys, each signed by the one before. With --policy, it
    says which witnesses have cosigned this very tree, how many leaves of it, and how long ago.

    Exit status: 0 everything verifies, 1 something does not, and it says what and where, 2 wrong usage.
    """
    from failshut_console.ledger.auditing import verify_ledger
    from failshut_console.ledger.key_files import load_verifier
    from failshut_console.ledger.witness_status import load_policy

    found = verify_ledger(folder, [load_verifier(one) for one in key], None if policy is None else load_policy(policy))
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"VERIFIED  {found['origin']}: {found['size']} leaves, root {found['root']}")
    for kind, count in found["leaves"].items():
        typer.echo(f"  {count:>9}  {kind}")
    for one in found["keys"]:
        typer.echo(f"  signed by {one}")
    if found["cosigned"] is not None:
        for name, seconds in found["cosigned"]["seconds"].items():
            typer.echo(f"  {found['cosigned']['size']} leaves cosigned by {name}, {seconds} s ago")


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
