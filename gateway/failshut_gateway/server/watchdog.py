"""A thread that cuts callers off when the event loop is blocked, so that they are refused at once and do not hang.

A proxy that waits for its authorizer keeps its own client waiting, some for half a minute and with no setting to shorten it.
The event loop beats several times a second. Where so many looks in a row see no beat, the thread shuts the listening sockets
down, and the connections with them. From then on the kernel refuses callers. The loop listens again once it runs.

It counts its own looks, not time: a process that was paused as a whole looks no more than it beats, so that nothing is cut
after a suspended machine comes back.

Limits: a process that is stopped (SIGSTOP), or code that keeps Python's lock, stops this thread as well. Give proxies a time
limit of their own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 0.05
STALL_MS_DEFAULT: Final = 1_000

logger = logging.getLogger(__name__)


class Watchdog:
    """One watchdog. The loop calls `beat`; `cut` is called in the thread.

    Args:
        cut: shuts the sockets down. It may raise.
        stall_ms: how long the loop may be silent.
    """

    def __init__(self, cut: Callable[[], None], stall_ms: int = STALL_MS_DEFAULT) -> None:
        self._cut = cut
        self._looks_max = max(2, round(stall_ms / 1000 / LOOK_SECONDS))
        self._beats = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="failshut-watchdog", daemon=True)
        self.tripped = False
        """Whether the sockets were shut down, and nobody listens yet."""
        self.trips = 0

    def beat(self) -> None:
        """Say that the loop runs."""
        self._beats += 1

    def clear(self) -> None:
        """Say that the loop listens again."""
        self.tripped = False

    def start(self) -> None:
        """Begin to watch. Raises RuntimeError where no thread can be started."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _watch(self) -> None:
        seen, silent = -1, 0
        while not self._stop.wait(LOOK_SECONDS):
            if self._beats != seen:
                seen, silent = self._beats, 0
                continue
            silent += 1
            if silent >= self._looks_max and not self.tripped:
                self.tripped = True
                self.trips += 1
                try:
                    self._cut()
                except Exception as error:  # noqa: BLE001 - the thread goes on to watch
                    logger.error("the watchdog could not shut every socket down: %s", type(error).__name__)
