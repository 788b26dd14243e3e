"""`failshut up` and an operator's commands, against the real thing: Kafka, Valkey and a worker as processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from patience import patient
from typer.testing import CliRunner

from failshut_console.app import app
from failshut_console.exits import Trouble

pytestmark = [pytest.mark.kafka, pytest.mark.store, pytest.mark.slow, pytest.mark.timeout(patient(300))]

POLICY = """\
gate: fleet.scale
permit: {ttl: 2s}
subjects: ["*"]
conditions:
  - heartbeat: {source: autoscaler, every: 500ms, grace: 60s, action: trip}
  - drift: {series: autoscaler/load, detector: adwin, warm_up: 10}
reset: {probes: 0}
"""


class Up:
    """A running `failshut up` in a folder, fed with heartbeats."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policies").mkdir()
        self.policy(POLICY)
        self.log = folder / "up.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "failshut_console", "up", "--policies", "policies"],
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_ST")},
            )
        self.wait(lambda: (folder / ".failshut" / "runtime.json").exists())
        broker = json.loads((folder / ".failshut" / "runtime.json").read_text())["broker"]
        self._producer = Producer({"bootstrap.servers": broker.removeprefix("kafka://"), "log_level": 0})
        self._stopping = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        messages = ['{"kind":"heartbeat","service":"autoscaler"}', '{"service":"autoscaler","metric":"load","value":1.0}']
        while not self._stopping.wait(0.3):
            for message in messages:
                self._producer.produce("telemetry", message)
            self._producer.poll(0)

    def policy(self, text: str) -> None:
        """Write the policy as an editor does: whole or not at all."""
        partial = self.folder / "policies" / ".partial"
        partial.write_text(text)
        partial.replace(self.folder / "policies" / "fleet.yaml")

    def wait(self, what: Callable[[], bool]) -> None:
        """Wait until something is true; the log of `failshut up` says why it did not become so."""
        end = time.monotonic() + patient(30)
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.2)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command in the same folder, as in a second terminal."""
        command = [sys.executable, "-m", "failshut_console", *arguments]
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=patient(60), check=False)
        return ended.returncode, ended.stdout, ended.stderr

    def gate(self) -> dict[str, Any]:
        """The gate as `failshut gates --json` shows it; empty before there is one."""
        with contextlib.chdir(self.folder):
            ended = CliRunner().invoke(app, ["gates", "--json"])  # in this process: it is asked for often
        if isinstance(ended.exception, Trouble):  # it has not begun its first term yet
            return {}
        assert ended.stdout, ended.output
        return next(iter(json.loads(ended.stdout)["gates"]), {})

    def is_(self, state: str, breaker: str) -> Callable[[], bool]:
        """Whether the gate and its breaker are so."""

        def look() -> bool:
            gate = self.gate()
            return (gate.get("state"), gate.get("breaker")) == (state, breaker)

        return look

    def order(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """An operator's command; its exit status and its answer."""
        status, out, err = self.call(*arguments, "--json", "--wait", "60")
        assert out, err
        return status, json.loads(out)

    def stop(self) -> None:
        """End it as a service manager does."""
        self._stopping.set()
        self._producer.purge()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(patient(60))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One monitor for all tests of this file, which take it as they find it."""
    running = Up(tmp_path_factory.mktemp("up"))
    try:
        yield running
    finally:
        running.stop()
        if running.process.poll() is None:
            running.process.kill()


def test_a_lock_closes_and_only_a_reset_reopens(up: Up) -> None:
    """lock: done, CLOSED, LOCKED; a bypass is refused; a reset that answers another epoch is refused; the right one opens."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, answer = up.order("lock", "fleet.scale", "--why", "looking into it", "--by", "ann")
    assert (status, answer["result"], answer["state"], answer["breaker"]) == (0, "done", "CLOSED", "LOCKED")
    assert up.gate()["because"] == "locked by ann: looking into it"
    status, answer = up.order("bypass", "fleet.scale", "--why", "x", "--condition", "heartbeat:autoscaler")
    assert (status, answer["result"]) == (1, "refused")
    assert "LOCKED" in answer["because"]
    status, answer = up.order("reset", "fleet.scale", "--why", "x", "--epoch", "5")
    assert (status, answer["result"]) == (1, "refused")
    assert "epoch 5" in answer["because"]
    status, answer = up.order("reset", "fleet.scale", "--why", "it was nothing")
    assert (status, answer["result"], answer["state"], answer["breaker"]) == (0, "done", "OPEN", "ARMED")
    up.wait(up.is_("OPEN", "ARMED"))


def test_a_bypass_of_a_condition_is_taken_and_named(up: Up) -> None:
    """bypass: done, and the gate says that an operator keeps it open; it ends by itself."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, answer = up.order("bypass", "fleet.scale", "--why", "x", "--for", "3s", "--condition", "heartbeat:autoscaler")
    assert (status, answer["result"], answer["state"]) == (0, "done", "OPEN")
    up.wait(lambda: up.gate()["mode"] == "armed")


def test_a_bypass_of_a_condition_that_is_none_is_refused(up: Up) -> None:
    """What a bypass overrides must exist."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, answer = up.order("bypass", "fleet.scale", "--why", "x", "--condition", "nonsense")
    assert (status, answer["result"]) == (1, "refused")
    assert "nonsense" in answer["because"]


