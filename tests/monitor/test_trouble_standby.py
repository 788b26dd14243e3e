"""A hot standby: a second group that starts late over the same logs decides the same bytes, and counts nothing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import drift, heartbeat
from monitor.trouble import SHIFTED, STEADY, back, bare_alarm, beating, closings, one_story, outruns_nothing, place_of, renewed

from failshut_breakers.decisions.decision import Kind
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


async def test_a_standby_that_starts_late_decides_the_same_bytes_and_takes_over(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Routed twice, readings count once; governed twice, decisions are the same bytes; without the first group, it goes on.

    Guards: coverage (a run below it is a duplicate, its rows are skipped: without both it fails), no wall clock in decisions.
    """
    alarm = bare_alarm(STEADY + SHIFTED)
    policy = {"a.yaml": drift("pay")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        first = monitor.worker("first")
        sent = await monitor.values("agent/amount", STEADY[:150])
        await monitor.opened("pay")
        # A policy that the standby's routers meet only when they have routed nothing yet.
        await monitor.operator.activate({"a.yaml": drift("pay"), "b.yaml": heartbeat("beat")})
        await monitor.opened("beat")
        standby = monitor.worker("second", group="standby")

        async def routed() -> bool:
            return any(run.router == "second" and run.topic == "telemetry" for _, _, run in await monitor.evidence())

        await until(routed, "the standby routes")
        sent += await monitor.values("agent/amount", STEADY[150:] + SHIFTED[: alarm - len(STEADY) - 3])
        await renewed(monitor, "pay")
        first.kill()
        await renewed(monitor, "beat")
        sent += await monitor.values("agent/amount", SHIFTED[alarm - len(STEADY) - 3 :])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        assert [origin for cause, origin in closings(monitor, "pay") if cause == "drift"] == [closing.origin]
        await back(monitor)
        one_story(monitor)
        copies = Counter(data for data, decision in zip(monitor.decision_bytes, monitor.decisions, strict=True))
        opening = next(
            data
            for data, decision in zip(monitor.decision_bytes, monitor.decisions, strict=True)
            if decision.gate == "pay" and decision.kind is Kind.OPEN
        )
        assert copies[opening] == 2, "both groups decided that the gate opens, with the same bytes"
        assert await outruns_nothing(monitor) > 0
        assert standby.stop() == 0
