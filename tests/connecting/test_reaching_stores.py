"""Stores as people run them: who is reached, who is refused, and what a fail-over that cuts no connection costs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing as closed_after
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from connecting.places import Authority, Certified, Switch, another_port
from guard.standin import SUBJECT, Monitor, admitted, denied_with, eventually, withheld

import failshut.background.watcher
import failshut.store.connection
from failshut import Cause, Gate, Withheld
from failshut.config import from_environment
from failshut.network.address import AddressError
from failshut.store.client import Outcomes, Unreachable
from failshut.store.client import Store as GuardsStore
from failshut.store.connection import connect
from failshut.store.names import Names
from failshut.store.state import WrongStore
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.store import connection as store_connection
from failshut_breakers.store.client import Store, StoreUnfit, StoreUnreachable
from failshut_servers import Redis, Valkey

NAMES = Names("installationoftests")
BOUND_SECONDS = 60.0
GuardOf = Callable[..., Gate]
MonitorOf = Callable[[Redis | Valkey], Monitor]


def statement(monitor: Monitor) -> Statement:
    """A permit as the worker writes it."""
    permit = monitor.permit(ttl_ms=60_000)
    return Statement(permit.gate, "permit", permit.epoch, permit.offset, permit.sign(monitor.key), permit.exp_ms, (), "")


def written(url: str, monitor: Monitor) -> bool | str:
    """Have a worker's store write a permit: whether it was taken, or why it could not be."""

    async def write() -> bool | str:
        async with Store(url, 2.0) as store:
            try:
                return bool((await store.write([(statement(monitor), b"{}")]))[0])
            except StoreUnreachable as error:
                return str(error)

    return asyncio.run(write())


@pytest.fixture(params=[Valkey, Redis])
def kind(request: pytest.FixtureRequest) -> type[Valkey] | type[Redis]:
    """Each claim on both servers."""
    found: type[Valkey] | type[Redis] = request.param
    return found


# --- ways to it ---


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_both_names_reach_it(store: Valkey, monitor_of: MonitorOf, guard_of: GuardOf, scheme: str) -> None:
    """`valkey://` means what `redis://` means, for monitor and guard."""
    monitor, url = monitor_of(store), f"{scheme}://127.0.0.1:{store.port}/0"
    assert written(url, monitor) is True
    admitted(guard_of(monitor, url))


def test_a_database_and_a_socket_file(servers: Any, monitor_of: MonitorOf, guard_of: GuardOf, tmp_path: Path) -> None:
    """A socket file is a store, and its database is its own."""
    path = Path("/tmp") / f"failshut-{another_port()}.sock"  # such a path has at most 107 bytes
    monitor = monitor_of(servers(Valkey, "--unixsocket", path))
    assert written(f"unix://{path}?db=3", monitor) is True
    admitted(guard_of(monitor, f"unix://{path}?db=3"))
    denied_with(guard_of(monitor, f"unix://{path}"), Cause.NO_PERMIT)


@pytest.fixture
def secured(servers: Any, authority: Authority) -> tuple[Redis, int, Certified]:
    """A Redis that wants TLS, a certificate of this authority and a password; a way past it, its port, a client's."""
    port, server = another_port(), authority.certify("store")
    files = ("--tls-cert-file", server.cert, "--tls-key-file", server.key, "--tls-ca-cert-file", authority.ca)
    return servers(Redis, "--tls-port", port, *files, "--tls-auth-clients", "yes"), port, authority.certify("client")


def test_tls_with_certificates_of_both_sides(
    secured: tuple[Redis, int, Certified], authority: Authority, monitor_of: MonitorOf, guard_of: GuardOf
) -> None:
    """A private authority and a client's certificate reach the store, in the address or beside it, for monitor and guard."""
    server, port, client = secured
    monitor, plain = monitor_of(server), f"rediss://127.0.0.1:{port}/0"
    settings = {"CA": authority.ca, "CERT": client.cert, "KEY": client.key}
    whole = plain + "?" + "&".join(f"{name.lower()}={path}" for name, path in settings.items())
    assert written(whole, monitor) is True
    admitted(guard_of(monitor, whole))
    theirs = f"{plain}?ssl_ca_certs={authority.ca}&ssl_certfile={client.cert}&ssl_keyfile={client.key}"
    admitted(guard_of(monitor, theirs))
    variables = {"FAILSHUT_STORE": plain, **{f"FAILSHUT_STORE_{name}": str(path) for name, path in settings.items()}}
    admitted(guard_of(monitor, from_environment(variables).store_url))


