"""Which marks of a partition count as boundaries, and which of them are remembered: one rule for routers and governors.

A boundary is the position behind a mark. Routers end runs there, governors start the coverage of a new version there, and a
router that applies an activation goes back to one. Whoever may write telemetry may write marks, thousands in a second. So both
halves are bounded by append time, which no producer can choose:

- A mark ends a run if the mark before it in the partition was appended in another `MARK_EVERY_MS`. What a router needs to
  judge that is the mark before, so that wherever it starts it agrees from its second mark on. The time and the count of a
  mark that ends no run go with the next one that does.
- Of the boundaries in a span of append time only the last is remembered. Spans grow with age: `SPAN_MS` at first, then never
  more than a hundredth of the age. Nothing is forgotten that has no later one beside it.
- A router goes back to a boundary that is older than the activation by a margin that no span reaches. So the one that a
  governor remembers is the same or a later one, and the router's next run joins.

Limits: a router reckons age by its own clock. A clock may be behind by more than half a minute. That makes the margin too small
only for an activation that is applied long after it was appended, in a partition without newer marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MARK_EVERY_MS = 50
"""Marks that are appended within one such span of time end one run."""

SPAN_MS = 100
"""Of the boundaries within such a span the last is remembered, as long as they are young."""

YOUNG_MS = 20_000

MARGIN_MS = 500
"""How much further than to the activation a router goes back, and a thirty-second of its age."""

KEPT_MAX = 4_096
"""Boundaries remembered of a partition. Thinned, those of a hundred days are fewer."""

_THIN_EVERY = 256


class Boundary(NamedTuple):
    """The position behind a mark: its append time, the time that was vouched for there, the position."""

    append_ms: int
    time_ms: int
    position: int


def ends_run(append_ms: int, before_ms: int | None) -> bool:
    """Return whether a mark ends a run, by its append time and that of the mark before it (None: none was read)."""
    return before_ms is None or append_ms // MARK_EVERY_MS != before_ms // MARK_EVERY_MS


def look_before(append_ms: int, now_ms: int) -> int:
    """Return the time before which the boundary lies that a router goes back to, for an activation of that append time."""
    return append_ms - MARGIN_MS - max(0, now_ms - append_ms) // 32


def span_ms(age_ms: int) -> int:
    """Return the span of append time of which one boundary is remembered, for boundaries of that age."""
    doublings = (max(0, age_ms) // YOUNG_MS).bit_length()
    return SPAN_MS << doublings


class Boundaries:
    """The boundaries of one partition that are remembered, oldest first."""

    __slots__ = ("_kept", "_thin_at")

    def __init__(self, kept: Iterable[Boundary] = ()) -> None:
        self._kept = list(kept)
        self._thin_at = len(self._kept) + _THIN_EVERY

    def __iter__(self) -> Iterator[Boundary]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, append_ms: int, time_ms: int, position: int) -> None:
        """Remember a boundary that lies behind all others."""
        if self._kept and self._kept[-1].append_ms // SPAN_MS == append_ms // SPAN_MS:
            self._kept.pop()
        self._kept.append(Boundary(append_ms, time_ms, position))
        if len(self._kept) >= self._thin_at:
            self._thin()

    def before(self, append_ms: int) -> Boundary | None:
        """Return the last boundary whose mark was appended before a time, or None where none is remembered."""
        return next((at for at in reversed(self._kept) if at.append_ms < append_ms), None)

    def older_than(self, append_ms: int) -> Boundaries:
        """Return the boundaries whose marks were appended before a time."""
        return Boundaries(at for at in self._kept if at.append_ms < append_ms)

    def back_to(self, position: int) -> None:
        """Forget the boundaries beyond a position."""
        while self._kept and self._kept[-1].position > position:
            self._kept.pop()

    def copy(self) -> Boundaries:
        """Return a copy."""
        return Boundaries(self._kept)

    def _thin(self) -> None:
        newest_ms = max(at.append_ms for at in self._kept)
        kept: list[Boundary] = []
        last: tuple[int, int] | None = None
        for at in reversed(self._kept):
            span = span_ms(newest_ms - at.append_ms)
            if (span, at.append_ms // span) != last:
                kept.append(at)
                last = span, at.append_ms // span
        self._kept = kept[KEPT_MAX - 1 :: -1] if len(kept) > KEPT_MAX else kept[::-1]
        self._thin_at = len(self._kept) + _THIN_EVERY
