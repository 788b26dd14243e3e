"""Many gates in one service: what does a guard verify, read and cost, and how does it start?

One worker governs a thousand gates, as in gates.py. Then services of their own hold 1, 100 and 1,000 of them, one by one.
What they read is what the store says that it sent on their connections.

    python benchmarks/guards.py [--gates 1 100 1000] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
from gates import HEAD, LOOK_S, OPEN_SECONDS_MAX, QUIET, RULE, SETTLE_S, WORKER, Looks, feed

sys.path.insert(0, str(harness.ROOT / "tests"))

from monitor.harness import Installation

from failshut_servers import Kafka, Valkey
from failshut_streams.kafka.topics import Counts

GUARD = Path(__file__).parent / "contenders" / "holding_guard.py"
TTL_MS = 3_000
VERIFIED_MAX = {1: 2.0, 100: 2.0, 1_000: 16.0}
"""The goal: so many signatures a second, for each evidence partition that the gates lie in; in all for a thousand gates."""


async def hold(monitor: Installation, store: str, count: int, seconds: float) -> dict[str, Any]:
    """Run a service that holds so many gates; return what it says, and what the store sent to it in a second."""
    known = {client["id"] for client in monitor.redis.client_list()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(GUARD), store, str(monitor.jwks), str(count), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    answer = asyncio.create_task(process.communicate())
    await asyncio.sleep(5)
    sent = []
    while not answer.done():
        theirs = [client for client in monitor.redis.client_list() if client["id"] not in known]
        sent.append((time.monotonic(), sum(int(client.get("tot-net-out", 0)) for client in theirs)))
        await asyncio.sleep(1)
    whole = [one for one in sent if one[1] >= max(told for _, told in sent[: len(sent) // 2])]
    (first_s, first), (last_s, last) = whole[0], whole[-1]
    said: dict[str, Any] = json.loads((await answer)[0])
    return said | {"read": (last - first) / max(1e-9, last_s - first_s)}


async def main() -> None:
    """Start a monitor with a thousand gates, measure each service, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    report = harness.Report("guards", ("failshut", "redis", "cryptography"))
    count = max(given.gates)
    policies = {f"{n}.yaml": (HEAD + (RULE if n < 100 else QUIET)).format(n=n, ttl=TTL_MS) for n in range(count)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kafka, store = Kafka(folder / "kafka"), Valkey(folder / "valkey")
        await asyncio.gather(asyncio.to_thread(kafka.start), asyncio.to_thread(store.start))
        try:
            async with Installation(kafka, store, folder / "monitor", "", policies, Counts(), **WORKER) as monitor:
                monitor.worker("w")
                feeding = asyncio.create_task(feed(monitor, min(count, 100)))
                looks, began = Looks(monitor, count, TTL_MS), time.monotonic()
                while await asyncio.to_thread(looks.look) < count:
                    if time.monotonic() > began + OPEN_SECONDS_MAX:
                        raise SystemExit("not all gates opened")
                    await asyncio.sleep(LOOK_S)
                await asyncio.sleep(SETTLE_S)
                for gates in given.gates:
                    harness.say(f"  {gates} gates")
                    tell(
                        report, gates, min(gates, monitor.counts.evidence), await hold(monitor, store.url, gates, given.seconds)
                    )
                feeding.cancel()
        finally:
            await asyncio.gather(asyncio.to_thread(kafka.stop), asyncio.to_thread(store.stop))
    report.finish()


def tell(report: harness.Report, gates: int, partitions: int, found: dict[str, Any]) -> None:
    """Report what one service came to."""
    verified = found["verified_permits"] + found["verified_seals"]
    report.figure(f"{gates} gates: seals verified", found["verified_seals"], "1/s")
    report.figure(f"{gates} gates: permits verified", found["verified_permits"], "1/s")
    report.figure(f"{gates} gates: read from the store", found["read"], "B/s")
    report.figure(f"{gates} gates: processor", found["cores"], "cores")
    report.figure(f"{gates} gates: memory", found["rss_mb"], "MB")
    report.figure(f"{gates} gates: admitted at the first call", found["first_admitted"], "gates")
    report.figure(f"{gates} gates: slowest first call", found["first_worst_s"] * 1000, "ms")
    report.figure(f"{gates} gates: all first calls", found["first_all_s"], "s")
    report.goal(f"{gates} gates: calls refused, share", found["refused"], 0)
    report.goal(f"{gates} gates: first calls later than twice the deadline", found["first_late"], 0)
    most = VERIFIED_MAX.get(gates, 16.0)
    report.goal(f"{gates} gates: signatures verified, 1/s", verified, most if gates >= 1000 else most * partitions)


if __name__ == "__main__":
    asyncio.run(main())
