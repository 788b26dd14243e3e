"""How executions ended, on the way to the monitor: counts, and a bounded queue that a caller never waits for.

When an execution ends, its gate's tally counts it (tally.py). A probe's outcome goes into the queue, with its token. A
background thread reads both and writes them to the store in batches. The queue drops outcomes at its bound. A whole batch
is dropped if nobody knows whether it arrived. Dropped outcomes are counted per gate, and that gate's next entry carries the
number. If there is no next entry, one is made for it. An outcome is written at most once, because a second copy would
falsify the failure rate.

Each entry also carries the number of outcomes that this queue has sent for its gate in all, itself included. An entry that
the store's cap or anybody else removes leaves a hole in that count, and the monitor finds it. Limit: outcomes that wait in
a killed process are gone, and nothing records how many they were.
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

#: Gate, epoch, probe token (or empty) and outcome.
Ended = tuple[str, str, str, str]
#: Entries in one batch. The others wait for the next batch.
BATCH_MAX: Final = 500


class OutcomeQueue:
    """Outcomes that wait to be written. Any thread may put, count and open a tally. Only one thread may take.

    The number of open tallies is bounded by the gates and their epochs. An epoch counts while executions still run under it,
    or while their outcomes are not yet written.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        """Create what a forked child must not share. The parent itself reports how the parent's executions ended."""
        self._queue: deque[Ended] = deque()
        self._books: deque[Book] = deque()
        self._reading = threading.Lock()  # around books, for whoever reads them
        self._lock = threading.Lock()  # only where something is lost
        self._lost: Counter[str] = Counter()
        self._total: Counter[str] = Counter()  # by gate; as many as the guard has
        self.ended: Counter[tuple[str, str]] = Counter()
        """How many executions of each gate were read that ended so, by gate and outcome. Nothing takes any away."""
        self.name = secrets.token_hex(8)
        """The name of this process's count, which the entries carry. Each process has another one."""

    def put(self, ended: Ended) -> None:
        """Queue one outcome. At the bound, count it as lost instead."""
        if len(self._queue) >= self._limit:
            self.lose(ended[0], 1)
        else:
            self._queue.append(ended)

    def tally(self, gate: str, epoch: str) -> Tally:
        """Open a tally, which is read until nobody counts in it any more.

        At the bound, tallies that nobody counts in are closed and their unread counts are lost.
        """
        made = Tally()
        if len(self._books) >= self._limit:
            self._close_books()
        self._books.append(Book(gate, epoch, made))
        return made

    def after_fork(self) -> None:
        """Start empty in a forked child. The parent reports what was queued and counted before the fork."""
        self._begin()

    def take(self) -> list[Outcomes]:
        """Remove the waiting outcomes and return them, counted, as one batch. Its entries also carry the reported losses."""
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
                self.ended[gate, outcome] += count
                batch.append(Outcomes(gate, epoch, token, outcome, count, self._lost.pop(gate, 0), self._total[gate]))
            for gate in list(self._lost)[: BATCH_MAX - len(batch)]:  # nothing else says so
                batch.append(Outcomes(gate, ZERO, "", CANCELLED, 0, self._lost.pop(gate), self._total[gate]))
        return batch

    def _read(self) -> list[tuple[Ended, int]]:
        """Return what is new in the first book. Then move that book to the end, or drop it if nobody counts in it."""
        book = self._books[0]
        over = book.over  # before it is read: whoever had the tally in hand has counted by then
        found = [((book.gate, book.epoch, "", outcome), count) for outcome, count in book.read()]
        if over:
            self._books.popleft()
        else:
            self._books.rotate(-1)
        return found

    def _close_books(self) -> None:
        """Close the books in which nobody counts any more. Count what they did not report yet as lost."""
        with self._reading:
            for _ in range(len(self._books)):
                if not self._books[0].over:
                    self._books.rotate(-1)
                    continue
                for (gate, *_), count in self._read():
                    self.lose(gate, count)

    def dropped(self, batch: list[Outcomes]) -> None:
        """Count a batch that may not have arrived as lost: its outcomes and the losses that it reported."""
        with self._lock:
            for entry in batch:
                self._total[entry.gate] -= entry.count  # reported as lost, so that it is no hole as well
                self._lost[entry.gate] += entry.count + entry.lost

    def refused(self, batch: list[Outcomes], entries: list[Outcomes]) -> None:
        """Account for the entries of a batch that the store did not take.

        Count an entry as lost if the store took none of its gate behind it. Otherwise it is a hole that the monitor finds, and
        only the losses that it reported are kept for the next report.
        """
        left = set(entries)
        took = {entry.gate: entry.total for entry in batch if entry not in left}  # the last one of each gate
        holes = {entry for entry in entries if entry.total < took.get(entry.gate, 0)}
        with self._lock:
            for entry in holes:
                self._lost[entry.gate] += entry.lost
        self.dropped([entry for entry in entries if entry not in holes])

    def lose(self, gate: str, count: int) -> None:
        """Count outcomes of a gate that will not be written."""
        with self._lock:
            self._lost[gate] += count

    def lost(self, gate: str) -> int:
        """Return how many losses of a gate no entry has reported yet."""
        return self._lost[gate]

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def waits(self) -> bool:
        """Whether the queue holds an outcome or a loss waits for its report. Tallies are not looked at: `take` reads them."""
        return bool(self._queue) or bool(self._lost)