def test_tls_without_what_it_takes_is_refused(
    secured: tuple[Redis, int, Certified], authority: Authority, tmp_path: Path, monitor_of: MonitorOf, guard_of: GuardOf
) -> None:
    """No authority, another authority, no client certificate, no TLS: withheld, and written by nobody."""
    server, port, client = secured
    monitor, other = monitor_of(server), Authority(tmp_path, "other")
    monitor.issue(ttl_ms=60_000)
    for address in (
        f"rediss://127.0.0.1:{port}/0",
        f"rediss://127.0.0.1:{port}/0?ca={other.ca}&cert={client.cert}&key={client.key}",
        f"rediss://127.0.0.1:{port}/0?ca={authority.ca}",
        f"redis://127.0.0.1:{port}/0",
    ):
        assert isinstance(written(address, monitor), str), address
        denied_with(guard_of(monitor, address), Cause.STORE_UNREACHABLE)


def test_the_name_in_a_certificate_counts_unless_said_otherwise(
    servers: Any, authority: Authority, monitor_of: MonitorOf
) -> None:
    """A certificate for another host is refused; `check_hostname=no` takes it, and still wants the authority."""
    port, elsewhere = another_port(), authority.certify("elsewhere", hosts=["store.example"])
    files = ("--tls-cert-file", elsewhere.cert, "--tls-key-file", elsewhere.key, "--tls-ca-cert-file", authority.ca)
    monitor = monitor_of(servers(Redis, "--tls-port", port, *files, "--tls-auth-clients", "no"))
    url = f"rediss://127.0.0.1:{port}/0?ca={authority.ca}"
    assert "hostname" in str(written(url, monitor)) or "IP address" in str(written(url, monitor))
    assert written(f"{url}&check_hostname=no", monitor) is True
    assert isinstance(written(f"rediss://127.0.0.1:{port}/0?check_hostname=no", monitor), str)


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_file_that_cannot_be_used_is_named_by_its_setting(authority: Authority, missing: str, tmp_path: Path) -> None:
    """A missing file, and one that holds something else, are told by setting; a locked key asks nobody for its password."""
    client = authority.certify("files")
    files = {"ca": authority.ca, "cert": client.cert, "key": client.key}
    for wrong in (tmp_path / "absent.pem", tmp_path / "other.pem"):
        if wrong.name == "other.pem":
            wrong.write_text("not a certificate")
        query = "&".join(f"{name}={path}" for name, path in {**files, missing: wrong}.items())
        with pytest.raises(AddressError, match=f"setting.* {missing}") as refused:
            connect(f"rediss://127.0.0.1:1/0?{query}", 1.0)
        assert refused.value.__cause__ is None
        assert refused.value.__context__ is None
    locked = authority.certify("locked", password="s3cret")
    with pytest.raises(AddressError, match="cert and key do not go together"):
        connect(f"rediss://127.0.0.1:1/0?cert={locked.cert}&key={locked.key}", 1.0)


@pytest.mark.parametrize("password", ["p/w", "p?w", "p#w", "p@w", "p%w", "p w", "p:w", "pä&=+w", "%41"])
def test_a_password_of_any_kind_reaches_the_store(servers: Any, monitor_of: MonitorOf, password: str) -> None:
    """Percent-encoded in the address, or as it is beside it, for monitor and guard."""
    from urllib.parse import quote

    server = servers(Valkey, "--user", "mon", "on", f">{password}", "~*", "&*", "+@all")
    monitor, at = monitor_of(server), f"127.0.0.1:{server.port}/0"
    assert written(f"redis://mon:{quote(password, safe='')}@{at}", monitor) is True
    for variables in (
        {"FAILSHUT_STORE": f"redis://mon@{at}"},
        {"FAILSHUT_STORE": f"redis://{at}", "FAILSHUT_STORE_USER": "mon"},
    ):
        url = from_environment({**variables, "FAILSHUT_STORE_PASSWORD": password}).store_url
        with closed_after(connect(url, 5.0)) as client:
            assert client.acl_whoami() in ("mon", b"mon")


