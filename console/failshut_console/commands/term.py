"""`failshut term`: the evidence log of an installation, opened once and after each loss."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, Broker, Folder, Installation, OperatorKey, Prefix, where
from failshut_console.connection_options import reaching
from failshut_console.exits import Exit, Trouble, unreachable

if TYPE_CHECKING:
    from failshut_breakers.command import OpenTerm

group = typer.Typer(
    no_args_is_help=True,
    help="Terms of the evidence log. Open the first one once, and the next only if a log was lost or replaced.",
)


@group.callback()
def _term() -> None:
    """Keep `open` a command of its own."""


# Long: one parameter for each option of the command line.
@group.command("open")
@reaching
def open_term(
    broker: Broker = "",
    prefix: Prefix = "",
    installation: Installation = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    partitions: Annotated[
        int, typer.Option(min=1, max=1024, help="Partitions of a new evidence topic. They cannot be changed later.")
    ] = 4,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Open the next term although one is open. Every gate is LOCKED until it is unlocked."),
    ] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the log.")] = "first term",
) -> None:
    """Open the first term of an installation, signed with your key, and create the topics that are missing.

    The first term makes the installation's id, unless --installation names one. Every permit, command and name in the
    store carries it, so installations with the same keys or the same store do not affect each other. It is written into
    the state folder's JWKS file, for guards. If guards have another file, set FAILSHUT_INSTALLATION.

    A term says which evidence topic counts and where covering starts. Without one no gate opens. If the evidence topic
    was lost or replaced, only your signed command (--renew) opens the next term. Then every gate is LOCKED.

    Exit status: 0 a term is open, 1 refused (the open one is of another topic), 2 wrong usage, 3 nobody answered.
    """
    from aiokafka.errors import KafkaError

    from failshut_console.local.state import State, who
    from failshut_console.monitor.send_command import load_operator_key
    from failshut_streams.control.client import Operator, TermError, Unacknowledged
    from failshut_streams.kafka.address import shown
    from failshut_streams.kafka.topics import BrokerUnreachable, Counts, Topics, TopicsUnfit, ensure

    at = where(state, broker=broker, key=key, prefix=prefix, installation=installation)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was opened", "give --broker kafka://HOST:PORT")
    signed = load_operator_key(at.operator_key)

    async def act() -> tuple[OpenTerm, bool]:
        found = await ensure(at.broker, Topics(at.prefix), Counts(evidence=partitions))
        # Not what the state folder's key set names: that may be another installation with the same keys.
        given = installation and at.installation
        async with Operator(at.broker, signed, at.prefix, who(), timeout_s=10.0, installation=given) as operator:
            term, _, opened = await operator.open_term(found, why, renew=renew)
            return term, opened

    try:
        term, opened = asyncio.run(act())
    except TermError as error:
        raise Trouble(str(error), "gates stay closed", "failshut term open --renew --why ...", Exit.REFUSED) from error
    except TopicsUnfit as error:
        raise Trouble(str(error), "gates stay closed", "repair the topics, then open the term", Exit.REFUSED) from error
    except (BrokerUnreachable, Unacknowledged, KafkaError, OSError) as error:
        raise unreachable(
            f"Kafka at {shown(at.broker)} does not answer: {error}", "start it, or name it with --broker"
        ) from error
    typer.echo(f"term {term.term} {'is opened' if opened else 'was open already'}: installation {term.installation}")
    home = State(state)
    if home.name_installation(term.installation):
        typer.echo(f"{home.jwks} names it: give that file to guards")
    else:
        typer.echo(f"guards need it: FAILSHUT_INSTALLATION={term.installation} (no key set of it is in {home.folder})")
