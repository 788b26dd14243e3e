"""What the benchmarks share: a place for their peers, and one JSON object at the end that says what was found.

Peers (other libraries that do a similar thing) live in an environment of their own, made from
requirements/peers.lock, because some of them pin what Failshut pins otherwise. `enter_peers` makes it when
it is first asked for and continues the benchmark there, with this checkout on its path, so that all
contenders run in one process and one run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers"
LOCK = ROOT / "requirements" / "peers.lock"
PARTS = ("guard", "detectors", "breakers", "streams", "replay", "console")


def peers_python() -> Path:
    """Return the Python of the peers' environment, which is made first where it is missing or of another lock."""
    python = PEERS / "bin" / "python"
    stamp = PEERS / ".lock"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Setting up {PEERS.name} from {LOCK.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)], check=True)
        (site,) = PEERS.glob("lib/python*/site-packages")
        (site / "failshut-checkout.pth").write_text("".join(f"{ROOT / part}\n" for part in PARTS))
        stamp.write_text(wanted)
    return python


def enter_peers() -> None:
    """Continue this benchmark in the peers' environment; returns only inside it."""
    if Path(sys.prefix).resolve() != PEERS.resolve():
        python = str(peers_python())
        os.execv(python, [python, *sys.argv])


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Report:
    """Figures and goals of one benchmark; printed for people first, and as one JSON object last."""

    def __init__(self, benchmark: str, packages: Sequence[str] = ()) -> None:
        self._benchmark = benchmark
        self._versions = {"python": platform.python_version()} | {name: _version(name) for name in packages}
        self._figures: list[dict[str, Any]] = []
        self._goals: list[dict[str, Any]] = []

    def version(self, name: str, version: str) -> None:
        """Name a version that no package tells, such as a server's."""
        self._versions[name] = version

    def figure(self, name: str, value: float, unit: str) -> None:
        """Add one figure, and show it."""
        self._figures.append({"name": name, "value": _rounded(value), "unit": unit})
        print(f"  {name:<48} {_rounded(value):>12} {unit}")

    def goal(self, name: str, value: float, limit: float) -> None:
        """Add a goal: `value` at most `limit`."""
        self._goals.append({"name": name, "value": _rounded(value), "limit": _rounded(limit), "met": value <= limit})
        print(f"  goal: {name}: {_rounded(value)} (limit {_rounded(limit)}) {'met' if value <= limit else 'MISSED'}")

    def finish(self) -> None:
        """Print the JSON object as the last line."""
        found = {
            "benchmark": self._benchmark,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": self._versions,
            "figures": self._figures,
            "goals": self._goals,
        }
        print(json.dumps(found), flush=True)


def machine() -> str:
    """Processor, cores and system, without the machine's name."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from this checkout" if package == "failshut" else "not installed"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
