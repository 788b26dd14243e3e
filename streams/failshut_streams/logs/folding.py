"""Repeats in a log, folded: a broker that is away for a while must not hide the one line that says so.

A client library logs each attempt. In 12 seconds without a broker one worker wrote 8,530 warnings. Here the first of them is
written at once. Those like it are counted, and after `WINDOW_SECONDS[0]` seconds one line says how many there were. While
they go on, the next such lines come after longer spans. A line is like another if logger, level and words are the same
without their numbers.

Our own lines say something new each time, so `OURS_MAX` of a kind are written in a span before the rest is counted.

Bounds: `KINDS_MAX` kinds are told apart. More are counted together. Nothing is dropped without being counted.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from failshut_streams.logs.lines import EXTRA, words_of

WINDOW_SECONDS: Final = (10.0, 60.0, 300.0)
"""How long repeats are counted before a line says how many: the first time, the second, and from then on."""
OURS_MAX: Final = 20
KINDS_MAX: Final = 200
_OURS: Final = "failshut"
_OTHER: Final = ("", 0, "")
_KIND_CHARS: Final = 160
_LOOK_SECONDS: Final = 1.0
_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|\d+")

_Kind = tuple[str, int, str]


class _Window:
    """What was counted of one kind since its span began."""

    __slots__ = ("began", "count", "last", "shown", "turn")

    def __init__(self, began: float) -> None:
        self.began, self.turn, self.shown, self.count = began, 0, 0, 0
        self.last: logging.LogRecord | None = None

    @property
    def ends(self) -> float:
        return self.began + WINDOW_SECONDS[min(self.turn, len(WINDOW_SECONDS) - 1)]


class Folding(logging.StreamHandler[TextIO]):
    """Writes each record once, and counts its repeats. `clock` is a monotonic clock in seconds."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream or sys.stderr)
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}
        self._over = threading.Event()
        self._looking: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it. Called with the handler's lock held."""
        if self._over.is_set():  # the process ends: nobody would write what is counted, and no thread can start any more
            super().emit(record)
            return
        self._write_due()
        kind = self._kind(record)
        window = self._windows.setdefault(kind, _Window(self._clock()))
        if window.turn == 0 and window.shown < (OURS_MAX if record.name.startswith(_OURS) else 1):
            window.shown += 1
            super().emit(record)
        else:
            window.count += 1
            window.last = record
            self._look_regularly()

    def write_counted(self) -> None:
        """Write the lines that are due: how many repeats there were of each kind."""
        self.acquire()
        try:
            self._write_due()
        finally:
            self.release()

    def close(self) -> None:
        """Write what is counted, and let go."""
        self._over.set()
        self.acquire()
        try:
            for kind, window in self._windows.items():
                self._say(kind, window)
            self._windows.clear()
        finally:
            self.release()
        super().close()

    def _write_due(self) -> None:
        now = self._clock()
        for kind, window in [(kind, window) for kind, window in self._windows.items() if window.ends <= now]:
            if not window.count:
                del self._windows[kind]  # it is over: the next one is news
                continue
            self._say(kind, window)
            window.began, window.count, window.turn = now, 0, window.turn + 1

    def _say(self, kind: _Kind, window: _Window) -> None:
        last, seconds = window.last, self._clock() - window.began
        if last is None or not window.count:
            return
        like = "lines of many kinds, the last" if kind == _OTHER else "more like this"
        words = f"{window.count} {like} in {seconds:.0f} s: {words_of(last)}"
        line = logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, words, None, None)
        setattr(line, EXTRA, {"count": window.count, "seconds": round(seconds, 3)})
        window.last = None
        super().emit(line)

    def _kind(self, record: logging.LogRecord) -> _Kind:
        kind = (record.name, record.levelno, _NUMBERS.sub("#", words_of(record)[:_KIND_CHARS]))
        return kind if kind in self._windows or len(self._windows) < KINDS_MAX else _OTHER

    def _look_regularly(self) -> None:
        """Have a thread say what was counted, also if nobody logs anything more."""
        if self._looking is None or not self._looking.is_alive():  # a process that was forked has no thread
            self._looking = threading.Thread(target=self._look, name="failshut-log", daemon=True)
            self._looking.start()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.write_counted()
