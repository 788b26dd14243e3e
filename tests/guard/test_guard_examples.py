"""The examples do what their first lines say, with a monitor and without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guard.standin import Monitor

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["guard_sync.py", "guard_asyncio.py"])
def test_an_example_pays_with_a_permit_and_says_why_not_without(monitor: Monitor, tmp_path: Path, name: str) -> None:
    """Open: paid, with a fencing token. No monitor: not paid, with the cause. Neither fails."""
    monitor.write_jwks(tmp_path / "jwks.json")
    monitor.gate = "payments.refund"
    settings = {"FAILSHUT_STORE": monitor.url, "FAILSHUT_JWKS": str(tmp_path / "jwks.json")}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name)],
            env=os.environ | settings | {"FAILSHUT_DEADLINE_MS": "5000"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "not paid: payments.refund is closed (no_permit)" in run()
    monitor.issue(ttl_ms=60_000)
    assert f"paid 48.00 EUR, fencing token {monitor.epoch}" in run()
