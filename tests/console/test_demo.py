"""The demonstration's own round, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from patience import patient


@pytest.mark.kafka
@pytest.mark.store
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_round_shows_every_closing_and_nothing_slips_through(tmp_path: Path) -> None:
    """DEMO_SECONDS: six troubles, each closing seen in its bound, each gate back, status 0, and no process left."""
    command = [sys.executable, "-m", "failshut_console", "demo"]
    env = {**os.environ, "DEMO_SECONDS": str(int(patient(100)))}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        out, _ = process.communicate(timeout=patient(180))
    finally:
        process.kill()
    assert process.returncode == 0, out
    assert "every closing was seen (8), and no execution slipped through" in out
    assert re.search(r"console: http://127\.0\.0\.1:\d+/console/once/fsk_\w{57} ", out)
    for number in range(1, 7):
        assert f"trouble {number} of 6" in out
    here = str(tmp_path)
    assert not [at for at in psutil.process_iter(["cmdline"]) if here in " ".join(at.info["cmdline"] or [])]
