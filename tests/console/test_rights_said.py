"""A refusal is told as one, whatever the command around it believed."""

from __future__ import annotations

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from redis.exceptions import NoPermissionError

from failshut_breakers.store.client import StoreUnreachable
from failshut_console.exits import Exit, unreachable
from failshut_console.rights import missing_right
from failshut_streams.kafka.topics import BrokerUnreachable


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([BrokerUnreachable("k1:9092"), TopicAuthorizationFailedError("topic internal")], "may not do that to topic internal"),
        ([TopicAuthorizationFailedError({"b", "a"})], "may not do that to topic a, b"),
        ([ClusterAuthorizationFailedError()], "may write to no topic"),
        ([StoreUnreachable("x"), NoPermissionError("User viewer has no permissions to run the 'eval' command")], "User viewer"),
    ],
    ids=["a topic", "topics", "no topic at all", "the store"],
)
def test_the_right_that_is_missing_is_named(errors: list[Exception], said: str) -> None:
    """However deep it lies below an error that says that nobody answers."""
    trouble: Exception = unreachable("Kafka does not answer", "start it")
    at = trouble
    for error in errors:
        at.__cause__ = error
        at = error
    found = missing_right(trouble)
    assert found is not None
    assert said in found.what
    assert found.status is Exit.REFUSED


def test_another_cause_is_left_alone() -> None:
    """A server that does not answer is told as one, also where its errors go round in a circle."""
    trouble = unreachable("Kafka does not answer", "start it")
    assert missing_right(trouble) is None
    one, two = KafkaError("a"), OSError("b")
    trouble.__cause__, one.__cause__, two.__cause__ = one, two, one
    assert missing_right(trouble) is None
