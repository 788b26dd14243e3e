"""Writes outcomes to the store, in a thread and over a connection of its own.

A store that takes no outcomes because it is full, slow or away must cost outcomes alone. On the watcher's
connection it would also delay the reading of permits, and so cost leases. Outcomes may go to another store than
the permits (`outcomes_store_url`). Then outcomes cannot fill the store that closings are written to.
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
    """Writes one guard's outcomes, one batch at a time. Only one thread may use it.

    Args:
        configuration: the guard's configuration.
        names: returns the installation's names in the store; raises TokenError if none is known.
        outcomes: the queue of outcomes to write.
        instance: this process's name in what is written.
        stopping: an event that ends all waits.
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
        """Wait, then write a batch if there is one and the backoff is over."""
        waits = self._wrote or bool(self._pending) or self._outcomes.waits
        self._stopping.wait(BUSY_SECONDS if waits else IDLE_SECONDS)
        if time.monotonic() >= self._retry_at:
            self._write()

    def end(self) -> None:
        """Try once to write a waiting batch, and disconnect."""
        self._write()
        self._store.close()

    def recover(self) -> None:
        """Close the connection after an unforeseen error. The next write opens another one."""
        self._store.close()

    def abandon(self) -> None:
        """Drop the parent's connection in a forked child, without sending anything to the server."""
        self._store.abandon()

    def _write(self) -> None:
        """Write one batch to the store. Keep it if it surely did not arrive. Count it as lost if that is unknown."""
        try:
            names = self._names()
        except TokenError:
            return  # the queue is bounded, and counts what it loses
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
            if len(refused) == len(batch):  # losses are reported anew, and must not be refused ten times a second
                self._failed()
            else:
                self._backoff = self._retry_at = 0.0

    def _failed(self) -> None:
        self._backoff = min(BACKOFF_SECONDS_MAX, max(BACKOFF_SECONDS_MIN, self._backoff * 2))
        self._retry_at = time.monotonic() + self._backoff
