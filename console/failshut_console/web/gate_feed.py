"""One look at the store for all who watch: the reader of `failshut watch`, asked again and again while somebody does.

Whoever wants news waits for a look that is newer than the one that he has. The first who waits makes it, and the others get
the same. Between two looks lies `PERIOD_SECONDS`, or as long as the last look took: a store with many gates is asked less
often. With nobody there nothing is asked.

The reader is made anew every `READER_SECONDS`, so that new public keys of the monitor are known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from failshut_console.exits import Trouble
from failshut_console.monitor.gate_views import Looker
from failshut_console.web.gate_rows import Seen

PERIOD_SECONDS: Final = 0.1
READER_SECONDS: Final = 15.0
#: A page that is made now shows what was seen no longer ago than this.
KEPT_SECONDS: Final = 1.0
CLOSE_SECONDS_MAX: Final = 2.0

logger = logging.getLogger(__name__)


class GateFeed:
    """The gates as they were seen last. Only in the event loop; the store is asked in a thread.

    Args:
        make_reader: makes a reader. It may raise Trouble.
    """

    def __init__(self, make_reader: Callable[[], Looker], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._make_reader = make_reader
        self._monotonic = monotonic
        self._reader: Looker | None = None
        self._reader_mono = float("-inf")
        self._asked_mono = self._took_seconds = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._asking: asyncio.Task[None] | None = None
        self.newest = Seen()

    async def now(self) -> Seen:
        """Return what is seen now, or was a moment ago."""
        async with self._one_at_a_time:
            if self._monotonic() - self._asked_mono > KEPT_SECONDS:
                await self._ask()
            return self.newest

    async def after(self, number: int) -> Seen:
        """Wait for a look that is newer than the one of this number."""
        async with self._one_at_a_time:
            if self.newest.number <= number:
                wait = self._asked_mono + max(PERIOD_SECONDS, 2 * self._took_seconds) - self._monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                await self._ask()
            return self.newest

    async def _ask(self) -> None:
        """Look once. Whoever goes away meanwhile ends no look: the next who asks awaits the same."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._look_once())
        await asyncio.shield(self._asking)

    async def _look_once(self) -> None:
        began = self._asked_mono = self._monotonic()
        try:
            self.newest = await asyncio.to_thread(self._look, self.newest)
        except Trouble as trouble:
            self.newest = self.newest.without_sight(trouble.what, _wall_ms())
        except Exception as error:
            logger.warning("the gates could not be read: %s", type(error).__name__, exc_info=error)
            self.newest = self.newest.without_sight(f"the gates could not be read: {type(error).__name__}", _wall_ms())
        self._took_seconds = self._monotonic() - began

    def _look(self, before: Seen) -> Seen:
        if self._reader is None or self._monotonic() - self._reader_mono > READER_SECONDS:
            if self._reader is not None:
                self._reader.close()
            self._reader = self._make_reader()
            self._reader_mono = self._monotonic()
        return before.after(self._reader.look())

    async def close(self) -> None:
        """Close the connection to the store, once the look that runs has ended, or its time limit has passed."""
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=CLOSE_SECONDS_MAX)
        if self._reader is not None:
            self._reader.close()


def _wall_ms() -> int:
    return int(time.time() * 1000)
