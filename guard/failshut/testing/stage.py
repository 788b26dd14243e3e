"""The stage of a rehearsal: one guard, its store and its time, and how what the monitor says reaches the guard.

A change of what guards see is made whole, under the clock's lock. A thread that asks meanwhile waits for its end. So a gate
that is closed for one cause and then for another is never open in between. Afterwards running executions are told to look. In
production a timer tells them, no later than their lease would have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from failshut.permit import Closing, Permit
from failshut.signing import SigningKey
from failshut.store.names import new_testing_installation
from failshut.testing.clock import Clock
from failshut.testing.guard import RehearsedGuard
from failshut.testing.memory import MemoryStore

BATCHES_MAX = 1000
"""Batches of outcomes that one look takes; what is beyond waits for the next."""


class Stage:
    """What all gates of a rehearsal share.

    Args:
        context: where the guard says that it runs.
    """

    def __init__(self, context: Mapping[str, str]) -> None:
        key = SigningKey.generate()
        self.installation = new_testing_installation()
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.guard = RehearsedGuard(self.store, self.clock, self.installation, key.key_set().to_dict(), context)
        self.renewals: dict[str, Callable[[], None]] = {}
        """By gate: what the monitor writes again and again as time goes on; nothing where it has fallen silent."""
        self._key = key
        self._outcomes: dict[str, Counter[str]] = {}
        self._owed: dict[object, str] = {}

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make what happens inside one change to all who ask, and tell running executions afterwards."""
        with self.clock.lock:  # whole
            yield
        for slot in self.guard.slots.all():
            slot.interrupt()

    def write(self, gate: str, statement: Permit | Closing) -> None:
        """Sign a statement as the monitor does, and have the store and the guard take it: a closing is pushed."""
        token = statement.sign(self._key)
        self.store.write(gate, statement, token)
        if not isinstance(statement, Closing):
            self.guard.deliver(gate)
            return
        for _ in self.guard.slots.pushed(gate, token.encode()):
            self.guard.deliver(gate)

    def put(self, gate: str, statement: Permit, key: SigningKey | None = None) -> None:
        """Have a permit lie in the gate's place that no monitor wrote there."""
        self.store.put(gate, statement.sign(key or self._key), statement.exp_ms)
        self.guard.deliver(gate)

    def advance(self, seconds: float) -> None:
        """Let time go on, and the monitor renew what it renews."""
        self.clock.step(seconds)
        for renew in list(self.renewals.values()):
            renew()
        for gate in {slot.gate for slot in self.guard.slots.all()}:
            self.guard.deliver(gate)

    def outcomes(self, gate: str) -> Counter[str]:
        """Return how executions of the gate ended so far: `ok`, `failed`, `cancelled`, `interrupted`."""
        with self.clock.lock:
            for _ in range(BATCHES_MAX):
                batch = self.guard.outcomes.take()
                if not batch:
                    break
                for entry in batch:
                    self._outcomes.setdefault(entry.gate, Counter())[entry.outcome] += entry.count
            return +self._outcomes.get(gate, Counter())

    # --- what a test still owes ---

    def owe(self, what: object, why: str) -> None:
        """Remember that a test has begun something that counts only when it has ended."""
        self._owed[what] = why

    def settle(self, what: object) -> None:
        """Forget it: it has ended."""
        self._owed.pop(what, None)

    def owed(self) -> list[str]:
        """Return what has not ended, in words."""
        return list(self._owed.values())
