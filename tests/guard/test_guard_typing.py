"""The public API keeps its types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient

ROOT = Path(__file__).resolve().parents[2]


def test_the_public_api_type_checks_as_services_use_it() -> None:
    """tests/typing/api.py passes mypy in strict mode, its expected errors included."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typing/api.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patient(170))
    assert done.returncode == 0, done.stdout
