"""Outcomes that guards sent and that did not come: holes in the counts that their entries carry.

Each entry of a guard says how many outcomes it has sent in all, so it covers the numbers up to that one. Several workers move
entries: they come in any order, and one may come twice. Therefore a number that has not arrived is missing at first. It is lost
after `GRACE_MS`, which is longer than another worker needs to finish a dead one's work.

Limits: what a guard sent before its first entry that came here is not known, and so many guards are remembered, those heard
of last. What is missing of a forgotten one is given up at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GRACE_MS = 60_000
GUARDS_MAX = 1_000
HOLES_MAX = 100
"""Holes of one guard that are waited for; the oldest beyond that are given up at once."""
LOST_MAX = 2**31 - 1
"""More than this is counted as this: whoever writes such a total would otherwise choose the rate."""


@dataclass(slots=True)
class _Count:
    """One guard's: the greatest number that came, and the holes below it, as first, end and since when."""

    top: int
    holes: list[tuple[int, int, int]] = field(default_factory=list)
    given_up: int = 0

    def cover(self, first: int, end: int, time_ms: int) -> None:
        """The numbers from `first` to before `end` came."""
        if first > self.top:
            self.holes.append((self.top, first, time_ms))
        elif self.holes:
            parts = [((low, min(high, first), since), (max(low, end), high, since)) for low, high, since in self.holes]
            self.holes = [hole for both in parts for hole in both if hole[0] < hole[1]]
        self.top = max(self.top, end)
        self._give_up(len(self.holes) - HOLES_MAX)

    @property
    def missing(self) -> int:
        """How many have not come, given up or not, and were not said to be lost yet."""
        return self.given_up + sum(end - first for first, end, _ in self.holes)

    def lost(self, now_ms: int) -> int:
        """How many are given up now."""
        self._give_up(next((at for at, hole in enumerate(self.holes) if now_ms - hole[2] < GRACE_MS), len(self.holes)))
        lost, self.given_up = self.given_up, 0
        return lost

    def _give_up(self, oldest: int) -> None:
        if oldest > 0:
            self.given_up += sum(end - first for first, end, _ in self.holes[:oldest])
            self.holes = self.holes[oldest:]


class Holes:
    """Counts of the guards of one gate."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}  # by guard, that heard of last at the end
        self._forgotten = 0  # outcomes that are missing of guards that were forgotten

    def take(self, guard: str, total: int, count: int, time_ms: int) -> None:
        """Take note of an entry."""
        known = self._counts.pop(guard, None) or _Count(total)
        known.cover(total - count, total, time_ms)
        self._counts[guard] = known
        if len(self._counts) > GUARDS_MAX:
            self._forgotten += self._counts.pop(next(iter(self._counts))).missing

    def lost(self, now_ms: int) -> int:
        """Return how many are given up now; each once."""
        forgotten, self._forgotten = self._forgotten, 0
        return min(forgotten + sum(known.lost(now_ms) for known in self._counts.values()), LOST_MAX)
