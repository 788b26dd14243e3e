"""Starts a process of `failshut up` again when it dies, says so, and gives up where that does not help.

While one is away, gates lapse or stay closed: nothing here opens any. The store starts empty, and the worker writes into it
what the log says. So a process that is started again costs time, and no safety.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from failshut_console.exits import Exit, Trouble
from failshut_servers import EmbeddedUnavailable
from failshut_servers.process import Server

STARTS_MAX: Final = 5
"""Starts within `STARTS_SECONDS` after which a process is given up."""
STARTS_SECONDS: Final = 300.0
PAUSE_SECONDS_MAX: Final = 8.0


@dataclass
class Watched:
    """One process, what its absence means, and what is known of its starts. Times are monotonic seconds."""

    process: Server
    means: str
    last_words: Callable[[], str]
    starts: deque[float] = field(default_factory=deque)
    away_since: float = 0.0  # 0: it answers
    next_start: float = 0.0


class Supervisor:
    """Looks after processes, one `look` at a time; it never waits for one.

    Args:
        say: told what happens, for a person.
        clock: monotonic seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._watched: list[Watched] = []

    def watch(self, process: Server, means: str, last_words: Callable[[], str] = lambda: "") -> None:
        """Look after a running process from now on. `means` says what its absence means for the gates."""
        self._watched.append(Watched(process, means, last_words))

    def look(self) -> None:
        """See whether each process lives, start what does not, and say what changed.

        Raises:
            Trouble: one ends again and again, or cannot be started.
        """
        for one in self._watched:
            if not one.process.running:
                self._start(one)
            elif one.away_since and one.process.ready():
                self._say(
                    f"{one.process.name} is back after {self._clock() - one.away_since:.1f} s (process {one.process.pid})"
                )
                one.away_since = 0.0

    def _start(self, one: Watched) -> None:
        now = self._clock()
        status = one.process.status
        if status is not None:  # it was not known yet that it has ended
            one.starts.append(now)
            while one.starts and one.starts[0] < now - STARTS_SECONDS:
                one.starts.popleft()
            one.away_since = one.away_since or now
            one.next_start = now + min(PAUSE_SECONDS_MAX, 2.0 ** (len(one.starts) - 2)) * (len(one.starts) > 1)
            self._say(f"{one.process.name} ended ({_how(status, one.last_words())}): {one.means}. It is started again")
            one.process.forget()
        if len(one.starts) > STARTS_MAX:
            raise Trouble(
                f"{one.process.name} ended {len(one.starts)} times within {STARTS_SECONDS / 60:g} minutes",
                one.means,
                f"read {one.process.log_path}, then start again",
                Exit.REFUSED,
            )
        if now >= one.next_start:
            try:
                one.process.launch()
            except EmbeddedUnavailable as error:
                raise Trouble(
                    f"{one.process.name} could not be started again: {error}",
                    one.means,
                    f"read {one.process.log_path}, then start again",
                    Exit.UNREACHABLE,
                ) from error


def _how(status: int, words: str) -> str:
    """Return how a process ended, for a person.

    >>> _how(-9, ""), _how(1, "KeyError: 'a'"), _how(0, "")
    ('killed by SIGKILL', "status 1: KeyError: 'a'", 'status 0')
    """
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"status {status}" + (f": {words}" if words else "")
