"""Telemetry in transactions: what was aborted is no evidence, and what is open holds evidence back under its own name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from monitor.harness import Installation, until
from monitor.trouble import one_story, outruns_nothing, renewed

from failshut_breakers.evidence.records import Samples
from failshut_console.monitor.gate_views import Look, Looker
from failshut_servers import Kafka, Valkey
from failshut_streams.health import Report

pytestmark = pytest.mark.slow

POLICY = """
gate: pay
permit: {ttl: 2s}
subjects: ["*"]
conditions:
  - conformance: {series: agent/amount, rule: "value <= 500", window: 20, over: 0.2, stale: 10m}
"""


def values(monitor: Installation, producer: Producer, *numbers: float) -> None:
    """Write values into an open transaction, to one partition, and wait until the broker has them."""
    for number in numbers:
        event = {"service": "agent", "metric": "amount", "value": number}
        producer.produce(monitor.topics.telemetry, json.dumps(event).encode(), key=b"agent/amount", partition=0)
    assert producer.flush(60) == 0


@asynccontextmanager
async def transactional(monitor: Installation) -> AsyncIterator[Producer]:
    producer = Producer({"bootstrap.servers": monitor.bootstrap, "transactional.id": f"tx.{monitor.prefix}"})
    await asyncio.to_thread(producer.init_transactions, 60)
    yield producer


async def test_what_was_aborted_is_no_evidence(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Values that a service took back reach no gate, in front of, between and behind others; committed ones do.

    Guards: the isolation level of the transport's consumer. Without it the gate trips over the aborted values.
    """
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": POLICY}) as monitor:
        monitor.worker()
        await monitor.values("agent/amount", [48.0] * 60, partition=0)
        await monitor.opened("pay")
        async with transactional(monitor) as producer:
            for commits in (False, True, False):
                producer.begin_transaction()
                await asyncio.to_thread(values, monitor, producer, *([50.0] if commits else [9_999.0] * 30))
                await asyncio.to_thread(producer.commit_transaction if commits else producer.abort_transaction, 60)
                await renewed(monitor, "pay")
            await monitor.values("agent/amount", [49.0] * 5, partition=0)
            await renewed(monitor, "pay")

            async def judged() -> list[float]:
                blocks = [r for _, _, run in await monitor.evidence() for r in run.readings.get("pay", ())]
                return [value for block in blocks if isinstance(block, Samples) for value in block.values()]

            await until(lambda: _ends_with(judged, 49.0), "the last values are evidence")
            assert await judged() == [48.0] * 60 + [50.0] + [49.0] * 5
            producer.begin_transaction()
            await asyncio.to_thread(values, monitor, producer, *[9_999.0] * 30)
            await asyncio.to_thread(producer.commit_transaction, 60)
            await monitor.closed("pay", "conformance")
        one_story(monitor)


async def _ends_with(judged: object, value: float) -> bool:
    return bool((await judged())[-1:] == [value])  # type: ignore[operator]


async def test_an_open_transaction_holds_evidence_back_and_is_named(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Gates lapse behind a transaction that stays open, every look says which one it is, and its end ends it."""
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": POLICY}) as monitor:
        monitor.worker("a")
        await monitor.values("agent/amount", [48.0] * 60, partition=0)
        await monitor.opened("pay")
        async with transactional(monitor) as producer:
            producer.begin_transaction()
            await asyncio.to_thread(values, monitor, producer, 50.0)
            await monitor.lapsed("pay")
            looker = Looker(monitor.store_url, str(monitor.jwks))

            def look() -> Look | None:
                found = looker.look(["pay"])
                return found if "transaction" in found.gates[0].because else None

            found = await until(look, "the screen names the transaction")
            assert "telemetry/0 waits for a transaction open for " in found.gates[0].because
            report = msgspec.json.decode(monitor.redis.get(monitor.names.worker("a")), type=Report)
            assert list(report.transactions) == ["telemetry/0"]
            assert report.transactions["telemetry/0"][0] >= 60
            await asyncio.to_thread(producer.commit_transaction, 60)
            await renewed(monitor, "pay")
            await until(lambda: look() is None and not looker.look(["pay"]).waits, "nothing waits any more")
            looker.close()
        await outruns_nothing(monitor)
        one_story(monitor)
