"""One input is not paid for by everybody: bursts of marks, and commands by nobody known, on real servers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from monitor.harness import Installation
from monitor.policies import heartbeat
from monitor.trouble import beating, renewed
from patience import patient

from failshut.signing import TYP_COMMAND, SigningKey
from failshut_breakers.command import Activate
from failshut_servers import Kafka, Valkey
from failshut_streams.sources.marks import MARK_KEY, encode_mark

pytestmark = pytest.mark.slow


async def test_a_burst_of_marks_before_an_activation_closes_nothing_for_good(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A telemetry writer writes thousands of marks in the second before an activation. The gate opens under the new policy, and
    a worker that starts anew finds the same boundaries in the log."""
    policies = {"a.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("a")
        await monitor.opened("beat")
        await renewed(monitor, "beat")
        for grace in ("50s", "40s"):
            value = encode_mark(time.time_ns() // 1_000_000, 2)
            sends = [
                await monitor.producer.send(monitor.topics.telemetry, value, key=MARK_KEY, partition=n % 2)
                for n in range(4_000)
            ]
            await asyncio.gather(*sends)
            await monitor.operator.activate({"a.yaml": heartbeat("beat", grace=grace)})
            digest = await _under_another_policy(monitor)
            assert digest
            if grace == "50s":
                assert worker.stop() == 0
                worker = monitor.worker("b")
                await renewed(monitor, "beat")


async def _under_another_policy(monitor: Installation) -> str:
    """Wait until the gate has a permit under another policy than that of its last decision, and return the policy's digest."""
    before = monitor.of("beat")[-1].policy
    async with asyncio.timeout(patient(180)):
        while True:
            last = monitor.of("beat")[-1]
            if last.policy != before and last.exp_ms:
                return last.policy
            await asyncio.sleep(0.1)


async def test_a_command_by_nobody_known_costs_no_gate_its_evidence(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Bundles of brackets within brackets, signed by nobody known: the gate is renewed meanwhile, and after a restart."""
    policies = {"a.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("a")
        await monitor.opened("beat")
        deep = "gate: nobody\nx: " + "[" * 800 + "]" * 800 + "\n"
        files = {f"f{n}": deep for n in range(60)}
        here = monitor.names.installation
        forged = Activate(installation=here, by="x", why="x", id="x", version=1, files=files)
        token = SigningKey.generate().sign(forged.model_dump(mode="json"), TYP_COMMAND).encode()
        for n in range(20):
            await monitor.send_raw(token, topic=monitor.topics.control, key=f"activate/{n}")
        closings = len([one for one in monitor.of("beat") if not one.exp_ms])
        await renewed(monitor, "beat")
        await renewed(monitor, "beat")
        worker.kill()
        monitor.worker("b")
        await renewed(monitor, "beat")
        assert len([one for one in monitor.of("beat") if not one.exp_ms]) == closings
