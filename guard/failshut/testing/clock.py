"""Time under a test's control: both clocks of a guard stand still until the test moves them.

A step and what the monitor does about it are one. Whoever else reads a clock meanwhile waits until both have happened. So
a thread that executes never finds a lease that is over only because time had moved and the renewal had not yet come.

Limits: this is the time of guards alone. What the tested code itself asks of `time` or of its event loop goes on as ever.
"""

from __future__ import annotations

import math
import threading
from typing import Final

from failshut.config import Clocks

WALL_START_SECONDS: Final = 1_750_000_000.0
"""What both clocks show at first is the same in every run, so that a test that fails once fails again."""
MONOTONIC_START_SECONDS: Final = 1_000.0


class Clock:
    """The wall clock and the monotonic clock of a rehearsal. Any thread may read and step it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Around whatever changes what guards see, time included."""
        self._elapsed_seconds = 0.0

    @property
    def elapsed_seconds(self) -> float:
        """How far the test has moved time since the beginning."""
        with self.lock:
            return self._elapsed_seconds

    @property
    def now_ms(self) -> int:
        """What the wall clock shows, in whole milliseconds since 1970."""
        return round(self.wall() * 1000)

    def wall(self) -> float:
        """Return what the wall clock shows, in seconds since 1970."""
        return WALL_START_SECONDS + self.elapsed_seconds

    def monotonic(self) -> float:
        """Return what the monotonic clock shows, in seconds."""
        return MONOTONIC_START_SECONDS + self.elapsed_seconds

    def clocks(self) -> Clocks:
        """Return both, as a guard is given them."""
        return Clocks(self.monotonic, self.wall)

    def step(self, seconds: float) -> None:
        """Move both clocks on. Raises ValueError unless `seconds` is a finite number from 0 on."""
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"time goes on by a finite number of seconds, and not by {seconds!r}")
        with self.lock:
            self._elapsed_seconds += seconds

    def after_fork(self) -> None:
        """Make another lock, in the child: a thread of the parent's may have held the former."""
        self.lock = threading.RLock()
