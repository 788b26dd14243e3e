"""`failshut gap`: evidence that was never seen, which only an operator can put right, by name."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import (
    FOLDER,
    AsJson,
    Broker,
    Folder,
    Installation,
    Jwks,
    OperatorKey,
    Prefix,
    Store,
    where,
)
from failshut_console.commands.orders.sending import By, Why, signed
from failshut_console.exits import Exit, Trouble, unreachable

if TYPE_CHECKING:
    from failshut_console.local.state import Runtime

group = typer.Typer(
    no_args_is_help=True,
    help="Gaps: evidence that was never seen. While there is one, evidence time stops and gates lapse.",
)

Gaps = dict[str, tuple[int, int]]


@group.command("list")
def list_gaps(
    store: Store = "", jwks: Jwks = "", installation: Installation = "", state: Folder = FOLDER, as_json: AsJson = False
) -> None:
    """Show where evidence is missing: the partition, up to which offset it is covered, and where the next run began.

    Most gaps close by themselves, when a router writes the lost evidence again. A gap stays if its records are gone,
    because retention removed them before they were routed. For those there is `failshut gap accept`.

    Exit status: 0 there is none, 1 there is one, 2 wrong usage, 3 the store does not answer or no monitor is alive.
    """
    gaps = _gaps(where(state, store=store, jwks=jwks, installation=installation))
    if as_json:
        typer.echo(json.dumps({place: {"covered": at, "began": beyond} for place, (at, beyond) in sorted(gaps.items())}))
    elif not gaps:
        typer.echo("no gap: evidence joins")
    else:
        for place, (at, beyond) in sorted(gaps.items()):
            typer.echo(f"{place}  covered up to {at}, what came next began at {beyond}")
    if gaps:
        raise typer.Exit(Exit.REFUSED)


# Long: one parameter for each option of the command line.
@group.command("accept")
def accept_gap(
    topic: Annotated[str, typer.Argument(help="telemetry, otlp_metrics or internal.")],
    partition: Annotated[int, typer.Argument(min=0, help="Its partition.")],
    why: Why,
    upto: Annotated[
        int,
        typer.Option(min=-1, help="Give up the records before this offset. Default: only those that are gone from Kafka."),
    ] = -1,
    by: By = "",
    broker: Broker = "",
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    prefix: Prefix = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    wait: Annotated[float, typer.Option("--wait", min=1, max=300, help="Seconds to wait until the gap is gone.")] = 20.0,
) -> None:
    """Sign that what a partition held before an offset is lost and will not be seen. Evidence goes on from there.

    Routers go back to that offset, however far they have read, so no later record is lost. Gates are judged without the
    records that you give up. Find out what they may have held before you sign.

    Exit status: 0 the gap is gone, 1 refused (there is no such gap), 2 wrong usage, 3 nobody answered, or the gap was accepted
    and is still there (it says which).
    """
    from failshut_breakers.command import AcceptGap
    from failshut_console.local.state import who
    from failshut_console.monitor.send_command import load_operator_key
    from failshut_streams.control.client import Operator, Unacknowledged
    from failshut_streams.kafka.address import shown
    from failshut_streams.kafka.topics import INTERNAL, OTLP_METRICS, TELEMETRY, BrokerUnreachable

    if topic not in (TELEMETRY, OTLP_METRICS, INTERNAL):
        choices = f"{TELEMETRY}, {OTLP_METRICS} or {INTERNAL}"
        raise Trouble(f"{topic!r} is not a topic of evidence", "nothing was sent", f"say {choices}")
    at = where(state, store=store, broker=broker, jwks=jwks, key=key, prefix=prefix, installation=installation)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was sent", "give --broker kafka://HOST:PORT")
    place = f"{topic}/{partition}"
    gaps = _gaps(at)
    if place not in gaps and upto < 0:
        raise Trouble(f"{place} has no gap", "nothing was sent", "look at `failshut gap list`", Exit.REFUSED)
    claims, key_pair = signed(at, by, why), load_operator_key(at.operator_key)

    async def act() -> int:
        async with Operator(at.broker, key_pair, at.prefix, by or who(), timeout_s=10.0) as operator:
            position = upto
            if position < 0:
                position = max(gaps[place][0], await operator.first_offset(topic, partition))
            order = AcceptGap(**claims, topic=topic, partition=partition, upto=position)
            await operator.send(order)
            return position

    try:
        position = asyncio.run(act())
    except (BrokerUnreachable, Unacknowledged, OSError) as error:
        raise unreachable(
            f"Kafka at {shown(at.broker)} does not answer: {error}", "look at `failshut gap list` first"
        ) from error
    if not _gone(at, place, wait):
        raise unreachable(
            f"{place} is accepted up to {position}, and the gap still stands after {wait:g} s",
            "look at `failshut gap list`: no monitor runs, it is behind, or more is gone than that",
        )
    typer.echo(f"{place}: what stood before {position} is given up; evidence goes on from there")


def _gaps(at: Runtime) -> Gaps:
    """Return the gaps that living monitors report: of each place the lowest covered position.

    Raises:
        Trouble: the store does not answer, or nobody lives who would know.
    """
    from failshut_console.monitor.gate_views import Looker

    looker = Looker(at.store, at.jwks, installation=at.installation)
    try:
        workers = looker.look([]).workers
    finally:
        looker.close()
    if not workers:
        raise unreachable("no monitor is alive, so nobody knows of gaps", "start one: failshut run, or failshut up")
    gaps: Gaps = {}
    for worker in workers:
        for place, (covered, beyond) in worker.gap_places.items():
            lowest, furthest = gaps.get(place, (covered, beyond))
            gaps[place] = min(covered, lowest), max(beyond, furthest)
    return gaps


def _gone(at: Runtime, place: str, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        time.sleep(0.5)
        try:
            if place not in _gaps(at):
                return True
        except Trouble:
            continue  # a worker that starts again reports in a moment
    return False
