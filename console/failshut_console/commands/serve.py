"""`failshut serve`: gates over HTTP, for services in any language."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, Broker, Folder, Installation, Jwks, Prefix, Store, where
from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_console.local.state import Runtime
    from failshut_console.web.ledger_look import LedgerLook
    from failshut_gateway.site import MakeSite

NOT_STARTED = "no gateway was started; who asks one gets no answer, and must not go on"


# Long: one parameter for each option of the command line.
def serve(
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    access: Annotated[
        Path | None,
        typer.Option(envvar="FAILSHUT_ACCESS", help="The file of access keys. Default: access.json in the state folder."),
    ] = None,
    bind: Annotated[
        str, typer.Option(envvar="FAILSHUT_BIND", help="Where to listen, HOST:PORT. Port 0: any free one.")
    ] = "127.0.0.1:8181",
    url: Annotated[
        str, typer.Option(envvar="FAILSHUT_URL", help="How callers reach it: https://HOST. Discovery and cookies need it.")
    ] = "",
    tls_cert: Annotated[
        str, typer.Option(envvar="FAILSHUT_TLS_CERT", help="Certificate chain (PEM), read again when it changes.")
    ] = "",
    tls_key: Annotated[str, typer.Option(envvar="FAILSHUT_TLS_KEY", help="Its private key (PEM).")] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Listen beyond this machine without TLS, because TLS ends before the gateway.")
    ] = False,
    rules: Annotated[
        Path | None,
        typer.Option(envvar="FAILSHUT_RULES", help="Rules from AuthZEN's resources to gates (TOML): docs/gateway/README.md."),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            envvar="FAILSHUT_IDENTITY", help="Issuers of tokens and client certificates (TOML): docs/gateway/identity.md."
        ),
    ] = None,
    metadata_key: Annotated[
        str,
        typer.Option(
            envvar="FAILSHUT_METADATA_KEY", help="Ed25519 key (PEM) that signs AuthZEN's discovery, and nothing else."
        ),
    ] = "",
    rate: Annotated[int, typer.Option(envvar="FAILSHUT_RATE", help="Questions a second that one key may ask.")] = 5_000,
    connections: Annotated[
        int, typer.Option(envvar="FAILSHUT_CONNECTIONS", help="Connections at once; more are dropped.")
    ] = 1_024,
    executions: Annotated[
        int, typer.Option(envvar="FAILSHUT_EXECUTIONS", help="Executions over HTTP that run at once; more are refused.")
    ] = 4_096,
    lost_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_LOST_MS", help="An execution is interrupted if its caller is silent for so many ms.")
    ] = 10_000,
    stall_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_STALL_MS", help="Callers are cut off if the event loop is blocked for so many ms.")
    ] = 1_000,
    console: Annotated[
        bool, typer.Option("--console/--no-console", envvar="FAILSHUT_CONSOLE", help="Serve the web console at /console.")
    ] = True,
    console_key: Annotated[
        str,
        typer.Option(
            envvar="FAILSHUT_CONSOLE_KEY",
            help="An operator's private key (PEM). The console signs with it the orders of holders of operator access keys. "
            "Without it the console sends no orders.",
        ),
    ] = "",
    ledger: Annotated[
        Path | None, typer.Option(envvar="FAILSHUT_LEDGER", help="A ledger's folder: the console shows how its witnesses are.")
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(envvar="FAILSHUT_TRUST", help="With --ledger: the trust policy with its log and its witnesses."),
    ] = None,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
) -> None:
    """Serve gates over HTTP: forward auth for proxies, AuthZEN, executions, a web console. Whatever fails is a denial.

    Callers need an access key (failshut access create). The guard inside is the one that services use, and reads the same
    FAILSHUT_CONTEXT and FAILSHUT_DEADLINE_MS. Start as many gateways as you like; they share the store alone.
    The console asks for an access key of the role viewer or operator. It reads the log from --broker.

    Exit status: 0 told to stop (SIGTERM, Ctrl-C), 1 it could not go on, 2 wrong usage, or it cannot listen at that address.
    """
    from failshut.config import from_environment
    from failshut_gateway.gateway import Gateway, Settings
    from failshut_gateway.hot.mapping import FILE_BYTES_MAX, Rules, read_mapping
    from failshut_gateway.identity.identity_file import Sources, read_sources

    at = where(state, store=store, jwks=jwks, installation=installation)
    if not store:  # the log of a running `failshut up` belongs to its store
        broker, prefix = broker or at.broker, prefix or at.prefix
    host, port = place_of(bind)
    try:
        found = Rules()
        if rules is not None:
            with rules.open("rb") as file:
                found = read_mapping(file.read(FILE_BYTES_MAX + 1))
        sources = Sources()
        if identity is not None:
            with identity.open("rb") as file:
                sources = read_sources(file.read(FILE_BYTES_MAX + 1), identity.parent)
        guard = from_environment(store_url=at.store, jwks=at.jwks, installation=at.installation)
        settings = Settings(
            guard=guard,
            access=access or state / "access.json",
            host=host,
            port=port,
            url=url,
            cert=tls_cert,
            key=tls_key,
            plain=plain,
            rate=rate,
            connections_max=connections,
            executions_max=executions,
            lost_seconds=lost_ms / 1000,
            stall_ms=stall_ms,
            rules=found,
            sources=sources,
            metadata_key=metadata_key,
        )
        site = _console(at, broker, prefix, console_key, _ledger_look(ledger, trust)) if console else None
        gateway = Gateway(settings, site)
    except (OSError, ValueError) as error:
        raise Trouble(f"the gateway cannot be started: {error}", NOT_STARTED, "failshut serve --help") from error
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    typer.echo(f"gates are served at {gateway.url}, access keys are in {settings.access}", err=True)
    if console:
        typer.echo(f"the console is at {gateway.url}/console: failshut access create --role viewer|operator", err=True)
    sys.exit(Exit.DONE if gateway.run() == 0 else Exit.REFUSED)


def _ledger_look(folder: Path | None, trust: Path | None) -> LedgerLook | None:
    """Return who looks at a ledger, where one was named. Raises ValueError for half of what it needs, or Trouble."""
    from failshut_console.ledger.witness_status import load_policy
    from failshut_console.web.ledger_look import LedgerLook

    if folder is None and trust is None:
        return None
    if folder is None or trust is None:
        raise ValueError("--ledger and --trust are given together: a ledger is judged by whom you trust")
    return LedgerLook(folder, load_policy(trust))


def _console(at: Runtime, broker: str, prefix: str, key: str, ledger: LedgerLook | None) -> MakeSite:
    """Return what makes the console. Raises Trouble, or ValueError for a key without a broker to send what it signs to."""
    from failshut_console.monitor.gate_views import Looker
    from failshut_console.monitor.send_command import load_operator_key
    from failshut_console.web.ordering import Signing
    from failshut_console.web.site import Console, Sources

    def reader() -> Looker:
        return Looker(at.store, at.jwks, installation=at.installation)

    signing = None
    if key:
        if not broker:
            raise ValueError("--console-key signs what goes to a broker, and none is known: name it with --broker")
        signing = Signing(broker, prefix, load_operator_key(key), lambda: reader().names.installation)
    sources = Sources(reader, broker, prefix, at.jwks, signing, ledger)
    return lambda inside: Console(inside, sources)


def place_of(bind: str, means: str = NOT_STARTED) -> tuple[str, int]:
    """Return host and port of HOST:PORT, also [::1]:PORT. Raises Trouble."""
    host, colon, port = bind.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5:
        raise Trouble(f"--bind: {bind!r} is not HOST:PORT", means, "write 127.0.0.1:8181")
    return host.removeprefix("[").removesuffix("]"), int(port)
