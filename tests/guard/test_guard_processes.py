"""Forks, processes, the interpreter's end, and configuration: what services do to a library."""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from guard.standin import SUBJECT, Monitor, admitted, denied_with, eventually, withheld
from patience import patient

import failshut
from failshut import Cause, Configuration, Gate, Guard, Withheld
from failshut import guard as guard_module
from failshut.admission.denial import Denial
from failshut.background import slots as slots_module
from failshut.config import from_environment, parse_context
from failshut.store import names as store_names


class Child:
    """A forked process that runs a function and sends back its result as JSON."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                answer = {"result": function()}
            except BaseException as error:
                answer = {"error": repr(error)}
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        os.close(write)

    def result(self, seconds: float = 30.0) -> Any:
        ready, _, _ = select.select([self._read], [], [], seconds)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        data = os.read(self._read, 65_536)
        os.close(self._read)
        os.waitpid(self.pid, 0)
        assert ready, "the child hung"
        answer = json.loads(data)
        assert "error" not in answer, answer["error"]
        return answer["result"]


def test_a_child_starts_with_nothing_and_finds_its_own(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """No lease, thread or connection is inherited; the child admits through its own, and the parent goes on."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    parents = guard._watcher

    def child() -> list[bool]:
        before = [isinstance(gate._slot.state, Denial), guard._watcher is None, threading.active_count() == 1]
        admitted(gate)
        return [*before, guard._watcher is not parents, guard.instance.endswith(str(os.getpid()))]

    assert all(Child(child).result())
    assert guard._watcher is parents
    admitted(gate)


