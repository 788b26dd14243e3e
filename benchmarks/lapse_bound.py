"""How soon a gate closes when nobody is left to close it: SIGKILL of the worker, of the broker, of the store.

Guards in processes of their own try to execute all the time, telemetry flows, and one of the three is killed at random moments.
The time until a guard's first denial is taken for every gate; the largest over all kills is the figure, and an execution that
is admitted later than `ttl + clock tolerance` after the kill is a miss of the goal, which is none at all. Two installations
(each with a broker, a store, a worker and a guard process of its own) run side by side, so that the kills take half as long.

    python benchmarks/lapse_bound.py [--kills 50] [--only worker,broker,store]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import harness
from trip_latency import Listener

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation, WorkerProcess

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

HERE = Path(__file__).resolve().parent / "contenders"
SIDES = 2
GATES = 4
TTL_MS = 1_000
TOLERANCE_MS = 200
BOUND_S = (TTL_MS + TOLERANCE_MS) / 1000
OPEN_SECONDS_MAX = 120.0
WORKER = {"mark_every_ms": 100, "session_timeout_ms": 1_500, "commit_every_ms": 500, "group_instance_id": "bench"}
POLICY = """
gate: lapse.{n}
permit: {{ttl: {ttl}ms}}
subjects: ["agent:*"]
conditions:
  - drift: {{series: agent-{n}/amount_eur, detector: adwin}}
