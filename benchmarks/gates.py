"""Many gates on one worker: do all stay open, with how much of their life left, and what does that cost?

The first thousand gates have a rule on a series of their own, with one sample a second. The others watch how their executions
end, and nothing is sent for them. Once every gate was open, each is looked at twice a second, through the store, as a guard
sees it: its permit, and the seal of its partition. `remaining` is what is left until the permit ends, as a share of its ttl.

A bundle holds at most a thousand gates, and so does this benchmark.

    python benchmarks/gates.py [--gates 100 1000] [--seconds 120] [--ttl 3000]
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
import psutil

sys.path.insert(0, str(harness.ROOT / "tests"))

from bytes import Growth
from monitor.harness import Installation, wall_ms

from failshut.permit import Permit, verify
from failshut.seal import Seal, seal_name, verify_seal
from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

OPEN_SECONDS_MAX = 300.0
SETTLE_S = 15.0
LOOK_S = 0.5
SERIES_MAX = 1_000
IN_A_RECORD = 50
WORKER = {"snapshot_every_ms": 5_000, "commit_every_ms": 1_000, "mark_every_ms": 200, "session_timeout_ms": 10_000}
HEAD = 'gate: gates.{n}\npermit: {{ttl: {ttl}ms}}\nsubjects: ["agent:*"]\nconditions:\n'
RULE = '  - conformance: {{series: agent-{n}/latency_ms, rule: "value <= 100000", window: 10, over: 0.5, stale: 60s}}\n'
QUIET = "  - failure_rate: {{window: 60s, at_least: 100, over: 0.9}}\n"


class Looks:
    """What was seen of all gates, look by look."""

    def __init__(self, monitor: Installation, gates: int, ttl_ms: int) -> None:
        self.closed: Counter[str] = Counter()
        self.least = 1.0
        self.looks = 0
        self._monitor, self._names, self._ttl_ms = monitor, [f"gates.{n}" for n in range(gates)], ttl_ms
        self._permits: dict[str, tuple[bytes, Permit]] = {}

    def look(self) -> int:
        """Look at every gate once; return how many are open."""
        seals = self._seals()
        self.looks += 1
        open_ = 0
        records = self._monitor.redis.mget([self._monitor.names.record(name) for name in self._names])
        for name, token in zip(self._names, records, strict=True):
            left = self._left(name, token, seals)
            self.least = min(self.least, left)
            open_ += left > 0
            self.closed[name] += left <= 0
        return open_

    def _left(self, name: str, token: bytes | None, seals: dict[int, Seal]) -> float:
        if token is None:
            return 0.0
        if name not in self._permits or self._permits[name][0] != token:
            permit = verify(token, self._monitor.keys, name)
            if not isinstance(permit, Permit):
                return 0.0
            self._permits[name] = token, permit
        permit = self._permits[name][1]
        proven_ms = permit.evidence_ms
        if permit.sealed:
            seal = seals.get(permit.partition)
            proven_ms = seal.time_of(seal_name(permit)) if seal else 0
        return max(0.0, (proven_ms + permit.ttl_ms - wall_ms()) / self._ttl_ms)

    def _seals(self) -> dict[int, Seal]:
        found = {}
        for partition in range(self._monitor.counts.evidence):
            token = self._monitor.redis.get(self._monitor.names.seal(partition))
            if token:
                found[partition] = verify_seal(token, self._monitor.keys)
        return found


async def feed(monitor: Installation, series: int) -> None:
    """One sample a second for each series."""
    rng, sent = random.Random(1), 0
    began = time.monotonic()
    while True:
        for first in range(0, series, IN_A_RECORD):
            numbers = range(first, min(series, first + IN_A_RECORD))
            value = [{"service": f"agent-{n}", "metric": "latency_ms", "value": rng.gauss(80, 9)} for n in numbers]
            await monitor.producer.send(monitor.topics.telemetry, json.dumps(value).encode(), key=str(first).encode())
        sent += 1
        await asyncio.sleep(max(0.0, began + sent - time.monotonic()))


async def measure(given: argparse.Namespace, gates: int, folder: Path) -> dict[str, Any]:
    """Return what one number of gates came to."""
    kafka, store = Kafka(folder / "kafka"), Valkey(folder / "valkey")
    policies = {f"{n}.yaml": (HEAD + (RULE if n < SERIES_MAX else QUIET)).format(n=n, ttl=given.ttl) for n in range(gates)}
    await asyncio.gather(asyncio.to_thread(kafka.start), asyncio.to_thread(store.start))
    try:
        async with Installation(kafka, store, folder / "monitor", "", policies, Counts(), **WORKER) as monitor:
            worker = monitor.worker("w")
            feeding = asyncio.create_task(feed(monitor, min(gates, SERIES_MAX)))
            looks, began = Looks(monitor, gates, given.ttl), time.monotonic()
            while (open_ := await asyncio.to_thread(looks.look)) < gates:
                if time.monotonic() > began + OPEN_SECONDS_MAX:
                    raise SystemExit(f"{open_} of {gates} gates opened: " + worker.log.read_text(errors="replace")[-3000:])
                await asyncio.sleep(LOOK_S)
            opened_s = time.monotonic() - began
            await asyncio.sleep(SETTLE_S)
            looks, process = Looks(monitor, gates, given.ttl), psutil.Process(worker.process.pid)
            growth, before = Growth(kafka.folder / "data"), process.cpu_times()
            growing = asyncio.create_task(growth.over(given.seconds))
            began = time.monotonic()
            least_open = gates
            while not growing.done():
                least_open = min(least_open, await asyncio.to_thread(looks.look))
                await asyncio.sleep(LOOK_S)
            seconds, after = time.monotonic() - began, process.cpu_times()
            written, minutes = await growing
            feeding.cancel()
            return {
                "opened_s": opened_s,
                "least_open": least_open,
                "ever_closed": sum(count > 0 for count in looks.closed.values()),
                "remaining": looks.least,
                "cores": (after.user + after.system - before.user - before.system) / seconds,
                "rss_kb": process.memory_info().rss / 1024,
                **{topic: written[topic] / minutes / 60 for topic in ("evidence", "decisions", "changelogs")},
            }
    finally:
        await asyncio.gather(asyncio.to_thread(kafka.stop), asyncio.to_thread(store.stop))


async def main() -> None:
    """Measure each number of gates, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--ttl", type=int, default=3_000, help="of permits, in ms (default 3000)")
    given = parser.parse_args()
    report = harness.Report("gates", ("failshut", "aiokafka", "faust-streaming", "redis"))
    report.version("kafka", "4.3.1 (embedded)")
    for gates in given.gates:
        harness.say(f"  {gates} gates")
        with tempfile.TemporaryDirectory() as name:
            found = await measure(given, gates, Path(name))
        report.figure(f"{gates} gates: seconds until all were open", found["opened_s"], "s")
        report.figure(f"{gates} gates: open at the worst look", found["least_open"], "gates")
        report.figure(f"{gates} gates: the worker's processor", found["cores"], "cores")
        report.figure(f"{gates} gates: the worker's memory", found["rss_kb"] / 1024, "MB")
        for topic in ("evidence", "decisions", "changelogs"):
            report.figure(f"{gates} gates: {topic}", found[topic], "B/s")
        report.goal(f"{gates} gates: ever seen closed", found["ever_closed"], 0)
        report.goal(f"{gates} gates: a third of the life less the least that remained", 1 / 3 - found["remaining"], 0)
        report.goal(f"{gates} gates: decisions, B/s", found["decisions"], 100_000)
    report.finish()


if __name__ == "__main__":
    asyncio.run(main())
