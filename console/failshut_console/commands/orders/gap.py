"""`failshut gap` and `failshut fence`: what only an operator can put right, by name."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated

import typer

from failshut.epoch import digits
from failshut_breakers.command import AcceptGap
from failshut_breakers.store import Store as StoreWriter
from failshut_breakers.store import StoreUnreachable
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
from failshut_console.commands.orders import By, Why, signed
from failshut_console.exits import Exit, Trouble, unreachable
from failshut_console.looking import Looker
from failshut_console.ordering import load_operator_key
from failshut_console.state import Runtime, who
from failshut_streams.broker import shown
from failshut_streams.operator import Operator, Unacknowledged
from failshut_streams.topics import INTERNAL, OTLP_METRICS, TELEMETRY, BrokerUnreachable

gap_group = typer.Typer(
    no_args_is_help=True,
    help="Gaps: evidence that was never seen. While there is one, evidence time stops and gates lapse.",
)
fence_group = typer.Typer(
    no_args_is_help=True,
    help="Fences: the epoch that the store holds for a gate. It refuses every write below that.",
)

Gaps = dict[str, tuple[int, int]]


@gap_group.command("list")
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


@gap_group.command("accept")
def accept_gap(
    topic: Annotated[str, typer.Argument(help=f"{TELEMETRY}, {OTLP_METRICS} or {INTERNAL}.")],
    partition: Annotated[int, typer.Argument(min=0, help="Its partition.")],
    why: Why,
    upto: Annotated[
        int,
        typer.Option(min=-1, help="Give up what was before this offset. Default: only what is gone from Kafka."),
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

    Routers go back to that offset, however far they have read, so nothing behind it is lost. Gates are judged without the
    records that you give up. Find out what they may have held before you sign.

    Exit status: 0 the gap is gone, 1 refused (there is no such gap), 2 wrong usage, 3 nobody answered: it is on the log.
    """
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
    """The gaps that living monitors report: of each place the lowest covered position.

    Raises:
        Trouble: the store does not answer, or nobody lives who would know.
    """
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


@fence_group.command("clear")
def clear_fence(
    gate: Annotated[str, typer.Argument(help="The gate's name, such as payments.refund.")],
    epoch: Annotated[int, typer.Option(min=0, max=(1 << 53) - 1, help="The epoch that the store holds, as the log names it.")],
    store: Store = "",
    jwks: Jwks = "",
    installation: Installation = "",
    state: Folder = FOLDER,
) -> None:
    """Remove a fence that no monitor of yours wrote, and the gate's record with it.

    A worker names such a fence in its log and in `failshut watch`, with this command. The fence's epoch is ahead of the
    monitors' writes, so the store refuses them all. Be sure that no monitor of a later term runs. The gate denies until
    a monitor writes its last decision again, within seconds. Whoever wrote the fence can write to your store.

    Exit status: 0 removed, 1 refused (the store holds another epoch by now), 2 wrong usage, 3 the store does not answer.
    """
    at = where(state, store=store, jwks=jwks, installation=installation)
    if not at.store:
        raise Trouble("no store is known", "nothing was changed", "name it: --store redis://HOST:PORT/0")
    looker = Looker(at.store, at.jwks, installation=at.installation)
    names = looker.names
    looker.close()

    async def act() -> bool:
        async with StoreWriter(at.store) as writer:
            return await writer.clear_fence(names, gate, digits(epoch))

    try:
        removed = asyncio.run(act())
    except StoreUnreachable as error:
        raise unreachable(f"the store does not answer: {error}", "start it, or name another one with --store") from error
    except ValueError as error:
        raise Trouble(str(error), "nothing was changed", "name a gate and an epoch as the log does") from error
    if not removed:
        raise Trouble(
            f"the store holds another epoch than {epoch} for {gate}",
            "nothing was changed",
            f"look at `failshut gates {gate}`: a monitor may have written it by now",
            Exit.REFUSED,
        )
    typer.echo(f"{gate}: the fence of epoch {epoch} is removed; the gate denies until a monitor writes it again")


@fence_group.callback()
def _fence() -> None:
    """Keep `clear` a command of its own."""
