"""How fast a recording replays: samples a second on one core, beside a bare river loop over the same values.

Two policies: one with ADWIN alone, and the default one of the demonstration's refund agent (ADWIN, a conformance rule with
FHDDM, a heartbeat). A replay reads Parquet, verifies every row group, decodes evidence, and runs the governor; the bare loop
calls river's `update` on floats that are in memory: of ADWIN, and for the default policy of FHDDM too. Rounds alternate.
Peak memory is that of a process of its own over a recording, and over one ten times as long. The recordings are synthetic:
one series, normal values, a mark each 1,000 samples.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import harness
from river import drift
from river.drift import binary

from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import record
from failshut_replay.replay.replay import Replay
from failshut_replay.sources.front_door import Event, evidence_of

SAMPLES = 500_000
ROUNDS = 5
START_MS = 1_772_442_000_000
CONDITIONS = {
    "ADWIN": "  - drift: {series: agent/amount, detector: adwin}\n",
    "default": '  - conformance: {series: agent/amount, rule: "value <= 500", window: 50}\n'
    "  - drift: {series: agent/amount, detector: adwin}\n"
    "  - heartbeat: {source: agent, every: 500ms, grace: 3s}\n",
}


def policy(name: str) -> str:
    return f"gate: pay\npermit: {{ttl: 3s}}\nconditions:\n{CONDITIONS[name]}reset: {{after: 5s, probes: 0}}\n"


def values(count: int) -> Iterator[float]:
    rng = random.Random(1)
    return (rng.gauss(48, 6) for _ in range(count))


def events(count: int) -> Iterator[Event]:
    for at, value in enumerate(values(count)):
        if at % 500 == 0:
            yield Event(START_MS + at, ("beat", "agent"))
        yield Event(START_MS + at, ("sample", "agent/amount", value))


def bare(numbers: list[float]) -> float:
    detector = drift.ADWIN(delta=0.002)
    began = time.perf_counter()
    found = 0
    for value in numbers:
        detector.update(value)
        if detector.drift_detected:
            found += 1
    return len(numbers) / (time.perf_counter() - began)


def bare_both(numbers: list[float]) -> float:
    detector, conforming = drift.ADWIN(delta=0.002), binary.FHDDM(sliding_window_size=50, confidence_level=1e-6)
    began = time.perf_counter()
    found = 0
    for value in numbers:
        detector.update(value)
        conforming.update(1 if value <= 500 else 0)
        if detector.drift_detected or conforming.drift_detected:
            found += 1
    return len(numbers) / (time.perf_counter() - began)


def replayed(path: Path) -> float:
    began = time.perf_counter()
    replay = Replay(Recording(path))
    for _ in replay:
        pass
    return replay.samples / (time.perf_counter() - began)


def peak_mb(path: Path) -> float:
    """Peak memory of a process that replays a recording and does nothing else."""
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    report = harness.Report("replay_speed", ["failshut", "river", "pyarrow"])
    numbers = list(values(SAMPLES))
    rates: dict[str, list[float]] = {"bare ADWIN": [], "bare both": [], "ADWIN": [], "default": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in CONDITIONS:
            record(Path(folder) / name, evidence_of(events(SAMPLES), {"pay.yaml": policy(name)}))
        record(Path(folder) / "long", evidence_of(events(10 * SAMPLES), {"pay.yaml": policy("default")}))
        for _ in range(ROUNDS):
            rates["bare ADWIN"].append(bare(numbers))
            rates["bare both"].append(bare_both(numbers))
            for name in CONDITIONS:
                rates[name].append(replayed(Path(folder) / name))
        short, long = peak_mb(Path(folder) / "default"), peak_mb(Path(folder) / "long")
    rate = {name: statistics.median(found) for name, found in rates.items()}
    report.figure("bare river loop, ADWIN", rate["bare ADWIN"], "samples/s")
    report.figure("bare river loop, ADWIN and FHDDM", rate["bare both"], "samples/s")
    report.figure("replay, ADWIN policy", rate["ADWIN"], "samples/s")
    report.figure("replay, default policy", rate["default"], "samples/s")
    report.figure(f"peak memory, {SAMPLES:,} samples", short, "MB")
    report.figure(f"peak memory, {10 * SAMPLES:,} samples", long, "MB")
    report.goal("bare loop's rate, of the ADWIN replay's", rate["bare ADWIN"] / rate["ADWIN"], 3)
    report.goal("bare loop's rate (both), of the default replay's", rate["bare both"] / rate["default"], 3)
    report.goal("peak memory, ten times as long, of the short one's", long / short, 1.1)
    report.finish()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        replayed(Path(sys.argv[1]))
        # Not ru_maxrss: that begins with what the parent had when it forked.
        lines = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)
    else:
        main()
