"""What brokers say of topics now: ids, partition counts, how many brokers there are.

The client aiokafka sends Kafka's metadata request up to version 5, which knows no topic ids. But every evidence record
holds the id of the evidence topic. So this module sends the request in version 12 (Apache Kafka 3.1 and newer), through
aiokafka's own connections.

A broker learns of a new partition a moment after the controller made it, and each broker at its own moment. Whoever must not
miss one asks them all and takes the largest count: the partition's leader knows of it before it takes a record. Limit: a
broker that answers producers but not us, for a partition of which no other broker has heard yet, is missed for that moment.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields
from aiokafka.protocol.types import Int8 as _AnyType

BROKERS_ASKED_MAX = 64
"""More brokers than this are not asked one by one; the first by their id are."""

_UNKNOWN_TOPIC = int(UnknownTopicOrPartitionError.errno)


class Uuid(_AnyType):  # type: ignore[misc]  # aiokafka has no types; an array wants a subclass of its base type
    """Sixteen bytes, as text the way Kafka prints them: base64url without padding, 22 characters."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        """Return the sixteen bytes; an empty text is the id that means none."""
        return base64.urlsafe_b64decode(value + "==") if value else bytes(16)

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        """Return the text."""
        return base64.urlsafe_b64encode(data.read(16)).rstrip(b"=").decode()


class MetadataResponse(Response):  # type: ignore[misc]
    """Version 12."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    """Version 12."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicMetadataRequest(Request[MetadataRequestStruct]):  # type: ignore[misc]
    """Asks for some topics by name; asking creates none."""

    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[MetadataRequestStruct]) -> MetadataRequestStruct:
        """Return the wire form."""
        return request_struct_class([("", name, {}) for name in self._names], False, False, {})


@dataclass(frozen=True, slots=True)
class TopicFound:
    """One topic as a broker knows it. `led` is how many of its partitions have a leader now."""

    name: str
    topic_id: str
    partitions: int
    led: int


@dataclass(frozen=True, slots=True)
class ClusterFound:
    """A broker's answer. A topic that it does not know is not among `topics`."""

    brokers: tuple[int, ...]
    topics: dict[str, TopicFound]


async def ask(
    client: AIOKafkaClient, names: Iterable[str], node_id: Any = None, group: ConnectionGroup = ConnectionGroup.DEFAULT
) -> ClusterFound:
    """Ask one broker (any, by default) for topics, now; nothing that was known before is used.

    Raises:
        KafkaError: no answer, an answer with an error, or a broker older than Apache Kafka 3.1.
    """
    request = TopicMetadataRequest(names)
    try:
        answer = await client.send(client.get_random_node() if node_id is None else node_id, request, group=group)
    except NotImplementedError as error:
        raise IncompatibleBrokerVersion("the broker knows no topic ids: Apache Kafka 3.1 or newer is needed") from error
    topics = {}
    for code, name, topic_id, _, partitions, *_ in answer.topics:
        if code == _UNKNOWN_TOPIC:
            continue
        if code:
            raise for_code(code)(f"topic {name}")
        # One more than the highest number: a partition that is left out of the answer exists nevertheless.
        count = 1 + max((partition[1] for partition in partitions), default=-1)
        topics[name] = TopicFound(name, topic_id, count, sum(partition[2] >= 0 for partition in partitions))
    return ClusterFound(tuple(sorted(broker[0] for broker in answer.brokers)), topics)


class PartitionCounts:
    """Asks every broker for the partition counts of some topics, with one question under way for each broker."""

    def __init__(self, client: AIOKafkaClient, names: Iterable[str]) -> None:
        self._client = client
        self._names = list(names)
        self._asked: dict[Any, asyncio.Task[ClusterFound]] = {}

    async def now(self, first_s: float, others_s: float) -> dict[str, int]:
        """Return each topic's partition count, the largest that any broker knows. A topic that none knows is left out.

        Only answers to questions sent after this call began count. A broker that does not answer within `others_s` of the
        first answer is left out. It is asked again only after its last question has ended.

        Raises:
            KafkaError: no broker answered within `first_s`.
        """
        tasks = [task for node_id in self._nodes() if (task := self._question(node_id)) is not None]
        answers = await _answers(tasks, first_s, others_s)
        if not answers:
            raise KafkaError(f"no broker answered within {first_s} s")
        known = {broker.nodeId for broker in self._client.cluster.brokers()}
        if any(set(answer.brokers) - known for answer in answers):
            self._client.force_metadata_update()  # a broker has come: it is asked from the next time on
        counts: dict[str, int] = {}
        for answer in answers:
            for topic in answer.topics.values():
                counts[topic.name] = max(counts.get(topic.name, 0), topic.partitions)
        return counts

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _nodes(self) -> list[Any]:
        return sorted((broker.nodeId for broker in self._client.cluster.brokers()), key=str)[:BROKERS_ASKED_MAX]

    def _question(self, node_id: Any) -> asyncio.Task[ClusterFound] | None:
        """Start a question to a broker; none while its last one is under way."""
        if node_id in self._asked:
            return None
        # A connection of its own: on that of the records an answer would wait for their acknowledgements.
        task = asyncio.ensure_future(ask(self._client, self._names, node_id, ConnectionGroup.COORDINATION))
        self._asked[node_id] = task
        task.add_done_callback(lambda _: self._asked.pop(node_id, None))
        return task


async def _answers(tasks: list[asyncio.Task[ClusterFound]], first_s: float, others_s: float) -> list[ClusterFound]:
    """Wait for a first answer, then a little for the others; return what came. Failures are left out."""
    loop = asyncio.get_running_loop()
    end = loop.time() + first_s
    answers: list[ClusterFound] = []
    pending = set(tasks)
    while pending and (left_s := end - loop.time()) > 0:
        done, pending = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, (KafkaError, OSError, TimeoutError)):
                raise error
            if error is None and not task.cancelled():
                if not answers:
                    end = min(end, loop.time() + others_s)
                answers.append(task.result())
    return answers
