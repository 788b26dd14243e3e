"""A part of a worker that goes on beside it: started, stopped, and never ending in silence.

None of these parts decides anything. If one fails for good, its data are missing. Without marks evidence time stops,
without samples a lag is unknown, and without outcomes a PROVING reaches its deadline. Gates close by that, and the log
says why.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

log = logging.getLogger(__name__)


class Background(ABC):
    """One task that runs until it is stopped. A subclass looks at `_stopping` in its loop."""

    NAME: ClassVar[str]

    def __init__(self) -> None:
        self._stopping = False  # Python 3.11's wait_for, in the drivers, swallows a cancellation now and then
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. What it is made with has been started; servers may be down."""
        self._task = asyncio.create_task(self._run(), name=f"failshut-{self.NAME}")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End, and return when that is done. What is under way is left to whoever comes next."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _run(self) -> None:
        """Go on until `_stopping`."""

    @abstractmethod
    async def _release(self) -> None:
        """Let go of connections of one's own."""

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._stopping and not task.cancelled():
            log.error("%s ended by itself: what it brings stays out", self.NAME, exc_info=task.exception())
