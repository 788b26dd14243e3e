"""The background threads of a guard. They talk to the store and read the key file, so that callers never do.

The watcher reads the records of the gates in use, and fetches what callers wait for. It reads every quarter of the
permit's life, and at most 250 ms apart. The listener only waits for pushed closings, so that a slow read delays
none. The reporter writes outcomes (reporter.py), so that a store that refuses them delays neither. If the keys are
in a file, one more thread reads it each second. So a key's removal does not wait for a store that answers late.
All are daemon threads with connections of their own. After an error of the store, a thread waits with a bounded
backoff. The error never changes a lease: the lease runs out. An unforeseen error ends the turn, not the thread,
and changes no lease either.

The queue of callers' requests is bounded, and each request carries its own answer. A caller who gave up is not
served. A probe token that arrives after its caller left is reported as cancelled, so the monitor knows that it
is spent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from failshut.admission.denial import Denial
from failshut.background.key_source import LOOK_SECONDS
from failshut.background.outcomes import CANCELLED, OutcomeQueue
from failshut.background.reporter import Reporter
from failshut.background.slots import Slots
from failshut.config import Configuration
from failshut.lease import READ_INTERVAL_MS_MAX, Lease, Slot
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
"""A gate's record is read again after about this time even while seals renew it. So disagreeing monitors keep no gate open."""


class ReadRequest:
    """A caller's request that ends when a read of this gate has ended, successful or not."""

    def __init__(self, slot: Slot | None) -> None:
        self.slot = slot
        self.done: Future[None] = Future()


class ProbeRequest:
    """A caller's request for a probe token. If the caller leaves first, the token is reported and not silently lost."""

    def __init__(self, slot: Slot, epoch: str) -> None:
        self.slot = slot
        self.epoch = epoch
        self.done: Future[str] = Future()
        self._lock = threading.Lock()
        self._left = False

    def answer(self, token: str) -> bool:
        """Hand over the token. Return False if the caller has left."""
        with self._lock:
            if self._left:
                return False
            if not self.done.done():
                self.done.set_result(token)
            return True

    def fail(self, error: Unreachable) -> None:
        """Answer the caller with an error."""
        with self._lock:
            if not self._left and not self.done.done():
                self.done.set_exception(error)

    def leave(self) -> bool:
        """Stop waiting. Return False if the answer came first: the caller must use it."""
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
    """The threads of one guard in one process. It starts once. After it ended, the guard makes a new one."""

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
        """The monotonic time (seconds) of the last attempt to read seals."""
        self._elsewhere = False
        """Whether the watcher found that the store has moved. The listener then subscribes anew."""
        self.asking_since = 0.0
        """The monotonic time (seconds) at which the pending question was sent to the store; 0 if there is none."""
        self._threads = [
            threading.Thread(target=self._watch, name="failshut-watcher", daemon=True),
            threading.Thread(target=self._attend, name="failshut-listener", daemon=True),
            threading.Thread(target=self._report, name="failshut-reporter", daemon=True),
        ]
        if slots.follows_keys:
            self._threads.append(threading.Thread(target=self._keep_keys, name="failshut-keys", daemon=True))

    def start(self) -> None:
        """Start the threads. Raises RuntimeError if the interpreter cannot start one."""
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Return whether all threads are alive."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self, seconds: float) -> None:
        """Write the waiting outcomes, end the threads and wait for them, at most `seconds` in all."""
        self._stopping.set()
        self.wake()
        end = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def abandon(self) -> None:
        """Drop the connections in a forked child, where these threads do not exist."""
        self._store.abandon()
        self._reporter.abandon()
        if self._subscription is not None:
            self._subscription.abandon()

    def ask(self, request: Request) -> bool:
        """Queue a caller's request. Return False at the bound."""
        if self._requests.qsize() >= REQUESTS_MAX:
            return False
        self._requests.put(request)
        return True

    def wake(self) -> None:
        """Wake the watcher, so that it reads at once what is due."""
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
        """Call `turn` until stopped. An unforeseen error ends that turn and opens nothing. Then `recover` is called."""
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

    # --- the watcher's thread ---

    def _turn(self) -> None:
        """Wait until a read is due or requested. Then read records and seals, and fetch probe tokens."""
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
        finally:  # whoever waits gets an answer, even if this turn failed
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
        """Return the seconds until the next read is due, at most 0.25."""
        now = time.monotonic()
        pause = min((self._due_at(slot) - now for slot in self._slots.all()), default=READ_INTERVAL_MS_MAX / 1000)
        pause = min(pause, self._seals_due_at() - now)
        return max(0.001, min(pause, READ_INTERVAL_MS_MAX / 1000))

    def _due_at(self, slot: Slot) -> float:
        """Return when a gate's record is to be read next (monotonic seconds).

        It is read often until a seal gives its permit a lease. Then it is read rarely, for what no seal says.
        """
        renewed = slot.sealed is not None and isinstance(slot.state, Lease)
        # The times differ by gate, so that a guard does not read all its gates at once.
        seconds = RECORD_SECONDS * (1 + hash(slot.gate) % 64 / 64) / 2 if renewed else slot.interval_ms / 1000
        return max(slot.read_mono + seconds, self._retry_at)

    def _seals_due_at(self) -> float:
        intervals = [slot.interval_ms for slot in self._slots.all() if slot.sealed is not None]
        return max(self._seals_mono + min(intervals) / 1000, self._retry_at) if intervals else float("inf")

    def _seals_due(self, now: float) -> bool:
        return now >= self._seals_due_at()

    def _read_seals(self) -> list[Slot]:
        """Read the seals of all partitions that renew gates here. Return the slots that their seals no longer name."""
        known = self._slots.known_seals()
        if not known:
            return []
        try:
            names = self._slots.names()
        except TokenError:
            return []  # without a name nothing can be read, and each gate's own read says so
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

    # --- the listener's thread ---

    def _listen(self) -> None:
        """Subscribe to pushed closings, and handle them until the subscription ends."""
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