# --- Sentinels ---


def test_sentinels_lead_to_the_primary_also_after_a_fail_over(
    servers: Any, sentinels: Any, monitor_of: MonitorOf, guard_of: GuardOf
) -> None:
    """The primary dies, its replica is promoted, and monitor and guard go on with it; a Sentinel that is gone costs nothing."""
    first = servers(Redis)
    second = servers(Redis, "--replicaof", f"127.0.0.1 {first.port}")
    with redis_py.Redis(port=second.port) as replica:
        eventually(lambda: replica.info("replication").get("master_link_status") == "up", BOUND_SECONDS)
    sentinel = sentinels("permits", first.port)
    with redis_py.Redis(port=sentinel.port) as asked:
        eventually(lambda: len(asked.sentinel_slaves("permits")) == 1, BOUND_SECONDS)
    url = f"redis+sentinel://127.0.0.1:{another_port()},127.0.0.1:{sentinel.port}/permits/0"
    monitor = monitor_of(first)
    gate = guard_of(monitor, url)
    assert written(url, monitor) is True
    admitted(gate)
    first.kill()
    eventually(lambda: written(url, monitor) is True, BOUND_SECONDS)
    with redis_py.Redis(port=second.port) as promoted:
        assert promoted.info("replication")["role"] == "master"
    eventually(lambda: withheld(gate) is None, BOUND_SECONDS)


def test_a_sentinel_with_a_login_of_its_own(servers: Any, sentinels: Any, monitor_of: MonitorOf, guard_of: GuardOf) -> None:
    """Store and Sentinels have a password each."""
    server = servers(Redis)
    with redis_py.Redis(port=server.port) as client:
        client.config_set("requirepass", "of-the-store")
    sentinel = sentinels("permits", server.port, "sentinel auth-pass permits of-the-store", "requirepass of-the-sentinel")
    monitor = monitor_of(server)
    url = f"redis+sentinel://:of-the-store@127.0.0.1:{sentinel.port}/permits?sentinel_password=of-the-sentinel"
    assert written(url, monitor) is True
    admitted(guard_of(monitor, url))
    told = written(f"redis+sentinel://:of-the-store@127.0.0.1:{sentinel.port}/permits", monitor)
    assert "do not say where the primary is" in str(told)


def test_sentinels_that_know_nothing_are_named(sentinels: Any, servers: Any, monitor_of: MonitorOf) -> None:
    """Another service's name, and a Sentinel that is taken for a store."""
    server = servers(Redis)
    sentinel = sentinels("permits", server.port)
    monitor = monitor_of(server)
    assert "none of them knows it" in str(written(f"redis+sentinel://127.0.0.1:{sentinel.port}/others", monitor))
    assert "it is a Sentinel" in str(written(f"redis://127.0.0.1:{sentinel.port}/0", monitor))


# --- not here, not now ---