def test_a_child_keeps_no_connection_of_its_parent(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Inherited descriptors are closed in the child, or the server would go on writing to nobody; the parent's stay."""
    monitor.keep_renewing()
    admitted(gate)
    watcher = guard._watcher
    assert watcher is not None
    eventually(lambda: watcher._subscription and watcher._subscription._pubsub)

    def ports() -> set[int]:
        found = set()
        for client in (watcher._store._client, watcher._subscription._client):  # type: ignore[union-attr]
            pool = client.connection_pool  # type: ignore[union-attr]
            for connection in [*pool._available_connections, *pool._in_use_connections]:
                found.add(connection._sock.getsockname()[1])
        return found

    parents = ports()
    assert len(parents) == 2

    def child() -> bool:
        mine = {connection.laddr.port for connection in psutil.Process().net_connections("tcp")}
        return not mine & parents

    assert Child(child).result()
    assert ports() == parents
    monitor.close(Cause.LAG)
    denied_with(gate, Cause.LAG)


def test_a_child_takes_no_push_from_its_parent(monitor: Monitor, gate: Gate) -> None:
    """Every process hears every closing: nobody reads another's subscription."""
    for _ in range(3):
        monitor.reopen(ttl_ms=60_000)
        eventually(lambda: admitted(gate).epoch == monitor.epoch)

        def child() -> bool:
            admitted(gate)
            denied_with(gate, Cause.HEARTBEAT)
            return True

        children = [Child(child) for _ in range(2)]
        # All three listen once three receivers are counted; the closing is not written, so only a push tells.
        closing = monitor.closing(Cause.HEARTBEAT).sign(monitor.key)
        message = store_names.push_message(monitor.gate, closing)
        eventually(lambda: dict(monitor.client.pubsub_numsub(monitor.names.push)).get(monitor.names.push.encode()) == 3)
        time.sleep(0.3)  # the children's first reads, which would be stale after a push
        monitor.client.set(monitor.names.record(monitor.gate), closing)
        monitor.client.publish(monitor.names.push, message)
        denied_with(gate, Cause.HEARTBEAT)
        assert all(child.result() for child in children)


def test_a_fork_while_the_background_holds_its_lock(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """A lock that some thread holds at the fork is held for ever in the child; the guard's are new there."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with guard._lock, guard.slots._lock, guard_module._default_lock, guard.outcomes._lock:

        def child() -> bool:
            admitted(gate)
            with gate.execution(SUBJECT):
                pass
            guard.outcomes.lose("x", 1)
            guard_module.configure(store_url=monitor.url, jwks=monitor.jwks)
            admitted(Gate(monitor.gate))
            return True

        started = Child(child)
    assert started.result()


def test_forks_at_any_moment_of_the_background(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Wherever the watcher is when the process forks, in the middle of a read or a verification: the child works."""
    monitor.keep_renewing(every=0.002)
    admitted(gate)
    for slot in guard.slots.all():
        slot.interval_ms = 1
    for _ in range(15):
        assert Child(lambda: bool(admitted(gate))).result()
    admitted(gate)


def test_an_execution_does_not_cross_a_fork(monitor: Monitor, gate: Gate) -> None:
    """In the child a running execution is not its own: check() says so, and its outcome is the parent's alone."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT) as execution:

        def child() -> str:
            with pytest.raises(Withheld) as caught:
                execution.check()
            execution.__exit__(None, None, None)
            assert execution._lease.slot.guard.outcomes.take() == []
            return caught.value.cause.value

        assert Child(child).result() == "forked"
        execution.check()
    eventually(lambda: [entry["count"] for entry in monitor.outcomes()] == ["1"])


def test_a_child_refuses_epochs_that_its_parent_saw_overtaken(monitor: Monitor, gate: Gate) -> None:
    """What was seen is inherited: a store rolled back around the fork opens nothing."""
    monitor.ttl_ms = 60_000
    old = monitor.permit()
    monitor.reopen()
    eventually(lambda: admitted(gate).epoch == monitor.epoch)
    monitor.write(old)
    assert Child(lambda: denied_with(gate, Cause.STALE).cause.value).result() == "stale"


def _worker(url: str, jwks: dict[str, Any], name: str, results: Any) -> None:
    guard = Guard(Configuration(store_url=url, jwks=jwks, deadline_ms=2000))
    results.put(bool(admitted(Gate(name, guard=guard))))
    guard.close()


def _forked_worker(gate: Gate, results: Any) -> None:
    results.put(bool(admitted(gate)))


def test_workers_of_multiprocessing_admit(monitor: Monitor, gate: Gate) -> None:
    """fork after use, and spawn, as pools and servers do it."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        results: Any = context.Queue()
        if method == "fork":
            arguments: tuple[Any, ...] = (gate, results)
            processes = [context.Process(target=_forked_worker, args=arguments) for _ in range(3)]  # type: ignore[attr-defined]
        else:
            arguments = (monitor.url, monitor.jwks, monitor.gate, results)
            processes = [context.Process(target=_worker, args=arguments)]  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        assert all(results.get(timeout=60) for _ in processes)
        for process in processes:
            process.join(patient(30))
            assert process.exitcode == 0


def test_prefork_workers_close_together(monitor: Monitor, gate: Gate) -> None:
    """A server that warmed up, then forked its workers: one closing reaches each of them and the parent."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    ready_read, ready_write = os.pipe()

    def serve() -> str:
        admitted(gate)
        os.write(ready_write, b".")
        return denied_with(gate, Cause.LAG).cause.value

    workers = [Child(serve) for _ in range(4)]
    for _ in workers:
        assert os.read(ready_read, 1) == b"."
    monitor.close(Cause.LAG)
    denied_with(gate, Cause.LAG)
    assert [worker.result() for worker in workers] == ["lag"] * 4
    os.close(ready_read)
    os.close(ready_write)


def _script(monitor: Monitor, text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    monitor.write_jwks(tmp_path / "jwks.json")
    environment = os.environ | {
        "FAILSHUT_STORE": monitor.url,
        "FAILSHUT_JWKS": str(tmp_path / "jwks.json"),
        "FAILSHUT_DEADLINE_MS": "2000",
        "GATE": monitor.gate,
        "SUBJECT": SUBJECT,
    }
    program = "import os\nfrom failshut import Gate, Withheld\n"
    program += "gate, subject = Gate(os.environ['GATE']), os.environ['SUBJECT']\n"
    program += textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )


def test_an_interpreter_ends_quietly_and_leaves_its_outcomes(monitor: Monitor, tmp_path: Path) -> None:
    """A script that uses a gate and ends: no noise, no hang, its last outcome in the store."""
    monitor.issue(ttl_ms=60_000)
    done = _script(monitor, "with gate.execution(subject): print('ran')", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert [entry["outcome"] for entry in monitor.outcomes()] == ["ok"]


def test_a_check_while_the_interpreter_ends_is_withheld_or_admitted_and_never_else(monitor: Monitor, tmp_path: Path) -> None:
    """atexit handlers that run after the guard's own still get a typed answer."""
    monitor.issue(ttl_ms=60_000)
    text = """
        import atexit, threading, time
        def late():
            try:
                gate.check(subject)
                Gate("another.gate").check(subject)
            except Withheld as denial:
                print(denial.cause)
        from failshut import guard
        atexit.unregister(guard._at_exit)
        atexit.register(late)
        atexit.register(guard._at_exit)
        print(bool(gate.check(subject)))
    """
    done = _script(monitor, text, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nno_permit\n", "")


def test_an_import_starts_nothing(monitor: Monitor, tmp_path: Path) -> None:
    """Importing and naming gates opens no socket and starts no thread: a module may do it before a fork."""
    text = "import threading, sys; print(threading.active_count(), 'kafka' in sys.modules, 'faust' in sys.modules)"
    assert _script(monitor, text, tmp_path).stdout == "1 False False\n"


@pytest.fixture
def default() -> Iterator[None]:
    """The process's default guard, put back to none."""
    yield
    if guard_module._default is not None:
        guard_module._default.close()
    guard_module._default = None


@pytest.mark.usefixtures("default")
def test_a_gate_without_any_configuration_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store, no keys: withheld, with what to set; not an error at import, not an open gate."""
    for name in ("FAILSHUT_STORE", "FAILSHUT_JWKS", "FAILSHUT_CONTEXT", "FAILSHUT_DEADLINE_MS"):
        monkeypatch.delenv(name, raising=False)
    denial = withheld(Gate("a.gate"))
    assert denial is not None
    assert denial.cause is Cause.STORE_UNREACHABLE
    assert "FAILSHUT_STORE" in denial.because
    assert Gate("a.gate").prepare(0) is False


@pytest.mark.usefixtures("default")
def test_a_gate_with_a_wrong_environment_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be meant is said at the check, as a denial."""
    monkeypatch.setenv("FAILSHUT_DEADLINE_MS", "soon")
    denial = withheld(Gate("a.gate"))
    assert denial is not None
    assert "FAILSHUT_DEADLINE_MS" in denial.because


@pytest.mark.usefixtures("default")
def test_a_gate_follows_a_new_configuration(monitor: Monitor) -> None:
    """configure() again: the former guard's leases end with it, and its gates ask the new one."""
    monitor.issue(ttl_ms=60_000)
    gate = Gate(monitor.gate)
    settings = {"store_url": monitor.url, "jwks": monitor.jwks, "deadline_ms": 2000}
    first = failshut.configure(**settings)
    admitted(gate)
    second = failshut.configure(**settings, context={"region": "eu"})
    assert first.closed
    admitted(gate)
    assert gate._guard is second


def test_settings_that_cannot_be_meant_are_refused() -> None:
    """Numbers out of range, texts where numbers belong, contexts of anything but text."""
    for settings in (
        {"deadline_ms": 0},
        {"deadline_ms": 1.5},
        {"deadline_ms": True},
        {"clock_tolerance_ms": -1},
        {"context": {"a": 1}},
        {"outcomes_max": 0},
    ):
        with pytest.raises(ValueError, match=r"is |context"):
            Configuration(**settings)
    for text in ("a", "=b", "a=b,c"):
        with pytest.raises(ValueError, match="name=value"):
            parse_context(text)
    found = from_environment({"FAILSHUT_CONTEXT": "a=b, c=d,", "FAILSHUT_DEADLINE_MS": "70", "FAILSHUT_STORE": "x"})
    assert (found.context, found.deadline_ms, found.store_url) == ({"a": "b", "c": "d"}, 70, "x")


def test_gates_of_one_guard_are_bounded(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that come from requests cannot fill the memory: beyond the bound a gate denies."""
    monkeypatch.setattr(slots_module, "SLOTS_MAX", 3)
    for number in range(3):
        withheld(Gate(f"g{number}", guard=guard))
    withheld(Gate("g0", guard=guard))
    denial = withheld(Gate("g3", guard=guard))
    assert denial is not None
    assert "more than" in denial.because
