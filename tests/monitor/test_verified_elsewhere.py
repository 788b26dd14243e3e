"""Somebody else's verifier, in another language, reads permit and seal of a real monitor and says open, then closed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating
from patience import patient

from failshut.permit import Permit, verify
from failshut_servers import Kafka, Valkey

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: nobody else reads what we sign"),
]

VERIFIER = Path(__file__).resolve().parents[2] / "examples" / "verifier" / "open.mjs"


class Elsewhere:
    """The verifier, with what stands in a store."""

    def __init__(self, monitor: Installation, folder: Path) -> None:
        self._monitor, self._jwks, self._folder = monitor, folder / "monitor.jwks.json", folder
        self._jwks.write_text(json.dumps(monitor.keys.to_dict()))

    def read(self, gate: str = "gate") -> tuple[bytes, bytes]:
        """Return the gate's record, and the seal of its partition."""
        record = self._monitor.redis.get(self._monitor.names.record(gate)) or b""
        statement = verify(record, self._monitor.keys, gate) if record else None
        partition = statement.partition if isinstance(statement, Permit) else 0
        return record, self._monitor.redis.get(self._monitor.names.seal(partition)) or b""

    def says(self, record: bytes, seal: bytes, gate: str = "gate", jwks: Path | None = None) -> str:
        """Return what the verifier says of these."""
        (self._folder / "record").write_bytes(record)
        (self._folder / "seal").write_bytes(seal)
        command = [
            "node",
            str(VERIFIER),
            str(jwks or self._jwks),
            gate,
            str(self._folder / "record"),
            str(self._folder / "seal"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)
        assert (done.returncode == 0) is done.stdout.startswith("open"), done
        return done.stdout


async def test_it_says_open_and_then_closed(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Open under a fresh seal; closed for a changed byte, a missing seal, another gate's record, other keys, and a closing."""
    policies = {"gate.yaml": heartbeat("gate", "svc", ttl="1h"), "other.yaml": heartbeat("other", "svc", ttl="1h")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor:
        worker = monitor.worker()
        elsewhere = Elsewhere(monitor, tmp_path)
        async with beating(monitor, "svc"):
            await monitor.opened("gate")
            await monitor.opened("other")
            record, seal = elsewhere.read()
            assert elsewhere.says(record, seal).startswith("open: gate, epoch 00")
            assert "nothing stands in" in elsewhere.says(b"", seal)
            assert "nothing stands in" in elsewhere.says(record, b"")
            assert "of gate gate" in elsewhere.says(record, seal, "other")
            assert "wrong signature" in elsewhere.says(_changed(record), seal)
            assert "wrong signature" in elsewhere.says(record, _changed(seal))
            assert "a token of type failshut-seal+jwt" in elsewhere.says(seal, seal)
            assert "a header with other members" in elsewhere.says(b"e30.e30.x", seal)
            strange = tmp_path / "strange.jwks.json"
            strange.write_text(json.dumps(monitor.keys.to_dict() | {"failshut_installation": "another0another0"}))
            assert "of another installation" in elsewhere.says(record, seal, jwks=strange)
        await until(lambda: not monitor.open("gate"), "the heartbeat is missing")
        closing, seal = elsewhere.read()
        assert elsewhere.says(closing, seal).startswith("closed: heartbeat: ")
        # The former permit under the seal of after its closing: no seal names it any more.
        partition = _partition(monitor, record)
        newest = monitor.redis.get(monitor.names.seal(partition)) or b""
        assert not elsewhere.says(record, newest).startswith("open")
        assert worker.stop() == 0


def _changed(token: bytes) -> bytes:
    """Return the token with another letter in its signature."""
    body, _, signature = token.rpartition(b".")
    return body + b"." + (b"B" if signature[:1] == b"A" else b"A") + signature[1:]


def _partition(monitor: Installation, record: bytes) -> int:
    permit = verify(record, monitor.keys, "gate")
    assert isinstance(permit, Permit)
    return permit.partition


def test_it_is_shorter_than_a_hundred_lines() -> None:
    """What must be verified fits on two screens."""
    assert len(VERIFIER.read_text(encoding="utf-8").splitlines()) < 100
