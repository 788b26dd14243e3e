"""A server that is somebody's child: started, health-checked, paused, stopped, and never left behind.

Three things keep a server from outliving the run that needed it. It asks the kernel to be killed when the
thread that started it ends (`_launch.py`). That thread lives as long as this process. An exit handler stops
what is still running. And each folder holds a process file, with process id and start time. The next start on a
folder finds a server that a crashed run left there, and stops it first. A folder whose owner is alive is
refused.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from failshut_servers.errors import EmbeddedUnavailable
from failshut_servers.ports import free_port, is_free

_LAUNCHER = Path(__file__).with_name("_launch.py")
_POLL_SECONDS = 0.03
_LOG_TAIL_BYTES = 4_000
_START_ATTEMPTS = 3


class _Launcher:
    """One thread that starts every server and ends with the process.

    The kernel's "parent" is a thread: a server started by a pool's worker would die with that worker.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._owner_pid = 0

    def run(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a process on the launcher's thread; raises what `job` raises."""
        with self._lock:
            if self._owner_pid != os.getpid():  # first use, or a forked child, which has none of our threads
                self._owner_pid = os.getpid()
                self._jobs = queue.SimpleQueue()
                threading.Thread(target=self._work, name="failshut-embedded", daemon=True).start()
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, answer))
        return answer.result()

    def _work(self) -> None:
        jobs = self._jobs
        while True:
            job, answer = jobs.get()
            try:
                answer.set_result(job())
            except BaseException as error:  # noqa: BLE001  (handed to the caller, who raises it)
                answer.set_exception(error)


_launcher = _Launcher()


