"""A replicated cluster of three nodes that loses one: gates stay open or come back by themselves, and no reading is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor.harness import Installation
from monitor.policies import drift, heartbeat
from monitor.trouble import SHIFTED, STEADY, back, bare_alarm, beating, one_story, outruns_nothing, place_of, renewed
from patience import patient

from failshut_servers import KafkaCluster, Valkey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(patient(300))]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Three nodes; topics have three copies and need two in step."""
    with KafkaCluster(tmp_path / "cluster") as nodes:
        yield nodes


async def test_a_killed_node_of_three_costs_time_and_no_reading(
    cluster: KafkaCluster, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """SIGKILL of the node that leads the evidence: another leads, the gate is renewed again, and the same reading trips it.

    Guards: acks=all and idempotence with two copies in step (acknowledged runs survive their leader).
    """
    values = STEADY + SHIFTED
    alarm = bare_alarm(values)
    policies = {"a.yaml": drift("pay"), "b.yaml": heartbeat("beat", grace="60s")}
    async with Installation(cluster.bootstrap, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        worker = monitor.worker()
        sent = await monitor.values("agent/amount", values[: alarm - 3])
        for gate in ("pay", "beat"):
            await monitor.opened(gate)
        leader = _leader(monitor)
        await asyncio.to_thread(cluster.node(leader).kill)
        if worker.exit_status is not None:
            worker = monitor.worker("next")
        await renewed(monitor, "beat")
        sent += await monitor.values("agent/amount", values[alarm - 3 :])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        await back(monitor)
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert worker.stop() == 0


def _leader(monitor: Installation) -> int:
    from confluent_kafka.admin import AdminClient

    topics = AdminClient({"bootstrap.servers": monitor.bootstrap}).list_topics(timeout=10).topics
    return int(topics[monitor.topics.evidence].partitions[0].leader)
