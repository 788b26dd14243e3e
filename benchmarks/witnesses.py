"""How long a decision takes to be in the ledger, and to be cosigned by two witnesses.

Decisions are written to a decisions topic at random moments, ten a second. `failshut ledger run --witnesses` follows it on the
embedded Kafka, and two `failshut witness run` cosign it, each a process of its own. A decision is included when the published
checkpoint holds its leaf, and cosigned when the published cosigned checkpoint does, with both cosignatures in it.

Limits: all of it is on one machine, so there is no network and no TLS between the ledger and its witnesses.

    python benchmarks/witnesses.py [--decisions 600]
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import harness

sys.path.insert(0, str(harness.ROOT / "tests"))

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from console.decisions import DRIFT, decision, encoded

from failshut_breakers.decisions.decision import Kind
from failshut_servers import Kafka

WARM_UP = 50
A_SECOND = 10
WITNESSES = 2
FAILSHUT = (sys.executable, "-m", "failshut_console")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}


def ran(*arguments: str) -> str:
    """Return what a command printed."""
    return subprocess.run([*FAILSHUT, *arguments], check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()


def started(stack: ExitStack, *arguments: str) -> subprocess.Popen[str]:
    """Start a command that runs until the end."""
    process = subprocess.Popen([*FAILSHUT, *arguments], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def witness(stack: ExitStack, folder: Path, log: str) -> str:
    """Start a witness; return its line in a trust policy."""
    state, key = str(folder), str(folder.with_suffix(".key"))
    public = ran("witness", "create", state, "--key", key, "--name", f"witness.example/{folder.name}")
    ran("witness", "add", state, log, "--key", key)
    process = started(stack, "witness", "run", state, "--key", key, "--bind", "127.0.0.1:0")
    assert process.stderr is not None
    address = next(found[1] for line in process.stderr if (found := re.search(r"answers at (http\S+)", line)))
    return f"witness {folder.name} {public} {address}"


class Watched:
    """A published checkpoint: when it first held each leaf."""

    def __init__(self, path: Path, signatures: int) -> None:
        self._path, self._signatures, self._seen = path, signatures, (0, 0)
        self.size = 0
        self.at: dict[int, float] = {}

    def look(self) -> None:
        """Look whether it was replaced."""
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) == self._seen:
                return
            now, text = time.monotonic(), self._path.read_text()
        except FileNotFoundError:
            return
        if text.count("\n\u2014 ") < self._signatures:
            return
        self._seen = (found.st_ino, found.st_mtime_ns)
        size = int(text.split("\n")[1])
        self.at.update(dict.fromkeys(range(self.size, size), now))
        self.size = max(self.size, size)


def measure(folder: Path, kafka: Kafka, count: int) -> tuple[list[float], list[float]]:
    """Return how many ms each decision took to be included, and to be cosigned."""
    prefix = "witnesses."
    topic = f"{prefix}decisions"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    ledger, key, trust = str(folder / "ledger"), str(folder / "ledger.key"), folder / "trust.policy"
    log = ran("ledger", "create", ledger, "--key", key, "--name", "ledger.example/bench")
    with ExitStack() as stack:
        names = [f"w{number}" for number in range(WITNESSES)]
        lines = [witness(stack, folder / name, log) for name in names]
        quorum = f"group all-of-them all {' '.join(names)}\nquorum all-of-them\n"
        trust.write_text(f"log {log}\n" + "\n".join(lines) + f"\n{quorum}")
        options = ("--key", key, "--broker", kafka.url, "--prefix", prefix, "--witnesses", str(trust))
        started(stack, "ledger", "run", ledger, *options)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "acks": "all", "log_level": 0})
        included = Watched(folder / "ledger/checkpoint", 1)
        cosigned = Watched(folder / "ledger/checkpoint.cosigned", 1 + WITNESSES)
        rng, sent, next_s, end_s = random.Random(3), [0.0], 0.0, time.monotonic() + 120 + 2 * count / A_SECOND
        while cosigned.size <= count and time.monotonic() < end_s:
            now = time.monotonic()
            if len(sent) <= count and included.size and now >= next_s:
                value = encoded(decision(Kind.CLOSE, len(sent), **DRIFT))[0]
                sent.append(time.monotonic())
                producer.produce(topic, value, partition=0)
                next_s = now + rng.expovariate(A_SECOND)
            producer.poll(0)
            included.look()
            cosigned.look()
            time.sleep(0.002)
    whole = range(1 + WARM_UP, count + 1)
    return [(included.at[one] - sent[one]) * 1e3 for one in whole], [(cosigned.at[one] - sent[one]) * 1e3 for one in whole]


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=600)
    count = parser.parse_args().decisions + WARM_UP
    report = harness.Report("witnesses", ["failshut", "aiokafka", "uvicorn", "cryptography"])
    with tempfile.TemporaryDirectory() as folder, Kafka(Path(folder) / "kafka") as kafka:
        included, cosigned = measure(Path(folder), kafka, count)
    for name, took in (("decision to inclusion", included), (f"decision to {WITNESSES} cosignatures", cosigned)):
        report.figure(f"{name}, p50", harness.percentile(took, 50), "ms")
        report.figure(f"{name}, p99", harness.percentile(took, 99), "ms")
    report.figure("the machine's load, at the end", os.getloadavg()[0], "")
    report.goal("decision to inclusion, p99 in ms", harness.percentile(included, 99), 1_000)
    report.goal(f"decision to {WITNESSES} cosignatures, p99 in ms", harness.percentile(cosigned, 99), 2_000)
    report.finish()


if __name__ == "__main__":
    main()
