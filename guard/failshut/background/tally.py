"""How executions ended, counted where they end: one tally for each gate and epoch, and a book that reads it.

Most executions succeed, and a service has many of them. So an execution that succeeded takes one step of an iterator of its
tally, and no object is made, queued or locked for it. Other outcomes are counted likewise, in iterators that are made when
they are first needed. A step of `itertools.count` is one call of the interpreter, so no thread loses another's.

The leases of an epoch have the tally in hand, and executions have their lease. So a tally that is gone is one that nobody
counts in any more, and its book is closed once it was read for the last time. Reading takes a step as well, which the book
subtracts. Limit: a probe is not counted here. Its outcome is told by itself, with its token (outcomes.py).
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import Final

OK: Final = "ok"
FAILED: Final = "failed"
#: Nothing was executed, or the guard itself interrupted it: says nothing of the action.
CANCELLED: Final = "cancelled"
#: Admitted, and ended by somebody else's cancellation or timeout, or by the process's end: its action did not come back.
INTERRUPTED: Final = "interrupted"
#: How many outcomes there are, and so how many entries one reading gives at most.
OUTCOMES: Final = 4
#: The largest count that an entry may carry; what is above it waits for the next reading.
COUNT_MAX: Final = 2**31 - 1


class Tally:
    """Counts the executions of one gate that were admitted under one epoch. Any thread may count."""

    __slots__ = ("__weakref__", "ok", "others")

    def __init__(self) -> None:
        self.ok = count()
        """The next step of it is one execution that succeeded."""
        self.others: dict[str, count[int]] = {}

    def add(self, outcome: str) -> None:
        """Count one execution."""
        next(self.ok if outcome == OK else self.others.setdefault(outcome, count()))


class _Page:
    """How far one iterator of a tally was read, and how often."""

    __slots__ = ("looks", "told")

    def __init__(self) -> None:
        self.looks = self.told = 0

    def new(self, counted: count[int]) -> int:
        """How many steps were taken since, this one and other readings left out."""
        found = min(next(counted) - self.looks - self.told, COUNT_MAX)
        self.looks += 1
        self.told += found
        return found


class Book:
    """Reads a tally. For one thread."""

    __slots__ = ("_ok", "_others", "_pages", "_tally", "epoch", "gate")

    def __init__(self, gate: str, epoch: str, tally: Tally) -> None:
        self.gate = gate
        self.epoch = epoch
        self._tally = weakref.ref(tally)
        self._ok, self._others = tally.ok, tally.others
        self._pages: dict[str, _Page] = {OK: _Page()}

    @property
    def over(self) -> bool:
        """Whether nobody counts in it any more; asked before the last reading, not after it."""
        return self._tally() is None

    def read(self) -> list[tuple[str, int]]:
        """Each outcome that was counted since the last reading, and how often."""
        found = [(OK, self._pages[OK].new(self._ok))]
        for outcome, counted in list(self._others.items()):
            found.append((outcome, self._pages.setdefault(outcome, _Page()).new(counted)))
        return [(outcome, number) for outcome, number in found if number]
