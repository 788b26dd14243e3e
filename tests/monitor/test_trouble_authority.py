"""A policy authority on a running monitor: it is named while gates are open, and an operator alone brings in nothing more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating, closings
from typer.testing import CliRunner

from failshut.signing import SigningKey
from failshut_breakers.command import Activate
from failshut_breakers.policy.authority import Authority, sign_bundle
from failshut_console.app import app
from failshut_servers import Kafka, Valkey
from failshut_streams.control.client import new_id
from failshut_streams.sources.marks import wall_ms

pytestmark = pytest.mark.slow

ANN, BEN = SigningKey.generate(), SigningKey.generate()
RISK = Authority(ANN.key_set())
POLICY = {"pay.yaml": heartbeat("pay", "svc")}


async def bring(monitor: Installation, files: Mapping[str, str], *signers: SigningKey) -> int:
    """Put a bundle in force that these keys signed; return its version."""
    here, version = monitor.names.installation, wall_ms()
    said: dict[str, Any] = {"by": "risk", "signed_ms": version, "expires_ms": version + 3_600_000}
    signatures = tuple(sign_bundle(key, files, version, [here], **said) for key in signers)
    who = {"installation": here, "by": "ops", "why": "a test", "id": new_id()}
    command = Activate.model_validate({**who, "version": version, "files": files, "signatures": signatures})
    await monitor.operator.send(command)
    return version


# Long: one story of one running monitor, told in its order.
async def test_an_operator_alone_brings_in_no_policy(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """What was signed stays open when the authority is named, what was not closes, and so does what a withdrawn key signed."""

    def name(monitor: Installation, authority: Authority | None) -> None:
        keys = monitor.operator_key.key_set().to_dict()
        (tmp_path / "operators.jwks").write_text(json.dumps(keys | (authority.members() if authority else {})))

    async with Installation(kafka, store, tmp_path, f"{suffix}.", {}) as monitor, beating(monitor, "svc"):
        name(monitor, None)
        worker = monitor.worker()
        await bring(monitor, POLICY, ANN)
        await monitor.opened("pay")
        name(monitor, RISK)
        await until(lambda: worker.said("named 1 operators' keys and 1 policy keys"), "the authority is on control")
        await bring(monitor, {"pay.yaml": heartbeat("pay", "svc", ttl="3s"), "other.yaml": heartbeat("other", "svc")}, ANN)
        await monitor.opened("other")
        await monitor.opened("pay")
        assert "bad_policy" not in dict(closings(monitor, "pay"))

        version = await bring(monitor, {"pay.yaml": heartbeat("pay", "svc", grace="10m")})
        closed = await monitor.closed("pay", "bad_policy")
        assert "0 of 1 signatures" in closed.because
        await until(lambda: _refused(monitor, "0 of 1 signatures"), "it is a dead letter, for the operator to read")
        await monitor.opened("other")
        assert "bad_policy" not in dict(closings(monitor, "other")), "a gate that the bad bundle does not name stays as it is"
        assert (await listed(monitor, tmp_path))[version].startswith("refused: the policy bundle has 0 of 1 signatures")

        version = await bring(monitor, POLICY, ANN)
        await monitor.opened("pay")
        assert (await listed(monitor, tmp_path))[version] == "in force"
        name(monitor, Authority(BEN.key_set()))
        closed = await monitor.closed("pay", "bad_policy")
        assert "0 of 1 signatures" in closed.because
        await bring(monitor, POLICY, BEN)
        await monitor.opened("pay")
        assert worker.stop() == 0
        assert [cause for cause, _ in closings(monitor, "pay")].count("bad_policy") == 2


async def listed(monitor: Installation, folder: Path) -> dict[int, str]:
    """Return what `failshut policy list` says of each version."""
    key = folder / "operator.pem"
    monitor.operator_key.save(key)
    at = ["--broker", monitor.config["broker"], "--prefix", monitor.prefix, "--jwks", str(monitor.jwks), "--key", str(key)]
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["policy", "list", "--json", "--state", str(folder), *at])
    assert ended.exit_code == 0, ended.stderr
    return {one["version"]: one["what"] for one in json.loads(ended.stdout)}


async def _refused(monitor: Installation, why: str) -> bool:
    return any(why in letter["reason"] for letter in await monitor.dead_letters())
