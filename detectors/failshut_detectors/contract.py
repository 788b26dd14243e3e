"""What every detector promises.

A detector reads one stream, in order, in one pass and in constant memory. It looks at no clock, asks for no
random number and sees no value before its turn, so that feeding records one by one or in batches gives the
same alarms. It never sees NaN or infinity: those are readings of their own and are kept from it (`refuse_nonfinite`,
for a detector that wants to make sure before it takes anything).

Detectors pickle: a snapshot of a governor holds them, and the restored one goes on as if nothing had
happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change was detected at `index` of the values just fed; `text` says which, to a person on call."""

    index: int
    text: str


class Detector(Protocol):
    """An online change detector on one stream of finite numbers."""

    @property
    def uses_times(self) -> bool:
        """Whether times change what it says; where they do not, a caller may spare itself the trouble."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it has seen enough to be relied on: before that it is silent because it knows nothing."""
        ...

    def feed(self, values: Sequence[float], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        """Take values in order, with their times (ms since 1970) where a caller has them, and return the alarms, by index.

        A detector that has no use for times ignores them.
        """
        ...

    def summary(self) -> str:
        """Say in a few words how the stream looks now."""
        ...


def refuse_nonfinite(values: Sequence[float]) -> None:
    """Raise ValueError where a value is NaN or infinite.

    >>> refuse_nonfinite([1.0, float("nan")])
    Traceback (most recent call last):
    ValueError: value 1 of 2 is nan: no detector may see it
    """
    if all(map(isfinite, values)):
        return
    index = next(index for index, value in enumerate(values) if not isfinite(value))
    raise ValueError(f"value {index} of {len(values)} is {values[index]}: no detector may see it")


def number(value: float) -> str:
    """Return a number for a person: four significant digits, no exponent where it is not needed.

    >>> number(48.0), number(1234.567), number(0.00012)
    ('48', '1235', '0.00012')
    """
    return f"{value:.4g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:.0f}"
