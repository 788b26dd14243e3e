"""False trips: how many a policy allows, and how many there were.

A condition with `false_trips: 1 per 30d` promises to trip its breaker for nothing no more often than that. Only the
stream itself can show whether the promise is kept on it, so a gate counts. It counts the trips that such a condition
caused while the breaker was ARMED, less those whose cause an operator has confirmed (`failshut confirm`). Beside that
is what the budget allows for the time in which it could have tripped. A trip that nobody confirms counts as false: a
detector is not acquitted by silence.

Everything is evidence time, so a replay counts the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from failshut_breakers.policy.units import format_ms

TRIPS_KEPT = 100
"""Trips of a condition that can still be confirmed; older ones stand as they are."""


@dataclass(slots=True)
class Tally:
    """What one condition with a budget came to."""

    per_ms: float  # one false trip is allowed in so much time
    watched_ms: int = 0
    trips: int = 0
    confirmed: int = 0
    open_epochs: deque[int] = field(default_factory=lambda: deque(maxlen=TRIPS_KEPT))
    _last_ms: int = 0

    def watch(self, evidence_ms: int, could_trip: bool) -> None:
        """Take note of evidence time; time in which it could not have tripped does not count."""
        if could_trip and self._last_ms:
            self.watched_ms += max(0, evidence_ms - self._last_ms)
        self._last_ms = max(self._last_ms, evidence_ms)

    def trip(self, epoch: int) -> None:
        """Count a trip, by the epoch of its closing."""
        self.trips += 1
        self.open_epochs.append(epoch)

    def confirm(self, epoch: int) -> bool:
        """Take a trip as one with a cause; return whether there was such a one that nobody had confirmed yet."""
        if epoch not in self.open_epochs:
            return False
        self.open_epochs.remove(epoch)
        self.confirmed += 1
        return True

    @property
    def unconfirmed(self) -> int:
        """Trips without a confirmed cause: those that count against the budget."""
        return self.trips - self.confirmed

    @property
    def allowed(self) -> float:
        """How many false trips the budget allows in the time watched so far."""
        return self.watched_ms / self.per_ms

    @property
    def words(self) -> str:
        """Nominal beside observed, for a person.

        >>> Tally(per_ms=30 * 86_400_000, watched_ms=12 * 86_400_000, trips=2, confirmed=1).words
        '1 false trip in 12d, 0.4 allowed'
        """
        plural = "" if self.unconfirmed == 1 else "s"
        return f"{self.unconfirmed} false trip{plural} in {_rough(self.watched_ms)}, {self.allowed:.2g} allowed"


def _rough(duration_ms: int) -> str:
    """Return a duration to the unit that a person would say: a text that changes with every mark would be noise."""
    for unit_ms in (86_400_000, 3_600_000, 60_000):
        if duration_ms >= unit_ms:
            return format_ms(duration_ms // unit_ms * unit_ms)
    return "less than 1m"
