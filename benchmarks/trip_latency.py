"""How long a trip takes: from telemetry handed to a producer to a denial seen in a guard in another process.

Beside it, message by message in the same run, a bare pipe of the same hops and acknowledgements: topic, aiokafka consumer,
producer with acks=all, topic, consumer, one Lua write with a push, subscriber in another process. What a trip has more than
that: decoding, runs of evidence, scoring, deciding, signing, compare and swap, verifying, and cancelling what runs.

Every gate has a conformance condition that one bad value trips, and comes back by itself; trips go round the gates, at random
moments. A denial counts only with the cause `conformance`: one that comes from a lapse is named and left out.

    python benchmarks/trip_latency.py [--trips 250]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation, until

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

HERE = Path(__file__).resolve().parent / "contenders"
GATES = 40
WARM_UP = 20
WORKER = {"snapshot_every_ms": 5_000, "commit_every_ms": 1_000, "mark_every_ms": 200, "session_timeout_ms": 6_000}
POLICY = """
gate: trip.{n}
permit: {{ttl: 3s}}
subjects: ["agent:*"]
conditions:
  - conformance: {{series: agent-{n}/amount_eur, rule: "value <= 500", window: 10, over: 0.05}}
reset: {{after: 1s, probes: 0}}
in_flight: cancel
"""
GOOD, BAD = 50.0, 900.0


class Listener:
    """A child process that prints lines of JSON; what it last said of each subject, and when somebody may look."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.ready = 0
        self.news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Listener:
        self._process = await asyncio.create_subprocess_exec(sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"{"):
                self.news.put_nowait(json.loads(line))
            elif line.startswith(b"READY"):
                self.ready += 1


class Trips:
    """Trips gates, one at a time."""

    def __init__(self, monitor: Installation, guard: Listener) -> None:
        self.monitor, self.guard = monitor, guard
        self.admitted: dict[str, None] = {}  # gates that admit, the one that has waited longest first
        self.took_ms: list[float] = []
        self.other = 0

    async def listen_until(self, gate: str, seconds: float) -> dict[str, Any] | None:
        """Take note of what the guard says until it denies this gate."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                found = await asyncio.wait_for(self.guard.news.get(), left)
            except TimeoutError:
                return None
            if found.get("admitted"):
                self.admitted[found["gate"]] = None
                continue
            self.admitted.pop(found["gate"], None)
            if found["gate"] == gate:
                return found
        return None

    async def trip(self) -> None:
        """Trip the gate that has admitted longest."""
        while not self.admitted:
            await self.listen_until("", 0.1)
        gate = next(iter(self.admitted))
        number = gate.removeprefix("trip.")
        began = time.monotonic_ns()
        await self._send(number, BAD)
        found = await self.listen_until(gate, 10)
        if found is None or found["cause"] != "conformance":
            self.other += 1
        else:
            self.took_ms.append((found["ns"] - began) / 1e6)
        for _ in range(10):  # push the bad value out of the window
            await self._send(number, GOOD)

    async def _send(self, number: str, value: float) -> None:
        event = {"service": f"agent-{number}", "metric": "amount_eur", "value": value}
        await self.monitor.producer.send(self.monitor.topics.telemetry, json.dumps(event).encode(), key=number.encode())


class Pipe:
    """Sends messages through the pipe, one at a time."""

    def __init__(self, monitor: Installation, topic: str, end: Listener) -> None:
        self.monitor, self.topic, self.end = monitor, topic, end
        self.took_ms: list[float] = []
        self._number = 0

    async def message(self) -> None:
        """Send one and wait for it."""
        self._number += 1
        event = {"service": "pipe", "metric": "number", "value": self._number}
        began = time.monotonic_ns()
        await self.monitor.producer.send(self.topic, json.dumps(event).encode(), key=str(self._number % 40).encode())
        while True:
            found = await asyncio.wait_for(self.end.news.get(), 20)
            if found["number"] == self._number:
                self.took_ms.append((found["ns"] - began) / 1e6)
                return


async def take_turns(trips: Trips, pipe: Pipe, wanted: int) -> None:
    """One trip, one message, at random moments, until there are enough of both."""
    rng = random.Random(3)
    while len(trips.took_ms) < wanted + WARM_UP and trips.other < wanted:
        await trips.trip()
        await asyncio.sleep(rng.uniform(0.02, 0.12))
        await pipe.message()
        await asyncio.sleep(rng.uniform(0.02, 0.12))
        if len(trips.took_ms) % 50 == 0:
            harness.say(f"  {len(trips.took_ms)} trips, last {trips.took_ms[-1:]} ms, pipe {pipe.took_ms[-1]:.1f} ms")


async def main() -> None:
    """Start everything, take turns, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=250, help="to measure (default 250)")
    given = parser.parse_args()
    policies = {f"{n}.yaml": POLICY.format(n=n) for n in range(GATES)}
    gates = json.dumps([f"trip.{n}" for n in range(GATES)])
    counts = Counts(telemetry=4, otlp_metrics=4, evidence=4, decisions=4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as store:
            async with Installation(kafka, store, folder / "monitor", "t.", policies, counts, **WORKER) as monitor:
                admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
                await admin.start()
                await admin.create_topics([NewTopic("pipe.1", 4, 1), NewTopic("pipe.2", 4, 1)])
                await admin.close()
                monitor.worker()
                pipe_arguments = (str(HERE / "pipe.py"), kafka.bootstrap, store.url, "pipe.1", "pipe.2", "pipe")
                async with (
                    Listener(str(HERE / "trip_guard.py"), store.url, str(monitor.jwks), gates) as guard,
                    Listener(str(HERE / "pipe_end.py"), store.url, "pipe") as end,
                    Listener(*pipe_arguments) as pipe_process,
                ):
                    await until(lambda: end.ready == 1 and pipe_process.ready == 2, "the pipe is ready")
                    for _ in range(12):
                        await monitor.send(
                            *({"service": f"agent-{n}", "metric": "amount_eur", "value": GOOD} for n in range(GATES))
                        )
                    trips, pipe = Trips(monitor, guard), Pipe(monitor, "pipe.1", end)
                    while len(trips.admitted) < GATES:
                        await trips.listen_until("", 0.5)
                    harness.say(f"{GATES} gates admit")
                    await take_turns(trips, pipe, given.trips)
    report(trips, pipe)


def report(trips: Trips, pipe: Pipe) -> None:
    """Percentiles of both, their ratios, goals."""
    found = harness.Report("trip_latency", ("failshut", "aiokafka", "faust-streaming", "redis", "cryptography"))
    found.version("kafka", "4.3.1 (embedded)")
    trip_ms, pipe_ms = trips.took_ms[WARM_UP:], pipe.took_ms[WARM_UP:]
    found.figure("trips", len(trip_ms), "trips")
    found.figure("denials over something else, left out", trips.other, "denials")
    for percent in (50, 99):
        found.figure(f"trip, p{percent}", harness.percentile(trip_ms, percent), "ms")
        found.figure(f"bare pipe, p{percent}", harness.percentile(pipe_ms, percent), "ms")
    for percent, limit in ((50, 1.5), (99, 2.0)):
        ratio = harness.percentile(trip_ms, percent) / harness.percentile(pipe_ms, percent)
        found.goal(f"trip p{percent}, of the pipe's", ratio, limit)
    found.finish()


if __name__ == "__main__":
    asyncio.run(main())
