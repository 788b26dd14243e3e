"""The users that docker/setup.py makes, on real servers: a service reaches its own gates, and fills nobody else's memory."""

from __future__ import annotations

import asyncio
import importlib.util
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis as redis_py
import yaml
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError

from failshut import Cause, Closing, Permit
from failshut.epoch import epoch_of
from failshut.signing import SigningKey
from failshut.store.names import Names
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.decisions.probe_tokens import ProbeKey
from failshut_breakers.store.client import Store
from failshut_servers import Redis, Valkey
from failshut_streams.sources import outcomes as outcomes_module
from failshut_streams.sources.outcomes import OutcomeMover

DOCKER = Path(__file__).resolve().parents[2] / "docker"
INSTALLATION = "installationoftests"
NAMES = Names(INSTALLATION)
SERVICES = {"refund-agent": ["payments.refund"], "autoscaler": ["fleet.scale", "fleet.drain"]}
KEY = SigningKey.generate()
GATES = [gate for gates in SERVICES.values() for gate in gates]

pytestmark = pytest.mark.slow
Server = Valkey | Redis


def setup() -> ModuleType:
    """docker/setup.py as a module."""
    spec = importlib.util.spec_from_file_location("docker_setup", DOCKER / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(kind: type[Server], folder: Path, service: str, users: str) -> Server:
    """A server with the settings and users of a compose service; only its memory and the users' file are this test's."""
    command = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"][service]["command"][1:]
    settings = dict(zip(command[::2], command[1::2], strict=True))
    assert settings.pop("--aclfile") == f"/acl/{service}.acl"
    assert settings["--maxmemory-policy"] == "noeviction"
    settings |= {"--maxmemory": "48mb", "--maxmemory-clients": "12mb"}
    (folder / "users.acl").write_text(users)
    more = [word for pair in settings.items() for word in pair]

    class WithUsers(kind):  # type: ignore[misc, valid-type]
        def command(self) -> list[str]:
            return [*super().command(), *more, "--aclfile", str(folder / "users.acl")]

        def ready(self) -> bool:
            try:
                with user_of(self, "failshut") as connection:
                    return self.running and bool(connection.ping())
            except redis_py.RedisError:
                return False

    return WithUsers(folder)


@pytest.fixture(scope="module", params=[Valkey, Redis])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The store of permits and that of outcomes."""
    if request.param is Redis and not Redis.available():
        pytest.skip("Redis is not installed here (apt-get install redis-server): what Valkey shows stands alone")
    passwords = {name: name for name in (*SERVICES, "failshut", "operator", "viewer")}
    permits, outcomes = setup().users(INSTALLATION, passwords, SERVICES)
    first, second = tmp_path_factory.mktemp("permits"), tmp_path_factory.mktemp("outcomes")
    with started(request.param, first, "redis", permits) as one, started(request.param, second, "outcomes", outcomes) as two:
        yield one, two


def user_of(server: Server, name: str, seconds: float = 5) -> redis_py.Redis:
    """A connection as one of the users; in this test a password is its user's name."""
    return redis_py.Redis(port=server.port, username=name, password=name, socket_timeout=seconds)


def url_of(server: Server) -> str:
    return f"redis://failshut:failshut@127.0.0.1:{server.port}/0"


def refused(connection: redis_py.Redis, *commands: str) -> None:
    for command in commands:
        with pytest.raises((NoPermissionError, AuthenticationError)):
            connection.execute_command(*shlex.split(command))


def test_a_service_reads_its_records_and_writes_none(stores: tuple[Server, Server]) -> None:
    """One that was taken over can forge no permit, delete no closing, hold up nobody and empty no store."""
    permits, outcomes = stores
    worker, service = user_of(permits, "failshut"), user_of(permits, "refund-agent")
    mine = NAMES.record("payments.refund")
    worker.set(mine, "token", px=60_000)
    worker.rpush(NAMES.probes("payments.refund"), "1:0:mac")
    with service.pipeline(transaction=True) as both:
        both.getrange(mine, 0, 9)
        both.pttl(mine)
        record, left = both.execute()
    assert record == b"token"
    assert left > 0
    worker.hset(NAMES.fence("payments.refund"), "epoch", "9")
    assert service.hstrlen(NAMES.fence("payments.refund"), "epoch") == 1
    assert service.hmget(NAMES.fence("payments.refund"), ["epoch", "kind"]) == [b"9", None]
    worker.delete(NAMES.fence("payments.refund"))
    assert service.rpop(NAMES.probes("payments.refund")) == b"1:0:mac"
    service.pubsub().subscribe(NAMES.push)
    refused(
        service,
        f"GET {mine}",
        f"SET {mine} forged",
        f"DEL {mine}",
        f"HSET {NAMES.fence('payments.refund')} epoch 9",
        f"RPUSH {NAMES.probes('payments.refund')} forged",
        f"XADD {NAMES.outcomes('payments.refund')} * gate x",
        f"PUBLISH {NAMES.push} forged",
        "EVAL 'return 1' 0",
        "SCRIPT FLUSH",
        "FLUSHALL",
        "CONFIG GET *",
        "CLIENT PAUSE 60000 ALL",
        "CLIENT KILL TYPE normal",
        "CLIENT NO-EVICT ON",
        "SCAN 0",
        "MONITOR",
    )
    refused(user_of(outcomes, "refund-agent"), "FLUSHALL", "CLIENT PAUSE 60000 ALL", "SCAN 0", "EVAL 'return 1' 0")


def test_a_service_reaches_its_own_gates_alone(stores: tuple[Server, Server]) -> None:
    """It can take no probe token of another gate, read none of its records, and say nothing of its outcomes."""
    permits, outcomes = stores
    worker, service = user_of(permits, "failshut"), user_of(permits, "refund-agent")
    worker.rpush(NAMES.probes("fleet.scale"), "1:0:mac")
    refused(
        service,
        f"RPOP {NAMES.probes('fleet.scale')}",
        f"GETRANGE {NAMES.record('fleet.scale')} 0 9",
        f"HMGET {NAMES.fence('fleet.scale')} epoch",
        f"SUBSCRIBE {Names('j' * 32).push}",
        f"GETRANGE {Names('j' * 32).record('payments.refund')} 0 9",
    )
    assert worker.llen(NAMES.probes("fleet.scale")) == 1
    reporter = user_of(outcomes, "refund-agent")
    assert reporter.xadd(NAMES.outcomes("payments.refund"), {"outcome": "ok"}, maxlen=10)
    refused(
        reporter,
        f"XADD {NAMES.outcomes('fleet.scale')} * outcome failed",
        f"XADD {Names('j' * 32).outcomes('payments.refund')} * outcome failed",
        f"XTRIM {NAMES.outcomes('payments.refund')} MAXLEN 0",
        f"XRANGE {NAMES.outcomes('payments.refund')} - +",
    )


def test_nobody_gets_in_without_a_name(stores: tuple[Server, Server]) -> None:
    """The default user is off, in both."""
    for server in stores:
        with pytest.raises(AuthenticationError):
            redis_py.Redis(port=server.port, socket_timeout=5).ping()


def test_no_installation_reaches_anothers_names(stores: tuple[Server, Server]) -> None:
    """A monitor's user is held to its installation as well, where two share a store."""
    worker = user_of(stores[0], "failshut")
    refused(worker, f"SET {Names('j' * 32).record('payments.refund')} x", f"PUBLISH {Names('j' * 32).push} x", "FLUSHALL")


def closing(offset: int, gate: str = "payments.refund") -> Statement:
    epoch = epoch_of(1, offset)
    said = Closing(
        installation=INSTALLATION, gate=gate, epoch=epoch, offset=offset, partition=0, policy="", cause=Cause.LOCK,
        because="held", evidence_ms=1, breaker="LOCKED",
    )  # fmt: skip
    return Statement(gate, "closing", epoch, offset, said.sign(KEY), 0, (), "")


def permit(offset: int, gate: str = "payments.refund") -> Statement:
    now_ms, epoch = int(time.time() * 1000), epoch_of(1, offset)
    said = Permit(
        installation=INSTALLATION, gate=gate, epoch=epoch, offset=offset, partition=0, policy="sha256:x", mode="armed",
        evidence_ms=now_ms, nbf_ms=now_ms, exp_ms=now_ms + 60_000, ttl_ms=60_000, subjects=("*",),
    )  # fmt: skip
    return Statement(gate, "permit", epoch, offset, said.sign(KEY), said.exp_ms, (), "")


def fill(server: Server, name: str, gate: str) -> int:
    """Append entries of half a megabyte until the store takes no more; return how many bytes it took."""
    with user_of(server, name) as service:
        for number in range(1_000):
            try:
                service.xadd(NAMES.outcomes(gate), {"outcome": "x" * 500_000})
            except OutOfMemoryError:
                return number * 500_000
    raise AssertionError("the store took everything")


def hoard(server: Server, name: str) -> list[redis_py.Redis]:
    """Make the store keep what it may not: giant names, commands that wait in transactions, answers that nobody reads."""
    hoarders = []
    for _ in range(40):
        service = user_of(server, name)
        hoarders.append(service)
        try:
            connection = service.connection_pool.get_connection()
            connection.send_command("MULTI")
            for _ in range(20):
                connection.send_command("GETRANGE", NAMES.record("payments.refund") + "x" * 500_000, 0, 9)
        except (redis_py.RedisError, OSError):
            continue  # evicted or cut off: what the limits are for
    return hoarders


async def test_whatever_a_service_fills_closings_are_written_and_pushed(stores: tuple[Server, Server]) -> None:
    """Its outcomes have a store of their own, and its connections a bound: permits and closings find their memory."""
    permits, outcomes = stores
    taken = fill(outcomes, "refund-agent", "payments.refund")
    hoarders = hoard(permits, "autoscaler")
    listener = user_of(permits, "refund-agent").pubsub(ignore_subscribe_messages=True)
    listener.subscribe(NAMES.push)
    listener.get_message(timeout=10)
    async with Store(url_of(permits), timeout_s=5.0) as store:
        for offset in range(7, 27, 2):
            assert await store.write([(permit(offset), b"{}"), (closing(offset + 1), b"{}")]) == [1, 1]
    heard = [message["data"] for _ in range(30) if (message := listener.get_message(timeout=0.5))]
    assert len(heard) == 10
    assert user_of(permits, "refund-agent").getrange(NAMES.record("payments.refund"), 0, 9_999) == closing(26).token.encode()
    assert taken > 10_000_000
    for hoarder in hoarders:
        hoarder.close()
    user_of(outcomes, "failshut").delete(NAMES.outcomes("payments.refund"))


class Topic:
    """Stands in for Kafka: it notes what is written and acknowledges it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        self.written.append(value)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def send_and_wait(self, topic: str, value: bytes, key: bytes) -> None:
        self.written.append(value)


async def test_a_full_store_of_outcomes_is_free_again_after_one_pass(stores: tuple[Server, Server]) -> None:
    """The monitor deletes what is over its bound before it reads anything, and other gates' outcomes come through."""
    _, outcomes = stores
    assert fill(outcomes, "refund-agent", "payments.refund") > outcomes_module.BYTES_MAX
    other: Any = {"epoch": epoch_of(1, 5), "outcome": "failed", "count": 3}
    with pytest.raises(OutOfMemoryError):
        user_of(outcomes, "autoscaler").xadd(NAMES.outcomes("fleet.scale"), {**other, "instance": "x" * 500_000})
    topic = Topic()
    mover = OutcomeMover(url_of(outcomes), topic, "internal", "w", INSTALLATION, lambda: GATES, ProbeKey(KEY))
    try:
        await mover.move_once()
        assert mover.dropped > 10
        user_of(outcomes, "autoscaler").xadd(NAMES.outcomes("fleet.scale"), other)
        assert await mover.move_once() == 1
    finally:
        await mover.stop()
    assert b'"lost"' in topic.written[0]
    assert b"payments.refund" in topic.written[0]
    assert b"fleet.scale" in topic.written[1]
