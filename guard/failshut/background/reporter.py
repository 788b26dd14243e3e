"""Outcomes on their way to the store: a thread and a connection of their own.

A store that takes no outcomes, because it is full, slow or away, must cost outcomes alone. On the watcher's
connection it would also cost permits their reading, and so leases. It may be another store than that of the
permits (`outcomes_store_url`), so that what fills with outcomes is not what closings are written to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from failshut.background.outcomes import OutcomeQueue
from failshut.config import Configuration
from failshut.signing import TokenError
from failshut.store.client import Outcomes, Store, Unreachable
from failshut.store.names import Names

BUSY_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 0.25
BACKOFF_SECONDS_MIN: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 1.0


class Reporter:
    """Writes one guard's outcomes, a batch at a time. Used by one thread.

    Args:
        configuration: the guard's.
        names: the names of its installation in the store; raises TokenError where none is known.
        outcomes: what waits to be written.
        instance: this process's name in what is written.
        stopping: ends its waits.
    """

    def __init__(
        self,
        configuration: Configuration,
        names: Callable[[], Names],
        outcomes: OutcomeQueue,
        instance: str,
        stopping: threading.Event,
    ) -> None:
        self._names, self._outcomes, self._instance, self._stopping = names, outcomes, instance, stopping
        self._store = Store(configuration.outcomes_store_url or configuration.store_url, configuration.store_timeout_ms)
        self._pending: list[Outcomes] = []
        self._wrote = False
        self._backoff = 0.0
        self._retry_at = 0.0

    def turn(self) -> None:
        """Wait, then write a batch if there is one and it is time."""
        waits = self._wrote or bool(self._pending) or self._outcomes.waits
        self._stopping.wait(BUSY_SECONDS if waits else IDLE_SECONDS)
        if time.monotonic() >= self._retry_at:
            self._write()

    def end(self) -> None:
        """Write what still waits, once, and disconnect."""
        self._write()
        self._store.close()

    def recover(self) -> None:
        """After an error that nobody foresaw: another connection."""
        self._store.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection without a word to the server."""
        self._store.abandon()

    def _write(self) -> None:
        """One batch to the store. Where it surely did not arrive it waits; where that is unknown it counts as lost."""
        try:
            names = self._names()
        except TokenError:
            return  # what waits is bounded, and counted where it is lost
        batch = self._pending or self._outcomes.take()
        self._wrote = bool(batch)
        if not batch:
            return
        self._pending = []
        try:
            refused = self._store.append(names, batch, self._instance, self._outcomes.name)
        except Unreachable as error:
            self._failed()
            if error.maybe_applied:
                self._outcomes.dropped(batch)
            else:
                self._pending = batch
        else:
            self._outcomes.refused(batch, refused)
            if len(refused) == len(batch):  # what was lost is told anew, and must not be refused ten times a second
                self._failed()
            else:
                self._backoff = self._retry_at = 0.0

    def _failed(self) -> None:
        self._backoff = min(BACKOFF_SECONDS_MAX, max(BACKOFF_SECONDS_MIN, self._backoff * 2))
        self._retry_at = time.monotonic() + self._backoff
