"""A store that is flushed, stopped, paused, restarted empty or written to by a stranger: guards deny, then it is mended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating, one_story, outruns_nothing, reset

from failshut import Configuration, Gate, Guard, Withheld
from failshut.permit import Permit, verify
from failshut.signing import SigningKey
from failshut_breakers.command import Lock
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


NOT_BELIEVED = ("unverified", "foreign", "stale", "lapsed", "no_permit")


class Watch:
    """Checks a gate all the time, and keeps what it was told."""

    def __init__(self, monitor: Installation, gate: str) -> None:
        self.guard = Guard(Configuration(store_url=monitor.store_url, jwks=monitor.jwks, clock_tolerance_ms=0))
        self.gate = Gate(gate, guard=self.guard)
        self.key = monitor.names.record(gate)

    def cause(self) -> str:
        """Return why the gate withholds now, or "" where it admits."""
        try:
            self.gate.check("anybody")
        except Withheld as withheld:
            return str(withheld.cause)
        return ""

    async def admits(self) -> None:
        await until(lambda: self.cause() == "", lambda: f"admitted; {self.cause()}")

    async def withholds(self, *causes: str) -> None:
        await until(lambda: self.cause() in causes, lambda: f"withheld over {causes}; {self.cause()}")


# Long: one story of one running monitor, told in its order.
async def test_whatever_happens_to_the_store_the_guard_denies_and_the_next_renewal_mends_it(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """FLUSHALL, stop, pause, an empty restart, garbage, another gate's permit, an older one, another key's: denied and mended.

    Guards: verification of every record that is read (guard), the lease's end, the retry of what is pending (monitor).
    """
    policies = {"a.yaml": heartbeat("pay", grace="30s"), "b.yaml": heartbeat("beat", grace="30s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        worker = monitor.worker()
        watch = Watch(monitor, "pay")
        await watch.admits()
        early = monitor.redis.get(watch.key)
        assert early is not None

        # Somebody writes to the store; the worker is paused so that the guard surely sees it.
        foreign = monitor.redis.get(monitor.names.record("beat"))
        assert foreign is not None
        permit = verify(early.decode(), monitor.signing_key.key_set().of(monitor.names.installation), "pay")
        assert isinstance(permit, Permit)
        forged = permit.sign(SigningKey.generate())
        await monitor.operator.send(monitor.command(Lock, gate="pay"))
        await monitor.closed("pay", "lock")
        await watch.withholds("lock")

        # Instead of a closing: none of these opens the gate, nor for a guard that has seen nothing else.
        for value in (early, b"\x00garbage", forged.encode(), foreign):
            worker.pause()  # it would put its closing back within a second
            monitor.redis.set(watch.key, value, px=600_000)
            fresh = Watch(monitor, "pay")
            await until(lambda fresh=fresh: fresh.cause() in NOT_BELIEVED, f"it was read and not believed: {fresh.cause()}")
            assert watch.cause() != ""
            fresh.guard.close()
            worker.resume()
        await reset(monitor, "pay")
        tokens = await until(lambda: monitor.redis.lrange(monitor.names.probes("pay"), 0, -1), "probes are handed out")
        for token in tokens:
            monitor.ended("pay", token=token.decode())
        await watch.admits()

        # While the gate is open: the next renewal puts it right.
        for value in (b"\x00garbage", forged.encode(), foreign, early):
            worker.pause()
            monitor.redis.set(watch.key, value, px=600_000)
            await watch.withholds(*NOT_BELIEVED)
            worker.resume()
            await watch.admits()

        worker.pause()
        monitor.redis.flushall()
        await watch.withholds("no_permit", "lapsed")
        worker.resume()
        await watch.admits()

        store.pause()
        await watch.withholds("lapsed", "deadline", "store_unreachable", "no_permit")
        store.resume()
        await watch.admits()

        store.kill()
        await watch.withholds("lapsed", "deadline", "store_unreachable", "no_permit")
        await asyncio.to_thread(store.start)
        assert store.url == monitor.store_url
        await watch.admits()
        assert watch.cause() == ""
        watch.guard.close()
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert worker.stop() == 0
