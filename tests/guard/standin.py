"""Plays the monitor for tests of the guard: decides what it is told, signs, and writes where the monitor writes.

It is deliberately simple: no compare-and-swap, no evidence. What a guard sees of it is what it would see of the real one:
the same tokens, under the same keys, with the same expiry, and the same push.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from failshut import Cause, Clocks, Closing, Gate, Permit, Withheld
from failshut.signing import SigningKey
from failshut.store import names as keys
from failshut.store.names import Names
from failshut.testing.statements import POLICY as POLICY
from failshut.testing.statements import Statements

SUBJECT = "agent:refund-7"
#: As tests/patience.py has it; said again here, because this module is also used without the tests beside it.
PATIENCE = 3.0 * float(os.environ.get("FAILSHUT_TEST_PATIENCE", "1"))
SHORT_MS = int(700 * PATIENCE)
"""The ttl of a permit that is to lapse: short, and long enough for a busy machine to act on it first."""


def now_ms() -> int:
    return int(time.time() * 1000)


class Monitor(Statements):
    """The monitor of one gate, on a real store. Its statements are those of failshut.testing; they are of now, and signed."""

    def __init__(self, url: str, gate: str, key: SigningKey | None = None) -> None:
        self.key = key or SigningKey.generate()
        # Another installation for each monitor with a key of its own; it stays when the key is rotated.
        super().__init__(hashlib.sha256(self.key.kid.encode()).hexdigest()[:32], gate)
        self.url = url
        self.client = redis.Redis.from_url(url, socket_timeout=5)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def names(self) -> Names:
        return Names(self.installation)

    @property
    def jwks(self) -> dict[str, Any]:
        return self.key.key_set().of(self.installation).to_dict()

    def permit(self, **changes: Any) -> Permit:
        """A permit of now, under the current epoch."""
        evidence_ms = changes.pop("evidence_ms", now_ms())
        return self.permit_at(evidence_ms, **({"subjects": ("agent:refund-*",)} | changes))

    def write(self, permit: Permit, key: SigningKey | None = None, *, gate: str = "") -> str:
        """Write a permit as the monitor does, to expire with it."""
        token = permit.sign(key or self.key)
        self.client.set(self.names.record(gate or self.gate), token, pxat=permit.exp_ms)
        return token

    def issue(self, **changes: Any) -> Permit:
        """Sign and write a permit of now."""
        permit = self.permit(**changes)
        self.write(permit)
        return permit

    def reopen(self, **changes: Any) -> Permit:
        """A new decision: a later epoch, and a permit under it."""
        self.decide()
        return self.issue(**changes)

    def closing(self, cause: Cause = Cause.DRIFT, because: str = "mean 48 to 97", **changes: Any) -> Closing:
        """A new decision that closes the gate."""
        return self.closing_at(changes.pop("evidence_ms", now_ms()), cause, because, **changes)

    def close(self, cause: Cause = Cause.DRIFT, *, write: bool = True, push: bool = True, **changes: Any) -> Closing:
        """Close the gate: a record that stays, and a push; where the push is all there is, once somebody listens."""
        self.stop_renewing()
        closing = self.closing(cause, **changes)
        token = closing.sign(self.key)
        if write:
            self.client.set(self.names.record(self.gate), token)
        if push:
            message = keys.push_message(self.gate, token)
            eventually(lambda: self.client.publish(self.names.push, message) or write)
        return closing

    def prove(self, probes: int, **changes: Any) -> Permit:
        """A PROVING with so many probe tokens."""
        self.decide()
        for number in range(probes):
            self.client.lpush(self.names.probes(self.gate), self.probe_token(number))
        return self.issue(mode="proving", **changes)

    def write_jwks(self, path: Path, *keys: SigningKey) -> None:
        """Write the JWKS file that guards of this installation read; by default with this monitor's key alone."""
        first, *rest = keys or (self.key,)
        held = first.key_set().of(self.installation)
        for key in rest:
            held = held.joined(key.key_set())
        held.write(path)

    def outcomes(self) -> list[dict[str, str]]:
        """All entries of the gate's stream of outcomes."""
        entries: Any = self.client.xrange(self.names.outcomes(self.gate))
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]

    def keep_renewing(self, every: float = 0.1, **changes: Any) -> None:
        """Renew in the background, as evidence time goes on, whatever becomes of the store."""
        self.stop_renewing()
        stop = self._stop = threading.Event()
        client = redis.Redis.from_url(self.url, socket_timeout=1)

        def renew() -> None:
            while not stop.is_set():
                permit = self.permit(**changes)
                try:
                    client.set(self.names.record(self.gate), permit.sign(self.key), pxat=permit.exp_ms)
                except (redis.RedisError, OSError):
                    pass  # a store in trouble: what the test is about
                stop.wait(every)
            client.close()

        self._thread = threading.Thread(target=renew, daemon=True)
        self._thread.start()

    def stop_renewing(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10 * PATIENCE)
            self._thread = None

    def shut_down(self) -> None:
        self.stop_renewing()
        self.client.close()


def eventually(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until `true()` is, and return it; fail after a generous while."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def withheld(gate: Gate, subject: str = SUBJECT, operation: str | None = None) -> Withheld | None:
    """How the gate denies; None where it admits."""
    try:
        gate.check(subject, operation)
    except Withheld as denial:
        return denial
    return None


def denied_with(gate: Gate, *causes: Cause, seconds: float = 20.0) -> Withheld:
    """Wait until the gate denies with one of these causes."""

    def denied() -> Withheld | None:
        denial = withheld(gate)
        return denial if denial is not None and denial.cause in causes else None

    found: Withheld = eventually(denied, seconds)
    return found


def admitted(gate: Gate, seconds: float = 20.0) -> Permit:
    """Wait until the gate admits."""
    permits: list[Permit] = []

    def admits() -> bool:
        try:
            permits.append(gate.check(SUBJECT))
        except Withheld:
            return False
        return True

    eventually(admits, seconds)
    return permits[-1]


class FakeClocks:
    """The host's two clocks, to be stepped; the store keeps its own."""

    def __init__(self) -> None:
        real = Clocks()
        self._real = real
        self.wall_offset = 0.0
        self.monotonic_offset = 0.0

    def clocks(self) -> Clocks:
        return Clocks(lambda: self._real.monotonic() + self.monotonic_offset, lambda: self._real.wall() + self.wall_offset)
