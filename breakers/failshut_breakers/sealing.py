"""When a governor seals, and what its seal says: the permits that are open in its partition, all of one offset.

A seal is made at the end of a record in two cases. The set of open permits changed, or evidence time has come far enough
since the last seal. Each permit has the evidence time up to which its own gate was judged. So a gate whose evidence time stands
still, or that joined another coverage and was not judged there yet, is renewed no further than its evidence allows.

Everything is a function of the log: two governors over it make the same seal at the same offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from failshut.seal import NAMES_MAX, Seal
from failshut_breakers.gate.state import Gate

SEALS_PER_TTL = 6
"""Seals are made when evidence time has come this fraction of the shortest ttl further."""
KEPT_MS = 60_000
"""How long the store keeps a seal that names no permit."""


class Sealing:
    """What one governor remembers of its last seal."""

    def __init__(self) -> None:
        self.unsealed = 0  # permits that were open and found no room in the last seal
        self._open: dict[str, Gate] = {}  # the gates with a permit that seals renew
        self._names: frozenset[bytes] = frozenset()
        self._sealed_ms = 0  # evidence time at the last seal
        self._ttl_ms = 1  # the shortest of the permits in it
        self._changed = True  # whether `_names` may be of another set
        self._owed = False

    def begin_term(self) -> None:
        """Have a seal made whatever is open: it tells the store and guards that the former term is over."""
        self._owed = True

    def note(self, gate: Gate) -> None:
        """Take note of a gate that was judged."""
        if gate.sealed and gate.judged_ms:
            self._open[gate.name] = gate
            self._changed = self._changed or gate.sealed not in self._names
        else:
            self.forget(gate.name)

    def forget(self, gate: str) -> None:
        """Let go of a gate that has no such permit."""
        self._changed = self._open.pop(gate, None) is not None or self._changed

    def without_gates(self) -> Sealing:
        """Return a copy that knows no gates. `put` brings them back."""
        copied = Sealing()
        copied.__dict__ |= self.__dict__ | {"_open": {}, "_names": frozenset()}
        return copied

    def put(self, gates: Iterable[Gate]) -> None:
        """Take back the gates of which the last seal was made."""
        self._open = {gate.name: gate for gate in gates if gate.sealed and gate.judged_ms}
        self._names = frozenset(gate.sealed for gate in self._room_for())

    def _room_for(self) -> list[Gate]:
        found = list(self._open.values())
        if len(found) > NAMES_MAX:  # who opened first stays: a seal that is too long renews nobody
            found.sort(key=lambda gate: (gate.epoch, gate.name))
        return found[:NAMES_MAX]

    def after(
        self, installation: str, partition: int, term: int, offset: int, judged_ms: Callable[[Gate], int], evidence_ms: int
    ) -> Seal | None:
        """Return the seal of the record at `offset`, or None where none is due.

        `judged_ms` returns up to which evidence time a gate was judged. `evidence_ms` is the newest evidence time.
        """
        come_far = bool(self._open) and evidence_ms - self._sealed_ms >= self._ttl_ms // SEALS_PER_TTL
        if not (self._changed or self._owed or come_far):
            return None
        found = self._room_for()
        self.unsealed = len(self._open) - len(found)
        names = frozenset(gate.sealed for gate in found)
        self._changed = False
        if names == self._names and not (self._owed or come_far):
            return None
        self._names, self._sealed_ms, self._owed = names, evidence_ms, False
        self._ttl_ms = min(map(_ttl_ms, found), default=1)
        open_ = [(judged_ms(gate), gate.sealed) for gate in found]
        kept_ms = max((at_ms + _ttl_ms(gate) for (at_ms, _), gate in zip(open_, found, strict=True)), default=0)
        return Seal.of(installation, partition, term, offset, kept_ms or max(1, evidence_ms) + KEPT_MS, open_)


def _ttl_ms(gate: Gate) -> int:
    return gate.said.ttl_ms if gate.said is not None else 1
