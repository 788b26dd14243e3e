"""Child processes of `failshut up` and of the demonstration."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import patient

from failshut_console.local.stack import Child


def test_the_last_error_of_a_log_is_told(tmp_path: Path) -> None:
    """Whoever looks at a terminal sees why a worker ended without opening its log."""
    child = Child(tmp_path, "worker-1", [], lambda: True)
    assert child.last_words() == "it left no log"
    child.log_path.write_text("[INFO] Ready\nTraceback:\n  File x\nKeyError: 'a'\n[INFO] Error in words\n")
    assert child.last_words() == "KeyError: 'a'"
    told = "2026-03-02T09:41:07.123Z ERROR faust.worker: [^_Worker]: Error: NoTerm('no term is open: open one')\n"
    child.log_path.write_text(f"2026-03-02T09:41:06.001Z INFO faust.worker: [^_Worker]: Starting...\n{told}")
    assert child.last_words() == "NoTerm('no term is open: open one')"
    child.log_path.write_text("[INFO] Ready\n")
    assert child.last_words() == "its log names no error"


def test_a_child_that_ends_at_once_is_not_running(tmp_path: Path) -> None:
    """A process that ended is neither running nor ready, whatever was said of it."""
    child = Child(tmp_path, "short", ["-c", "raise ValueError('no')"], lambda: True)
    child.launch()
    child._running().wait(patient(30))
    assert not child.running
    assert not child.ready()
    assert child.last_words() == "ValueError: no"
    child.stop()


def test_a_child_knows_nothing_of_other_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of a cluster's servers is not added to the addresses of the embedded ones."""
    others = {"FAILSHUT_STORE", "FAILSHUT_STORE_PASSWORD", "FAILSHUT_BROKER_CA", "FAILSHUT_OUTCOMES_STORE"}
    for name in (*others, "FAILSHUT_STORE_TIMEOUT_MS"):
        monkeypatch.setenv(name, "1")
    child = Child(
        tmp_path, "told", ["-c", "import os; print(*(n for n in os.environ if n.startswith('FAILSHUT_')))"], lambda: True
    )
    child.launch()
    child._running().wait(patient(30))
    said = child.log_path.read_text().split()
    child.stop()
    assert "FAILSHUT_STORE_TIMEOUT_MS" in said
    assert not others.intersection(said)
