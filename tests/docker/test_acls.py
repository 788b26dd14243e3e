"""docker/kafka/acls.txt and the users of docker/compose.yaml, tried on real servers with real passwords."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from failshut_servers import Kafka, free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"
TOPICS = ("telemetry", "otlp_metrics", "internal", "control", "evidence", "decisions", "dead_letter")
OPERATIONS = {operation.name.replace("_", "").lower(): operation for operation in AclOperation}
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}

pytestmark = [pytest.mark.slow]


def bindings() -> list[AclBinding]:
    """The table as the broker takes it."""
    found = []
    for line in (DOCKER / "kafka" / "acls.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        principal, operations, kind, pattern, name = line.split()
        found += [
            AclBinding(
                KINDS[kind],
                name,
                ResourcePatternType[pattern.upper()],
                f"User:{principal}",
                "*",
                OPERATIONS[operation.lower()],
                AclPermissionType.ALLOW,
            )
            for operation in operations.split(",")
        ]
    return found


def client(port: int, user: str) -> dict[str, str | int | float | bool]:
    """How a user of the table connects."""
    return {
        "bootstrap.servers": f"127.0.0.1:{port}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": f"{user}-password",
        "socket.timeout.ms": 10_000,
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a broker that knows the users and the table, with every topic."""
    inside, outside, controller = free_port(), free_port(), free_port()
    users = " ".join(f'user_{user}="{user}-password"' for user in ("failshut", "producer", "operator"))
    settings = {
        "listeners": f"PLAINTEXT://127.0.0.1:{inside},CLIENTS://127.0.0.1:{outside},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{inside},CLIENTS://127.0.0.1:{outside}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CLIENTS:SASL_PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.clients.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",  # the inner listener, which is this test's and the broker's own
    }
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    folder = tmp_path_factory.mktemp("guarded")
    with Kafka(folder, port=inside, voters={1: controller}, settings=settings) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for result in admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS]).values():
            result.result(30)
        for result in admin.create_acls(bindings()).values():
            result.result(30)
        # The controller has them; the broker follows its log.
        deadline = time.monotonic() + 30
        while len(admin.describe_acls(everything).result(30)) < len(bindings()):
            assert time.monotonic() < deadline, "the broker did not take up the table"
            time.sleep(0.05)
        yield outside


def write(port: int, user: str, topic: str) -> KafkaError | None:
    """Try to write one record; the broker's refusal, or None."""
    refusals: list[KafkaError | None] = []
    producer = Producer({**client(port, user), "message.timeout.ms": 10_000})
    producer.produce(topic, b"{}", on_delivery=lambda error, _: refusals.append(error))
    assert producer.flush(20) == 0
    return refusals[0]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("user", "writes"),
    [("producer", {"telemetry", "otlp_metrics"}), ("operator", {"control"}), ("failshut", set(TOPICS))],
)
def test_each_user_writes_its_own_topics_alone(guarded: int, user: str, writes: set[str]) -> None:
    """Producers cannot write evidence, decisions or what Failshut measures, operators nothing but control."""
    refused = {topic: write(guarded, user, topic) for topic in TOPICS}
    assert {topic for topic, error in refused.items() if error is None} == writes
    for error in refused.values():
        assert error is None or error.code() in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.UNKNOWN_TOPIC_OR_PART,  # what may not be described is not there
        }


@pytest.mark.kafka
@pytest.mark.parametrize("user", ["producer", "operator"])
def test_nobody_opens_a_transaction(guarded: int, user: str) -> None:
    """No user of the table may use a transactional id: an open transaction would hold back everybody's evidence."""
    producer = Producer({**client(guarded, user), "transactional.id": user})
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(20)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


@pytest.mark.kafka
def test_a_producer_cannot_give_itself_rights(guarded: int) -> None:
    """The table is the administrator's to change."""
    more = AclBinding(
        ResourceType.TOPIC,
        "evidence",
        ResourcePatternType.LITERAL,
        "User:producer",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient(client(guarded, "producer"))
    (result,) = admin.create_acls([more]).values()
    with pytest.raises(KafkaException, match="CLUSTER_AUTHORIZATION_FAILED"):
        result.result(30)
