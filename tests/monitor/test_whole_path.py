"""The whole path on real servers: telemetry in, a gate that opens, trips at a reading, and comes back."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

from monitor.harness import Installation, until
from monitor.policies import drift

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.records import Place
from failshut_detectors import Adwin
from failshut_servers import Kafka, Valkey


async def test_drift_closes_the_gate_at_the_reading_where_a_bare_detector_alarms(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """The decision cites the partition, offset and index of the very reading at which the detector speaks, and resets."""
    rng = random.Random(7)
    values = [rng.gauss(50, 5) for _ in range(300)] + [rng.gauss(90, 5) for _ in range(100)]
    alarm = Adwin().feed(values)[0].index
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": drift("pay")}) as monitor:
        worker = monitor.worker()
        steady = await monitor.values("agent/amount", values[:300])
        await monitor.opened("pay")
        rest = await monitor.values("agent/amount", values[300:])
        closing = await monitor.closed("pay", "drift")
        cited = (steady + rest)[alarm]
        assert closing.origin == Place("telemetry", cited.partition, cited.offset, 0)
        await monitor.values("agent/amount", values[:100])
        await monitor.opened("pay")

        def kinds() -> list[Kind]:
            told = (Kind.CLOSE, Kind.OPEN)
            return [kind for kind, _ in groupby(at.kind for at in monitor.of("pay") if at.kind in told)]

        await until(lambda: len(kinds()) >= 4, "the second opening is on record")
        assert kinds()[:4] == [Kind.CLOSE, Kind.OPEN, Kind.CLOSE, Kind.OPEN]
        assert worker.stop() == 0
