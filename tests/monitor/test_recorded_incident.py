"""A real recorded incident, produced by a client that we did not write, closes the gate at exactly the right record.

The series is NAB's realKnownCause/ec2_request_latency_system_failure, read from the data sets beside the project. The test
is skipped, saying so, where they or kcat are absent.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from monitor.harness import Installation, until
from monitor.policies import drift
from patience import patient
from river import drift as river_drift

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.records import Place
from failshut_servers import Kafka, Valkey
from failshut_streams.sources.marks import MARK_KEY

DATASETS = Path(os.environ.get("FAILSHUT_DATASETS", Path(__file__).parents[3] / "shared" / "datasets"))
SERIES_FILE = DATASETS / "nab/data/realKnownCause/ec2_request_latency_system_failure.csv"
SERIES = "ec2/latency"


@pytest.fixture(scope="module")
def values() -> list[float]:
    if not SERIES_FILE.exists():
        pytest.skip(f"the data set is absent: {SERIES_FILE.name} (FAILSHUT_DATASETS names the folder)")
    with SERIES_FILE.open() as lines:
        return [float(row["value"]) for row in csv.DictReader(lines)]


@pytest.fixture(scope="module")
def first_drift(values: list[float]) -> int:
    """The record at which a bare river loop first reports drift."""
    detector = river_drift.ADWIN()
    for at, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            return at
    raise AssertionError("no drift in the series")


def produce_with_kcat(bootstrap: str, topic: str, values: list[float]) -> None:
    """Produce the values as fast as kcat goes, keyed by series."""
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed here (apt-get install kcat)")
    service, metric = SERIES.split("/")
    lines = "".join(json.dumps({"service": service, "metric": metric, "value": value}) + "\n" for value in values)
    subprocess.run(
        [kcat, "-P", "-b", bootstrap, "-t", topic, "-k", SERIES], input=lines.encode(), check=True, timeout=patient(60)
    )


async def place_of(monitor: Installation, nth: int) -> Place:
    """Return where the nth sample stands, marks not counted."""
    consumer = AIOKafkaConsumer(bootstrap_servers=monitor.bootstrap, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(monitor.topics.telemetry, partition) for partition in range(monitor.counts.telemetry)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        offsets: dict[int, list[int]] = {place.partition: [] for place in places}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, batch in (await consumer.getmany(timeout_ms=500)).items():
                offsets[place.partition] += [record.offset for record in batch if record.key != MARK_KEY]
    finally:
        await consumer.stop()
    (partition,) = [partition for partition, found in offsets.items() if found]
    return Place("telemetry", partition, offsets[partition][nth], 0)


async def tripped_at(monitor: Installation) -> tuple[str, str, Place | None]:
    """Wait for the first trip and return gate, cause and origin."""
    trips = await until(lambda: [at for at in monitor.of("pay", Kind.CLOSE) if at.cause == "drift"], "the gate trips")
    return trips[0].gate, str(trips[0].cause), trips[0].origin


def installation(kafka: Kafka, store: Valkey, folder: Path, prefix: str, **config: Any) -> Installation:
    # Values as they are, so that a bare river loop is what there is to compare with.
    policies = {"pay.yaml": drift("pay", SERIES, reset="").replace("detector: adwin", "detector: adwin, scale: 1.0")}
    return Installation(kafka, store, folder, prefix, policies, **config)


async def test_the_gate_closes_at_the_record_where_river_reports_drift(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, values: list[float], first_drift: int
) -> None:
    """Live, with time marks between the samples: the decision cites the very record."""
    async with installation(kafka, store, tmp_path, f"{suffix}.") as monitor:
        monitor.worker()
        await until(lambda: monitor.of("pay", Kind.CLOSE), "the gate is known, and closed: no evidence yet")
        await asyncio.to_thread(produce_with_kcat, monitor.bootstrap, monitor.topics.telemetry, values)
        assert await tripped_at(monitor) == ("pay", "drift", await place_of(monitor, first_drift))


async def test_one_worker_two_workers_and_a_killed_worker_decide_the_same(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, values: list[float], first_drift: int
) -> None:
    """Gate, cause, origin topic, partition, offset and index do not depend on who routes and governs."""

    async def decided(name: str, workers: int, kill: bool = False) -> tuple[str, str, Place | None]:
        folder, prefix = tmp_path / name, f"{suffix}{name}."
        store.restart()
        slow = 1 if kill else 10  # records at once, so that there is a half way
        async with installation(kafka, store, folder, prefix, chunk_records_max=slow) as monitor:
            await asyncio.to_thread(produce_with_kcat, monitor.bootstrap, monitor.topics.telemetry, values)
            started = [monitor.worker(f"w{number}") for number in range(workers)]
            if kill:
                await until(lambda: _routed(monitor, 10), "the worker has begun to route")
                started[0].pause()
                assert not await _routed(monitor, len(values)), "it was too fast to be killed half way"
                started[0].kill()
                monitor.worker("successor")
            return await tripped_at(monitor)

    one = await decided("one", 1)
    assert one[2] is not None
    assert one[2].offset == first_drift  # nothing stands between the samples here
    assert await decided("two", 2) == one
    assert await decided("killed", 1, kill=True) == one


async def _routed(monitor: Installation, upto: int) -> bool:
    runs = await monitor.evidence()
    return any(run.topic == "telemetry" and run.readings and run.upto >= upto for _, _, run in runs)


async def test_a_standby_group_on_the_same_log_decides_the_same_bytes(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, values: list[float]
) -> None:
    """Two consumer groups over the same evidence write every decision twice, byte for byte."""
    async with installation(kafka, store, tmp_path, f"{suffix}.") as monitor:
        monitor.worker("active")
        monitor.worker("standby", group="standby")
        await until(lambda: monitor.of("pay", Kind.CLOSE), "the gate is known")
        await asyncio.to_thread(produce_with_kcat, monitor.bootstrap, monitor.topics.telemetry, values)
        await tripped_at(monitor)

        def all_twice() -> bool:
            trip = next(at.offset for at in monitor.of("pay", Kind.CLOSE) if at.cause == "drift")
            told = zip(monitor.decision_bytes, monitor.decisions, strict=True)
            counts = Counter(data for data, decision in told if decision.gate == "pay" and decision.offset <= trip)
            return bool(counts) and set(counts.values()) == {2}

        await until(all_twice, "each decision up to the trip was written by both groups, in the same bytes")
