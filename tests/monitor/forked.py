"""Workers as processes of their own that start at once.

A worker spends three seconds of a processor on imports before it does anything. The suite starts about a hundred of
them. Here a server process imports everything once, and each worker is forked from it: the same code, as a process that
can be killed, paused and resumed. A worker with a fault or packages of its own is started from nothing (harness.py).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["failshut_streams.worker"])


class ForkedProcess:
    """A worker that was forked; what the tests use of `subprocess.Popen`, and nothing else."""

    def __init__(self, config: str, log: Path) -> None:
        log.touch()  # tests read it at once
        self._process = _context.Process(target=_work, args=(config, str(log)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _work(config: str, log: str) -> None:
    """Be a worker: in the child."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - the process's own
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - the process's own
    sys.argv = ["worker", config]
    from failshut_streams import worker

    worker.main()
