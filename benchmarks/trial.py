"""From a CSV of 30,000 readings to the picture and the lines to paste: wall and CPU seconds of `failshut try`.

The series is made: three weeks of a latency, a reading a minute, with hours and noise, a spike of an hour, a lasting step, and
ten minutes of silence. What it says is printed, and the picture is the one in docs/detectors.md.

    make bench NAME=trial
"""

from __future__ import annotations

import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

READINGS, MINUTE_S, START_S, GOAL_S = 30_000, 60, 1_772_366_400, 20.0
ROUNDS = 3
PICTURE = harness.ROOT / "docs" / "pictures" / "try.svg"


def write(path: Path) -> None:
    """Write the series as CSV."""
    rng, lines = random.Random(1), ["time,value"]
    for n in range(READINGS):
        value = 100 + 30 * math.sin(n / 1440 * 2 * math.pi) + rng.gauss(0, 5) + (25 if n >= 22_000 else 0)
        value *= 3 if 14_000 <= n < 14_060 else 1
        if not 18_000 <= n < 18_010:
            lines.append(f"{START_S + n * MINUTE_S},{value:.2f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    report = harness.Report("trial", ["failshut", "numpy", "matplotlib"])
    walls, cpus = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "latency.csv"
        write(file)
        command = [str(Path(sys.executable).with_name("failshut")), "try", str(file), "--series", "api/latency_ms"]
        for number in range(ROUNDS):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            ended = subprocess.run([*command, "-o", str(PICTURE), "--force"], capture_output=True, text=True, check=True)
            walls.append(time.perf_counter() - began)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpus.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
            if not number:
                harness.say(ended.stdout)
    report.figure("wall", statistics.median(walls), "s")
    report.figure("CPU", statistics.median(cpus), "s")
    report.goal("wall", statistics.median(walls), GOAL_S)
    report.finish()


if __name__ == "__main__":
    main()
