"""Who was refused, and why: one structured line each, bounded, written by a thread.

Strangers cause these lines. So at most `LINES_PER_SECOND_MAX` of them are written in a second; the next line says how many
were not (`unsaid`). What a stranger sent is shortened, and JSON escapes it. The event loop only puts a line in a queue: a pipe
that nobody reads stops the thread, and no caller. The counts by reason are complete.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

LINES_PER_SECOND_MAX: Final = 50
QUEUE_MAX: Final = 1_000
SHOWN_CHARS_MAX: Final = 200

logger = logging.getLogger(__name__)


class Audit:
    """One gateway's audit. Only in the event loop, but for the thread that writes."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.refused: Counter[str] = Counter()
        """How many refusals there were of each kind; kinds are words of this package."""
        self.unsaid = 0
        """Lines that were not written, because there were too many."""
        self._monotonic = monotonic
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUE_MAX)
        self._since_seconds = 0
        self._lines_then = 0  # in that second
        self._unsaid_before = 0
        self._thread: threading.Thread | None = None

    def refuse(self, scope: Mapping[str, Any], why: str, key_id: str = "", **more: str) -> None:
        """Count a refusal, and write a line of it if there is room."""
        self.refused[why] += 1
        now_seconds = int(self._monotonic())
        if now_seconds != self._since_seconds:
            self._since_seconds, self._lines_then = now_seconds, 0
        self._lines_then += 1
        if self._lines_then > LINES_PER_SECOND_MAX:
            self.unsaid += 1
            return
        self._say("refused", scope, key_id, {"why": why, **more})

    def note(self, event: str, scope: Mapping[str, Any], key_id: str, **more: str) -> None:
        """Write a line of what somebody with a key did. Strangers cause none of these: refusals do not crowd them out."""
        self._say(event, scope, key_id, more)

    def _say(self, event: str, scope: Mapping[str, Any], key_id: str, more: Mapping[str, str]) -> None:
        client = scope.get("client")
        line = {
            "event": event,
            "key": key_id,
            "peer": str(client[0]) if client else "",
            "method": str(scope.get("method", ""))[:20],
            "path": scope.get("raw_path", b"").decode("latin-1")[:SHOWN_CHARS_MAX],
            **{name: text[:SHOWN_CHARS_MAX] for name, text in more.items()},
            "unsaid": self.unsaid - self._unsaid_before,
        }
        try:
            self._lines.put_nowait(json.dumps(line))
        except queue.Full:
            self.unsaid += 1
            return
        self._unsaid_before = self.unsaid

    def start(self) -> None:
        """Begin to write. Raises RuntimeError where no thread can be started."""
        self._thread = threading.Thread(target=self._write, name="failshut-audit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for at most a second, and end."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return  # its reader does not read: the thread ends with the process
        if self._thread is not None:
            self._thread.join(1.0)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                logger.warning("%s", line)
            except Exception:  # noqa: BLE001 - the next line may be written
                self.unsaid += 1
