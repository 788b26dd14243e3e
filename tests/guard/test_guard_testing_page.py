"""docs/testing.md: its snippets are files, and pytest runs them as a service's developer would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient

from failshut.testing import GateControl

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
TESTS = sorted(name for name in SNIPPETS if name.startswith("test_"))


def run(folder: Path, *names: str) -> str:
    """What pytest says of these snippets, in a folder of their own with the page's service."""
    for name in ("shop.py", *names):
        (folder / name).write_text(SNIPPETS[name], encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAILSHUT_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=patient(60))
    return done.stdout + done.stderr


def test_every_snippet_is_a_file() -> None:
    """Each block of Python names its file, and all but the service are tests."""
    assert len(SNIPPETS) == PAGE.count("```python")
    assert set(SNIPPETS) == {"shop.py", *TESTS}
    assert len(TESTS) >= 5


@pytest.mark.slow
def test_the_snippets_pass(tmp_path: Path) -> None:
    """Every test of the page passes as it is written, without a server."""
    said = run(tmp_path, *TESTS)
    tests = sum(len(re.findall(r"^ *(?:async )?def test_", SNIPPETS[name], re.MULTILINE)) for name in TESTS)
    assert tests >= 10
    passed = re.search(r"^(\d+) passed in", said, re.MULTILINE)
    assert passed is not None, said
    assert int(passed[1]) >= tests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken_away", "left"),
    [
        ("            execution.check()\n", ""),  # then a batch goes on over a closing
        ('refunds.execution(subject="agent:refund-7")', "__import__('unittest.mock').mock.MagicMock()"),
        ('@refunds.guarded(subject="agent:refund-7")\n', ""),
        ("postponed: {denial.cause}", "{pay(order, fencing_token=0)}"),
    ],
    ids=["no check in the batch", "no execution", "no decorator", "paid although denied"],
)
def test_the_snippets_notice_a_path_that_is_not_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_away: str, left: str
) -> None:
    """Without a part of the page's guard, the page's assertion fails."""
    assert SNIPPETS["shop.py"].count(taken_away) == 1
    monkeypatch.setitem(SNIPPETS, "shop.py", SNIPPETS["shop.py"].replace(taken_away, left))
    said = run(tmp_path, "test_guarded.py")
    assert " failed" in said, said
    assert "failshut.testing.guarded.Executed" in said or "AssertionError: the path never asked the gate" in said, said


def test_what_the_table_names_is_there() -> None:
    """Whatever the page calls of a gate's control exists."""
    called = set(re.findall(r"\bgate\.(\w+)", PAGE)) - {"gate"}
    assert called
    assert [name for name in sorted(called) if not hasattr(GateControl, name)] == []
