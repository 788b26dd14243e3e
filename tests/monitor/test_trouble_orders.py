"""Operators' orders that meet demands: a reset that waited, a bypass that ends, an outcome that is told twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import drift
from monitor.trouble import SHIFTED, STEADY, one_story, outruns_nothing, renewed

from failshut_breakers.command import Bypass, Reset
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


# Long: one story of one running monitor, told in its order.
async def test_orders_never_open_a_gate_over_what_they_had_not_seen(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A reset that waited while a demand arrived is refused; a bypass caps permits at its end; a probe counts once.

    Guards: the epoch that a reset answers; `exp_ms` capped at the bypass's end; `Proving.passed` is a set of tokens.
    """
    policy = drift("pay", reset="  - drift: {series: agent/fee, detector: adwin, stale: 10m}\nreset: {probes: 2}")
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": policy}) as monitor:
        worker = monitor.worker()
        await monitor.values("agent/amount", STEADY)
        await monitor.values("agent/fee", STEADY)
        await monitor.opened("pay")
        await monitor.values("agent/amount", SHIFTED)
        first = await monitor.closed("pay", "drift")

        # The operator reads the closing; before his reset arrives amounts are back, and fees drift: a demand of its own.
        await monitor.values("agent/amount", STEADY)
        await monitor.values("agent/fee", SHIFTED)
        await until(lambda: _epoch(monitor) > first.epoch, "a later demand has renewed the closing")
        await monitor.operator.send(monitor.command(Reset, gate="pay", epoch=int(first.epoch)))
        note = await until(lambda: monitor.of("pay", Kind.NOTE), "the reset is answered")
        assert f"it answers epoch {int(first.epoch)}" in note[0].because
        assert not monitor.open("pay")

        # A bypass for a while: open in its own mode, never beyond its end, and closed over it afterwards.
        seen = monitor.status("pay")
        assert seen is not None
        end_ms = max(decision.evidence_ms for decision in monitor.decisions) + 6_000
        conditions = ("drift:agent/amount", "drift:agent/fee")
        bypass = monitor.command(Bypass, gate="pay", epoch=int(seen.epoch), conditions=conditions, until_ms=end_ms)
        await monitor.operator.send(bypass)
        await monitor.opened("pay")
        ended = await monitor.closed("pay", "bypass_ended")
        permits = [d for d in monitor.of("pay") if d.mode == "bypass"]
        assert permits
        assert max(permit.exp_ms for permit in permits) <= end_ms
        assert "tester" in permits[0].by
        assert ended.breaker == "TRIPPED"
        assert all(d.offset < ended.offset for d in permits)

        # A reset that has seen everything is granted once fees are back; an outcome that is told twice is one probe. Both
        # have closed the gate, so there must be news of both: a mark may stand between the amounts above and the closing.
        await monitor.values("agent/amount", STEADY)
        await monitor.values("agent/fee", STEADY)

        async def granted() -> Decision | None:
            status = monitor.status("pay")
            if status is not None and status.mode == "proving":
                return status
            if status is not None and status.kind is Kind.CLOSE:
                await monitor.operator.send(monitor.command(Reset, gate="pay", epoch=int(status.epoch)))
            return None

        proving = await until(granted, "the reset is granted once the demand has passed")
        tokens = [token.decode() for token in monitor.redis.lrange(monitor.names.probes("pay"), 0, -1)]
        assert len(tokens) == 2
        await _forge(monitor, proving, tokens)
        for _ in range(3):
            monitor.ended("pay", token=tokens[0])
        await renewed(monitor, "pay")
        status = monitor.status("pay")
        assert status is not None
        assert status.mode == "proving"
        monitor.ended("pay", token=tokens[1])
        await until(lambda: getattr(monitor.status("pay"), "mode", "") == "armed", "both probes have come back")
        await monitor.opened("pay")
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert worker.stop() == 0


async def _forge(monitor: Installation, proving: Decision, tokens: list[str]) -> None:
    """Say that probes succeeded, from everywhere but the gate's own stream, and there with tokens that nobody was given."""
    named = [f"{proving.epoch}:{number}" for number in range(2)]
    for token in (*named, *tokens):
        event = {
            "kind": "outcome",
            "gate": "pay",
            "epoch": proving.epoch,
            "outcome": "ok",
            "count": 1,
            "id": "x",
            "token": token,
        }
        await monitor.send(event)
        monitor.ended("another", token=token)
    for token in (*named, *(f"{token}:{'A' * 22}" for token in named)):
        monitor.ended("pay", token=token)

    async def buried() -> int:
        return len([one for one in await monitor.dead_letters() if "Failshut's own" in one["reason"]])

    await until(buried, "an outcome in telemetry is refused with words")
    await until(lambda: not monitor.redis.xlen(monitor.names.outcomes("pay")), "the forged ones were looked at")
    await renewed(monitor, "pay")
    status = monitor.status("pay")
    assert status is not None
    assert status.mode == "proving"


def _epoch(monitor: Installation) -> str:
    status = monitor.status("pay")
    return status.epoch if status is not None and status.kind is Kind.CLOSE else ""
