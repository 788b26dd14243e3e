"""What a monitor writes: bytes a minute into each topic, idle and under load, by gate and by sample.

Two workers and a hot standby govern the gates. Once every gate was open nothing happens for a while. Then telemetry comes at a
steady rate and services execute at every gate; one gate in eight has a condition on how its executions end. Telemetry is not
compressed, so evidence can be compared with what a producer said: the bytes of its values.

A worker without a processor writes less: `routed` says how much of the telemetry was routed when the time was over, and figures
by sample count that part alone. Below 0.95 the figures say little.

A topic's bytes are those of its newest segments on the broker's disk, which only grow; what compaction or retention removes is
not subtracted. One copy of each topic is counted: three replicas take three times as much.

    python benchmarks/bytes.py [--gates 40] [--rate 1550] [--seconds 300] [--idle 60] [--executions 200] [--samples 10]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import harness
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import ROLES, Counts

GUARD = Path(__file__).resolve().parent / "contenders" / "bytes_guard.py"
OPEN_SECONDS_MAX = 180.0
SETTLE_S = 10.0
FAIL_EVERY = 50
WORKER = {"snapshot_every_ms": 5_000, "commit_every_ms": 1_000, "mark_every_ms": 200, "session_timeout_ms": 6_000}
POLICY = """
gate: bytes.{n}
permit: {{ttl: {ttl}}}
subjects: ["agent:*"]
conditions:
  - drift: {{series: agent-{n}/amount_eur, detector: adwin}}
  - conformance: {{series: agent-{n}/latency_ms, rule: "value <= 100000", window: 10, over: 0.5}}
"""
FAILURES = "  - failure_rate: {window: 60s, at_least: 100, over: 0.9}\n"
ASKS_EVERY = 8
CHANGELOGS, KAFKAS_OWN = "changelogs", "kafka's own"
WRITTEN = ("evidence", "decisions", "internal", "control", "dead_letter")
"""What Failshut writes and keeps for a while. What is compacted does not grow with time."""
WEEK_MINUTES = 7 * 24 * 60


class Growth:
    """How many bytes were appended to each topic's partitions, by the broker's files."""

    def __init__(self, data: Path) -> None:
        self.written: Counter[str] = Counter()
        self._data = data
        self._active: dict[str, tuple[str, int]] = {}  # by partition: the newest segment and its size

    def look(self) -> None:
        """Add what was appended since the last look."""
        for folder in self._data.glob("*-[0-9]*"):
            segments = sorted(path.name for path in folder.glob("*.log"))
            if not segments:
                continue
            before, counted = self._active.get(folder.name, ("", 0))
            for name in segments:
                if name < before:
                    continue
                size = self._size(folder / name)
                self.written[self._topic(folder.name)] += max(0, size - (counted if name == before else 0))
                self._active[folder.name] = name, size

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:  # the cleaner has just renamed it
            return 0

    @staticmethod
    def _topic(folder: str) -> str:
        name = folder.rpartition("-")[0]
        if name.endswith("-changelog"):
            return CHANGELOGS
        return name if name in ROLES else KAFKAS_OWN

    async def over(self, seconds: float) -> tuple[Counter[str], float]:
        """Return what was appended in a time from now, and the minutes that it took."""
        self.look()
        before, began = self.written.copy(), time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(0.5, left))
            await asyncio.to_thread(self.look)
        return self.written - before, (time.monotonic() - began) / 60


class Feed:
    """Telemetry at a steady rate; counts its samples and the bytes of their records' values."""

    def __init__(self, monitor: Installation, gates: int, rate: float, samples: int) -> None:
        self.samples = self.bytes = 0
        self._monitor, self._gates, self._each = monitor, gates, samples
        self._every_s = samples / rate
        self._rng = random.Random(1)

    async def run(self) -> None:
        """Send for as long as it lasts."""
        began, sent = time.monotonic(), 0
        while True:
            service = f"agent-{sent % self._gates}"
            value = json.dumps([self._sample(service) for _ in range(self._each)]).encode()
            await self._monitor.producer.send(self._monitor.topics.telemetry, value, key=service.encode())
            sent += 1
            self.samples += self._each
            self.bytes += len(value)
            if (ahead := began + sent * self._every_s - time.monotonic()) > 0.01:
                await asyncio.sleep(ahead)

    def _sample(self, service: str) -> dict[str, Any]:
        metric, value = self._rng.choice(
            [("amount_eur", round(self._rng.gauss(50, 10), 2)), ("latency_ms", round(self._rng.expovariate(1 / 80), 3))]
        )
        return {"service": service, "metric": metric, "value": value, "time": round(time.time(), 3)}


