"""`failshut serve` as somebody starts it: with the console, without, and with a key that it cannot use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from guard.standin import Monitor
from patience import patient

from failshut.signing import SigningKey
from failshut_gateway.access import access_file

COMMAND = [sys.executable, "-m", "failshut_console", "serve", "--bind", "127.0.0.1:0"]


def begun(monitor: Monitor, folder: Path, *more: str) -> tuple[subprocess.Popen[str], str, list[str]]:
    """A gateway that is on its way, its address, and what it said of itself."""
    monitor.write_jwks(folder / "jwks.json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
    given = ["--store", monitor.url, "--jwks", "jwks.json", "--access", "access.json", *more]
    started = subprocess.Popen([*COMMAND, *given], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    lines = [started.stderr.readline()]
    found = re.search(r"http://127\.0\.0\.1:\d+", lines[0])
    if found and "--no-console" not in more:
        lines.append(started.stderr.readline())
    return started, found[0] if found else "", lines


def answer(url: str) -> tuple[int, bytes]:
    end = time.monotonic() + patient(30)
    while True:
        try:
            with urllib.request.urlopen(url, timeout=patient(20)) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            assert time.monotonic() < end, "does not answer"
            time.sleep(0.05)


@pytest.mark.parametrize("more", [(), ("--no-console",)])
def test_it_says_where_the_console_is_and_serves_none_without(monitor: Monitor, tmp_path: Path, more: tuple[str, ...]) -> None:
    """With it the path has a field for a key; with `--no-console` it is as every other path."""
    now_ms = int(time.time() * 1000)
    access_file.create(tmp_path / "access.json", now_ms, role="viewer", subjects=[], gates=["*"], expires_ms=now_ms + 3_600_000)
    started, url, lines = begun(monitor, tmp_path, *more)
    try:
        status, page = answer(f"{url}/console")
        assert status == 403
        assert (b'name="key"' in page) == (not more)
        assert answer(f"{url}/elsewhere") == (403, b"")
        if not more:
            assert f"{url}/console" in lines[1]
    finally:
        started.kill()
        started.wait(patient(20))
        if started.stderr is not None:
            started.stderr.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--console-key", "operator.pem"), "--broker"),
        (("--console-key", "nowhere.pem", "--broker", "kafka://127.0.0.1:1"), "there is no operator key"),
        (("--console-key", "jwks.json", "--broker", "kafka://127.0.0.1:1"), "cannot be used"),
    ],
)
def test_a_key_that_cannot_sign_is_said_before_anything_is_served(
    monitor: Monitor, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    """No gateway starts that would say of each order that it cannot be signed."""
    SigningKey.generate().save(tmp_path / "operator.pem")
    started, _, lines = begun(monitor, tmp_path, *more)
    _, rest = started.communicate(timeout=patient(60))
    assert started.returncode == 2
    assert words in " ".join([*lines, rest])
