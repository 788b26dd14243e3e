"""Downloads, shown."""

from __future__ import annotations

import io
import sys

import pytest

from failshut_console.terminal.progress import DownloadProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_for_every_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody watches, 46 downloads are five lines."""
    progress = DownloadProgress()
    for done in range(1, 47):
        progress(done, 46, "kafka-clients")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "downloading Apache Kafka: 46 of 46 files"


def test_a_terminal_gets_one_line_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each download redraws the line, and the last ends it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = DownloadProgress()
    for done in range(1, 47):
        progress(done, 46, "kafka-clients")
    text = terminal.getvalue()
    assert text.count("\r") == 46
    assert text.count("\n") == 1
    assert text.endswith(f"[{'#' * 24}] 46/46 kafka-clients\n")
