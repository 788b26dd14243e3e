"""Kafka as people run it: SCRAM, a private authority, mutual TLS, for every client of ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from connecting.places import Authority, Certified
from monitor.harness import Installation
from monitor.policies import heartbeat

from failshut_servers import Kafka, Valkey, free_port
from failshut_streams.control.client import Operator
from failshut_streams.kafka.topics import BrokerUnreachable, Counts, Topics, ensure

pytestmark = [pytest.mark.kafka, pytest.mark.store, pytest.mark.slow]

PASSWORD = "s3cret/?@#"
ENCODED = "s3cret%2F%3F%40%23"


@dataclass(frozen=True)
class Secured:
    """A broker with four doors, and what it takes to come in."""

    kafka: Kafka
    plain: int
    scram: int
    mutual: int
    ca: Path
    client: Certified

    def address(self, door: str) -> str:
        """The whole address of a door."""
        login = f"worker:{ENCODED}@"
        files = f"ca={self.ca}"
        return {
            "PLAIN": f"kafka://{login}127.0.0.1:{self.plain}",
            "SCRAM-SHA-256": f"kafkas://{login}127.0.0.1:{self.scram}?mechanism=SCRAM-SHA-256&{files}",
            "SCRAM-SHA-512": f"kafka+ssl://{login}127.0.0.1:{self.scram}?mechanism=SCRAM-SHA-512&{files}",
            "mutual": (
                f"kafkas://127.0.0.1:{self.mutual}?{files}&cert={self.client.cert}&key={self.client.key}&key_password=of-the-key"
            ),
        }[door]

    def environment(self, door: str) -> dict[str, str]:
        """The same, with what is better not in an address beside it."""
        at = {"PLAIN": self.plain, "mutual": self.mutual}.get(door, self.scram)
        said = {"": f"{'kafka' if door == 'PLAIN' else 'kafkas'}://127.0.0.1:{at}"}
        if door != "PLAIN":
            said |= {"_CA": str(self.ca)}
        if door == "mutual":
            said |= {"_CERT": str(self.client.cert), "_KEY": str(self.client.key), "_KEY_PASSWORD": "of-the-key"}
        else:
            said |= {"_USER": "worker", "_PASSWORD": PASSWORD, "_MECHANISM": door}
        return {f"FAILSHUT_BROKER{name}": value for name, value in said.items()}


DOORS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "mutual"]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Secured]:
    """A broker with a private authority's certificate, SCRAM and PLAIN logins, and a door for client certificates."""
    folder = tmp_path_factory.mktemp("secured")
    inner, controller, plain, scram, mutual = (free_port() for _ in range(5))
    server = authority.certify("broker")
    store = folder / "broker.pem"
    store.write_text(server.pem())
    doors = {"PLAINTEXT": inner, "LOGIN": plain, "SCRAM": scram, "MUTUAL": mutual}
    listeners = ",".join(f"{door}://127.0.0.1:{port}" for door, port in doors.items())
    login = "org.apache.kafka.common.security"
    settings = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": f'{login}.plain.PlainLoginModule required user_worker="{PASSWORD}";',
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.mutual.ssl.client.auth": "required",
    }
    with Kafka(folder / "kafka", port=inner, voters={1: controller}, settings=settings) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            wanted = UserScramCredentialUpsertion("worker", info, PASSWORD.encode())
            for result in admin.alter_user_scram_credentials([wanted]).values():
                result.result(30)
        client = authority.certify("worker", password="of-the-key")
        yield Secured(kafka, plain, scram, mutual, authority.ca, client)