"""
KINDS = ("worker", "broker", "store")


class Side:
    """One installation whose parts are killed, and what was seen of it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.kafka = Kafka(folder / "kafka")
        self.store = Valkey(folder / "valkey")
        self.folder = folder
        self.admits: dict[str, bool] = {f"lapse.{n}": False for n in range(GATES)}
        self.denied_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.admitted_late = 0
        self.executions = 0
        self._denials: dict[str, int] = {}
        self._rng = random.Random(number)
        self._killed_ns = 0
        self._may_admit_ns = 0

    async def run(self, kinds: list[str], kills: int) -> None:
        """Start, kill, wait, start again."""
        policies = {f"{n}.yaml": POLICY.format(n=n, ttl=TTL_MS) for n in range(GATES)}
        counts = Counts(telemetry=2, otlp_metrics=1, evidence=2, decisions=1)
        await asyncio.gather(asyncio.to_thread(self.kafka.start), asyncio.to_thread(self.store.start))
        try:
            where = (self.kafka, self.store, self.folder / "monitor", "", policies, counts)
            async with Installation(*where, **WORKER) as monitor:
                self._monitor = monitor
                self._worker: WorkerProcess = monitor.worker()
                arguments = (self.store.url, str(monitor.jwks), str(TOLERANCE_MS), json.dumps(list(self.admits)))
                async with Listener(str(HERE / "lapse_guard.py"), *arguments) as guard:
                    parts = [asyncio.create_task(self._feed()), asyncio.create_task(self._listen(guard))]
                    try:
                        for kind in kinds:
                            await self._kill_often(kind, kills)
                    finally:
                        for part in parts:
                            part.cancel()
                        await asyncio.gather(*parts, return_exceptions=True)
        finally:
            await asyncio.gather(asyncio.to_thread(self.kafka.stop), asyncio.to_thread(self.store.stop))

    async def _kill_often(self, kind: str, kills: int) -> None:
        ways: dict[str, tuple[Callable[[], object], Callable[[], Awaitable[None]]]] = {
            "worker": (lambda: self._worker.kill(), self._start_worker),
            "broker": (lambda: self.kafka.kill(), lambda: asyncio.to_thread(self.kafka.start)),
            "store": (lambda: self.store.kill(), lambda: asyncio.to_thread(self.store.start)),
        }
        kill, start_again = ways[kind]
        done = tried = 0
        while done < kills and tried < 3 * kills:
            await self._all_admit()
            await asyncio.sleep(self._rng.uniform(0, 0.5))  # anywhere between two renewals
            if not all(self.admits.values()):
                continue
            self._denials = {}
            self._killed_ns = time.monotonic_ns()
            kill()
            await asyncio.sleep(BOUND_S + 0.3)
            self.admitted_late += sum(self.admits.values())  # who has not denied by now executes beyond the bound
            if len(self._denials) == GATES:  # else a gate had lapsed just before, over a machine that is busy
                self.denied_s[kind] += [(ns - self._killed_ns) / 1e9 for ns in self._denials.values()]
                done += 1
            tried += 1
            self._killed_ns = 0
            await start_again()
            if tried % 5 == 0 and done:
                harness.say(f"  {kind}: {done} kills, longest {max(self.denied_s[kind]):.3f} s")

    async def _start_worker(self) -> None:
        self._worker.start()

    async def _all_admit(self) -> None:
        end = time.monotonic() + OPEN_SECONDS_MAX
        while not all(self.admits.values()):
            if self._worker.exit_status is not None:  # it gave up while its broker was away
                self._worker.start()
            if time.monotonic() > end:
                raise SystemExit(f"gates did not open again: {self.admits}\n{self._worker.log.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    async def _feed(self) -> None:
        """Telemetry that conforms, for as long as it lasts; a broker that is away is no reason to stop."""
        while True:
            events = [{"service": f"agent-{n}", "metric": "amount_eur", "value": 50 + n} for n in range(GATES)]
            try:
                await self._monitor.producer.send(self._monitor.topics.telemetry, json.dumps(events).encode())
            except Exception as error:
                harness.say(f"  telemetry waits: {type(error).__name__}")
            await asyncio.sleep(0.1)

    async def _listen(self, guard: Listener) -> None:
        while True:
            news = await guard.news.get()
            if "gate" not in news:
                self.executions = news["admitted"]
                continue
            self.admits[news["gate"]] = news["admits"]
            killed_ns = self._killed_ns
            if not killed_ns or news["ns"] < killed_ns:
                continue
            if not news["admits"]:
                self._denials.setdefault(news["gate"], news["ns"])
            last_admitted_ns = news["ns"] if news["admits"] else news["before_ns"]
            if last_admitted_ns > killed_ns + BOUND_S * 1e9:
                self.admitted_late += 1


async def main() -> None:
    """Both sides, then the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each kind (default 50)")
    parser.add_argument("--only", default=",".join(KINDS), help="which kinds")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says a thousand times that the broker is away
    kinds = [kind for kind in KINDS if kind in given.only.split(",")]
    with tempfile.TemporaryDirectory() as name:
        sides = [Side(number, Path(name) / str(number)) for number in range(SIDES)]
        for side in sides:
            side.folder.mkdir()
        await asyncio.gather(*(side.run(kinds, -(-given.kills // SIDES)) for side in sides))
    report(sides, kinds)


def report(sides: list[Side], kinds: list[str]) -> None:
    """The longest, and what slipped through."""
    found = harness.Report("lapse_bound", ("failshut", "aiokafka", "faust-streaming", "redis"))
    found.version("kafka", "4.3.1 (embedded)")
    found.figure("ttl", TTL_MS / 1000, "s")
    found.figure("ttl and clock tolerance", BOUND_S, "s")
    for kind in kinds:
        denied_s = [seconds for side in sides for seconds in side.denied_s[kind]]
        found.figure(f"{kind} killed, denials timed", len(denied_s), "denials")
        found.figure(f"{kind} killed, kills", len(denied_s) // GATES, "kills")
        found.figure(f"{kind} killed, first denial, p50", harness.percentile(denied_s, 50), "s")
        found.figure(f"{kind} killed, first denial, longest", max(denied_s), "s")
        found.goal(f"{kind} killed, longest", max(denied_s), BOUND_S)
    found.figure("executions admitted in all", sum(side.executions for side in sides), "executions")
    found.goal("executions admitted after ttl + tolerance", sum(side.admitted_late for side in sides), 0)
    found.finish()


if __name__ == "__main__":
    asyncio.run(main())
