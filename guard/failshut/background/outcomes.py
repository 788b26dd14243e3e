"""How executions ended, on their way to the monitor: what was counted, and a bounded queue that a caller never waits for.

An execution that ends is counted in its gate's tally (tally.py). A probe's outcome is put into the queue, with its token. A
background thread reads both, and writes them to the store in batches. Outcomes in the queue are dropped at the bound, and
all are if nobody knows whether their batch arrived. They are counted per gate, and that gate's next entry carries the
number, if necessary an entry made for it. An outcome is written at most once: twice would make a false failure rate.

Each entry also says how many outcomes this queue has sent for its gate in all, itself included. What the store's cap
removes, or anybody else, is a hole in that count, which the monitor finds. Limit: what waits in a process that is killed is
gone, and nothing says how much it was.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, deque
from typing import Final

from failshut.background.tally import CANCELLED, FAILED, INTERRUPTED, OK, OUTCOMES, Book, Tally
from failshut.epoch import ZERO
from failshut.store.client import Outcomes

__all__ = ["CANCELLED", "FAILED", "INTERRUPTED", "OK", "Ended", "OutcomeQueue"]

#: gate, epoch, probe token or empty, outcome
Ended = tuple[str, str, str, str]
#: Entries in one batch; the rest waits for the next.
BATCH_MAX: Final = 500


class OutcomeQueue:
    """Outcomes that wait to be written. Any thread may put, count and open a tally; one thread takes.

    Tallies that are read are bounded by the gates, and by the epochs under which executions still run or were not yet told.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        """What a process may not inherit from another: its parent tells how the parent's executions ended."""
        self._queue: deque[Ended] = deque()
        self._books: deque[Book] = deque()
        self._reading = threading.Lock()  # around books, for whoever reads them
        self._lock = threading.Lock()  # only where something is lost
        self._lost: Counter[str] = Counter()
        self._total: Counter[str] = Counter()  # by gate; as many as the guard has
        self.name = secrets.token_hex(8)
        """Whose count the entries carry: another one in each process."""

    def put(self, ended: Ended) -> None:
        """Queue one outcome; at the bound it is counted as lost instead."""
        if len(self._queue) >= self._limit:
            self.lose(ended[0], 1)
        else:
            self._queue.append(ended)

    def tally(self, gate: str, epoch: str) -> Tally:
        """Open a tally, which is read until nobody counts in it any more. At the bound what such ones hold is lost."""
        made = Tally()
        if len(self._books) >= self._limit:
            self._close_books()
        self._books.append(Book(gate, epoch, made))
        return made

    def after_fork(self) -> None:
        """In the child: nothing waits, and what was counted is the parent's to tell."""
        self._begin()

    def take(self) -> list[Outcomes]:
        """What waits, counted, as the entries of one batch; also the losses that they report."""
        counts: Counter[Ended] = Counter()
        while len(counts) < BATCH_MAX:
            try:
                counts[self._queue.popleft()] += 1
            except IndexError:
                break
        with self._reading:
            for _ in range(len(self._books)):
                if len(counts) > BATCH_MAX - OUTCOMES:
                    break  # the next batch begins with the next book
                for ended, count in self._read():
                    counts[ended] += count
        batch = []
        with self._lock:
            for (gate, epoch, token, outcome), count in counts.items():
                self._total[gate] += count
                batch.append(Outcomes(gate, epoch, token, outcome, count, self._lost.pop(gate, 0), self._total[gate]))
            for gate in list(self._lost)[: BATCH_MAX - len(batch)]:  # nothing else says so
                batch.append(Outcomes(gate, ZERO, "", CANCELLED, 0, self._lost.pop(gate), self._total[gate]))
        return batch

    def _read(self) -> list[tuple[Ended, int]]:
        """What is new in the first book, which then is the last, or is closed."""
        book = self._books[0]
        over = book.over  # before it is read: whoever had the tally in hand has counted by then
        found = [((book.gate, book.epoch, "", outcome), count) for outcome, count in book.read()]
        if over:
            self._books.popleft()
        else:
            self._books.rotate(-1)
        return found

    def _close_books(self) -> None:
        """Close the books in which nobody counts any more; what was not told of them is lost."""
        with self._reading:
            for _ in range(len(self._books)):
                if not self._books[0].over:
                    self._books.rotate(-1)
                    continue
                for (gate, *_), count in self._read():
                    self.lose(gate, count)

    def dropped(self, batch: list[Outcomes]) -> None:
        """A batch may not have arrived: its outcomes, and the losses that it reported, count as lost."""
        with self._lock:
            for entry in batch:
                self._total[entry.gate] -= entry.count  # told as lost, so that it is no hole as well
                self._lost[entry.gate] += entry.count + entry.lost

    def refused(self, batch: list[Outcomes], entries: list[Outcomes]) -> None:
        """The store took a batch without these entries. Behind one that it took they are a hole, which the monitor finds."""
        left = set(entries)
        took = {entry.gate: entry.total for entry in batch if entry not in left}  # the last one of each gate
        holes = {entry for entry in entries if entry.total < took.get(entry.gate, 0)}
        with self._lock:
            for entry in holes:
                self._lost[entry.gate] += entry.lost
        self.dropped([entry for entry in entries if entry not in holes])

    def lose(self, gate: str, count: int) -> None:
        """Count outcomes that will not be written."""
        with self._lock:
            self._lost[gate] += count

    def lost(self, gate: str) -> int:
        """Losses that no entry has reported yet."""
        return self._lost[gate]

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def waits(self) -> bool:
        """Whether something is in the queue, or was lost; what was counted is found by taking."""
        return bool(self._queue) or bool(self._lost)
