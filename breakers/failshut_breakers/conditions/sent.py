"""Outcomes that guards sent and that did not arrive: holes in the counts that their entries carry.

Each entry carries the number of outcomes that its guard has sent in all. So it covers the numbers up to that one. Several
workers move entries, so entries arrive in any order, and one may arrive twice. A number that has not arrived is missing at
first. It is lost after `GRACE_MS`, which is longer than another worker needs to finish a dead one's work.

Limits: what a guard sent before its first entry that arrived here is not known. The `GUARDS_MAX` guards heard of last are
remembered. The missing outcomes of a forgotten guard are given up at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GRACE_MS = 60_000
GUARDS_MAX = 1_000
HOLES_MAX = 100
"""The most holes of one guard that are waited for. The oldest beyond them are given up at once."""
LOST_MAX = 2**31 - 1
"""A greater loss counts as this number. Otherwise whoever writes such a total would choose the rate."""


@dataclass(slots=True)
class _Count:
    """One guard's count: the greatest number that arrived, and the holes below it as (first, end, time of discovery in ms)."""

    top: int
    holes: list[tuple[int, int, int]] = field(default_factory=list)
    given_up: int = 0

    def cover(self, first: int, end: int, time_ms: int) -> None:
        """Record that the numbers from `first` up to, but not including, `end` arrived."""
        if first > self.top:
            self.holes.append((self.top, first, time_ms))
        elif self.holes:
            parts = [((low, min(high, first), since), (max(low, end), high, since)) for low, high, since in self.holes]
            self.holes = [hole for both in parts for hole in both if hole[0] < hole[1]]
        self.top = max(self.top, end)
        self._give_up(len(self.holes) - HOLES_MAX)

    @property
    def missing(self) -> int:
        """How many outcomes have not arrived and were not returned by `lost` yet, given up or not."""
        return self.given_up + sum(end - first for first, end, _ in self.holes)

    def lost(self, now_ms: int) -> int:
        """Return how many outcomes are given up now. Each is returned once."""
        self._give_up(next((at for at, hole in enumerate(self.holes) if now_ms - hole[2] < GRACE_MS), len(self.holes)))
        lost, self.given_up = self.given_up, 0
        return lost

    def _give_up(self, oldest: int) -> None:
        if oldest > 0:
            self.given_up += sum(end - first for first, end, _ in self.holes[:oldest])
            self.holes = self.holes[oldest:]


class Holes:
    """The counts of one gate's guards."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}  # by guard; the guard heard of last is at the end
        self._forgotten = 0  # the missing outcomes of forgotten guards

    def take(self, guard: str, total: int, count: int, time_ms: int) -> None:
        """Record an entry of a guard: its total, its own count and its time (ms)."""
        known = self._counts.pop(guard, None) or _Count(total)
        known.cover(total - count, total, time_ms)
        self._counts[guard] = known
        if len(self._counts) > GUARDS_MAX:
            self._forgotten += self._counts.pop(next(iter(self._counts))).missing

    @property
    def waits(self) -> bool:
        """Whether time alone may change how many outcomes are lost."""
        return bool(self._forgotten) or any(known.missing for known in self._counts.values())

    def lost(self, now_ms: int) -> int:
        """Return how many outcomes of all guards are given up now. Each is returned once."""
        forgotten, self._forgotten = self._forgotten, 0
        return min(forgotten + sum(known.lost(now_ms) for known in self._counts.values()), LOST_MAX)
