"""Another version takes over once retention has removed the log's beginning: no gate is LOCKED by it, and none is open."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from monitor.harness import Installation, until
from monitor.policies import drift
from monitor.test_trouble_logs import _entries, _heads
from monitor.trouble import SHIFTED, STEADY

from failshut_breakers.command import Lock, Unlock
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

RESET = "reset: {after: 2s, probes: 0}"
SERIES = {"pay": "agent/amount", "fee": "agent/fee", "shut": "agent/shut"}


async def _snapshotted(monitor: Installation) -> None:
    """Wait until each partition has a snapshot of after now."""
    before = _heads(await _entries(monitor))

    async def newer() -> bool:
        now = _heads(await _entries(monitor))
        return len(now) == monitor.counts.evidence and all(now[place] != before.get(place) for place in now)

    for _ in range(2):  # the first may have been begun before
        await until(newer, "a snapshot of each partition")
        before = _heads(await _entries(monitor))


async def _beginning_gone(monitor: Installation) -> None:
    """Remove the first records of each evidence partition, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
    await admin.start()
    try:
        places = [TopicPartition(monitor.topics.evidence, partition) for partition in range(monitor.counts.evidence)]
        await admin.delete_records({place: RecordsToDelete(before_offset=3) for place in places})
    finally:
        await admin.close()


# Long: one story of an upgrade, told in its order.
@pytest.mark.parametrize("trips_behind", [False, True])
async def test_no_gate_is_locked_and_none_is_open(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, trips_behind: bool
) -> None:
    """What was TRIPPED or LOCKED is so; an ARMED gate resets itself when it has learnt; a trip behind the snapshot is not lost.

    Guards: `standing.py` trips what it cannot know; `settle` lets news count from the end of the log.
    """
    policies = {f"{gate}.yaml": drift(gate, series, RESET) for gate, series in SERIES.items()}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor:
        worker = monitor.worker("before", snapshot_every_ms=500)
        for gate, series in SERIES.items():
            await monitor.values(series, STEADY)
            await monitor.opened(gate)
        await monitor.values("agent/fee", SHIFTED)
        await monitor.closed("fee", "drift")
        await monitor.operator.send(monitor.command(Lock, gate="shut"))
        await monitor.closed("shut", "lock")
        await _snapshotted(monitor)
        if trips_behind:
            worker.stop()
            worker = monitor.worker("without", snapshot_every_ms=3_600_000)
            await monitor.opened("pay")
            await monitor.values("agent/amount", SHIFTED)
            await monitor.closed("pay", "drift")
        before = {gate: monitor.status(gate) for gate in SERIES}
        worker.kill()
        await _beginning_gone(monitor)

        worker = monitor.worker("after", fault="another_version", snapshot_every_ms=500)
        for gate, breaker in (("pay", "TRIPPED"), ("fee", "TRIPPED"), ("shut", "LOCKED")):
            former = before[gate]
            assert former is not None
            closing = await until(
                lambda gate=gate, former=former: (seen := monitor.status(gate)) and seen.epoch > former.epoch and seen,
                f"{gate} is said again",
            )
            assert (closing.kind, closing.breaker) == ("close", breaker)
        assert worker.said("What was known of")
        assert not worker.said("Its gates start LOCKED")

        # No news, no opening: readings as they were teach, and count from here on.
        for gate in ("pay", "fee"):
            await monitor.values(SERIES[gate], STEADY)
            await monitor.opened(gate)
        await monitor.values(SERIES["shut"], STEADY)
        status = monitor.status("shut")
        assert status is not None
        assert status.breaker == "LOCKED"

        async def unlocked() -> bool:
            status = monitor.status("shut")
            assert status is not None
            if monitor.open("shut"):
                return True
            await monitor.operator.send(monitor.command(Unlock, gate="shut", epoch=int(status.epoch)))
            return False

        await until(unlocked, "an operator unlocks it")
        assert worker.exit_status is None
        assert worker.stop() == 0