def test_a_level_that_nothing_demands_is_not_accepted(up: Up) -> None:
    """accept reaches the gate as a signed command of this installation, and the gate says why it is refused."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, answer = up.order("accept", "fleet.scale", "drift:autoscaler/load", "--why", "x")
    assert (status, answer["result"]) == (1, "refused")
    assert "has no level that could be accepted" in answer["because"]


def test_a_policy_is_checked_beside_what_is_sent(up: Up) -> None:
    """check --live names a series that nobody sends, and the one that is meant."""
    other = up.folder / "other.yaml"
    other.write_text(POLICY.replace("autoscaler/load", "autoscaler/laod"))
    status, out, err = up.call("policy", "check", "other.yaml", "--live")
    assert status == 0, err
    assert "nobody sent autoscaler/laod in the last" in out
    assert "write autoscaler/load" in out
    assert "autoscaler is not" not in out


def test_a_command_for_a_gate_that_no_policy_knows_is_refused(up: Up) -> None:
    """An operator who mistypes a gate is told, and does not believe that something is locked."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, answer = up.order("lock", "fleet.scael", "--why", "x")
    assert (status, answer["result"]) == (1, "refused")
    assert "no policy" in answer["because"]


def test_a_command_by_somebody_unknown_is_refused(up: Up, tmp_path: Path) -> None:
    """A key that is not among the operators' commands nothing, and its owner is told."""
    up.wait(up.is_("OPEN", "ARMED"))
    assert up.call("keys", "create", "--state", str(tmp_path))[0] == 0
    key = tmp_path / "keys" / "operator.pem"
    status, answer = up.order("lock", "fleet.scale", "--why", "x", "--key", str(key))
    assert (status, answer["result"]) == (1, "refused")
    assert up.gate()["state"] == "OPEN"


def test_a_policy_file_that_turns_bad_closes_its_gate_and_a_good_one_opens_it(up: Up) -> None:
    """A changed file is put in force; a bad one closes the gate and names the fault; the good one brings it back."""
    up.wait(up.is_("OPEN", "ARMED"))
    up.policy(POLICY.replace("ttl: 2s", "ttl: 2 parsecs"))
    up.wait(lambda: up.gate().get("cause") == "bad_policy")
    assert "parsecs" in up.gate()["because"]
    assert "fleet.yaml:2: permit.ttl" in up.log.read_text()
    up.policy(POLICY)
    up.wait(up.is_("OPEN", "ARMED"))


def test_what_dies_is_named_and_comes_back(up: Up) -> None:
    """Worker, store, broker and gateway, one after the other, each killed: `up` starts them again on their ports."""
    home = up.folder / ".failshut"
    places = [("workers", "worker-1"), ("valkey", "valkey"), ("kafka", "kafka"), ("services", "gateway")]
    for folder, name in places:
        up.wait(up.is_("OPEN", "ARMED"))
        told = json.loads((home / folder / f"{name}.pid.json").read_text())
        os.kill(told["pid"], signal.SIGKILL)
        up.wait(lambda name=name: f"{name} ended (killed by SIGKILL)" in up.log.read_text())  # type: ignore[misc]
        up.wait(lambda name=name: f"{name} is back after" in up.log.read_text())  # type: ignore[misc]
    up.wait(up.is_("OPEN", "ARMED"))
    ports = json.loads((home / "ports.json").read_text())
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['gateway']}/v1/live", timeout=patient(10)) as answer:
        assert answer.status == 204
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=patient(10)) as answer:
        assert b"failshut_gate_open" in answer.read()
    assert json.loads((home / "runtime.json").read_text())["broker"] == f"kafka://127.0.0.1:{ports['kafka']}"


def test_it_prints_a_link_into_the_console_that_signs_in_once(up: Up) -> None:
    """Who opens it first is signed in, and nobody else. A gateway that came back has a link of its own."""

    def links() -> list[str]:
        return re.findall(r"console: (http://\S+/console/once/fsk_\w+)", up.log.read_text())

    def opened(link: str) -> http.client.HTTPResponse:
        place, _, path = link.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(place, timeout=patient(10))
        connection.request("GET", f"/{path}", headers={"sec-fetch-site": "none"})
        return connection.getresponse()

    up.wait(lambda: bool(links()))
    up.wait(lambda: opened(links()[-1]).status == 303)  # the key is known a moment later
    assert opened(links()[-1]).status in (403, 429)
    before = len(links())
    told = json.loads((up.folder / ".failshut" / "services" / "gateway.pid.json").read_text())
    os.kill(told["pid"], signal.SIGKILL)
    up.wait(lambda: len(links()) > before)
    up.wait(lambda: opened(links()[-1]).status == 303)


def test_a_second_up_leaves_the_first_alone(up: Up) -> None:
    """Two monitors on one folder: the second says so and ends with status 2."""
    status, _, err = up.call("up")
    assert status == 2
    assert "runs already" in err
    up.wait(up.is_("OPEN", "ARMED"))


def test_watch_tells_changes_to_a_machine(up: Up) -> None:
    """--json prints one object a line, at first each gate as it is."""
    up.wait(up.is_("OPEN", "ARMED"))
    status, out, _ = up.call("watch", "--json", "--seconds", "1")
    assert status == 0
    assert json.loads(out.splitlines()[0])["gate"] == "fleet.scale"


def test_nothing_is_left_when_it_is_told_to_stop(tmp_path: Path) -> None:
    """SIGTERM ends servers and worker within a bounded time, and the runtime file is gone."""
    running = Up(tmp_path)
    children: list[psutil.Process] = []
    try:
        running.wait(lambda: len(psutil.Process(running.process.pid).children(recursive=True)) >= 3)
        children = psutil.Process(running.process.pid).children(recursive=True)
    finally:
        running.stop()
    assert running.process.returncode == 0, running.log.read_text()
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not (tmp_path / ".failshut" / "runtime.json").exists()
