"""Carries out the commands that write a ledger, or have it cosigned: create, run, cosign, rotate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from failshut_console.exits import Trouble, unreachable
from failshut_console.ledger.cosigning import EVERY_SECONDS, Cosigner, follow
from failshut_console.ledger.feed import Feed, NoTopic
from failshut_console.ledger.key_files import ledger_trouble, load_signer, make_key, public_of
from failshut_console.ledger.witness_status import load_policy
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.errors import LedgerError
from failshut_ledger.leaves.statement import rotation_leaf
from failshut_streams.kafka.address import shown

logger = logging.getLogger(__name__)

Listen = tuple[str, int]
"""An address and a port."""

_LAST_SECONDS: Final = 2.0
"""So long the thread that asks witnesses may take to end."""


def create(folder: Path, key: Path, name: str) -> str:
    """Make a ledger, and its key where there is none; return its public key.

    Raises:
        Trouble: it cannot be made.
    """
    signer = load_signer(key) if key.exists() else make_key(key, name)
    if name and signer.verifier.name != name:
        raise Trouble(f"the key in {key} has the name {signer.verifier.name}", "no ledger was made", "leave --name out")
    try:
        create_ledger(folder, signer)
    except LedgerError as error:
        raise ledger_trouble(error) from error
    return str(signer.verifier)


def run(
    folder: Path,
    key: Path,
    broker: str,
    prefix: str,
    witnesses: Path | None = None,
    authority: str = "",
    metrics: Listen | None = None,
) -> None:
    """Follow the decisions topic until SIGTERM or SIGINT, and have the witnesses of a policy cosign it, where there is one.

    `metrics`: where Prometheus asks, which needs a policy.

    Raises:
        Trouble: the ledger or the topic is not as it must be, or no broker answers.
    """
    signer = load_signer(key)
    cosigner = _cosigner(folder, witnesses, authority) if witnesses is not None else None
    try:
        with open_ledger(folder, signer) as writer, _answering(folder, witnesses, metrics):
            feed = Feed(writer, signer, broker, prefix)
            logger.info("the ledger %s has %d leaves", signer.verifier.name, writer.checkpoint.size)
            asyncio.run(_until_told(feed, cosigner))
            logger.info("stopped at %d leaves, %d of them written by this run", writer.checkpoint.size, feed.written)
    except LedgerError as error:
        raise ledger_trouble(error) from error
    except NoTopic as error:
        raise Trouble(str(error), "nothing was written", "name the monitor's prefix: --prefix") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(f"Kafka at {shown(broker)} does not answer: {error}", "start it, or name it with --broker") from error


def rotate(folder: Path, old: Path, new: Path) -> str:
    """Hand a ledger over to a new key, which is made where there is none; return its public key.

    Raises:
        Trouble: the ledger is being written, or is not the old key's.
    """
    before = load_signer(old)
    after = load_signer(new) if new.exists() else make_key(new, before.verifier.name)
    try:
        leaf = rotation_leaf(before, after, time.time_ns() // 1_000_000)
        with open_ledger(folder, before) as writer:
            writer.append([leaf], writer.checkpoint.position, [after])
    except LedgerError as error:
        raise ledger_trouble(error, f"stop `failshut ledger run` first; {public_of(new)} stays for another try") from error
    return str(after.verifier)


def cosign(folder: Path, witnesses: Path, authority: str = "", every_ms: int = 500, metrics: Listen | None = None) -> None:
    """Have the witnesses of a policy cosign a ledger that another process writes, until SIGTERM or SIGINT.

    `metrics`: where Prometheus asks.

    Raises:
        Trouble: the ledger is a fork, is damaged, or is asked for already.
    """
    cosigner, stop = _cosigner(folder, witnesses, authority, every_ms / 1000), threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        with _answering(folder, witnesses, metrics):
            cosigner.run(stop)
    except LedgerError as error:
        raise ledger_trouble(error) from error


@contextlib.contextmanager
def _answering(folder: Path, witnesses: Path | None, metrics: Listen | None) -> Iterator[None]:
    """Answer Prometheus meanwhile, if somebody asked for that."""
    if metrics is None:
        yield
        return
    if witnesses is None:
        raise Trouble(
            "metrics are of a ledger under a trust policy",
            "nothing was started",
            "name one with --witnesses, or leave the port out",
        )
    from failshut_console.ledger.ledger_metrics import serve_metrics

    end = serve_metrics(folder, load_policy(witnesses), *metrics)
    try:
        yield
    finally:
        end()


def _cosigner(folder: Path, witnesses: Path, authority: str = "", every_seconds: float = EVERY_SECONDS) -> Cosigner:
    try:
        return Cosigner(folder, load_policy(witnesses), every_seconds=every_seconds, authority=authority or None)
    except (OSError, ValueError) as error:
        do = "write a line for each: witness NAME KEY https://HOST/PREFIX"
        raise Trouble(f"{witnesses}: {error}", "no witness is asked", do) from error


async def _until_told(feed: Feed, cosigner: Cosigner | None) -> None:
    stop, asking = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # in a thread of a test there are no signals
            loop.add_signal_handler(name, stop.set)
    thread = None if cosigner is None else follow(cosigner, asking)
    try:
        await feed.run(stop)
    finally:
        asking.set()
        if thread is not None:
            await asyncio.to_thread(thread.join, _LAST_SECONDS)