async def measure(given: argparse.Namespace, folder: Path) -> tuple[Any, ...]:
    """Return what was written idle and under load, and what came in meanwhile."""
    kafka, store = Kafka(folder / "kafka"), Valkey(folder / "valkey")
    asks = range(0, given.gates, ASKS_EVERY)
    policies = {f"{n}.yaml": POLICY.format(n=n, ttl=given.ttl) + FAILURES * (n in asks) for n in range(given.gates)}
    await asyncio.gather(asyncio.to_thread(kafka.start), asyncio.to_thread(store.start))
    try:
        async with Installation(kafka, store, folder / "monitor", "", policies, Counts(), **WORKER) as monitor:
            for number in range(given.workers):
                monitor.worker(f"w{number}")
            for number in range(given.standbys):
                monitor.worker(f"s{number}", group="standby")
            feed = Feed(monitor, given.gates, given.rate, given.samples)
            feeding = asyncio.create_task(feed.run())
            await all_open(monitor, given.gates)
            feeding.cancel()
            names = [f"bytes.{n}" for n in range(given.gates)]
            growth = Growth(kafka.folder / "data")
            arguments = (store.url, str(monitor.jwks), json.dumps(names), str(given.executions), str(FAIL_EVERY))
            guard = await asyncio.create_subprocess_exec(
                sys.executable, str(GUARD), *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert guard.stdin is not None
            assert guard.stdout is not None
            await guard.stdout.readline()
            await asyncio.sleep(SETTLE_S)
            harness.say(f"  idle for {given.idle} s")
            idle = await growth.over(given.idle)
            guard.stdin.write(b"\n")
            feeding = asyncio.create_task(feed.run())
            listening = asyncio.create_task(last_line(guard.stdout))
            await asyncio.sleep(SETTLE_S)
            harness.say(f"  load for {given.seconds} s")
            samples, size = feed.samples, feed.bytes
            load = await growth.over(given.seconds)
            samples, size = feed.samples - samples, feed.bytes - size
            routed = min([await routed_of(monitor, group) for group in ["failshut", "standby"][: 1 + bool(given.standbys)]])
            feeding.cancel()
            guard.kill()
            await guard.wait()
            open_ = sum(monitor.open(name) for name in names)
            return idle, load, samples, size, routed, json.loads(await listening or b"{}").get("admitted", 0), open_
    finally:
        await asyncio.gather(asyncio.to_thread(kafka.stop), asyncio.to_thread(store.stop))


async def routed_of(monitor: Installation, group: str) -> float:
    """Return the share of telemetry's records that a group has routed and committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=monitor.bootstrap)
    await asyncio.gather(admin.start(), consumer.start())
    try:
        places = [TopicPartition(monitor.topics.telemetry, partition) for partition in range(monitor.counts.telemetry)]
        ends = await consumer.end_offsets(places)
        found = await admin.list_consumer_group_offsets(group)
        return sum(max(0, found[at].offset) for at in places if at in found) / sum(ends.values())
    finally:
        await asyncio.gather(admin.close(), consumer.stop())


async def last_line(stream: asyncio.StreamReader) -> bytes:
    """Return the last line of a stream."""
    last = b""
    async for line in stream:
        last = line
    return last


async def all_open(monitor: Installation, gates: int) -> None:
    """Wait until every gate was open once: on a busy machine some lapse again meanwhile, which writes no less."""
    end = time.monotonic() + OPEN_SECONDS_MAX
    closed = {f"bytes.{n}" for n in range(gates)}
    while closed := {name for name in closed if not monitor.open(name)}:
        if time.monotonic() > end:
            raise SystemExit("gates did not open: " + monitor.workers[0].log.read_text()[-3000:])
        await asyncio.sleep(0.2)


async def main() -> None:
    """Measure, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1550, help="samples a second (default 1550)")
    parser.add_argument("--samples", type=int, default=10, help="samples in a record (default 10)")
    parser.add_argument("--executions", type=float, default=200, help="executions a second (default 200)")
    parser.add_argument("--seconds", type=float, default=300, help="under load (default 300)")
    parser.add_argument("--idle", type=float, default=60, help="seconds without load (default 60)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--standbys", type=int, default=1)
    parser.add_argument("--ttl", default="3s", help="of permits, which are renewed at a third of it (default 3s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = await measure(given, Path(name))
    report(given, *found)


def report(
    given: argparse.Namespace, idle: Any, load: Any, sent: int, size: int, routed: float, executions: int, open_: int
) -> None:
    """Bytes a minute, and what that makes in a week."""
    samples = sent * routed
    found = harness.Report("bytes", ("failshut", "aiokafka", "faust-streaming", "redis"))
    found.version("kafka", "4.3.1 (embedded)")
    for name in ("gates", "rate", "samples", "executions", "workers", "standbys"):
        found.figure(f"asked for: {name}", getattr(given, name), "")
    found.figure("gates open at the end", open_, "gates")
    found.figure("executions admitted in all", executions, "executions")
    (written, minutes), (quiet, quiet_minutes) = load, idle
    found.figure("routed, of the telemetry sent", routed, "")
    found.figure("samples", sent / minutes, "a minute")
    found.figure("telemetry, bytes of values", size / minutes, "B/min")
    for name in (*ROLES, CHANGELOGS, KAFKAS_OWN):
        found.figure(f"idle, {name}", quiet[name] / quiet_minutes, "B/min")
        found.figure(f"load, {name}", written[name] / minutes, "B/min")
    found.figure("load, evidence, by sample", written["evidence"] / max(1, samples), "B")
    found.figure("load beyond idle, evidence, by sample", beyond(load, idle, "evidence") * minutes / max(1, samples), "B")
    found.figure("idle, evidence, by gate", quiet["evidence"] / quiet_minutes / given.gates, "B/min")
    found.figure("load, decisions, by gate", written["decisions"] / minutes / given.gates, "B/min")
    found.figure("load, changelogs, by gate", written[CHANGELOGS] / minutes / given.gates, "B/min")
    ours = sum(written[name] for name in WRITTEN) / minutes
    found.figure("7 days, what Failshut writes", ours * WEEK_MINUTES / 1e9, "GB")
    whole = ours + sum(written[name] for name in ("telemetry", "otlp_metrics")) / minutes
    found.goal("evidence to telemetry's values, uncompressed", written["evidence"] / max(1, size * routed), 0.5)
    kept = (written["decisions"] + written[CHANGELOGS]) / minutes
    found.goal("decisions and changelogs, B/min at 40 gates", kept * 40 / given.gates, 500_000)
    found.goal("7 days, telemetry included, GB", whole * WEEK_MINUTES / 1e9, 60)
    found.finish()


def beyond(load: Any, idle: Any, name: str) -> float:
    """Return the bytes a minute that load adds to a topic."""
    return float(load[0][name] / load[1] - idle[0][name] / idle[1])


if __name__ == "__main__":
    asyncio.run(main())
