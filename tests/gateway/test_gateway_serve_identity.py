"""`failshut serve --identity`: the file as somebody writes it, with paths relative to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gateway.gateway_support import FORWARD
from gateway.identity_support import claims, jwks, token
from guard.standin import Monitor, eventually
from patience import patient

from failshut.signing import SigningKey

FILE = """
[[issuer]]
issuer = "https://login.example"
audience = "failshut"
jwks = "keys/jwks.json"
subject = "agent:{name}"
subjects = ["agent:*"]
gates = ["*"]
"""


def command(folder: Path, monitor: Monitor) -> list[str]:
    monitor.write_jwks(folder / "monitor.json")
    begin = [sys.executable, "-m", "failshut_console", "serve", "--bind", "127.0.0.1:0", "--store", monitor.url]
    more = ["--identity", str(folder / "conf" / "identity.toml"), "--metadata-key", str(folder / "metadata.pem")]
    return [*begin, "--jwks", str(folder / "monitor.json"), "--access", str(folder / "access.json"), *more]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "keys").mkdir(parents=True)
    (tmp_path / "conf" / "keys" / "jwks.json").write_bytes(jwks())
    (tmp_path / "conf" / "identity.toml").write_text(FILE)
    SigningKey.generate().save(tmp_path / "metadata.pem")
    return tmp_path


def test_a_token_is_taken_by_a_gateway_as_it_is_started(folder: Path, monitor: Monitor) -> None:
    """Without any access key: the issuer's token alone."""
    monitor.ttl_ms = 600_000
    monitor.issue()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
    started = subprocess.Popen(
        command(folder, monitor),
        cwd=folder,
        env={**environment, "FAILSHUT_DEADLINE_MS": "2000"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stderr is not None
        said = started.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found, said

        def status(bearer: bytes) -> int:
            headers = {"Authorization": f"Bearer {bearer.decode()}"}
            asked = urllib.request.Request(f"{found[0]}{FORWARD}{monitor.gate}", headers=headers)
            try:
                with urllib.request.urlopen(asked, timeout=patient(20)) as reply:
                    return int(reply.status)
            except urllib.error.HTTPError as error:
                return error.code

        eventually(lambda: status(token(claims())) == 200)
        assert status(token(claims(aud="other"))) == 403
    finally:
        started.kill()
        started.communicate(timeout=patient(20))


@pytest.mark.parametrize("wrong", ["identity.toml", "metadata.pem"])
def test_a_gateway_does_not_start_with_what_it_cannot_read(folder: Path, monitor: Monitor, wrong: str) -> None:
    """It says so in a sentence, and nobody listens."""
    path = folder / "metadata.pem" if wrong == "metadata.pem" else folder / "conf" / wrong
    for content in (b"typo = 1\n", None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        ended = subprocess.run(command(folder, monitor), cwd=folder, capture_output=True, text=True, timeout=patient(60))
        assert ended.returncode == 2, ended.stderr
        assert "the gateway cannot be started" in ended.stderr
        assert "Traceback" not in ended.stderr
