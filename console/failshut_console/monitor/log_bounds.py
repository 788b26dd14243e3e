"""How much `failshut log` reads and keeps, and what it says when that was not all. Pure.

The newest matter most. So where a span holds more decisions than are read, each partition gives up its oldest, the longest
partition first. What is left of different partitions then begins at different times. Only from the latest of these beginnings
on is the picture whole, and nothing from before it is shown.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping
from typing import TypeVar

from failshut_console.monitor.log_entries import Entry
from failshut_console.terminal.times import utc

Place = TypeVar("Place", bound=Hashable)


def shares(sizes: Mapping[Place, int], most: int) -> dict[Place, int]:
    """Return how many records to read of each partition, `most` in all: short ones whole, the others as many as each other.

    >>> shares({"a": 10, "b": 900, "c": 500}, 410)
    {'a': 10, 'b': 200, 'c': 200}
    """
    left, shared = most, {}
    for number, place in enumerate(sorted(sizes, key=lambda one: sizes[one])):
        shared[place] = min(sizes[place], left // (len(sizes) - number))
        left -= shared[place]
    return {place: shared[place] for place in sizes}


class Newest:
    """Keeps the newest entries, so many at most, in the order of time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.dropped = 0
        self._kept: list[tuple[int, int, int, Entry]] = []  # a heap, the oldest first

    def add(self, partition: int, offset: int, entry: Entry) -> None:
        """Take an entry; the oldest gives way where there are too many."""
        heapq.heappush(self._kept, (entry.time_ms, partition, offset, entry))
        if len(self._kept) > self.most:
            heapq.heappop(self._kept)
            self.dropped += 1

    def taken(self, from_ms: int = 0) -> list[Entry]:
        """Return what is kept, the newest last, without what is older than `from_ms`."""
        return [one[3] for one in sorted(self._kept, key=lambda one: one[:3]) if one[0] >= from_ms]


def cut_words(unread: int, whole_from_ms: int, dropped: int, most: int) -> list[str]:
    """Return what is missing, in words: a line for each bound that was met."""
    lines = []
    if unread:
        lines.append(
            f"cut: {unread:,} older decisions of this span were not read. Nothing from before {utc(whole_from_ms)} is shown. "
            "Name a later --since, or an earlier --until"
        )
    if dropped:
        lines.append(
            f"cut: {dropped:,} older entries are not shown, {most:,} are. Name a gate, an earlier --until, or a larger --last"
        )
    return lines
