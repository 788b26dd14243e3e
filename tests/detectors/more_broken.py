"""Detectors with faults that are found early, each under its own name; tests of the suite use them.

They stand apart from the tests, because a fresh process imports their module to go on from a pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectors.broken import Right

from failshut_detectors import Alarm


class Unseeded(Right):
    """Says what a generator drew that nobody seeded."""

    def __init__(self) -> None:
        super().__init__()
        self._rng, self._drawn = np.random.default_rng(), 0.0

    def _learn(self, value: float) -> None:
        super()._learn(value)
        self._drawn = self._rng.random()

    def summary(self) -> str:
        return f"{super().summary()} #{self._drawn:.6f}"


class Hashes(Right):
    """Says the hash of a text, which is another one in another process."""

    def summary(self) -> str:
        return f"{super().summary()} #{hash('a text') % 1_000_003}"


class Unversioned(Right):
    """Takes whatever state it is given."""

    def __setstate__(self, state: tuple[int, dict[str, Any]]) -> None:
        self.__dict__.update(state[1])


class Silent(Right):
    """Never speaks."""

    def _far(self, value: float) -> bool:
        return False


class Forgetful(Right):
    """Leaves out of its pickle what it has counted."""

    def __getstate__(self) -> tuple[int, dict[str, Any]]:
        return self.version, {**self.__dict__, "_count": 0}


class Hurried(Right):
    """Ready before it has seen anything."""

    @property
    def ready(self) -> bool:
        return True


class Wordy(Right):
    """An alarm of two lines."""

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        return [Alarm(alarm.index, f"{alarm.text}\nsecond line") for alarm in super()._feed(values, times_ms)]


class Graded(Right):
    """A score beyond 1."""

    @property
    def score(self) -> float:
        return 2.0


class Steady(Right):
    """Cannot bear a time that goes back."""

    _last_ms = 0

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        for time_ms in times_ms or ():
            if time_ms < self._last_ms:
                raise ValueError("time went back")
            self._last_ms = time_ms
        return super()._feed(values, times_ms)


class Greedy(Right):
    """Takes what stands before the unfit value."""

    def feed(self, values: Sequence[Any], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        for index, value in enumerate(values):
            if not isinstance(value, float) or value != value:
                super().feed(values[:index])
        return super().feed(values, times_ms)


class Deaf(Right):
    """Learns whatever follows an alarm, before it hears again."""

    def _spoke(self) -> None:
        self._begin_anew()


class Slotless:
    """Nothing of a detector."""
