"""The examples in other languages: each acts behind an open gate, stops with the closing, does nothing behind a closed one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gateway.gateway_support import Running
from gateway.test_gateway_executions import counted
from guard.standin import Monitor, eventually
from patience import patient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "http"


@pytest.fixture(params=["agent.ts", "autoscaler"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """How one of the examples is run; skips, and says so, without its tools."""
    if request.param == "autoscaler":
        if shutil.which("go") is None:
            pytest.skip("Go is not installed here: its example is not run")
        binary = tmp_path / "autoscaler"
        subprocess.run(["go", "build", "-o", str(binary), "."], cwd=EXAMPLES / "autoscaler", check=True, timeout=patient(120))
        return [str(binary)]
    node, tsc = shutil.which("node"), shutil.which("tsc")
    if node is None:
        pytest.skip("Node is not installed here: the example in TypeScript is not run")
    if tsc is not None:
        options = ["--strict", "--target", "es2022", "--module", "es2022", "--lib", "es2023,dom", "--outDir", str(tmp_path)]
        subprocess.run([tsc, *options, "--types", "", str(EXAMPLES / "agent.ts")], check=True, timeout=patient(120))
        (tmp_path / "agent.js").rename(tmp_path / "agent.mjs")
        return [node, str(tmp_path / "agent.mjs")]
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < (22, 6):
        pytest.skip("neither tsc nor Node 22.6 is installed here: the example in TypeScript is not run")
    return [node, "--experimental-strip-types", str(EXAMPLES / "agent.ts")]


def test_an_example_acts_only_while_its_gate_is_open(command: list[str], running: Running, monitor: Monitor, key: str) -> None:
    """Open: it acts once, and says so. Closed meanwhile: it stops. Closed: it does nothing."""
    monitor.ttl_ms = 600_000
    monitor.issue()
    environment = {**os.environ, "FAILSHUT_URL": f"http://127.0.0.1:{running.port}", "FAILSHUT_KEY": key}
    environment |= {"FAILSHUT_GATE": monitor.gate, "STEPS": "2"}

    def started(steps: str) -> subprocess.Popen[str]:
        return subprocess.Popen(command, env={**environment, "STEPS": steps}, stdout=subprocess.PIPE, text=True)

    said, _ = (good := started("2")).communicate(timeout=patient(60))
    assert (good.returncode, f"fencing token {monitor.epoch}" in said) == (0, True), said
    eventually(lambda: counted(monitor, "ok"))
    with started("100000") as stopped:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == f"acting under {monitor.epoch}\n"
        eventually(lambda: running.gateway._executions.streams == 1)
        monitor.close()
        said = stopped.stdout.read()
        assert (stopped.wait(patient(60)), "not " in said) == (1, True), said
    eventually(lambda: counted(monitor, "cancelled"))
    said, _ = (closed := started("2")).communicate(timeout=patient(60))
    assert (closed.returncode, "withheld: 403" in said, "acting" in said) == (1, True, False), said
    without = subprocess.run(command, env={**environment, "FAILSHUT_KEY": ""}, capture_output=True, text=True)
    assert (without.returncode, "acting" in without.stdout) == (1, False)