@pytest.mark.parametrize("door", DOORS)
async def test_a_whole_monitor_lives_behind_each_door(
    secured: Secured, store: Valkey, tmp_path: Path, suffix: str, door: str
) -> None:
    """Faust, every client beside it, operator and console come in, and no log says the password, not at DEBUG either."""
    policies = {"a.yaml": heartbeat("pay", grace="600s", ttl="30s")}
    broker = secured.address(door)
    async with Installation(
        secured.kafka, store, tmp_path, f"{suffix}.", policies, broker=broker, log_level="DEBUG"
    ) as monitor:
        worker = monitor.worker()
        await monitor.send({"kind": "heartbeat", "service": "agent"})
        await monitor.opened("pay")
        key = tmp_path / "operator.pem"
        monitor.operator_key.save(key)
        locked = await asyncio.to_thread(
            _failshut,
            ["lock", "pay", "--why", "a test", "--prefix", monitor.prefix, "--key", str(key), "--wait", "60"],
            {**secured.environment(door), "FAILSHUT_STORE": store.url},
            tmp_path,
        )
        assert locked.returncode == 0, locked.stdout + locked.stderr
        await monitor.closed("pay")
        assert worker.stop() == 0
        said = worker.log.read_text(errors="replace") + locked.stdout + locked.stderr
        assert "s3cret" not in said
        assert "of-the-key" not in said


def _failshut(arguments: list[str], variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "failshut_console", *arguments],
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


async def reached(address: str) -> str:
    """Why an address leads nowhere, for those who create topics and for those who send commands; the same words."""
    with pytest.raises(BrokerUnreachable) as setting_up:
        await ensure(address, Topics("wrong."), Counts(), timeout_s=5.0)
    from failshut.signing import SigningKey

    with pytest.raises(BrokerUnreachable) as sending:
        async with Operator(address, SigningKey.generate(), "wrong.", timeout_s=5.0):
            pass
    assert str(sending.value).partition(": ")[2] == str(setting_up.value).partition(": ")[2]
    return str(sending.value)


async def test_what_is_wrong_is_said_by_its_setting(secured: Secured, tmp_path: Path) -> None:
    """A wrong password, mechanism, authority, certificate or scheme: the words name the setting and not the password."""
    scram, login = f"127.0.0.1:{secured.scram}", f"127.0.0.1:{secured.plain}"
    mutual, ca = f"127.0.0.1:{secured.mutual}", f"ca={secured.ca}"
    other = Authority(tmp_path, "other")
    wrong = {
        f"kafkas://worker:{ENCODED}x@{scram}?mechanism=SCRAM-SHA-512&{ca}": "refuses the login",
        f"kafka://worker:{ENCODED}x@{login}": "refuses the login",
        f"kafkas://worker:{ENCODED}@{scram}?{ca}": "setting mechanism",
        f"kafka://worker:{ENCODED}@{login}?mechanism=SCRAM-SHA-512": "setting mechanism",
        f"kafkas://worker:{ENCODED}@{scram}?mechanism=SCRAM-SHA-512": "settings ca",
        f"kafkas://worker:{ENCODED}@{scram}?mechanism=SCRAM-SHA-512&ca={other.ca}": "settings ca",
        f"kafka://worker:{ENCODED}@{scram}": "kafkas://",
        f"kafkas://worker:{ENCODED}@{login}?{ca}": "no TLS (kafka://)",
        f"kafkas://{mutual}?{ca}": "cert and key",
        f"kafka://{login}": "a login",
        f"kafka://127.0.0.1:{free_port()}": "does not listen",
    }
    for address, words in wrong.items():
        said = await reached(address)
        assert words in said, (address, said)
        assert "s3cret" not in said


def test_a_worker_that_cannot_come_in_says_so_and_ends(secured: Secured, store: Valkey, tmp_path: Path) -> None:
    """`failshut run` with a wrong password: status 3, the setting by name, and no password."""
    made = _failshut(["keys", "create"], {}, tmp_path)
    assert made.returncode == 0
    variables = {**secured.environment("SCRAM-SHA-512"), "FAILSHUT_BROKER_PASSWORD": "s3cret-and-wrong"}
    ended = _failshut(["run", "--log-level", "DEBUG"], {**variables, "FAILSHUT_STORE": store.url}, tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "settings user, password and mechanism" in ended.stderr
    assert "s3cret" not in ended.stdout + ended.stderr
