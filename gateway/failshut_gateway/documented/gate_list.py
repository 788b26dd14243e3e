"""Which gates there are, as the store lists them. For screens: a gate that is not listed is asked for all the same."""

from __future__ import annotations

import time
from typing import Any, Final

from failshut import Guard
from failshut.store.connection import connect
from failshut.store.names import check_gate

KEPT_SECONDS: Final = 1.0
NAMES_MAX: Final = 100_000


class GateList:
    """Reads the store's set of names, over a connection of its own. In a thread: `read` waits for the store."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._client: Any = None
        self._names: tuple[str, ...] = ()
        self._read_mono = float("-inf")

    def read(self) -> tuple[str, ...]:
        """Return all names in order, at most a second old. Raises what the driver does, TokenError or ValueError."""
        if time.monotonic() - self._read_mono < KEPT_SECONDS:
            return self._names
        configuration = self._guard.configuration
        if self._client is None:
            self._client = connect(configuration.store_url, configuration.store_timeout_ms / 1000)
        found = self._client.smembers(self._guard.slots.names().gates)
        self._names = tuple(sorted(name for name in map(_name, found) if name))[:NAMES_MAX]
        self._read_mono = time.monotonic()
        return self._names


def _name(member: bytes) -> str:
    try:
        return check_gate(member.decode("ascii"))
    except ValueError:
        return ""
