"""A background task of a worker. It is started and stopped, and logs an error if it ends by itself.

None of these tasks decides anything. If one fails for good, its data are missing. Without marks evidence time stops.
Without samples a lag is unknown. Without outcomes a PROVING reaches its deadline. Missing data close gates, and the
log records why.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

logger = logging.getLogger(__name__)


class Background(ABC):
    """One task that runs until it is stopped. A subclass checks `_stopping` in its loop."""

    NAME: ClassVar[str]

    def __init__(self) -> None:
        self._stopping = False  # Python 3.11's wait_for, in the drivers, swallows a cancellation now and then
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the task. Everything passed to the constructor must be started already. Servers may be down."""
        self._task = asyncio.create_task(self._run(), name=f"failshut-{self.NAME}")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop the task, and return when it has ended. Unfinished work is left to the next worker."""
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
        """Work until `_stopping` is set."""

    @abstractmethod
    async def _release(self) -> None:
        """Close the task's own connections."""

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._stopping and not task.cancelled():
            logger.error("%s ended by itself: what it brings stays out", self.NAME, exc_info=task.exception())
