"""A trouble with a beginning and an end: one line each, and the second says for how long it lasted.

Whoever reads a log at night asks two things: is it over, and how long was it? So a part of a worker that fails again and again
says so once. When it is well again, it says "the store is back after 3.1 s".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from failshut_streams.logs.lines import EXTRA


class Episode:
    """One kind of trouble of one part, under way or not.

    Args:
        logger: of the part.
        name: of the trouble, for collectors: the field `trouble` of a line of JSON.
        back: what is said at its end, before its length: "the store is back".
        clock: monotonic, in seconds.
    """

    def __init__(self, logger: logging.Logger, name: str, back: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._name, self._back, self._clock = logger, name, back, clock
        self._began: float | None = None

    @property
    def on(self) -> bool:
        """Whether it is under way."""
        return self._began is not None

    def begin(self, words: str, *details: object) -> bool:
        """Say that it begins, unless it is under way; return whether it began."""
        if self._began is not None:
            return False
        self._began = self._clock()
        self._logger.warning(words, *details, extra={EXTRA: {"trouble": self._name, "event": "begin"}})
        return True

    def end(self) -> bool:
        """Say that it is over, if it was under way; return whether it ended."""
        if self._began is None:
            return False
        seconds, self._began = self._clock() - self._began, None
        fields = {"trouble": self._name, "event": "end", "seconds": round(seconds, 3)}
        self._logger.info("%s after %s", self._back, length(seconds), extra={EXTRA: fields})
        return True


def length(seconds: float) -> str:
    """Return a length of time as a person says it.

    >>> length(3.14), length(75), length(725)
    ('3.1 s', '75 s', '12 min 5 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
