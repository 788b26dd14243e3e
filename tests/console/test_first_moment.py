"""`failshut run` is heard at once and ends in order at once, before it has imported anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient

from failshut_console.first_moment import is_worker


def started(tmp_path: Path, *more: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A worker whose heavy imports never come to an end."""
    stuck = tmp_path / "stuck"
    stuck.mkdir()
    (stuck / "aiokafka.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    command = ["run", "--broker", "kafka://127.0.0.1:1", "--store", "redis://127.0.0.1:1/0", *more]
    return subprocess.Popen(
        [sys.executable, "-c", "from failshut_console.main import main; main()", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(stuck), "PYTHONUNBUFFERED": "1", **(environment or {})},
    )


def ended(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(patient(30))
    finally:
        process.kill()
        process.communicate()


def test_the_first_line_comes_before_the_imports(tmp_path: Path) -> None:
    """Kafka's client is still being imported when the line stands there, and SIGTERM then ends it with status 0."""
    process = started(tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert f"INFO failshut: the worker starts as process {process.pid}" in process.stderr.readline()
    assert process.stdout.readline() == "importing\n"
    assert ended(process) == 0


def test_sigterm_at_the_first_line_is_no_failure(tmp_path: Path) -> None:
    """A supervisor that changes its mind at once reads status 0."""
    process = started(tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline()
    assert ended(process) == 0


@pytest.mark.parametrize(
    ("more", "environment"),
    [(("--log-format", "json"), {}), (("--log-format=json",), {}), ((), {"FAILSHUT_LOG_FORMAT": "json"})],
    ids=["option", "option=", "environment"],
)
def test_the_first_line_has_the_format_of_the_others(
    tmp_path: Path, more: tuple[str, ...], environment: dict[str, str]
) -> None:
    """A collector reads each line, the first one too."""
    process = started(tmp_path, *more, environment=environment)
    assert process.stderr is not None
    said = json.loads(process.stderr.readline())
    assert (said["level"], said["message"]) == ("info", f"the worker starts as process {process.pid}")
    assert ended(process) == 0


@pytest.mark.parametrize(
    ("arguments", "worker"), [(["run"], True), (["run", "--help"], False), (["gates", "run"], False), ([], False)]
)
def test_a_worker_is_told_from_other_commands(arguments: list[str], worker: bool) -> None:
    """No other command says that a worker starts, and none of them has SIGTERM for a success."""
    assert is_worker(arguments) is worker
