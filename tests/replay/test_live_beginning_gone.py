"""Retention on a real broker takes the beginning of a running monitor's log; an incident after it is recorded and replayed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from monitor.harness import Installation, until
from typer.testing import CliRunner

from failshut_breakers.decisions.decision import Kind
from failshut_console.app import app
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.verdict import check
from failshut_replay.times import iso
from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

POLICY = """
gate: pay
permit: {ttl: 10s}
subjects: ["*"]
conditions:
  - conformance: {series: agent/amount, rule: "value <= 80", window: 20, detector: fhddm}
  - heartbeat: {source: agent, every: 500ms, grace: 3s}
reset: {after: 1s, probes: 0}
"""


async def test_an_incident_after_the_logs_beginning_replays_byte_for_byte(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """The broker removes records, the monitor goes on, it trips, and what is left replays to what was decided."""
    rng = random.Random(3)
    counts = Counts(telemetry=2, otlp_metrics=1, evidence=1, decisions=1)
    async with Installation(kafka, store, tmp_path / "monitor", f"{suffix}.", {"pay.yaml": POLICY}, counts) as monitor:
        monitor.worker("first")
        beats = asyncio.create_task(_beat(monitor))
        await monitor.values("agent/amount", [rng.gauss(48, 3) for _ in range(100)])
        await monitor.opened("pay")
        await _renewed(monitor, 1)
        begin = await _removed(monitor)
        await monitor.values("agent/amount", [rng.gauss(48, 3) for _ in range(100)])
        await _renewed(monitor, 8)  # longer than the lead of the recording below
        await monitor.values("agent/amount", [rng.gauss(97, 3) for _ in range(60)])
        await until(lambda: [one for one in monitor.of("pay", Kind.CLOSE) if one.cause == "conformance"], "it trips")
        await monitor.values("agent/amount", [rng.gauss(48, 3) for _ in range(60)])
        await _renewed(monitor, 1)
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
        path = tmp_path / "incident.parquet"
        words = ["record", "-o", str(path), "--broker", f"kafka://{monitor.bootstrap}", "--prefix", monitor.prefix]
        told = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--gate", "pay"])
        assert told.exit_code == 0, (told.output, told.exception)
        led = tmp_path / "led.parquet"
        # Not the last closing of all: a recording takes its time, and a heartbeat that ended closes the gate meanwhile.
        tripped = [one for one in monitor.of("pay", Kind.CLOSE) if one.cause == "conformance"]
        since = iso(tripped[-1].evidence_ms)
        words[2] = str(led)
        told = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--gate", "pay", "--from", since, "--lead", "4s"])
        assert told.exit_code == 0, (told.output, told.exception)
    shorter = Recording(led)
    assert shorter.manifest.starts["0"].offset > begin
    assert shorter.digest != Recording(path).digest
    assert check(shorter).same, check(shorter).told()
    opened = Recording(path)
    start = opened.manifest.start(0)
    assert start is not None
    assert start.offset == begin
    verdict = check(opened)
    assert verdict.identical, verdict.told()
    assert verdict.followed == 0, "the decision that stood before the beginning is known"
    assert verdict.decisions > 1
    on_record = [one for one in monitor.of("pay", Kind.CLOSE) if one.cause == "conformance"]
    assert all(one.offset > begin for one in on_record)


async def _renewed(monitor: Installation, seconds: int) -> None:
    """Wait until the gate is proven for so much longer, with readings between: a series that stopped would be no evidence."""
    goal_ms = monitor.proven_ms("pay") + seconds * 1000

    async def claim() -> bool:
        await monitor.values("agent/amount", [48.0])
        await asyncio.sleep(0.2)
        return monitor.proven_ms("pay") > goal_ms

    await until(claim, "the gate is renewed")


async def _removed(monitor: Installation) -> int:
    """Let the broker remove what was judged of the evidence log so far, as retention does; return where it begins now."""
    place = TopicPartition(monitor.topics.evidence, 0)
    end = 1 + max(offset for _, offset in monitor.seals)  # what nobody has judged yet would be lost
    admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
    await admin.start()
    try:
        removed = await admin.delete_records({place: RecordsToDelete(before_offset=end)})
    finally:
        await admin.close()
    assert removed[place] == end
    return end


async def _beat(monitor: Installation) -> None:
    while True:
        await monitor.send({"kind": "heartbeat", "service": "agent"})
        await asyncio.sleep(0.2)
