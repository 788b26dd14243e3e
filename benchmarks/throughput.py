"""What a sample costs on its way from Kafka into a detector: CPU of the consuming process, and wall rate.

Every contender reads the same kind of backlog (eight series, one sample to a message and a hundred to a message), decodes it
with msgspec into the same struct and feeds river's ADWIN by series: a bare aiokafka loop, faust-streaming, quixstreams and
bytewax as their users would write it, Failshut's chunk transport (one hop), and the real worker (whole path: router, evidence
topic with acks=all, governor, marks, commits, snapshots, decisions), with a policy of ADWIN alone and with the default policy
(conformance, ADWIN, heartbeat, lag, failure rate). Contenders are processes of their own and take turns, round by round; the
figure is the median of the rounds. contenders/ holds them, one file each.

    python benchmarks/throughput.py [--rounds 3] [--scale 1.0] [--only bare,whole]

CPU time counts all threads of the consuming process and nothing of the broker's. The whole path's backlog carries the time
marks that a worker would have written while it came in (one per partition for every 5,000 records).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import harness
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts
from failshut_streams.sources.marks import MARK_KEY, encode_mark, wall_ms

HERE = Path(__file__).resolve().parent / "contenders"
PARTITIONS = 4
SERIES = 8
MARK_EVERY = 5_000
"""Records of a partition between two marks: 200 ms of 100,000 records a second over four partitions."""
PATIENCE_S = 180
WORKER = {"snapshot_every_ms": 5_000, "commit_every_ms": 1_000, "mark_every_ms": 200}
ADWIN = "  - drift: {{series: agent-{n}/amount_eur, detector: adwin}}\n"
REST = """\
  - conformance: {{series: agent-{n}/amount_eur, rule: "value <= 500"}}
  - heartbeat: {{series: agent-{n}/amount_eur, every: 1s, grace: 3s}}
  - lag: {{group: workers-{n}, topic: refunds, allowed: 1000, behind: 5s}}
  - failure_rate: {{window: 60s, at_least: 20, over: 0.5}}
"""
HEAD = 'gate: gate.{n}\npermit: {{ttl: 3s}}\nsubjects: ["agent:*"]\nconditions:\n'


@dataclass(frozen=True)
class Shape:
    """How samples are packed into messages."""

    name: str
    per_message: int
    samples: int

    def messages(self, samples: int) -> Iterator[bytes]:
        """Yield messages of so many samples in all; the same for every contender."""
        rng = random.Random(20)
        block = [self._message(rng, first) for first in range(0, max(20_000, 2_000 * self.per_message), self.per_message)]
        for number in range(samples // self.per_message):
            yield block[number % len(block)]

    def _message(self, rng: random.Random, first: int) -> bytes:
        events = [
            {"service": f"agent-{(first + n) % SERIES}", "metric": "amount_eur", "value": round(rng.gauss(50, 5), 4)}
            for n in range(self.per_message)
        ]
        return json.dumps(events if self.per_message > 1 else events[0]).encode()


@dataclass
class Contender:
    """One way to do it. `share` of the samples is enough where a message is slow."""

    key: str
    name: str
    file: str
    share: float = 1.0
    peer: bool = False
    policy: str = ""
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    rate: dict[str, list[float]] = field(default_factory=dict)

    def took(self, shape: Shape, samples: int, cpu_s: float, wall_s: float) -> None:
        self.cpu_us.setdefault(shape.name, []).append(cpu_s / samples * 1e6)
        self.rate.setdefault(shape.name, []).append(samples / wall_s)


CONTENDERS = [
    Contender("bare", "bare aiokafka loop", "bare.py"),
    Contender("quix", "quixstreams", "quix.py", 0.3, peer=True),
    Contender("bytewax", "bytewax", "bytewax_flow.py", 0.3, peer=True),
    Contender("faust", "plain faust-streaming", "faust_plain.py", 0.05),
    Contender("hop", "failshut, one hop", "one_hop.py"),
    Contender("whole", "failshut, whole path, ADWIN", "whole_path.py", policy=HEAD + ADWIN),
    Contender("default", "failshut, whole path, default policy", "whole_path.py", policy=HEAD + ADWIN + REST),
]


async def fill(bootstrap: str, topic: str, shape: Shape, samples: int, marked: bool = False) -> dict[int, int]:
    """Write a backlog in large batches, dealt over the partitions; return where each partition ends."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=256 * 1024, linger_ms=0)
    await producer.start()
    ends = dict.fromkeys(range(PARTITIONS), 0)
    batches = {partition: producer.create_batch() for partition in ends}

    async def send(partition: int) -> None:
        batch, batches[partition] = batches[partition], producer.create_batch()
        await (await producer.send_batch(batch, topic, partition=partition))

    async def append(partition: int, key: bytes | None, value: bytes) -> None:
        if batches[partition].append(key=key, value=value, timestamp=None) is None:
            await send(partition)
            batches[partition].append(key=key, value=value, timestamp=None)
        ends[partition] += 1

    try:
        for number, value in enumerate(shape.messages(samples)):
            partition = number % PARTITIONS
            await append(partition, None, value)
            if marked and ends[partition] * shape.per_message % MARK_EVERY < shape.per_message:
                await append(partition, MARK_KEY, encode_mark(wall_ms(), PARTITIONS))
        for partition in batches:
            await send(partition)
    finally:
        await producer.stop()
    return ends


