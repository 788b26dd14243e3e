"""Carries out `failshut notify`: tells every target what happens, or tries every target once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from failshut_console.exits import Exit, Trouble
from failshut_console.monitor.decision_log import DecisionLog
from failshut_console.notify import book_file
from failshut_console.notify.book_file import BadBook
from failshut_console.notify.news import News
from failshut_console.notify.senders import Failed, Sender, sender_for
from failshut_console.notify.settings import FILE_BYTES_MAX, NoSecret, Target, read_targets
from failshut_console.notify.teller import Pace, Teller
from failshut_ledger.disk.lock import writing
from failshut_ledger.errors import AlreadyWritten, DiskFailed

logger = logging.getLogger(__name__)

NOBODY = "nobody is told of anything, and no gate is concerned"
TRIED = "failshut.notify-test"
"""The gate that a try speaks of. There is none of this name."""


def targets_of(file: Path, prefix: str, broker: str) -> list[tuple[Target, Sender]]:
    """Return the targets of a file, each with what takes news to it. Raises Trouble."""
    try:
        with file.open("rb") as opened:
            found = read_targets(opened.read(FILE_BYTES_MAX + 1), prefix)
        return [(target, sender_for(target, broker)) for target in found]
    except (OSError, ValueError) as error:
        raise Trouble(f"{file}: {error}", NOBODY, "docs/trouble/notifications.md says what a target has") from error


def run(file: Path, folder: Path, broker: str, prefix: str, pace: Pace | None = None) -> None:
    """Tell every target what happens, until SIGTERM or SIGINT.

    Raises:
        Trouble: the targets, their books or the topic are not as they must be, or no broker answers.
    """
    targets = targets_of(file, prefix, broker)
    with _alone(folder):
        for target, _ in targets:
            try:
                book_file.load(book_file.path_of(folder, target.name))
            except (BadBook, OSError) as error:
                do = "restore it from a backup, or remove it: its target is then told of what happens from now on"
                raise Trouble(str(error), NOBODY, do) from error
        tellers = [Teller(target, sender, folder, broker, prefix, pace or Pace()) for target, sender in targets]
        asyncio.run(_until_told(tellers, broker, prefix))
    for teller in tellers:
        logger.info("%s was told of %d, and %d were given up", teller.target.name, teller.told, teller.given_up)


async def _until_told(tellers: list[Teller], broker: str, prefix: str) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # in a thread of a test there are no signals
            loop.add_signal_handler(name, stop.set)
    async with DecisionLog(broker, prefix) as log:
        await log.bounds()  # a wrong broker, prefix or login ends the command; what comes later is waited for
    logger.info("%d targets are told of closings and openings", len(tellers))
    async with asyncio.TaskGroup() as group:
        for teller in tellers:
            group.create_task(teller.run(stop))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the one process that tells from these books. Raises Trouble."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            yield
    except AlreadyWritten as error:
        raise Trouble(
            f"another process tells from the books in {folder}", NOBODY, "stop it, or name another folder: --books"
        ) from error
    except (DiskFailed, OSError) as error:
        raise Trouble(f"{folder} cannot be written: {error}", NOBODY, "name a folder that is writable: --books") from error


def try_once(file: Path, broker: str, prefix: str, only: str) -> list[tuple[str, str]]:
    """Tell every target, or one, of a closing and an opening that are none; return what each said, empty where it took both.

    Raises:
        Trouble: the targets are not as they must be, or none has this name.
    """
    targets = [one for one in targets_of(file, prefix, broker) if only in ("", one[0].name)]
    if not targets:
        raise Trouble(f"{file} has no target {only}", NOBODY, "name a target of that file", Exit.USAGE)
    return asyncio.run(_tried(targets))


async def _tried(targets: list[tuple[Target, Sender]]) -> list[tuple[str, str]]:
    return [(target.name, await _tried_one(sender)) for target, sender in targets]


async def _tried_one(sender: Sender) -> str:
    now_ms = time.time_ns() // 1_000_000
    closed = News(
        id=f"{TRIED}@{now_ms:016}/closed",
        installation="none",
        gate=TRIED,
        event="closed",
        epoch=f"{now_ms:016}",
        time_ms=now_ms,
        meaning="this is a test of notifications, and no gate is concerned",
    )
    opened = News(
        id=f"{TRIED}@{now_ms + 1:016}/opened",
        installation="none",
        gate=TRIED,
        event="opened",
        epoch=f"{now_ms + 1:016}",
        time_ms=now_ms + 1,
        closed_ms=now_ms,
    )
    try:
        for one in (closed, opened):
            await sender.send([one], now_ms)
    except (Failed, NoSecret) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - its text may hold a secret
        return type(error).__name__
    finally:
        await sender.close()
    return ""


def say_tried(found: list[tuple[str, str]]) -> None:
    """Print what each target said, and end the command with 1 if one did not take it."""
    for name, failed in found:
        typer.echo(f"{name}: {failed or 'it took a closing and an opening'}", err=bool(failed))
    if any(failed for _, failed in found):
        raise typer.Exit(int(Exit.REFUSED))
