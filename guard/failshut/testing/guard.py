"""The guard of a rehearsal: the real one, whose background is a courier in memory instead of threads that talk to a store.

Gates, slots, leases, executions, admission, verification and outcomes are those of production. What differs is who reads for
them. The courier reads in the thread of whoever asks, so a test waits for nothing and finds the same each time.

Nothing leads from here to a store: the configuration has no address, and no watcher is ever made. Nothing leads from a real
guard to here: the installation has no name in any store, so a guard that talks to a store withholds with these keys. The
private key is made in the process, and ends with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from failshut.admission.denial import Denial
from failshut.background.watcher import ReadRequest, Request
from failshut.cause import Cause
from failshut.config import Configuration
from failshut.guard import Background, Guard
from failshut.lease import Lease, Slot
from failshut.store.client import Unreachable
from failshut.testing.clock import Clock
from failshut.testing.memory import MemoryStore

AWAY: Final = "the store cannot be reached: the test took it away"


class RehearsedGuard(Guard):
    """A guard over a store in memory. Made by a rehearsal alone; it takes no address.

    Args:
        store: what its gates find.
        clock: both its clocks.
        installation: whose permits count, one of `new_testing_installation`.
        jwks: the public key of the rehearsal.
        context: where the guard says that it runs.
    """

    def __init__(
        self, store: MemoryStore, clock: Clock, installation: str, jwks: Mapping[str, Any], context: Mapping[str, str]
    ) -> None:
        self._store, self._clock = store, clock
        self._asked: Counter[str] = Counter()
        super().__init__(Configuration(installation=installation, jwks=jwks, context=context, clocks=clock.clocks()))
        self._courier = Courier(self)

    def asked(self, gate: str) -> int:
        """Return how often somebody asked for admission to the gate who had not been admitted under its present permit."""
        return self._asked[gate]

    def admit(self, slot: Slot, state: Lease | Denial, subject: str, operation: str | None, probing: bool) -> Lease | Denial:
        with self._clock.lock:
            self._asked[slot.gate] += 1
        return super().admit(slot, state, subject, operation, probing)

    def deliver(self, gate: str) -> None:
        """Have the gate's slots find what the store holds now."""
        for slot in self.slots.all():
            if slot.gate == gate:
                self._read(slot)

    def _read(self, slot: Slot) -> None:
        kept = self._store.of(slot.gate)
        if kept.stalled:
            slot.concluded_mono = float("-inf")  # no read has ended, so callers go on to ask
        elif kept.away:
            self.slots.unreachable([slot], AWAY)
        else:
            before = self.slots.moment()
            found = self._store.read(slot.gate)
            if slot.read_mono == float("-inf") and kept.permit is not None and kept.permit != found.record:
                # A service knows its gates before a test asks one. So what ran out meanwhile lapsed, and was not never there.
                self.slots.take(slot, kept.permit, 1, before)
            self.slots.take(slot, found.record, found.pttl_ms, before, found.fence)

    def answer(self, request: Request) -> None:
        """Answer a caller, unless the store does not: then the caller waits until the deadline."""
        slot = request.slot
        if slot is None:
            return
        with self._clock.lock:
            kept = self._store.of(slot.gate)
            if isinstance(request, ReadRequest):
                self._read(slot)
                if not kept.stalled:
                    request.done.set_result(None)
            elif kept.away:
                request.fail(Unreachable(AWAY, maybe_applied=False))
            elif not kept.stalled:
                request.answer(self._store.pop_probe(slot.gate))

    def _running(self) -> Background | Denial:
        return Denial(Cause.NO_PERMIT, "the rehearsal is over") if self.closed else self._courier

    def after_fork(self) -> None:
        self._clock.after_fork()
        super().after_fork()


class Courier:
    """Who reads for the callers of a rehearsed guard, in their own threads."""

    asking_since = 0.0

    def __init__(self, guard: RehearsedGuard) -> None:
        self._guard = guard

    def ask(self, request: Request) -> bool:
        """Answer a caller's request before returning."""
        self._guard.answer(request)
        return True
