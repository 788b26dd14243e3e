"""What a store holds for the gates of a rehearsal, in memory: records that expire, fences and probe tokens.

It answers as the real one does (failshut.store.client), by the rehearsal's clock instead of a server's. There is no address, no
connection and no name in it, so nothing of it reaches a store, and nothing of a store reaches it.

Limits: no seals, so every permit is renewed by itself; and no outcomes, which a test reads from the guard. Access is under the
clock's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from failshut.epoch import digits
from failshut.lease import Fenced
from failshut.permit import Closing, Permit
from failshut.store.client import Found
from failshut.testing.clock import Clock


@dataclass(slots=True)
class Kept:
    """What is kept for one gate."""

    record: bytes | None = None
    expires_ms: int | None = None
    """By the wall clock; None: never, as of a closing."""
    permit: bytes | None = None
    """The last permit that the monitor wrote, whatever became of it in the store."""
    fence: Fenced | None = None
    probes: list[str] = field(default_factory=list)
    away: bool = False
    """Whether the store cannot be reached for this gate."""
    stalled: bool = False
    """Whether it can be reached, and does not answer."""


class MemoryStore:
    """The store of one rehearsal."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    def of(self, gate: str) -> Kept:
        """Return what is kept for a gate. A test asks for as many as it names."""
        return self._kept.setdefault(gate, Kept())

    def write(self, gate: str, statement: Permit | Closing, token: str) -> None:
        """Keep a statement as the gate's record, and raise the gate's fence to it."""
        kept = self.of(gate)
        if isinstance(statement, Closing):
            self.put(gate, token, None)
        else:
            self.put(gate, token, statement.exp_ms)
            kept.permit = kept.record
        kept.fence = Fenced(statement.epoch, digits(statement.offset), isinstance(statement, Closing))

    def put(self, gate: str, token: str, expires_ms: int | None) -> None:
        """Keep a token as the gate's record, as somebody does who leaves the fence as it is."""
        kept = self.of(gate)
        kept.record, kept.expires_ms = token.encode(), expires_ms

    def lose(self, gate: str) -> None:
        """Forget the gate's record, as after a FLUSHALL."""
        kept = self.of(gate)
        kept.record = kept.expires_ms = kept.fence = None

    def read(self, gate: str) -> Found:
        """Return the gate's record with its remaining life, as a read of the store finds them."""
        kept = self.of(gate)
        if kept.record is None:
            return Found(None, -2, kept.fence)
        if kept.expires_ms is None:
            return Found(kept.record, -1, kept.fence)
        left_ms = kept.expires_ms - self._clock.now_ms
        return Found(kept.record, left_ms, kept.fence) if left_ms > 0 else Found(None, -2, kept.fence)

    def pop_probe(self, gate: str) -> str:
        """Take one probe token; an empty text where none is left."""
        probes = self.of(gate).probes
        return probes.pop() if probes else ""
