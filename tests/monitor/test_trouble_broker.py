"""A broker that stops and comes back: permits lapse meanwhile, and the worker, or the one after it, goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor.harness import Installation
from monitor.policies import drift, heartbeat
from monitor.trouble import SHIFTED, STEADY, back, bare_alarm, beating, one_story, outruns_nothing, place_of, renewed

from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker that only this test uses, because it stops it."""
    with Kafka(tmp_path / "kafka") as broker:
        yield broker


async def test_a_broker_that_restarts_costs_time_and_no_reading(
    own_kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """While no broker answers no permit is renewed, so gates lapse; when it is back, the same reading trips as without it.

    Guards: permits end with their evidence; positions are committed behind acknowledged runs alone.
    """
    values = STEADY + SHIFTED
    alarm = bare_alarm(values)
    policies = {"a.yaml": drift("pay"), "b.yaml": heartbeat("beat", grace="60s")}
    async with Installation(own_kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        worker = monitor.worker()
        sent = await monitor.values("agent/amount", values[: alarm - 3])
        for gate in ("pay", "beat"):
            await monitor.opened(gate)
        await asyncio.to_thread(own_kafka.stop)
        for gate in ("pay", "beat"):
            await monitor.lapsed(gate)
        await asyncio.to_thread(own_kafka.start)
        await monitor.producer.client.force_metadata_update()
        if worker.exit_status is not None:  # it may end over a broker that is gone for long: somebody starts it again
            worker = monitor.worker("next")
        await renewed(monitor, "beat")
        await monitor.opened("pay")
        sent += await monitor.values("agent/amount", values[alarm - 3 :])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        await back(monitor)
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert worker.stop() == 0