def test_a_fail_over_without_a_cut_is_followed(
    servers: Any, kind: type[Redis], monitor_of: MonitorOf, guard_of: GuardOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address leads to another node while the old one, now a replica, keeps its connections: all sides move over."""
    for module in (failshut.store.connection, failshut.background.watcher, store_connection):
        monkeypatch.setattr(module, "AGE_SECONDS_MAX", 3600.0)  # what an old connection's end would mend is another claim
    old, new = servers(kind), servers(kind)
    switch = Switch(old.port)
    url, monitor = f"redis://127.0.0.1:{switch.port}/0", monitor_of(new)
    gate = guard_of(monitor, url)

    async def fail_over() -> str:
        """Write over one Store before, during and after; return what the writer said of the old node."""
        async with Store(url, 2.0) as store:
            assert await store.write([(statement(monitor), b"{}")]) == [1]
            await asyncio.to_thread(admitted, gate)
            with redis_py.Redis(port=old.port) as demoted:
                switch.target = new.port
                demoted.replicaof("127.0.0.1", another_port())  # of nobody who answers: what it holds stays as it is
            said = ""
            async with asyncio.timeout(BOUND_SECONDS):
                while True:
                    try:
                        assert await store.write([(statement(monitor), b"{}")]) == [1]
                        return said
                    except StoreUnreachable as error:
                        said = str(error)
                        await asyncio.sleep(0.1)

    assert "it is a replica" in asyncio.run(fail_over())
    with redis_py.Redis(port=new.port) as promoted:

        def all_moved() -> bool:
            monitor.issue(ttl_ms=60_000)
            return withheld(gate) is None and bool(promoted.pubsub_channels())

        eventually(all_moved, BOUND_SECONDS)
    # The listener moved as well: what is pushed at the new node closes.
    monitor.close(because="pushed", write=False)
    assert denied_with(gate, Cause.DRIFT, seconds=BOUND_SECONDS).because
    switch.close()


def test_outcomes_wait_while_the_store_is_a_replica(servers: Any, kind: type[Redis]) -> None:
    """What a replica refuses was not applied: the outcomes are kept and not counted as lost."""
    server = servers(kind)
    store = GuardsStore(server.url, 2_000)
    entry = Outcomes("a.b", "0" * 16, "", "ok", 1, 0)
    assert store.append(NAMES, [entry], "me") == []
    with redis_py.Redis(port=server.port) as demoted:
        demoted.replicaof("127.0.0.1", another_port())
    for _ in range(2):  # over the old connection, and over a new one
        with pytest.raises(Unreachable, match="it is a replica") as refused:
            store.append(NAMES, [entry], "me")
        assert not refused.value.maybe_applied
        assert refused.value.elsewhere
    store.close()


def test_a_replica_opens_no_gate(servers: Any, kind: type[Redis], monitor_of: MonitorOf, guard_of: GuardOf) -> None:
    """A guard that is pointed at a replica withholds and says so, although a valid permit stands there."""
    primary = servers(kind)
    replica = servers(kind, "--replicaof", f"127.0.0.1 {primary.port}")
    monitor = monitor_of(primary)
    monitor.issue(ttl_ms=60_000)
    with redis_py.Redis(port=replica.port) as there:
        eventually(lambda: there.dbsize() == 1, BOUND_SECONDS)
    assert "it is a replica" in denied_with(guard_of(monitor, replica.url), Cause.STORE_UNREACHABLE).because
    assert "it is a replica" in str(written(replica.url, monitor))


def test_a_connection_does_not_grow_old(
    servers: Any, monitor_of: MonitorOf, guard_of: GuardOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the address leads to another primary and the old one knows nothing of it, old connections end by themselves."""
    monkeypatch.setattr(failshut.store.connection, "AGE_SECONDS_MAX", 1.0)
    old, new = servers(Valkey), servers(Valkey)
    switch, monitor = Switch(old.port), monitor_of(new)
    gate = guard_of(monitor, f"redis://127.0.0.1:{switch.port}/0")
    denied_with(gate, Cause.NO_PERMIT)
    switch.target = new.port
    monitor.issue(ttl_ms=120_000)
    eventually(lambda: withheld(gate) is None, BOUND_SECONDS)
    switch.close()


def test_a_cluster_is_refused_by_name(servers: Any, kind: type[Redis], monitor_of: MonitorOf, guard_of: GuardOf) -> None:
    """Guard, writer and worker say that it is a cluster, with and without slots, and no gate opens."""
    server = servers(kind, "--cluster-enabled", "yes")
    monitor = monitor_of(server)
    for slots in (False, True):
        if slots:
            with redis_py.Redis(port=server.port) as node:
                node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                eventually(lambda: "ok" in str(node.cluster("info")).split("cluster_slots")[0], BOUND_SECONDS)
            monitor.issue(ttl_ms=60_000)
        assert "a cluster, which is not supported" in str(written(server.url, monitor))
        gate = guard_of(monitor, server.url)
        for _ in range(3):
            with pytest.raises(Withheld, match="a cluster, which is not supported"):
                gate.check(SUBJECT)

        async def check() -> None:
            async with Store(server.url, 2.0) as store:
                await store.check()

        with pytest.raises(StoreUnfit, match="cluster"):
            asyncio.run(check())


class Saying:
    """A server that answers every command alike. For what a real one says only for a moment."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65_536):
                if b"HELLO" in data:
                    connection.sendall(b"-ERR unknown command 'HELLO'\r\n")
                elif b"CLIENT" in data:
                    connection.sendall(b"+OK\r\n" * data.count(b"SETINFO"))
                else:
                    connection.sendall(f"-{self.answer}\r\n".encode())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("READONLY You can't write against a read only replica.", "it is a replica"),
        ("ERR Error running script (call to f_1): @user_script:19: -READONLY You can't write", "it is a replica"),
        ("LOADING Redis is loading the dataset in memory", "still loading"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "lost its primary"),
        ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", "it is a replica"),
        ("MOVED 3999 127.0.0.1:6381", "a cluster"),
        ("ASK 3999 127.0.0.1:6381", "a cluster"),
        ("CLUSTERDOWN Hash slot not served", "a cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "a cluster"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "a cluster"),
        ("NOREPLICAS Not enough good replicas to write.", "fewer replicas"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save"),
    ],
    ids=lambda text: text.split()[0],
)
def test_each_such_answer_is_named_and_ends_its_connection(answer: str, words: str) -> None:
    """By readers and writers, in a transaction and out of it, sync and async; the next try connects anew."""
    said = Saying(answer)
    client = connect(said.url, 5.0)
    with pytest.raises(WrongStore, match=words):
        client.set("a", "b")
    assert said.connections == 1
    with client.pipeline(transaction=True) as pipe:
        pipe.get("a")
        with pytest.raises(WrongStore, match=words):
            pipe.execute()
    assert said.connections == 2
    client.close()
    guards = GuardsStore(said.url, 5_000)
    with pytest.raises(Unreachable, match=words):
        guards.read(NAMES, ["a.b"])
    assert said.connections == 3

    async def twice() -> None:
        async with Store(said.url, 5.0) as store:
            for number in (4, 5):
                with pytest.raises(StoreUnreachable, match=words):
                    await store.write([(statement(Monitor(said.url, "a.b")), b"{}")])
                assert said.connections == number

    asyncio.run(twice())


@pytest.mark.slow
def test_commands_refuse_a_cluster_by_name(servers: Any, tmp_path: Path) -> None:
    """`failshut gates` and `failshut run` end with status 1 and say why; `run` asks before it touches Kafka."""
    server = servers(Valkey, "--cluster-enabled", "yes")
    commands = (
        ["keys", "create"],
        ["gates", "--store", server.url, "--installation", NAMES.installation],
        ["run", "--store", server.url, "--broker", f"kafka://127.0.0.1:{another_port()}"],
    )
    ended = [
        subprocess.run(
            [sys.executable, "-m", "failshut_console", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        for command in commands
    ]
    assert [one.returncode for one in ended] == [0, 1, 1], [one.stderr for one in ended]
    for one in ended[1:]:
        assert "a cluster, which is not supported" in one.stderr
        assert "Traceback" not in one.stderr


async def test_a_connection_that_the_server_has_ended_is_no_trouble(store: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooled one that was cut while nobody used it is made anew: no command needs a second try, in monitor and guard."""
    monkeypatch.setattr(store_connection, "RELOOK_SECONDS", 0.0)
    monkeypatch.setattr(failshut.store.connection, "RELOOK_SECONDS", 0.0)
    monitor, guard = store_connection.connect(store.url, 5.0, connections_max=2), connect(store.url, 5.0)
    try:
        with redis_py.Redis.from_url(store.url) as other:
            for _ in range(3):
                assert await monitor.ping() and guard.ping()  # noqa: PT018
                other.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        assert await monitor.ping() and guard.ping()  # noqa: PT018
    finally:
        await monitor.aclose()
        guard.close()
