"""Counts of how executions ended: one tally for each gate and epoch, and a book that reads it.

Most executions succeed, and a service has many of them. So an execution that succeeded advances an iterator of its tally by
one step, and no object is made, queued or locked for it. Other outcomes are counted the same way, in iterators that are made
when they are first needed. A step of `itertools.count` is one call of the interpreter, so no thread loses another's step.

The leases of an epoch refer to the tally, and executions refer to their lease. So once a tally is gone, nobody counts in it
any more. Its book is closed after it was read for the last time. Reading takes a step as well, and the book subtracts that.
Limit: a probe is not counted here. Its outcome is reported by itself, with its token (outcomes.py).
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import Final

OK: Final = "ok"
FAILED: Final = "failed"
#: Nothing was executed, or the guard itself interrupted it: the outcome says nothing about the action.
CANCELLED: Final = "cancelled"
#: Admitted, and ended by somebody else's cancellation or timeout, or by the process's end: its action did not come back.
INTERRUPTED: Final = "interrupted"
#: The number of outcomes, and so the most entries that one reading returns.
OUTCOMES: Final = 4
#: The largest count that an entry may carry. The rest waits for the next reading.
COUNT_MAX: Final = 2**31 - 1


class Tally:
    """Counts the executions of one gate that were admitted under one epoch. Any thread may count."""

    __slots__ = ("__weakref__", "ok", "others")

    def __init__(self) -> None:
        self.ok = count()
        """Each step of this iterator is one execution that succeeded."""
        self.others: dict[str, count[int]] = {}

    def add(self, outcome: str) -> None:
        """Count one execution with this outcome."""
        next(self.ok if outcome == OK else self.others.setdefault(outcome, count()))


class _Page:
    """How many steps of one iterator were reported, and how many steps the readings themselves took."""

    __slots__ = ("looks", "told")

    def __init__(self) -> None:
        self.looks = self.told = 0

    def new(self, counted: count[int]) -> int:
        """Return how many executions were counted since the last reading. The steps of the readings do not count."""
        found = min(next(counted) - self.looks - self.told, COUNT_MAX)
        self.looks += 1
        self.told += found
        return found


class Book:
    """Reads a tally. Only one thread may use it."""

    __slots__ = ("_ok", "_others", "_pages", "_tally", "epoch", "gate")

    def __init__(self, gate: str, epoch: str, tally: Tally) -> None:
        self.gate = gate
        self.epoch = epoch
        self._tally = weakref.ref(tally)
        self._ok, self._others = tally.ok, tally.others
        self._pages: dict[str, _Page] = {OK: _Page()}

    @property
    def over(self) -> bool:
        """Whether nobody counts in the tally any more. Ask before the last reading, not after it."""
        return self._tally() is None

    def read(self) -> list[tuple[str, int]]:
        """Return each outcome that was counted since the last reading, with its number."""
        found = [(OK, self._pages[OK].new(self._ok))]
        for outcome, counted in list(self._others.items()):
            found.append((outcome, self._pages.setdefault(outcome, _Page()).new(counted)))
        return [(outcome, number) for outcome, number in found if number]
