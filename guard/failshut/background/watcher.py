"""The background of a guard: threads that talk to the store, and look at the key file, so that callers never do.

The watcher reads the gates in use (at a quarter of the permit's life, at most 250 ms apart) and fetches what
callers wait for. The listener does nothing but wait for pushed closings, so that a slow read delays none. The
reporter writes outcomes (reporter.py), so that a store that does not take them delays neither. If the keys are
in a file, one more thread reads it each second. A key's removal must not wait for a store that answers late.
All are daemons with connections of their own. An error of the store is counted, waited out with a bounded
backoff and never changes a lease: it runs out. An error that nobody foresaw ends the turn, not the thread, and
changes no lease either.

Requests of callers are bounded and carry their own answer. A caller who gave up is not served. A probe token
that arrives after its caller left is reported as cancelled, so the monitor knows that it is spent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from failshut.background.key_source import LOOK_SECONDS
from failshut.background.outcomes import CANCELLED, OutcomeQueue
from failshut.background.reporter import Reporter
from failshut.background.slots import Slots
from failshut.config import Configuration
from failshut.lease import READ_INTERVAL_MS_MAX, Denial, Lease, Slot
from failshut.signing import TokenError
from failshut.store.client import GATES_PER_READ_MAX, Store, Subscription, Unreachable
from failshut.store.names import Names
from failshut.store.state import AGE_SECONDS_MAX

REQUESTS_MAX: Final = 10_000
BACKOFF_SECONDS_MIN: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 1.0
LISTEN_SECONDS: Final = 0.25
SILENCE_SECONDS_MAX: Final = 2.0
RECORD_SECONDS: Final = 10.0
"""The record of a gate that seals renew is read again after about so long: two monitors that disagree keep no gate open."""


class ReadRequest:
    """A caller waits until a read of this gate has ended, one way or the other."""

    def __init__(self, slot: Slot | None) -> None:
        self.slot = slot
        self.done: Future[None] = Future()


class ProbeRequest:
    """A caller waits for a probe token; it may leave, and then the token is not lost without a word."""

    def __init__(self, slot: Slot, epoch: str) -> None:
        self.slot = slot
        self.epoch = epoch
        self.done: Future[str] = Future()
        self._lock = threading.Lock()
        self._left = False

    def answer(self, token: str) -> bool:
        """Hand over the token; False if the caller has left."""
        with self._lock:
            if self._left:
                return False
            if not self.done.done():
                self.done.set_result(token)
            return True

    def fail(self, error: Unreachable) -> None:
        """Say that there is no answer to be had."""
        with self._lock:
            if not self._left and not self.done.done():
                self.done.set_exception(error)

    def leave(self) -> bool:
        """The caller stops waiting; False if the answer came first and must be used."""
        with self._lock:
            if self.done.done():
                return False
            self._left = True
            return True

    @property
    def left(self) -> bool:
        """Whether the caller stopped waiting."""
        return self._left


Request = ReadRequest | ProbeRequest


class Watcher:
    """The threads of one guard in one process. Started once; a guard makes a new one where this ended."""

    def __init__(self, configuration: Configuration, slots: Slots, outcomes: OutcomeQueue, instance: str) -> None:
        self._configuration = configuration
        self._slots = slots
        self._outcomes = outcomes
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._stopping = threading.Event()
        self._backoff = 0.0
        self._retry_at = 0.0
        self._store = Store(configuration.store_url, configuration.store_timeout_ms)
        self._reporter = Reporter(configuration, slots.names, outcomes, instance, self._stopping)
        self._subscription: Subscription | None = None
        self._seals_mono = float("-inf")
        """When seals were read last, or were tried to be."""
        self._elsewhere = False
        """The watcher found that the store is no longer where it was; the listener subscribes anew."""
        self.asking_since = 0.0
        """Monotonic time at which the question under way was put to the store; 0 if there is none."""
        self._threads = [
            threading.Thread(target=self._watch, name="failshut-watcher", daemon=True),
            threading.Thread(target=self._attend, name="failshut-listener", daemon=True),
            threading.Thread(target=self._report, name="failshut-reporter", daemon=True),
        ]
        if slots.follows_keys:
            self._threads.append(threading.Thread(target=self._keep_keys, name="failshut-keys", daemon=True))

    def start(self) -> None:
        """Start the threads. Raises RuntimeError where the interpreter cannot start one."""
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Whether all threads live."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self, seconds: float) -> None:
        """Write what outcomes wait, end the threads and wait for them, at most `seconds` in all."""
        self._stopping.set()
        self.wake()
        end = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def abandon(self) -> None:
        """In a forked child, where these threads do not exist: let go of what they had open."""
        self._store.abandon()
        self._reporter.abandon()
        if self._subscription is not None:
            self._subscription.abandon()

    def ask(self, request: Request) -> bool:
        """Queue a caller's request; False at the bound."""
        if self._requests.qsize() >= REQUESTS_MAX:
            return False
        self._requests.put(request)
        return True

    def wake(self) -> None:
        """Have the watcher see at once what is due."""
        self._requests.put(ReadRequest(None))

    def _watch(self) -> None:
        self._repeat(self._turn, self._recover)
        self._store.close()

    def _attend(self) -> None:
        self._repeat(self._listen, lambda: None)

    def _report(self) -> None:
        self._repeat(self._reporter.turn, self._reporter.recover)
        self._reporter.end()

    def _keep_keys(self) -> None:
        self._repeat(self._look_at_keys, lambda: None)

    def _look_at_keys(self) -> None:
        self._slots.refresh_keys(at_once=True)
        self._stopping.wait(LOOK_SECONDS)

    def _repeat(self, turn: Callable[[], None], recover: Callable[[], None]) -> None:
        """Take turns until stopped. An error that nobody foresaw ends the turn and opens nothing."""
        while not self._stopping.is_set():
            try:
                turn()
            except Exception as error:  # noqa: BLE001 - leases run out by themselves; a dead thread would end service
                self._slots.note_fault(error)
                recover()
                self._stopping.wait(BACKOFF_SECONDS_MIN)

    def _recover(self) -> None:
        self.asking_since = 0.0
        self._store.close()

    # The watcher's thread ------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait until something is due or wanted, then read and fetch."""
        reads, probes = self._wait()
        try:
            self._slots.refresh_keys()
            now = time.monotonic()
            wanted = {request.slot for request in reads if request.slot is not None}
            unnamed = set(self._read_seals()) if self._seals_due(now) or any(slot.sealed for slot in wanted) else set()
            due = [slot for slot in self._slots.all() if slot in wanted or slot in unnamed or self._due(slot, now)]
            for start in range(0, len(due), GATES_PER_READ_MAX):
                self._read(due[start : start + GATES_PER_READ_MAX])
            if any(slot.sealed and isinstance(slot.state, Denial) for slot in due):
                self._read_seals()  # permits are written before the seal that names them
            for probe in probes:
                self._fetch_probe(probe)
        finally:  # whoever waits is told, also where this turn failed
            for request in reads:
                if not request.done.done():
                    request.done.set_result(None)
            for probe in probes:
                probe.fail(Unreachable("the guard's watcher failed", maybe_applied=True))

    def _wait(self) -> tuple[list[ReadRequest], list[ProbeRequest]]:
        requests: list[Request] = []
        try:
            requests.append(self._requests.get(timeout=self._pause()))
            while len(requests) < REQUESTS_MAX:
                requests.append(self._requests.get_nowait())
        except Empty:
            pass
        reads = [request for request in requests if isinstance(request, ReadRequest)]
        return reads, [request for request in requests if isinstance(request, ProbeRequest)]

    def _pause(self) -> float:
        """Seconds until the next gate is due."""
        now = time.monotonic()
        pause = min((self._due_at(slot) - now for slot in self._slots.all()), default=READ_INTERVAL_MS_MAX / 1000)
        pause = min(pause, self._seals_due_at() - now)
        return max(0.001, min(pause, READ_INTERVAL_MS_MAX / 1000))

    def _due_at(self, slot: Slot) -> float:
        """A record is read again and again until its permit has a lease by a seal; then now and then, for what no seal says."""
        renewed = slot.sealed is not None and isinstance(slot.state, Lease)
        # Not all of a guard's gates at one time.
        seconds = RECORD_SECONDS * (1 + hash(slot.gate) % 64 / 64) / 2 if renewed else slot.interval_ms / 1000
        return max(slot.read_mono + seconds, self._retry_at)

    def _seals_due_at(self) -> float:
        intervals = [slot.interval_ms for slot in self._slots.all() if slot.sealed is not None]
        return max(self._seals_mono + min(intervals) / 1000, self._retry_at) if intervals else float("inf")

    def _seals_due(self, now: float) -> bool:
        return now >= self._seals_due_at()

    def _read_seals(self) -> list[Slot]:
        """Read the seals of the partitions in which gates live by them; return the gates that these no longer name."""
        known = self._slots.known_seals()
        if not known:
            return []
        try:
            names = self._slots.names()
        except TokenError:
            return []  # nothing is read under no name, and each gate's own read says so
        before = self._slots.moment()
        self._seals_mono = self.asking_since = time.monotonic()
        try:
            found = self._store.read_seals(names, known)
        except Unreachable as error:
            self._failed(error)
            self._slots.unreachable([slot for slot in self._slots.all() if slot.sealed is not None], str(error))
            return []
        finally:
            self.asking_since = 0.0
        self._backoff = self._retry_at = 0.0
        return self._slots.take_seals(found, before)

    def _due(self, slot: Slot, now: float) -> bool:
        return now >= self._due_at(slot)

    def _read(self, slots: list[Slot]) -> None:
        try:
            names = self._slots.names()
        except TokenError as error:
            self._slots.nameless(slots, error)
            return
        before = self._slots.moment()
        self.asking_since = time.monotonic()
        try:
            answers = self._store.read(names, [slot.gate for slot in slots])
        except Unreachable as error:
            self._failed(error)
            self._slots.unreachable(slots, str(error))
        else:
            self._backoff = self._retry_at = 0.0
            for slot, found in zip(slots, answers, strict=True):
                self._slots.take(slot, found.record, found.pttl_ms, before, found.fence)
        finally:
            self.asking_since = 0.0

    def _fetch_probe(self, request: ProbeRequest) -> None:
        if request.left:
            return
        try:
            names = self._slots.names()
        except TokenError as error:
            request.fail(Unreachable(str(error), maybe_applied=False))
            return
        self.asking_since = time.monotonic()
        try:
            token = self._store.pop_probe(names, request.slot.gate)
        except Unreachable as error:
            self._failed(error)
            request.fail(error)
            return
        finally:
            self.asking_since = 0.0
        if not request.answer(token) and token:
            self._outcomes.put((request.slot.gate, request.epoch, token, CANCELLED))

    def _failed(self, error: Unreachable) -> None:
        self._elsewhere = self._elsewhere or error.elsewhere
        self._backoff = min(BACKOFF_SECONDS_MAX, max(BACKOFF_SECONDS_MIN, self._backoff * 2))
        self._retry_at = time.monotonic() + self._backoff

    # The listener's thread -----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """One subscription, from its making to its end."""
        configuration = self._configuration
        try:
            names = self._slots.names()
            self._subscription = Subscription(configuration.store_url, configuration.store_timeout_ms, names.push)
            for slot in self._slots.all():  # a closing may have been pushed while nobody listened
                self.ask(ReadRequest(slot))
            self._hear(self._subscription, names)
        except (Unreachable, TokenError):  # without an installation there is nothing to listen to; the watcher says so
            self._stopping.wait(BACKOFF_SECONDS_MIN * 4)
        finally:
            if self._subscription is not None:
                self._subscription.close()
                self._subscription = None

    def _hear(self, subscription: Subscription, names: Names) -> None:
        self._elsewhere = False
        begun = heard = asked = time.monotonic()
        while not self._stopping.is_set() and not self._elsewhere and time.monotonic() - begun < AGE_SECONDS_MAX:
            if self._slots.names() != names:
                return  # another installation's closings are pushed elsewhere
            came, push = subscription.next(LISTEN_SECONDS)
            now = time.monotonic()
            if came:
                heard = now
            elif now - heard > SILENCE_SECONDS_MAX:
                return  # a connection that is dead without saying so hears no closing: make a new one
            elif now - asked > SILENCE_SECONDS_MAX / 4:
                asked = now
                subscription.ping()
            if push:
                self._pushed(push)

    def _pushed(self, push: bytes) -> None:
        name, _, token = push.partition(b"\n")
        gate = name.decode("utf-8", "replace")
        for slot in self._slots.pushed(gate, token):
            self.ask(ReadRequest(slot))
