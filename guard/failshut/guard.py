"""A configured guard: its gates' slots, its queue of outcomes and its watcher, in one process.

Callers ask the guard only off the hot path, when there is no lease. They wait for the watcher, never longer than the deadline,
and receive a lease or a denial. `slots.py` stores what is known of gates and keys. A process has one default guard, made by
`configure()` or from the environment. Callers can make more. A process may fork. The child drops leases, connections and
waiting outcomes, and keeps the epochs that were seen. It starts threads of its own when a gate is first used.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final, Protocol

from failshut.admission import checks as admission
from failshut.admission.denial import Denial
from failshut.background.outcomes import CANCELLED, OutcomeQueue
from failshut.background.slots import Slots
from failshut.background.watcher import ProbeRequest, ReadRequest, Request, Watcher
from failshut.cause import Cause
from failshut.config import Configuration, from_environment
from failshut.lease import ADMITTED_MAX, Lease, Moment, Slot
from failshut.permit import Permit
from failshut.store.client import Unreachable

SHUTDOWN_SECONDS: Final = 0.5


class Background(Protocol):
    """What a guard's callers wait for: somebody who reads for them."""

    asking_since: float
    """Monotonic time at which the question under way was put to the store; 0 if there is none."""

    def ask(self, request: Request) -> bool:
        """Take a caller's request; False at the bound."""


class Guard:
    """Looks for permits on behalf of the gates of one configuration. All methods may be called from any thread."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.outcomes = OutcomeQueue(configuration.outcomes_max)
        self.slots = Slots(configuration, self._keys_changed, self.outcomes.tally, self)
        self.closed = False
        self._begin()
        _guards.append(self)

    def _begin(self) -> None:
        """Create what a forked child must not share with its parent."""
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self.instance = self.configuration.instance or f"{socket.gethostname()}:{os.getpid()}"

    def close(self) -> None:
        """Write the waiting outcomes and end the threads. From now on every gate of this guard denies."""
        with self._lock:
            self.closed = True
            if self in _guards:
                _guards.remove(self)
            watcher, self._watcher = self._watcher, None
        self.slots.close()
        for slot in self.slots.all():  # before the last outcomes are written: what begins now is another guard's
            slot.withhold(Denial(Cause.NO_PERMIT, "the guard was shut down"))
        if watcher is not None:
            watcher.stop(SHUTDOWN_SECONDS)

    @property
    def faults(self) -> int:
        """The number of unforeseen errors in the background threads. Each ended a turn and opened nothing."""
        return self.slots.faults

    @property
    def last_fault(self) -> str:
        """The text of the last unforeseen error; empty if there was none."""
        return self.slots.last_fault

    # --- for gates ---

    def slot(self, gate: str, context: Mapping[str, str], policy: str) -> Slot:
        """Return the slot of a gate, context and policy; the first call makes it. Raises ValueError beyond 4,096 slots."""
        return self.slots.slot(gate, context, policy)

    def deadline(self) -> float:
        """Return the time by which a caller that begins to wait now must have its answer (seconds of `time.monotonic`)."""
        return time.monotonic() + self.configuration.deadline_ms / 1000

    def obtain(self, slot: Slot, end: float) -> Lease | Denial:
        """Return a lease that is alive now, or why there is none. Waits until `end` at most."""
        request = self._start_read(slot)
        if isinstance(request, ReadRequest):
            try:
                request.done.result(_left(end))
            except FutureTimeout:
                return self._settle(slot, late=True)
            return self._settle(slot)
        return request

    async def obtain_async(self, slot: Slot, end: float) -> Lease | Denial:
        """Do the same as `obtain` without blocking the event loop."""
        request = self._start_read(slot)
        if isinstance(request, ReadRequest):
            return self._settle(slot, late=not await _arrived(request.done, end))
        return request

    def probe(self, slot: Slot, permit: Permit, end: float) -> str | Denial:
        """Return one probe token of the permit's PROVING, or why there is none. Waits until `end` at most."""
        request = self._start_probe(slot, permit)
        if isinstance(request, Denial):
            return request
        try:
            request.done.result(_left(end))
        except (FutureTimeout, Unreachable):
            pass  # the result is read below, where a late answer also counts
        return self._probe_answer(request, permit)

    async def probe_async(self, slot: Slot, permit: Permit, end: float) -> str | Denial:
        """Do the same as `probe` without blocking the event loop."""
        request = self._start_probe(slot, permit)
        if isinstance(request, Denial):
            return request
        try:
            await _arrived(request.done, end)
        except asyncio.CancelledError:
            answer = self._probe_answer(request, permit)
            if isinstance(answer, str):
                self.outcomes.put((slot.gate, permit.epoch, answer, CANCELLED))
            raise
        return self._probe_answer(request, permit)

    def current(self, slot: Slot) -> Lease | Denial:
        """Return the slot's present state, without asking the store."""
        return self._settle(slot)

    def moment(self) -> Moment:
        """Return the present times of both clocks."""
        return self.slots.moment()

    def counts(self, kid: str) -> bool:
        """Return whether what this key signed counts now."""
        return self.slots.counts(kid)

    def admit(self, slot: Slot, state: Lease | Denial, subject: str, operation: str | None, probing: bool) -> Lease | Denial:
        """Run all five checks. Return the lease under which the execution may start, or why it may not.

        `state` is what the caller was given. If it has ended since, the slot's present state counts instead. `probing` says
        that the caller will take a probe token next.
        """
        if isinstance(state, Lease) and not state.alive(self.moment()):
            state = self._settle(slot)  # the lease was ended or replaced since the caller received it
        question = admission.Question(subject, operation, slot.policy, slot.here, probing=probing)
        found = admission.decide(question, state.permit if isinstance(state, Lease) else state)
        if isinstance(found, Denial) or isinstance(state, Denial):
            return found if isinstance(found, Denial) else state
        if found.mode == "proving":
            return state
        if len(state.admitted) >= ADMITTED_MAX:
            state.admitted.clear()
        state.admitted.add(subject if operation is None else (subject, operation))
        return state

    # --- within ---

    def _start_read(self, slot: Slot) -> ReadRequest | Lease | Denial:
        """Return a lease or a denial if one is known without asking the store, otherwise the request to wait for."""
        if slot.alive(self.moment()):
            return self._settle(slot)
        watcher = self._running()
        if isinstance(watcher, Denial):
            return watcher
        now = time.monotonic()
        if now - slot.concluded_mono < 2 * slot.interval_ms / 1000:
            return self._settle(slot)  # the answer may have come since the slot was looked at
        since = watcher.asking_since
        if since and now - since > self.configuration.deadline_ms / 1000:
            waited_ms = int((now - since) * 1000)
            return Denial(Cause.STORE_UNREACHABLE, f"the store has not answered for {waited_ms} ms")
        request = ReadRequest(slot)
        if not watcher.ask(request):
            return Denial(Cause.DEADLINE, "too many callers wait for the store")
        return request

    def _start_probe(self, slot: Slot, permit: Permit) -> ProbeRequest | Denial:
        watcher = self._running()
        if isinstance(watcher, Denial):
            return watcher
        request = ProbeRequest(slot, permit.epoch)
        if not watcher.ask(request):
            return Denial(Cause.DEADLINE, "too many callers wait for the store")
        return request

    def _probe_answer(self, request: ProbeRequest, permit: Permit) -> str | Denial:
        if request.leave():
            return Denial(Cause.DEADLINE, "no probe token within the deadline")
        error = request.done.exception()
        if error is not None:
            return Denial(Cause.STORE_UNREACHABLE, str(error))
        token = request.done.result()
        if not token:
            return Denial(Cause.PROBES_SPENT)
        if token.partition(":")[0] != permit.epoch:
            return Denial(Cause.STALE, f"a probe token of another proving: {token[:64]!a}")
        return token

    def _settle(self, slot: Slot, late: bool = False) -> Lease | Denial:
        """Return the slot's present state: a lease that is alive, or a denial.

        Each read of the store replaces a lease and ends the former one. So a lease that has ended may have a successor that
        is alive. The successors are looked at too, at most SUCCESSORS_MAX in all, because many callers may wait at a gate.
        """
        for _ in range(SUCCESSORS_MAX):
            now, state = self.moment(), slot.state
            if not isinstance(state, Lease):
                break
            if state.alive(now):
                return state
            if state is slot.state:
                break
        if late:
            return Denial(Cause.DEADLINE, f"no answer from the store within {self.configuration.deadline_ms} ms")
        return slot.denial(now)

    def _running(self) -> Background | Denial:
        """Return the watcher, started if necessary, or why there is none."""
        if not self.configuration.store_url:
            return Denial(Cause.STORE_UNREACHABLE, "no store is configured: set FAILSHUT_STORE")
        watcher = self._watcher
        if watcher is not None and watcher.running() and not self.closed:
            return watcher
        with self._lock:
            if self.closed:
                return Denial(Cause.NO_PERMIT, "the guard was shut down")
            if self._watcher is None or not self._watcher.running():
                try:
                    watcher = Watcher(self.configuration, self.slots, self.outcomes, self.instance)
                    watcher.start()
                except RuntimeError as error:  # no threads left, or the interpreter is ending
                    return Denial(Cause.STORE_UNREACHABLE, f"the guard cannot start its watcher: {error}")
                self._watcher = watcher
            return self._watcher

    def after_fork(self) -> None:
        """Drop what belongs to the parent, in a forked child."""
        parents = self._watcher
        self._begin()
        self.outcomes.after_fork()
        if parents is not None:
            parents.abandon()
        self.slots.after_fork()

    def _keys_changed(self) -> None:
        """Read all records again, and have the other guards of this process read their key files at once.

        So no guard goes on with a key that another guard has seen withdrawn.
        """
        watcher = self._watcher
        if watcher is not None:
            watcher.wake()
        for other in list(_guards):
            if other is not self:
                other.slots.refresh_keys(at_once=True)


