"""What one guard knows of its gates: a table of slots, and the keys that verify their records.

The guard reads the table for callers. The watcher's threads write what the store held into it. Neither needs the other for
that. A slot is written under one lock and read without it. A fault in judging one gate's record concerns that gate alone:
the gate withholds, the fault is counted, and no other gate waits for it.

Limits: it asks no store and has no clock of its own. A forked child keeps only the newest statements that were seen, which
can only deny.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from failshut.admission.denial import Denial
from failshut.background.key_source import Counts, KeySource
from failshut.background.seals import SealBoard
from failshut.background.tally import Tally
from failshut.cause import Cause
from failshut.config import Configuration
from failshut.lease import Fenced, Moment, Slot
from failshut.signing import TokenError
from failshut.store.client import SealFound
from failshut.store.names import Names

SLOTS_MAX: Final = 4096

#: What distinguishes gates: name, context and pinned policy.
SlotKey = tuple[str, tuple[tuple[str, str], ...], str]


class Slots:
    """The slots of one guard. All methods may be called from any thread.

    Args:
        configuration: the guard's configuration.
        keys_changed: called without the lock, after the key file changed and everything signed with a removed key ended.
        tally_of: opens a tally, which counts executions, for a gate and an epoch.
        guard: the guard that the slots' executions ask.
    """

    def __init__(
        self,
        configuration: Configuration,
        keys_changed: Callable[[], None],
        tally_of: Callable[[str, str], Tally],
        guard: object,
    ) -> None:
        self.faults = 0
        """The number of unforeseen errors in the background threads. Each ended a turn and opened nothing."""
        self.last_fault = ""
        self._tolerance_ms = configuration.clock_tolerance_ms
        self._clocks = configuration.clocks
        self._keys = KeySource(configuration.jwks, configuration.installation)
        self._keys_changed = keys_changed
        self._seals = SealBoard()
        self._tally_of = tally_of
        self._guard = guard
        self._slots: dict[SlotKey, Slot] = {}
        self._closed = False
        self._lock = threading.Lock()

    def slot(self, gate: str, context: Mapping[str, str], policy: str) -> Slot:
        """Return the slot of a gate, context and policy; the first call makes it. Raises ValueError beyond 4,096 slots."""
        key = (gate, tuple(sorted(context.items())), policy)
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                if len(self._slots) >= SLOTS_MAX:
                    raise ValueError(f"more than {SLOTS_MAX} gates in one guard")
                slots = dict(self._slots)  # readers go through the old one meanwhile
                slot = Slot(gate, self._tolerance_ms, policy, dict(context), guard=self._guard, tally_of=self._tally_of)
                slots[key] = slot
                self._slots = slots
            return slot

    def all(self) -> list[Slot]:
        """Return all slots, in a list of its own."""
        return list(self._slots.values())

    def moment(self) -> Moment:
        """Return the present times of both clocks."""
        return Moment(self._clocks.monotonic(), self._clocks.wall())

    def close(self) -> None:
        """Ignore all reads and pushes from now on."""
        with self._lock:
            self._closed = True

    # --- what the store said ---

    def take(self, slot: Slot, record: bytes | None, pttl_ms: int, before: Moment, fence: Fenced | None = None) -> None:
        """Judge what a read found for one gate. A fault in judging it closes this gate alone."""
        self._look_for_key(slot, record)
        with self._lock:
            if self._closed:
                return
            try:
                slot.take(record, pttl_ms, before, self._keys.verified, fence)
                self._renew(slot)
            except Exception as error:  # noqa: BLE001 - one gate's record must not blind the guard for the others
                self.note_fault(error)
                slot.withhold(Denial(Cause.UNVERIFIED, f"a record that cannot be judged: {type(error).__name__}"))
            slot.concluded_mono = slot.read_mono = time.monotonic()
        slot.interrupt_if_withheld()

    def known_seals(self) -> dict[int, bytes]:
        """Return the partitions whose seals renew gates here, each with the first bytes of its known seal."""
        with self._lock:
            partitions = {slot.sealed.partition for slot in self._slots.values() if slot.sealed is not None}
            return {partition: self._seals.head(partition) for partition in sorted(partitions)}

    def take_seals(self, found: Mapping[int, SealFound], before: Moment) -> list[Slot]:
        """Judge the seals that a read found, and renew each seal's gates. Return the slots that its seal no longer names.

        These slots stay as they are. The caller must read their records at once: a record says why the gate closed, or holds
        a new permit.
        """
        for seal in found.values():
            if seal.token and self._keys.follows and not self._keys.knows(seal.token):
                self.refresh_keys()
        unnamed = []
        with self._lock:
            if self._closed:
                return []
            for partition, seal in found.items():
                try:
                    self._seals.take(partition, seal, before, self._keys.verified_seal)
                except Exception as error:  # noqa: BLE001 - as in take; without a view nothing of the partition is renewed
                    self.note_fault(error)
                    self._seals.refuse(partition, f"a seal that cannot be judged: {type(error).__name__}")
            for slot in self._slots.values():
                if slot.sealed is None or slot.sealed.partition not in found:
                    continue
                slot.concluded_mono = time.monotonic()
                if self._is_unnamed(slot):
                    unnamed.append(slot)
                else:
                    slot.unreachable = ""
                    self._renew(slot)
        return unnamed

    def _is_unnamed(self, slot: Slot) -> bool:
        """Return whether the newest seal no longer names the permit that it should renew."""
        view = self._seals.view(slot.sealed.partition) if slot.sealed is not None else None
        return slot.sealed is not None and view is not None and not isinstance(view, Denial) and view.leaves_out(slot.sealed)

    def _renew(self, slot: Slot) -> None:
        if slot.sealed is not None:
            slot.renew(self._seals.view(slot.sealed.partition), self.moment())

    def unreachable(self, slots: list[Slot], why: str) -> None:
        """Record that a read failed. Leases stay as they are and run out. A permit that the newest seal omits ends now."""
        with self._lock:
            for slot in slots:
                slot.unreachable = why
                slot.concluded_mono = slot.read_mono = time.monotonic()
                if self._is_unnamed(slot):
                    self._renew(slot)
        for slot in slots:
            slot.interrupt_if_withheld()

    def nameless(self, slots: list[Slot], error: TokenError) -> None:
        """Deny at these gates, whatever lease they had. Their names in the store are unknown, so nothing can be read."""
        with self._lock:
            for slot in slots:
                slot.unreachable = ""
                slot.withhold(Denial(error.cause, str(error)))
                slot.concluded_mono = slot.read_mono = time.monotonic()
        for slot in slots:
            slot.interrupt_if_withheld()

    def pushed(self, gate: str, token: bytes) -> list[Slot]:
        """Judge a pushed closing of a gate. Return the slots whose records must be read again."""
        again = []
        for slot in self.all():
            if slot.gate != gate:
                continue
            self._look_for_key(slot, token)
            with self._lock:
                if self._closed:
                    return []
                try:
                    settled = slot.push(token, self._keys.verified)
                except Exception as error:  # noqa: BLE001 - as in take
                    self.note_fault(error)
                    slot.withhold(Denial(Cause.UNVERIFIED, "a push that cannot be judged"))
                    settled = False
            slot.interrupt_if_withheld()
            if not settled:
                again.append(slot)
        return again

    # --- keys ---

    def names(self) -> Names:
        """Return the names that this guard's installation uses in the store. Raises TokenError if none is known."""
        return self._keys.names()

    @property
    def follows_keys(self) -> bool:
        """Whether the keys come from a file that may change."""
        return self._keys.follows

    def counts(self, kid: str) -> bool:
        """Return whether what this key signed counts now."""
        return self._keys.counts(kid)

    def refresh_keys(self, at_once: bool = False) -> None:
        """Read the key file again if it is due or `at_once`. On return everything signed with a removed key has ended."""
        if not self._keys.refresh(self._withdraw, at_once):
            return
        for slot in self.all():
            slot.interrupt()
        self._keys_changed()

    def _withdraw(self, counts: Counts) -> None:
        with self._lock:
            self._seals.withdraw(counts)
            for slot in self._slots.values():
                slot.withdraw(counts)

    def _look_for_key(self, slot: Slot, token: bytes | None) -> None:
        """Read the key file if the token names an unknown key. It may be the first one after a rotation.

        Callers do not hold the lock, because reading the file may take long.
        """
        if token and self._keys.follows and not slot.has_verified(token) and not self._keys.knows(token):
            self.refresh_keys()

    # --- faults and forks ---

    def note_fault(self, error: Exception) -> None:
        """Count an unforeseen error, and keep its text (at most 300 characters)."""
        self.faults += 1
        self.last_fault = f"{type(error).__name__}: {error}"[:300]

    def after_fork(self) -> None:
        """Replace the locks and end all leases in a forked child.

        A thread of the parent may have held the locks, and the child has no lease of its own yet.
        """
        self._lock = threading.Lock()
        self._keys.after_fork()
        self._seals.after_fork()
        for slot in self._slots.values():
            slot.after_fork()
