"""A broker that knows the users of docker/compose.yaml, and refuses what docker/kafka/acls.txt does not allow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
USERS = ("failshut", "producer", "operator", "viewer")
OPERATIONS = {operation.name.replace("_", "").lower(): operation for operation in AclOperation}
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}


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


@contextmanager
def guarded_broker(folder: Path, topics: tuple[str, ...] = TOPICS) -> Iterator[tuple[int, AdminClient]]:
    """The port of a broker that knows the users and the table, with these topics, and its administrator."""
    inside, outside, controller = free_port(), free_port(), free_port()
    users = " ".join(f'user_{user}="{user}-password"' for user in USERS)
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
    with Kafka(folder, port=inside, voters={1: controller}, settings=settings) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for result in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values() if topics else ():
            result.result(30)
        for result in admin.create_acls(bindings()).values():
            result.result(30)
        # The controller has them; the broker follows its log.
        deadline = time.monotonic() + 30
        while len(admin.describe_acls(everything).result(30)) < len(bindings()):
            assert time.monotonic() < deadline, "the broker did not take up the table"
            time.sleep(0.05)
        yield outside, admin