def measure(python: Path, file: str, *arguments: str) -> dict[str, float]:
    """Run a contender to its end, in a folder that goes with it, and return what it printed."""
    command = [str(python), str(HERE / file), *arguments]
    with tempfile.TemporaryDirectory() as here:  # plain Faust leaves a folder for its tables where it runs
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("BENCH "):
            found: dict[str, float] = json.loads(line.removeprefix("BENCH "))
            return found
    raise SystemExit(f"{file} gave no result (status {done.returncode}):\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


class Course:
    """The servers, the backlogs and the turns."""

    def __init__(self, kafka: Kafka, store: Valkey, folder: Path, shapes: list[Shape]) -> None:
        self.kafka, self.store, self.folder, self.shapes = kafka, store, folder, shapes
        self.pythons = {False: Path(sys.executable), True: Path()}

    async def prepare(self, contenders: list[Contender]) -> None:
        """Write the backlogs that all but the whole path read."""
        if any(contender.peer for contender in contenders):
            self.pythons[True] = harness.peers_python()
        async with Admin(self.kafka.bootstrap) as admin:
            await admin.create_topics([NewTopic(shape.name, PARTITIONS, 1) for shape in self.shapes])
        for shape in self.shapes:
            await fill(self.kafka.bootstrap, shape.name, shape, shape.samples)
            harness.say(f"backlog of {shape.samples:,} samples, {shape.per_message} to a message")

    async def turn(self, contender: Contender, shape: Shape) -> None:
        """Let one contender read one backlog."""
        if contender.policy:
            found = await self._whole(contender, shape)
        else:
            share = contender.share if contender.peer else min(1.0, contender.share * shape.per_message)
            samples = int(shape.samples * share)
            arguments = (self.kafka.bootstrap, shape.name, str(samples))
            found = await asyncio.to_thread(measure, self.pythons[contender.peer], contender.file, *arguments)
        contender.took(shape, int(found["samples"]), found["cpu_s"], found["wall_s"])
        harness.say(f"  {shape.name:<10} {contender.name:<38} {contender.cpu_us[shape.name][-1]:8.2f} us")

    async def _whole(self, contender: Contender, shape: Shape) -> dict[str, float]:
        prefix = f"b{uuid.uuid4().hex[:8]}."
        policies = {f"{n}.yaml": contender.policy.format(n=n) for n in range(SERIES)}
        counts = Counts(telemetry=PARTITIONS, otlp_metrics=1, evidence=4, decisions=1)
        async with Installation(self.kafka, self.store, self.folder / prefix, prefix, policies, counts, **WORKER) as monitor:
            samples = shape.samples // shape.per_message * shape.per_message
            ends = await fill(self.kafka.bootstrap, monitor.topics.telemetry, shape, samples, marked=True)
            arguments = (json.dumps(monitor.config), json.dumps(ends), str(samples))
            found = await asyncio.to_thread(measure, self.pythons[False], contender.file, *arguments)
        async with Admin(self.kafka.bootstrap) as admin:
            await admin.delete_topics([monitor.topics.telemetry, monitor.topics.evidence])
        return found


class Admin(AIOKafkaAdminClient):  # type: ignore[misc]  # untyped
    """aiokafka's, as a context."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> Admin:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def report(shapes: list[Shape], contenders: list[Contender]) -> None:
    """Medians, ratios to the bare loop of the same run, goals."""
    found = harness.Report("throughput", ("failshut", "aiokafka", "faust-streaming", "river", "msgspec", "confluent-kafka"))
    found.version("kafka", "4.3.1 (embedded)")
    for name, version in peer_versions().items():
        found.version(name, version)
    limits = {"hop": 1.3, "whole": 2.5}
    goals: list[Callable[[], None]] = []
    for shape in shapes:
        cpu = {
            contender.key: statistics.median(contender.cpu_us[shape.name])
            for contender in contenders
            if contender.cpu_us.get(shape.name)
        }
        for contender in contenders:
            if contender.key not in cpu:
                continue
            name = f"{contender.name}, {shape.name}"
            found.figure(f"{name}, CPU a sample", cpu[contender.key], "us")
            found.figure(f"{name}, rate", statistics.median(contender.rate[shape.name]), "samples/s")
            if contender.key == "bare" or "bare" not in cpu:
                continue
            ratio = cpu[contender.key] / cpu["bare"]
            found.figure(f"{name}, CPU of the bare loop's", ratio, "times")
            if contender.key in limits:
                found_goal = (f"{name}, CPU of the bare loop's", ratio, limits[contender.key])
                goals.append(lambda goal=found_goal: found.goal(*goal))  # type: ignore[misc]
    for goal in goals:
        goal()
    found.finish()


def peer_versions() -> dict[str, str]:
    """Return the versions in the peers' environment, if there is one."""
    python = harness.PEERS / "bin" / "python"
    if not python.exists():
        return {}
    code = (
        "import json; from importlib.metadata import version as v; from importlib.metadata import packages_distributions as d;"
        "print(json.dumps({n: v(n) for n in ('quixstreams', 'bytewax') if n in d()}))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


async def main() -> None:
    """Take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the backlog (1: 500,000 singles, 4,000,000 in hundreds)")
    parser.add_argument("--only", default="", help=f"of {','.join(contender.key for contender in CONTENDERS)}")
    given = parser.parse_args()
    shapes = [Shape("singles", 1, int(500_000 * given.scale)), Shape("hundreds", 100, int(4_000_000 * given.scale))]
    chosen = [contender for contender in CONTENDERS if not given.only or contender.key in given.only.split(",")]
    if sys.version_info >= (3, 13):
        chosen = [contender for contender in chosen if contender.key != "bytewax"]  # it has no wheel
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as store:
            course = Course(kafka, store, folder, shapes)
            await course.prepare(chosen)
            for number in range(given.rounds):
                harness.say(f"round {number + 1} of {given.rounds}")
                for shape in shapes:
                    for contender in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
                        await course.turn(contender, shape)
    report(shapes, chosen)


if __name__ == "__main__":
    asyncio.run(main())
