"""A running monitor on Apache Kafka, with trouble, is recorded and replays to what it decided, on every evidence partition."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from monitor.harness import Installation, until
from monitor.policies import drift, heartbeat
from typer.testing import CliRunner

from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.evidence.records import decode_run
from failshut_console.app import app
from failshut_console.exits import Trouble
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.verdict import check
from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

SECONDS = float(os.environ.get("FAILSHUT_LIVE_SECONDS", "0"))
"""How much longer there is trouble: 600 is the run that docs/replay.md speaks of."""

GATES = {"scale": 0, "buy": 1, "pay": 2}
"""Each lies in an evidence partition of its own, of three."""
COUNTS = Counts(telemetry=3, otlp_metrics=1, evidence=3, decisions=2)
RULE = """
gate: buy
permit: {ttl: 2s}
subjects: ["*"]
conditions:
  - conformance: {series: shop/total, rule: "value <= 80", window: 40}
  - drift: {series: shop/total, detector: cusum, learn: 100}
reset: {after: 2s, probes: 0}
"""

DRIFT = Path(__file__).parents[2] / "replay" / "incidents" / "drift.parquet"


async def test_a_run_with_trouble_is_recorded_and_replays_to_the_same_bytes(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Two workers, a standby group, a SIGKILL with its rebalance, records that come late and twice: all is decided again."""
    assert {gate: partition_of(gate, COUNTS.evidence) for gate in GATES} == GATES
    policies = {"pay.yaml": drift("pay", "agent/amount"), "scale.yaml": heartbeat("scale", "scaler"), "buy.yaml": RULE}
    rng = random.Random(7)
    async with Installation(kafka, store, tmp_path / "monitor", f"{suffix}.", policies, COUNTS) as monitor:
        first = monitor.worker("first")
        monitor.worker("second")
        monitor.worker("standby", group="standby")
        await until(lambda: all(monitor.of(gate, Kind.CLOSE) for gate in GATES), "the gates are known")
        await until(lambda: _routed(monitor, {"first", "second", "standby"}), "two workers and the standby group all route")
        beats = asyncio.create_task(_beat(monitor))
        await _values(monitor, [rng.gauss(48, 3) for _ in range(400)])
        for gate in GATES:
            await monitor.opened(gate)
        first.kill()
        for _ in range(20):  # what a producer that was not acknowledged sends again
            value = rng.gauss(48, 3)
            await _values(monitor, [value, value])
        await _late(monitor, [rng.gauss(48, 3) for _ in range(20)])
        await _values(monitor, [rng.gauss(97, 3) for _ in range(300)])
        for gate, cause in (("pay", "drift"), ("buy", "conformance")):
            await until(lambda gate=gate, cause=cause: cause in _demanding(monitor, gate), f"{gate} trips over {cause}")
        await _more_trouble(monitor, rng, time.monotonic() + SECONDS)
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
        await until(lambda: "heartbeat" in _causes(monitor, "scale"), "it falls silent")
        path = tmp_path / "incident.parquet"
        await asyncio.to_thread(_recorded, monitor, path)
    opened = Recording(path)
    assert opened.manifest.gates == GATES
    assert opened.manifest.differing == []
    assert opened.manifest.decisions_taken
    verdict = check(opened)
    assert verdict.identical, verdict.difference
    for gate, partition in GATES.items():
        on_record = {one.record for one in opened.decisions(partition)}
        decided = {
            data
            for data, one in zip(monitor.decision_bytes, monitor.decisions, strict=True)
            if one.gate == gate and _within(opened, one)
        }
        assert decided, gate
        assert decided <= on_record, "whatever was decided over recorded evidence is on record"
    routers = {decode_run(one.record).router for partition in (0, 1, 2) for one in opened.evidence(partition)}
    assert routers >= {"first", "second", "standby"}, "what each of them routed is in the recording"


async def _routed(monitor: Installation, workers: set[str]) -> bool:
    return {run.router for _, _, run in await monitor.evidence()} >= workers


