"""An operator's evening: a gate trips, is bypassed, the bypass is ended early, and `failshut log` tells the story."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from monitor.harness import Installation, until
from monitor.policies import drift
from monitor.trouble import SHIFTED, STEADY
from typer.testing import CliRunner

from failshut_breakers.decisions.decision import Kind
from failshut_console.app import app
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

NAME = "drift:agent/amount"


class Shell(NamedTuple):
    """`failshut` beside a running monitor, as its operator types it."""

    monitor: Installation
    folder: Path

    async def __call__(self, *arguments: str, servers: str = "broker store") -> tuple[int, str, str]:
        """Call a command in this process; return its exit status and both outputs."""
        monitor = self.monitor
        given = {"broker": monitor.config["broker"], "store": monitor.store_url}
        command = [*arguments, "--state", str(self.folder)]
        for server in servers.split():
            command += [f"--{server}", given[server]]
        if "broker" in servers:
            command += ["--prefix", monitor.prefix]
        if "store" in servers:
            command += ["--jwks", str(monitor.jwks), "--installation", monitor.names.installation]
        ended = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return ended.exit_code, ended.stdout, ended.stderr

    async def order(self, *arguments: str) -> dict[str, Any]:
        """Order something as ann; return the governor's answer."""
        key = ("--key", str(self.folder / "operator.pem"), "--by", "ann", "--wait", "60", "--json")
        status, out, err = await self(*arguments, *key)
        said: dict[str, Any] = json.loads(out)
        assert status == {"done": 0, "refused": 1}.get(said["result"]), (out, err)
        return said


# Long: one story of one running monitor, told in its order.
async def test_a_trip_a_bypass_and_its_early_end_are_told(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Opened, closed, bypassed, ended: each with cause, name, reason, epoch and evidence, for people and for machines."""
    policy = drift("pay", reset="reset: {probes: 0}")
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": policy}) as monitor:
        failshut = Shell(monitor, tmp_path)
        monitor.operator_key.save(tmp_path / "operator.pem")
        worker = monitor.worker()
        await monitor.values("agent/amount", STEADY)
        await monitor.opened("pay")
        nobody = await failshut.order("bypass", "--end", "pay", "--why", "just in case")
        assert (nobody["result"], nobody["because"]) == ("refused", "no bypass is in force")
        await monitor.values("agent/amount", SHIFTED)
        closing = await monitor.closed("pay", "drift")

        # The bypass stands in the store with its name, also when the permit was renewed since.
        given = await failshut.order("bypass", "pay", "--why", "known change", "--for", "20m", "--condition", NAME)
        assert (given["result"], given["state"], given["breaker"]) == ("done", "OPEN", "TRIPPED")
        await until(lambda: getattr(monitor.status("pay"), "kind", None) is Kind.RENEW, "the permit is renewed")
        status, out, _ = await failshut("gates", "pay", servers="store")
        assert status == 0, out
        for words in ("bypassed by ann (", "): known change", f"overrides {NAME}", "it ends 20", "failshut bypass --end pay"):
            assert words in out, out
        (view,) = json.loads((await failshut("gates", "pay", "--json", servers="store"))[1])["gates"]
        assert (view["mode"], view["bypass"]["why"], view["bypass"]["conditions"]) == ("bypass", "known change", [NAME])

        # Its end closes the gate at once, whoever looked when.
        ended = await failshut.order("bypass", "--end", "pay", "--why", "the wrong gate")
        assert (ended["result"], ended["state"], ended["breaker"]) == ("done", "CLOSED", "TRIPPED")
        await monitor.closed("pay", "bypass_ended")
        status, out, _ = await failshut("gates", "pay", servers="store")
        assert (status, "bypassed by" in out) == (1, False)

        status, out, err = await failshut("log", "pay", "--since", "1h", "--json", servers="broker")
        assert (status, err) == (0, "")
        told = [json.loads(line) for line in out.splitlines()]
        _tells(told, int(closing.epoch))
        status, out, _ = await failshut("log", "--since", "1h", servers="broker")
        assert status == 0
        lines = out.splitlines()
        assert len(lines) == 1 + len(told)
        assert lines[0].split() == ["time", "gate", "what", "because", "by", "epoch", "evidence"]
        assert "bypass ended" in lines[-1]
        assert "ann: the wrong gate" in lines[-1]
        assert worker.stop() == 0


def _tells(told: list[dict[str, Any]], tripped: int) -> None:
    """The story, in its order: what the gate did before it first opened is not this test's business."""
    assert [said["time_ms"] for said in told] == sorted(said["time_ms"] for said in told)
    story = told[next(number for number, said in enumerate(told) if said["what"] == "opened") :]
    changes = [said for said in story if said["what"] != "waits"]
    assert [said["what"] for said in changes] == ["opened", "refused", "closed", "bypassed", "bypass ended"]
    opened, refused, closed, bypassed, ended = changes
    assert opened["state"] == "OPEN"
    assert (refused["who"], refused["state"]) == ("ann", "")
    assert (closed["cause"], closed["breaker"], int(closed["epoch"])) == ("drift", "TRIPPED", tripped)
    assert closed["origin"]["topic"] == "telemetry"
    assert (bypassed["who"], bypassed["why"], bypassed["bypass"]["conditions"]) == ("ann", "known change", [NAME])
    assert (ended["who"], ended["why"], ended["cause"]) == ("ann", "the wrong gate", "bypass_ended")
    assert ended["origin"]["topic"] == "control"
    assert all(said["gate"] == "pay" and said["evidence_offset"] >= 0 and len(said["key"]) in (0, 12) for said in told)
    assert any(said["what"] == "policy activated" for said in told)
