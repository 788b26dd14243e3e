"""When a governor seals, and what its seal says: the permits that are open in its partition, all of one offset.

A seal is made at the end of a record in two cases. The set of open permits changed, or evidence time has come far enough
since the last seal. Each permit has the evidence time up to which its own gate was judged. So a gate whose evidence time stands
still, or that joined another coverage and was not judged there yet, is renewed no further than its evidence allows.

Everything is a function of the log: two governors over it make the same seal at the same offset.
"""

from __future__ import annotations

from collections.abc import Iterable

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
        self._names: frozenset[bytes] = frozenset()
        self._newest_ms = 0
        self._owed = False

    def begin_term(self) -> None:
        """Have a seal made whatever is open: it tells the store and guards that the former term is over."""
        self._owed = True

    def after(
        self, installation: str, partition: int, term: int, offset: int, gates: Iterable[Gate], evidence_ms: int
    ) -> Seal | None:
        """Return the seal of the record at `offset`, or None where none is due. `evidence_ms` is the newest there is."""
        found = [gate for gate in gates if gate.sealed and gate.judged_ms]
        if len(found) > NAMES_MAX:  # who opened first stays: a seal that is too long renews nobody
            found.sort(key=lambda gate: (gate.epoch, gate.name))
        self.unsealed, found = len(found[NAMES_MAX:]), found[:NAMES_MAX]
        names = frozenset(gate.sealed for gate in found)
        newest_ms = max((gate.judged_ms for gate in found), default=self._newest_ms)
        same = names == self._names and not self._owed
        if same and (not found or newest_ms - self._newest_ms < min(map(_ttl_ms, found)) // SEALS_PER_TTL):
            return None
        self._names, self._newest_ms, self._owed = names, newest_ms, False
        kept_ms = max((gate.judged_ms + _ttl_ms(gate) for gate in found), default=max(1, evidence_ms) + KEPT_MS)
        open_ = [(gate.judged_ms, gate.sealed) for gate in found]
        return Seal.of(installation, partition, term, offset, kept_ms, open_)


def _ttl_ms(gate: Gate) -> int:
    return gate.said.ttl_ms if gate.said is not None else 1
