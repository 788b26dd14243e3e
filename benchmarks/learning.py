"""How long a gate is closed because its conditions must learn: a new one on a day of telemetry, and after edits.

A day of readings, one a minute for each of 100 series, is in Kafka, and no policy has asked for it. Then a bundle with a gate
for each series is activated: `history` is from there until all are open. Without history the same gates wait for
news; that needs hours, so what is shown is how many were open after as long (`news_open`). Then one gate is edited: a comment,
a setting of the whole, and one condition of three. It is looked at 50 times a second, as a guard sees it.

    python benchmarks/learning.py [--series 100] [--minutes 1440]
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

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation, until, wall_ms
from monitor.policies import heartbeat
from monitor.trouble import beating

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

MINUTE_MS = 60_000
TTL_MS = 3_000
AWAY_MS = 6_000
OPEN_SECONDS_MAX = 120.0
LOOK_S = 0.02
EDIT_SECONDS_MAX = 60.0
AFTER_S = 5.0
THREE = (
    "anomaly: {{series: svc-{n}/latency_ms}}",
    'conformance: {{series: svc-{n}/latency_ms, rule: "value <= 100000"}}',
    "drift: {{series: svc-{n}/latency_ms, detector: adwin}}",
)
OTHER = {"beat.yaml": heartbeat("beat", "svc")}


def policy(n: int, conditions: tuple[str, ...] = THREE, head: str = "", tail: str = "") -> str:
    """A policy for the gate of one series."""
    lines = "".join(f"  - {condition.format(n=n)}\n" for condition in conditions)
    return f'{head}gate: g.{n}\npermit: {{ttl: 3s}}\nsubjects: ["*"]\nconditions:\n{lines}{tail}'


def bundle(series: int, **more: str) -> dict[str, str]:
    """A gate for each series."""
    return {**OTHER, **{f"{n}.yaml": policy(n, tail=more.get("tail", "")) for n in range(series)}}


async def send_a_day(monitor: Installation, series: int, minutes: int) -> None:
    """Send a reading a minute for each series, with the times that they had, the last of them now."""
    rng, now_ms = random.Random(1), wall_ms()
    for minute in range(minutes):
        at_ms = now_ms - (minutes - 1 - minute) * MINUTE_MS
        events = [
            {"service": f"svc-{n}", "metric": "latency_ms", "value": rng.gauss(80, 9), "time": at_ms} for n in range(series)
        ]
        await monitor.producer.send(monitor.topics.telemetry, json.dumps(events).encode(), partition=0)
    await monitor.producer.flush()
    sent_ms = wall_ms()
    await until(lambda: monitor.proven_ms("beat") > sent_ms + AWAY_MS, "the telemetry is a while ago")


def is_open(monitor: Installation, gate: str) -> bool:
    """Return whether a guard would admit now."""
    return monitor.proven_ms(gate) + TTL_MS > wall_ms()


async def all_open(monitor: Installation, series: int) -> float:
    """Return after how many seconds every gate was open."""
    began, left = time.monotonic(), {f"g.{n}" for n in range(series)}
    while left:
        left = {gate for gate in left if not is_open(monitor, gate)}
        if time.monotonic() > began + OPEN_SECONDS_MAX:
            raise SystemExit(f"{len(left)} of {series} gates did not open: {monitor.status(min(left))}")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def closed_by(monitor: Installation, files: dict[str, str], gate: str = "g.0") -> float:
    """Return for how many seconds an activation closed a gate."""
    await monitor.operator.activate(files)
    began, closed, opened_s = time.monotonic(), 0, time.monotonic()
    while time.monotonic() < opened_s + AFTER_S:
        if not is_open(monitor, gate):
            closed, opened_s = closed + 1, time.monotonic()
        if time.monotonic() > began + EDIT_SECONDS_MAX:
            break
        await asyncio.sleep(LOOK_S)
    return opened_s - began if closed else 0.0


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what was seen."""
    kafka, store = Kafka(folder / "kafka"), Valkey(folder / "valkey")
    await asyncio.gather(asyncio.to_thread(kafka.start), asyncio.to_thread(store.start))
    found: dict[str, Any] = {}
    try:
        for history in (True, False):
            prefix = "with." if history else "without."
            async with Installation(kafka, store, folder / prefix, prefix, OTHER, Counts()) as monitor:
                monitor.worker("w")
                async with beating(monitor, "svc"):
                    await monitor.opened("beat")
                    await send_a_day(monitor, given.series, given.minutes)
                    files = bundle(given.series, tail="" if history else "learn: {from: nothing}\n")
                    await monitor.operator.activate(files)
                    if not history:
                        await asyncio.sleep(found["history_s"] + AFTER_S)
                        found["news_open"] = sum(is_open(monitor, f"g.{n}") for n in range(given.series))
                        continue
                    found["history_s"] = await all_open(monitor, given.series)
                    edits = {
                        "comment_s": policy(0, head="# why\n"),
                        "in_flight_s": policy(0, tail="in_flight: finish\n"),
                        "one_of_three_s": policy(0, (*THREE[:2], THREE[2].replace("adwin", "adwin, delta: 0.01"))),
                        "another_condition_s": policy(
                            0, (*THREE[:2], THREE[2], THREE[2].replace("adwin", "page_hinkley, name: slow"))
                        ),
                    }
                    for name, text in edits.items():
                        found[name] = await closed_by(monitor, {**files, "0.yaml": text})
                        harness.say(f"  {name}: {found[name]:.2f}")
    finally:
        kafka.stop()
        store.stop()
    return found


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=1_440)
    given = parser.parse_args()
    results = harness.Report("learning", ("failshut", "aiokafka", "river"))
    with tempfile.TemporaryDirectory(prefix="failshut-learning-") as folder:
        found = asyncio.run(measure(given, Path(folder)))
    for name, value in found.items():
        results.figure(name, value, "s" if name.endswith("_s") else f"of {given.series} gates")
    results.goal("history_s", found["history_s"], 5.0)
    results.goal("comment_s", found["comment_s"], 0.0)
    results.goal("in_flight_s", found["in_flight_s"], 0.0)
    results.finish()


if __name__ == "__main__":
    main()
