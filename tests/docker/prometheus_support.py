"""A real Prometheus for tests: what it reads is a worker's own endpoint, in a process that a test can kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import patient

from failshut_servers import free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"
RULES = DOCKER / "prometheus" / "rules.yml"

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="Prometheus is not installed here (apt-get install prometheus): rules and queries were not tried on one",
)

WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from failshut import Cause, Withheld
from failshut.metrics import export_to_prometheus
from failshut.testing import rehearsal
from streams.test_metrics import Metrics, filled
with Metrics() as metrics, rehearsal() as stage:
    export_to_prometheus(metrics.registry)
    control = stage.gate("payments.refund").open()
    with control.gate.execution("agent:refund-7"):
        pass
    Withheld("payments.refund", Cause.DRIFT)
    control.outcomes()
    filled(metrics)
    print(metrics.serve(0), flush=True)
    time.sleep(600)
"""


class Worker:
    """A process that serves what a worker serves, each number used once."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(Path(__file__).resolve().parents[1])], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Prometheus:
    """A server that scrapes one worker twice a second. Rules fire without their patience."""

    def __init__(self, folder: Path, target: int, rules: str) -> None:
        self.port = free_port()
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
            f"rule_files: [{folder}/rules.yml]\n"
            "scrape_configs:\n"
            f"  - {{job_name: failshut, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
        )
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def ask(self, path: str, **query: str) -> Any:
        """What the API answers."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=patient(10)) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[Any]:
        """What an expression gives now."""
        return list(self.ask("query", query=expression)["result"])

    def until(self, claim: Callable[[], Any], what: str) -> Any:
        """Wait until a claim holds of what it answers."""
        end = time.monotonic() + patient(40)
        while True:
            try:
                if value := claim():
                    return value
            except OSError:
                pass  # it does not listen yet
            assert time.monotonic() < end, what
            time.sleep(0.2)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
