"""pytest finds the fixtures by itself where Failshut is installed, and they do what docs/testing.md says."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from patience import patient

ROOT = Path(__file__).resolve().parents[2]

TESTS = """
from failshut import Cause, Gate, Withheld
from failshut.testing import assert_guarded

refunds = Gate("payments.refund")


def refund(pay):
    with refunds.execution("agent:refund-7"):
        pay()


async def refund_later(pay):
    async with refunds.execution("agent:refund-7"):
        await pay()


def test_open(failshut_gate):
    failshut_gate("payments.refund").open()
    refund(lambda: None)


def test_closed_again_for_the_next_test():
    try:
        refunds.check("agent:refund-7")
    except Withheld as denial:
        assert denial.cause is Cause.STORE_UNREACHABLE
    else:
        raise AssertionError


def test_guarded(failshut_gate):
    assert_guarded(failshut_gate("payments.refund"), lambda effect: refund(effect))
    assert_guarded(failshut_gate("payments.refund"), lambda effect: refund_later(effect.awaited))


def test_one_rehearsal(failshut_gate, failshut_rehearsal):
    gate = failshut_gate("payments.refund").open()
    failshut_rehearsal.advance(60)
    assert failshut_rehearsal.gate("payments.refund") is gate
"""

FORGOTTEN = """
import asyncio


def test_forgotten(failshut_gate):
    async def run():
        assert_guarded(failshut_gate("payments.refund"), lambda effect: refund_later(effect.awaited))

    asyncio.run(run())


def test_unguarded(failshut_gate):
    assert_guarded(failshut_gate("payments.refund"), lambda effect: effect())
"""


def pytest_says(folder: Path, tests: str) -> str:
    """What pytest says of tests in a folder of their own, with nothing but what is installed."""
    (folder / "test_service.py").write_text(tests, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAILSHUT_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=patient(60))
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_fixtures_are_found_where_failshut_is_installed(tmp_path: Path) -> None:
    """A test asks for `failshut_gate` without importing anything, and the next test finds nothing of it."""
    assert "4 passed" in pytest_says(tmp_path, TESTS)


@pytest.mark.slow
def test_what_was_not_awaited_fails_the_test_that_forgot_it(tmp_path: Path) -> None:
    """The fixture's end says so; and a path that is not guarded fails as any assertion does."""
    said = pytest_says(tmp_path, TESTS + FORGOTTEN)
    assert "ERROR test_service.py::test_forgotten" in said
    assert "was never awaited, so it has shown nothing" in said
    assert "FAILED test_service.py::test_unguarded" in said
    assert "1 failed, 5 passed" in said


def test_the_plugin_is_in_the_package_that_is_installed() -> None:
    """pyproject.toml names it, and so does what is installed here: `make` brings it up to date."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["entry-points"]["pytest11"]
    assert named == {"failshut": "failshut.testing.plugin"}
    assert {found.name: found.value for found in entry_points(group="pytest11")}.items() >= named.items()