def guards() -> list[Guard]:
    """Return the guards of this process that are not shut down."""
    return list(_guards)


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


async def _arrived(future: Future[Any], end: float) -> bool:
    """Wait for another thread's answer. Return False if it did not come in time."""
    waiter = asyncio.wrap_future(future)
    done, _ = await asyncio.wait({waiter}, timeout=_left(end))
    if done and not waiter.cancelled():
        waiter.exception()  # callers read it from the future itself; here it only must not stay unread
    return bool(done)


SUCCESSORS_MAX = 64
"""The most leases that are looked at before the answer is a denial. Each is the successor of one that ended meanwhile."""

_guards: list[Guard] = []
_default: Guard | None = None
_default_lock = threading.Lock()


def configure(**settings: Any) -> Guard:
    """Set this process's default guard. Settings that are not given are read from the environment.

    The arguments are those of `Configuration`: store_url, jwks, installation, context, deadline_ms, ... The former default
    guard is shut down, and its gates ask the new one. Raises ValueError for an invalid setting.
    """
    global _default
    guard = Guard(from_environment(**settings))
    with _default_lock:
        former, _default = _default, guard
    if former is not None:
        former.close()
    return guard


def default_guard() -> Guard:
    """Return this process's default guard. Make it from the environment if there is none. Raises ValueError."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Guard(from_environment())
        return _default


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for guard in _guards:
        guard.after_fork()


def _at_exit() -> None:
    for guard in list(_guards):
        guard.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
