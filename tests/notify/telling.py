"""`failshut notify run` inside a test's process, with short waits between its tries."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from notify.receiving import Decisions, written
from patience import patient

from failshut_console.notify.book_file import path_of
from failshut_console.notify.running import targets_of
from failshut_console.notify.teller import Pace, Teller

QUICK = Pace(0.05, 0.2)


def until(claim: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + patient(40)
    while not claim():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


class Told:
    """`failshut notify run` inside this process."""

    def __init__(self, decisions: Decisions, folder: Path, *tables: str) -> None:
        self.folder, self._decisions = folder, decisions
        file = written(folder / "targets.toml", *tables)
        (folder / "books").mkdir(exist_ok=True)
        self.tellers = [
            Teller(one, sender, folder / "books", decisions.kafka.url, decisions.prefix, QUICK)
            for one, sender in targets_of(file, decisions.prefix, decisions.kafka.url)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run until the block ends, and begin it when every target has a book."""
        stop, loops = asyncio.Event(), []

        async def all_of_them() -> None:
            loops.append(asyncio.get_running_loop())
            await asyncio.gather(*(one.run(stop) for one in self.tellers))

        thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
        thread.start()
        try:
            until(lambda: all(path_of(self.folder / "books", one.target.name).exists() for one in self.tellers))
            yield
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join(patient(30))
        assert not thread.is_alive()
