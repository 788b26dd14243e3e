"""docker/kafka/acls.txt and the users of docker/compose.yaml, tried on real servers with real passwords."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType
from docker.kafka_support import TOPICS, client, guarded_broker

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a broker with every topic."""
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as (port, _):
        yield port


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
    [("producer", {"telemetry", "otlp_metrics"}), ("operator", {"control"}), ("viewer", set()), ("failshut", set(TOPICS))],
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
@pytest.mark.parametrize("user", ["producer", "operator", "viewer"])
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
