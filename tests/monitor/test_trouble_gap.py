"""Evidence that was never seen: the gates lapse, `failshut gap` says where, and an operator's word lets them go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating, outruns_nothing, renewed
from typer.testing import CliRunner

from failshut_console.app import app
from failshut_console.exits import Trouble
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


async def failshut(monitor: Installation, *arguments: object) -> tuple[int, str]:
    """Call the command line as an operator of this installation; return its exit status and what it said."""
    key = monitor.folder / "operator.pem"
    monitor.operator_key.save(key)
    options = ["--store", monitor.store_url, "--jwks", str(monitor.jwks)]
    if arguments[1] == "accept":
        options += ["--broker", f"kafka://{monitor.bootstrap}", "--prefix", monitor.prefix, "--key", str(key)]
    ended = await asyncio.to_thread(CliRunner().invoke, app, [*map(str, arguments), *options])
    trouble = ended.exception
    return (int(trouble.status), trouble.what) if isinstance(trouble, Trouble) else (ended.exit_code, ended.output)


async def gaps(monitor: Installation) -> dict[str, dict[str, int]]:
    status, said = await failshut(monitor, "gap", "list", "--json")
    return json.loads(said) if status in (0, 1) else {}


async def test_what_retention_removed_unread_is_signed_for_by_name(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Telemetry is gone before it was routed. The gate lapses until an operator signs for that partition, while routers go on
    reading; then it opens, and a restart changes nothing of it."""
    policy = {"a.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("before")
        await monitor.opened("beat")
        assert await gaps(monitor) == {}
        assert await failshut(monitor, "gap", "accept", "telemetry", 0, "--why", "none") == (1, "telemetry/0 has no gap")
        assert worker.stop() == 0
        last = [await monitor.send({"kind": "heartbeat", "service": "agent"}, partition=0) for _ in range(5)][-1]
        admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
        await admin.start()
        place = TopicPartition(monitor.topics.telemetry, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=last.offset + 1)})
        await admin.close()

        worker = monitor.worker("after")
        await monitor.lapsed("beat", 60)

        async def stands() -> dict[str, int] | None:
            return (await gaps(monitor)).get("telemetry/0")

        gap = await until(stands, "the gap is said by name")
        assert gap["covered"] <= last.offset < gap["began"]
        status, said = await failshut(monitor, "gap", "accept", "telemetry", 0, "--why", "retention", "--wait", 100)
        assert status == 0, said
        assert f"what stood before {last.offset + 1} is given up" in said
        await monitor.opened("beat")
        assert worker.stop() == 0
        monitor.worker("again")
        await until(lambda: any("again" in key.decode() for key in monitor.redis.keys("*workers*")), "it has started", 180)
        await renewed(monitor, "beat")

        async def gone() -> bool:  # each governor reads its own evidence partition again
            return await gaps(monitor) == {}

        await until(gone, "a restart changes nothing of it")
        await outruns_nothing(monitor)


async def test_a_gap_in_what_kafka_still_holds_costs_nothing(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Where the evidence log was cut, telemetry is still there: routers tell it again by themselves, nothing is given up."""
    policy = {"a.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("before", snapshot_every_ms=3_600_000)
        await monitor.opened("beat")
        assert worker.stop() == 0
        ends = {at: max(offset for where, offset, _ in await monitor.evidence() if where == at) for at in range(2)}
        admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
        await admin.start()
        cut = {TopicPartition(monitor.topics.evidence, at): RecordsToDelete(before_offset=end) for at, end in ends.items()}
        await admin.delete_records(cut)
        await admin.close()
        after = monitor.worker("after")
        await monitor.closed("beat", "term")

        async def healed() -> bool:
            return after.said("once more, as a governor asks") and await gaps(monitor) == {}

        await until(healed, "what was cut is told again")
