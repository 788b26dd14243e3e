"""How executions ended, on their way to the monitor: a bounded queue that a caller never waits for.

A caller appends and goes on; a background thread counts what is alike and writes it to the store in batches.
Outcomes are dropped at the bound, and if nobody knows whether their batch arrived. They are counted per gate,
and that gate's next entry carries the number, if necessary an entry made for it. An outcome is written at most
once: twice would make a false failure rate.

Each entry also says how many outcomes this queue has sent for its gate in all, itself included. What the
store's cap removes, or anybody else, is a hole in that count, which the monitor finds. Limit: what waits in a
process that is killed is gone, and nothing says how much it was.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, deque
from typing import Final

from failshut.epoch import ZERO
from failshut.store.client import Outcomes

OK: Final = "ok"
FAILED: Final = "failed"
#: Nothing was executed, or the guard itself interrupted it: says nothing of the action.
CANCELLED: Final = "cancelled"
#: Admitted, and ended by somebody else's cancellation or timeout, or by the process's end: its action did not come back.
INTERRUPTED: Final = "interrupted"

#: gate, epoch, probe token or empty, outcome
Ended = tuple[str, str, str, str]
#: Entries in one batch; the rest waits for the next.
BATCH_MAX: Final = 500


class OutcomeQueue:
    """Outcomes that wait to be written. Any thread may put; one thread takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[Ended] = deque()
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

    def take(self) -> list[Outcomes]:
        """What waits, counted, as the entries of one batch; also the losses that they report."""
        counts: Counter[Ended] = Counter()
        while len(counts) < BATCH_MAX:
            try:
                counts[self._queue.popleft()] += 1
            except IndexError:
                break
        batch = []
        with self._lock:
            for (gate, epoch, token, outcome), count in counts.items():
                self._total[gate] += count
                batch.append(Outcomes(gate, epoch, token, outcome, count, self._lost.pop(gate, 0), self._total[gate]))
            for gate in list(self._lost)[: BATCH_MAX - len(batch)]:  # nothing else says so
                batch.append(Outcomes(gate, ZERO, "", CANCELLED, 0, self._lost.pop(gate), self._total[gate]))
        return batch

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
        """Whether there is anything to write."""
        return bool(self._queue) or bool(self._lost)
