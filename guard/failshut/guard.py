"""A configured guard: its gates' slots, its queue of outcomes and its watcher, in one process.

Callers come here only off the hot path, when there is no lease. They wait for the watcher, never longer than the deadline, and
get a lease or a denial. What is known of gates and keys is in `slots.py`. A process has one default guard, from `configure()`
or the environment; more can be made by hand. Forking is normal. The child drops leases, connections and waiting outcomes, and
keeps the epochs that were seen. It starts threads of its own when a gate is first used.
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
from failshut.background.outcomes import CANCELLED, OutcomeQueue
from failshut.background.slots import Slots
from failshut.background.watcher import ProbeRequest, ReadRequest, Request, Watcher
from failshut.cause import Cause
from failshut.config import Configuration, from_environment
from failshut.lease import ADMITTED_MAX, Denial, Lease, Moment, Slot
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
        """What a process may not inherit from another."""
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self.instance = self.configuration.instance or f"{socket.gethostname()}:{os.getpid()}"

    def close(self) -> None:
        """Write the outcomes that wait, end the threads; from now on every gate of this guard denies."""
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
        """Errors in the background threads that nobody foresaw; each ended a turn and opened nothing."""
        return self.slots.faults

    @property
    def last_fault(self) -> str:
        """The last of them; empty where there was none."""
        return self.slots.last_fault

    # For gates -----------------------------------------------------------------------------------------------------

    def slot(self, gate: str, context: Mapping[str, str], policy: str) -> Slot:
        """The slot of a gate; gates that say the same share it. Raises ValueError beyond 4,096 of them."""
        return self.slots.slot(gate, context, policy)

    def deadline(self) -> float:
        """When a caller that begins to wait now must have its answer; in seconds of `time.monotonic`."""
        return time.monotonic() + self.configuration.deadline_ms / 1000

    def obtain(self, slot: Slot, end: float) -> Lease | Denial:
        """A lease that is alive now, or why there is none; waits until `end` at most."""
        request = self._start_read(slot)
        if isinstance(request, ReadRequest):
            try:
                request.done.result(_left(end))
            except FutureTimeout:
                return self._settle(slot, late=True)
            return self._settle(slot)
        return request

    async def obtain_async(self, slot: Slot, end: float) -> Lease | Denial:
        """As `obtain`, without holding up the event loop."""
        request = self._start_read(slot)
        if isinstance(request, ReadRequest):
            return self._settle(slot, late=not await _arrived(request.done, end))
        return request

    def probe(self, slot: Slot, permit: Permit, end: float) -> str | Denial:
        """One probe token of the permit's PROVING, or why there is none; waits until `end` at most."""
        request = self._start_probe(slot, permit)
        if isinstance(request, Denial):
            return request
        try:
            request.done.result(_left(end))
        except (FutureTimeout, Unreachable):
            pass  # what came of it is read below, where it also may have come late
        return self._probe_answer(request, permit)

    async def probe_async(self, slot: Slot, permit: Permit, end: float) -> str | Denial:
        """As `probe`, without holding up the event loop."""
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
        """The slot's state as of now, without asking anybody."""
        return self._settle(slot)

    def moment(self) -> Moment:
        """Both clocks, now."""
        return self.slots.moment()

    def counts(self, kid: str) -> bool:
        """Whether what this key signed counts now."""
        return self.slots.counts(kid)

    def admit(self, slot: Slot, state: Lease | Denial, subject: str, operation: str | None, probing: bool) -> Lease | Denial:
        """The lease under which the execution may start, after all five checks; or why it may not.

        `state` is what the caller was given; where it has ended since, the slot's state of now counts. `probing` says that
        the caller goes on to take a probe token.
        """
        if refused := admission.refuse_names(subject, operation):
            return refused
        if isinstance(state, Lease) and not state.alive(self.moment()):
            state = self._settle(slot)  # what was settled a moment ago was ended or renewed since
        if isinstance(state, Denial):
            return state
        if refused := admission.admit(state.permit, subject, operation, slot.policy, slot.here):
            return refused
        if state.permit.mode == "proving":
            return state if probing else Denial(Cause.PROBE_REQUIRED)
        if len(state.admitted) >= ADMITTED_MAX:
            state.admitted.clear()
        state.admitted.add(subject if operation is None else (subject, operation))
        return state

    # Within --------------------------------------------------------------------------------------------------------

    def _start_read(self, slot: Slot) -> ReadRequest | Lease | Denial:
        """A lease or a denial that holds without asking, or the request to wait for."""
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
        """The slot's state as of now.

        Each read of the store replaces a lease and ends the former one. So a lease that has ended may have a successor that
        is alive: it is looked at too, as often as a crowd at a cold gate may ask for.
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
        """The watcher, started if need be, or why there is none."""
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
        """In the child: drop what belongs to the parent."""
        parents = self._watcher
        self._begin()
        self.outcomes.after_fork()
        if parents is not None:
            parents.abandon()
        self.slots.after_fork()

    def _keys_changed(self) -> None:
        """Read everything again. Other guards of this process look too: none goes on with a key that one has seen withdrawn."""
        watcher = self._watcher
        if watcher is not None:
            watcher.wake()
        for other in list(_guards):
            if other is not self:
                other.slots.refresh_keys(at_once=True)


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


async def _arrived(future: Future[Any], end: float) -> bool:
    """Wait for another thread's answer; False where it did not come in time."""
    waiter = asyncio.wrap_future(future)
    done, _ = await asyncio.wait({waiter}, timeout=_left(end))
    if done and not waiter.cancelled():
        waiter.exception()  # read by whoever asks the future itself; here it only must not be left unread
    return bool(done)


SUCCESSORS_MAX = 64
"""Leases that are looked at, each the successor of one that ended meanwhile, before the answer is a denial."""

_guards: list[Guard] = []
_default: Guard | None = None
_default_lock = threading.Lock()


def configure(**settings: Any) -> Guard:
    """Set this process's default guard; what is not given comes from the environment.

    Arguments are those of `Configuration`: store_url, jwks, installation, context, deadline_ms, ... The guard that was the
    default before is shut down, and its gates ask the new one. Raises ValueError for what cannot be meant.
    """
    global _default
    guard = Guard(from_environment(**settings))
    with _default_lock:
        former, _default = _default, guard
    if former is not None:
        former.close()
    return guard


def default_guard() -> Guard:
    """This process's default guard, made from the environment if there is none. Raises ValueError."""
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