def _causes(monitor: Installation, gate: str) -> set[str]:
    return {str(one.cause) for one in monitor.of(gate, Kind.CLOSE)}


def _demanding(monitor: Installation, gate: str) -> set[str]:
    """The kinds of conditions that demanded a closing. Of several that demand it at once, the cause names one."""
    briefs = [brief for one in monitor.of(gate, Kind.CLOSE) for brief in one.readings]
    return {brief.name.partition(":")[0] for brief in briefs if brief.status == "demands"}


async def _values(monitor: Installation, values: list[float]) -> None:
    """The same values of both series."""
    await asyncio.gather(*(monitor.values(series, values) for series in ("agent/amount", "shop/total")))


async def _late(monitor: Installation, values: list[float]) -> None:
    """Values that claim to be of half a minute ago, each behind one of now."""
    for value in values:
        claim = int(time.time() * 1000) - 30_000
        for service, metric in (("agent", "amount"), ("shop", "total")):
            await monitor.send({"service": service, "metric": metric, "value": value, "time": claim}, key=f"{service}/{metric}")


async def _more_trouble(monitor: Installation, rng: random.Random, until_s: float) -> None:
    """Go on as long as was asked for: values that drift now and then, late and twice, workers killed, paused and replaced."""
    mean, number = 48.0, 0
    while time.monotonic() < until_s:
        for _ in range(20):
            values = [rng.gauss(mean, 3) for _ in range(10)]
            await _values(monitor, values)
            if rng.random() < 0.1:
                await _values(monitor, values)  # an unacknowledged producer's second attempt
            if rng.random() < 0.1:
                await _late(monitor, values[:2])
            await asyncio.sleep(0.1)
        if rng.random() < 0.15:
            mean = 97.0 if mean < 60 else 48.0
        alive = [worker for worker in monitor.workers if worker.exit_status is None]
        if rng.random() < 0.3:
            paused = rng.choice(alive)
            paused.pause()
            await asyncio.sleep(rng.choice([0.5, 4.0]))  # longer than its session: its partitions go to another
            paused.resume()
        if rng.random() < 0.15:
            rng.choice(alive).kill()
        if len(alive) < 3 or rng.random() < 0.1:
            number += 1
            others: dict[str, Any] = {"group": "standby"} if number % 3 == 0 else {}
            monitor.worker(f"more{number}", **others)
        if len(alive) > 4:
            rng.choice(alive).stop()


def _within(opened: Recording, decision: Decision) -> bool:
    return decision.offset <= opened.manifest.decided(decision.partition)


def _recorded(monitor: Installation, path: Path) -> None:
    words = ["record", "-o", str(path), "--broker", f"kafka://{monitor.bootstrap}", "--prefix", monitor.prefix]
    told = CliRunner().invoke(app, [*words, *(f"--gate={gate}" for gate in GATES)])
    assert told.exit_code == 0, (told.output, told.exception)
    assert Recording(path).digest in told.output


async def _beat(monitor: Installation) -> None:
    while True:
        await monitor.send({"kind": "heartbeat", "service": "scaler"})
        await asyncio.sleep(0.3)


async def test_a_rehearsal_is_written_to_a_topic(kafka: Kafka, suffix: str) -> None:
    """Every reading of a shipped incident is in the topic, in order, as a producer would have written it."""
    topic = f"{suffix}.rehearsal-telemetry"
    address = f"kafka://{kafka.bootstrap}"
    words = ["replay", str(DRIFT), "--to-kafka", address, "--topic", topic, "--speed", "max"]
    told = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(told.exception, Trouble), "there is no such topic yet"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    told = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert told.exit_code == 0, told.output
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        read: list[dict[str, object]] = []
        while len(read) < 3600 + 1800:
            for batch in (await consumer.getmany(timeout_ms=5_000)).values():
                read += [json.loads(record.value) for record in batch]
    finally:
        await consumer.stop()
    samples = [one for one in read if "metric" in one]
    assert len(samples) == 3600
    assert len(read) - len(samples) == 1800
    assert set(samples[0]) == {"service", "metric", "value"}
