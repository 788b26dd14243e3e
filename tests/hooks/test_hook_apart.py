"""Hooks on frameworks that do not fit beside what is developed here. They have an environment of their own: `make agents`.

Each file of apart/ is run whole there, with the guard of this checkout.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from patience import patient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv-agents" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted((HERE / "apart").glob("case_*.py")), ids=lambda case: case.stem[5:])
def test_a_hook_holds_on_its_framework(case: Path) -> None:
    """Withheld, admitted, a hook that fails, and what bypasses it."""
    if not PYTHON.exists():
        pytest.skip("its framework is not installed here (make agents)")
    command = [str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120"]
    command += ["--confcutdir", str(HERE / "apart"), str(case)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAILSHUT_", "PYTEST"))}
    environment["PYTHONPATH"] = str(ROOT / "guard")
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=patient(150))
    assert ended.returncode == 0, ended.stdout[-6_000:] + ended.stderr[-2_000:]
    assert " passed" in ended.stdout
    assert " skipped" not in ended.stdout
