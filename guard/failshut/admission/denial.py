"""What a gate has instead of a lease: a denial with its cause, and the closing that running executions notice.

A denial admits nobody. It looks like a lease that has ended, so that the path which admits asks one question of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from failshut.cause import Cause, Check
from failshut.permit import InFlight


class Denial:
    """The absence of a lease, with its cause. It admits nobody and has always ended: the hot path needs no extra check."""

    __slots__ = ("because", "cause")

    admitted: Final[frozenset[Any]] = frozenset()
    mono_end: Final = float("-inf")
    wall_end: Final = float("-inf")

    def __init__(self, cause: Cause, because: str = "") -> None:
        self.cause = cause
        self.because = because or cause.meaning

    @property
    def failed(self) -> Check:
        """Which of the five checks of admission failed."""
        return Check.of(self.cause)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A closing that reached this guard. It is a new object each time, so that an execution notices it by identity."""

    cause: Cause
    because: str
    in_flight: InFlight
    kid: str = ""


def key_withdrawn(kid: str) -> Denial:
    """Return a denial which says that nothing signed with this key counts."""
    return Denial(Cause.UNVERIFIED, f"the key {kid[:64]!r} that signed this gate's permit was withdrawn")