class Server(ABC):
    """A server process with a folder of its own.

    Args:
        folder: where it keeps its data, log and process file; created if missing.
        port: a port of 127.0.0.1; a free one by default, kept over restarts of this object.

    As a context manager it starts on entry and stops on exit. Methods block; async callers use a thread.
    """

    #: The server's name in messages and file names.
    name = "server"
    #: How long a clean stop may take before the process is killed.
    stop_seconds_max = 10.0

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = Path(folder)
        self._port = port
        self._port_is_ours = port is None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()
        self._paused = False

    # --- what a kind of server says about itself ---

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground on `port`; may prepare the folder."""

    def environment(self) -> dict[str, str] | None:
        """Return the process's environment; None: this process's own."""
        return None

    @abstractmethod
    def ready(self) -> bool:
        """Say whether this very server answers a real request now."""

    @abstractmethod
    def _address_in_use(self, log: str) -> bool:
        """Say whether its log says that somebody else has the port."""

    def _renew_ports(self) -> None:
        """Take other free ports before another attempt."""
        self._port = free_port()

    # --- facts ---

    @property
    def port(self) -> int:
        """The port; chosen at the first use."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError when the server is not running."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process lives, be it paused or not yet ready."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How its process ended: an exit status, or a signal's number below 0. None while it runs, and where there is none."""
        return self._process.poll() if self._process is not None else None

    @property
    def paused(self) -> bool:
        """Whether `pause` was the last thing done to the running process."""
        return self.running and self._paused

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self.folder / f"{self.name}.log"

    @property
    def _pid_path(self) -> Path:
        return self.folder / f"{self.name}.pid.json"

    # --- life ---

    def start(self, timeout_seconds: float = 60.0) -> Self:
        """Start and wait until it is ready; does nothing when it runs already.

        Raises:
            EmbeddedUnavailable: it did not start, or its folder belongs to another living process.
        """
        self.launch()
        try:
            self.wait_ready(timeout_seconds)
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start the process without waiting for it; see `wait_ready`."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop_stale()
        if not is_free(self.port):
            if not self._port_is_ours:
                raise EmbeddedUnavailable(
                    f"{self.name} cannot start: port {self.port} of 127.0.0.1 is in use",
                    "stop the server that listens there, or choose another port",
                )
            self._renew_ports()
        command = self.command()
        with self._open_output() as output:
            self._process = _launcher.run(lambda: _spawn(command, self.folder, output, self.environment()))
        self._paused = False
        self._owner_pid = os.getpid()
        self._write_pid_file(self._process.pid)
        atexit.register(self._at_exit)

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Wait until `ready()`; a lost race for the port is run again on another one.

        Raises:
            EmbeddedUnavailable: the process ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        attempts = 1
        while not self.ready():
            if not self.running:
                log = self._log_tail()
                if self._address_in_use(log) and self._port_is_ours and attempts < _START_ATTEMPTS:
                    attempts += 1
                    self._renew_ports()
                    self.launch()
                    continue
                raise EmbeddedUnavailable(
                    f"{self.name} ended while it started. The end of its log:\n{log}",
                    f"read {self.log_path}; remove {self.folder} to start from nothing",
                )
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(
                    f"{self.name} did not answer within {timeout_seconds:g} s. The end of its log:\n{self._log_tail()}",
                    f"read {self.log_path}; a busy machine may need a longer timeout",
                )
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask it to stop (SIGTERM), kill it after `stop_seconds_max`; does nothing when it is not running."""
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a paused process would not see the SIGTERM
            try:
                process.wait(self.stop_seconds_max)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._forget()

    def kill(self) -> None:
        """Kill it with SIGKILL, at once; does nothing when it is not running."""
        if self._process is not None:
            self._process.kill()  # of a process that has ended already it asks nothing
            self._process.wait()
        self._forget()

    def pause(self) -> None:
        """Stop it with SIGSTOP, and wait until it has stopped: connections stay, nothing is answered from then on.

        Raises:
            RuntimeError: it is not running.
            TimeoutError: some thread of it still runs.
        """
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        self._paused = True
        wait_until_stopped(process.pid)

    def resume(self) -> None:
        """Continue it (SIGCONT). Raises RuntimeError when it is not running."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def restart(self, timeout_seconds: float = 60.0) -> None:
        """Stop and start on the same port and folder."""
        self.stop()
        self.start(timeout_seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # --- inside ---

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def forget(self) -> None:
        """Let go of a process that has ended by itself. Raises RuntimeError while it runs."""
        if self.running:
            raise RuntimeError(f"{self.name} is running")
        self._forget()

    def _forget(self) -> None:
        self._process = None
        self._paused = False
        self._pid_path.unlink(missing_ok=True)
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        # A forked child inherits exit handlers; the server is its parent's.
        if self._owner_pid == os.getpid():
            self.stop()

    def _open_output(self) -> IO[bytes]:
        """Return where the process's own output goes; started anew each time, so that it cannot grow over runs."""
        return self.log_path.open("wb")

    def _log_tail(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _LOG_TAIL_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"

    def _write_pid_file(self, pid: int) -> None:
        facts = {
            "pid": pid,
            "started": _started(pid),
            "owner": os.getpid(),
            "owner_started": _started(os.getpid()),
        }
        partial = self._pid_path.with_suffix(".partial")
        partial.write_text(json.dumps(facts))
        partial.replace(self._pid_path)

    def _stop_stale(self) -> None:
        """Stop the server that a crashed run left on this folder; refuse a folder whose owner is alive."""
        try:
            facts = json.loads(self._pid_path.read_text())
            pid, started = int(facts["pid"]), float(facts["started"])
            owner, owner_started = int(facts["owner"]), float(facts["owner_started"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        stale = _same_process(pid, started)
        if stale is None:
            self._pid_path.unlink(missing_ok=True)
            return
        if _same_process(owner, owner_started) is not None:
            raise EmbeddedUnavailable(
                f"{self.name} already runs on {self.folder} (process {pid}), for process {owner}",
                "stop that one first, or use another folder",
            )
        stale.kill()
        stale.wait(self.stop_seconds_max)
        self._pid_path.unlink(missing_ok=True)


def _spawn(command: list[str], folder: Path, output: IO[bytes], environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    """Start a command through `_launch.py`, in a session of its own: Ctrl-C is its owner's to handle."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
    )


def _started(pid: int) -> float:
    """Return when a process started, in seconds since the epoch; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def wait_until_stopped(pid: int, timeout_seconds: float = 30.0) -> None:
    """Wait until every thread of a process that was sent SIGSTOP stands still: on a busy machine that takes a moment.

    Raises:
        TimeoutError: some thread still runs.
    """
    end = time.monotonic() + timeout_seconds
    tasks = Path(f"/proc/{pid}/task")
    while tasks.exists() and any(_runs(task) for task in tasks.iterdir()):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} still runs {timeout_seconds:g} s after SIGSTOP")
        time.sleep(0.005)


def _runs(task: Path) -> bool:
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # the thread has ended meanwhile
        return False
    return state not in "TtZX"


def _same_process(pid: int, started: float) -> psutil.Process | None:
    """Return the living process with this id and start time; None when it is gone (ids are used again)."""
    try:
        process = psutil.Process(pid)
        alive = abs(process.create_time() - started) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None
