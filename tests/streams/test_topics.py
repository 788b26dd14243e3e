"""Topics are created with what they need, and a worker refuses to run on ones that lack it."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from patience import patient

from failshut_servers import Kafka
from failshut_streams.kafka import segments
from failshut_streams.kafka.topics import (
    CONTROL,
    CONTROL_BYTES_MAX,
    EVIDENCE,
    FRONT_DOOR,
    ROLES,
    BrokerUnreachable,
    Counts,
    Topics,
    TopicsUnfit,
    ensure,
    problems_of,
    replicas,
    settings_of,
)
from failshut_streams.router.evidence_writer import REQUEST_BYTES_MAX


def test_names_go_there_and_back() -> None:
    """A role's physical name is prefix and role, and no other topic passes for one of ours."""
    topics = Topics("blue.")
    assert [topics.role(topics.physical(role)) for role in ROLES] == list(ROLES)
    assert topics.front_door == ("blue.telemetry", "blue.otlp_metrics", "blue.internal", "blue.control")
    for foreign in ("telemetry", "green.telemetry", "blue.orders"):
        with pytest.raises(KeyError):
            topics.role(foreign)
    with pytest.raises(KeyError):
        topics.physical("orders")


def test_replication_follows_the_brokers() -> None:
    """Three copies where there are three brokers, fewer where there are fewer."""
    assert [replicas(brokers) for brokers in (0, 1, 2, 3, 9)] == [1, 1, 2, 3, 3]
    assert settings_of(EVIDENCE, 3)["min.insync.replicas"] == "2"


def test_what_is_created_is_fit() -> None:
    """No topic is made with settings that its own check refuses."""
    for role in ROLES:
        assert problems_of(role, role, 1, {"max.message.bytes": "1048588"} | settings_of(role, 1)) == []


@pytest.mark.parametrize(
    ("role", "partitions", "setting", "says"),
    [
        *((role, 1, {"message.timestamp.type": "CreateTime"}, "claim the future") for role in (*FRONT_DOOR, EVIDENCE)),
        (CONTROL, 2, {}, "must have 1"),
        (CONTROL, 1, {"cleanup.policy": "delete"}, "would run out"),
        (CONTROL, 1, {"cleanup.policy": "compact,delete"}, "would run out"),
        (CONTROL, 1, {"max.message.bytes": "1000"}, "could not be activated"),
        ("telemetry", 4, {"cleanup.policy": "compact"}, "vanish unread"),
        (EVIDENCE, 4, {"cleanup.policy": "compact"}, "vanish unread"),
        (EVIDENCE, 4, {"max.message.bytes": "1048588"}, "stops its router"),
        (EVIDENCE, 4, {"unclean.leader.election.enable": "true"}, "same offsets"),
    ],
)
def test_each_unfit_setting_is_named(role: str, partitions: int, setting: dict[str, str], says: str) -> None:
    """One wrong setting makes one problem that names the topic and what it means."""
    settings = {"max.message.bytes": "1048588"} | settings_of(role, 1) | setting
    (problem,) = problems_of(role, f"x.{role}", partitions, settings)
    assert f"x.{role}" in problem
    assert says in problem


def test_what_is_created_needs_no_remark() -> None:
    """No topic is made in larger pieces than its own check names as too large."""
    for wanted in (segments.CHANGELOG, segments.CONTROL, segments.RETAINED):
        assert segments.remarks_on("x", wanted, wanted) == []
    for role in ROLES:
        assert settings_of(role, 1).items() >= (segments.CONTROL if role == CONTROL else segments.RETAINED).items()


@pytest.mark.parametrize("wanted", [segments.CHANGELOG, segments.CONTROL, segments.RETAINED])
def test_each_piece_that_is_too_large_is_named_with_what_mends_it(wanted: dict[str, str]) -> None:
    """Kafka's own sizes draw a sentence each, with the command; smaller pieces draw none."""
    kafkas = {"segment.bytes": "1073741824", "segment.ms": "604800000", "min.cleanable.dirty.ratio": "0.5"}
    remarks = segments.remarks_on("blue.x", kafkas, wanted)
    assert len(remarks) == len(wanted)
    for remark, (key, most) in zip(remarks, wanted.items(), strict=True):
        assert f"topic blue.x has {key}={kafkas[key]}" in remark
        assert remark.endswith(f"Run kafka-configs --alter --topic blue.x --add-config {key}={most}")
    assert segments.remarks_on("blue.x", dict.fromkeys(wanted, "0.01"), wanted) == []


def test_every_segment_has_room_for_the_largest_batch() -> None:
    """A broker refuses a batch that is larger than a segment of its topic, which would stop a worker."""
    assert int(segments.CHANGELOG["segment.bytes"]) >= 2 * REQUEST_BYTES_MAX
    assert int(segments.CONTROL["segment.bytes"]) >= 2 * CONTROL_BYTES_MAX


async def test_an_older_installation_is_warned_and_runs(kafka: Kafka, suffix: str) -> None:
    """Topics of an earlier version fit, with a remark on each piece that is too large, the changelog's among them."""
    topics, changelog = Topics(f"older-{suffix}."), f"older-{suffix}.failshut-snapshots-changelog"
    sizes = {*segments.CHANGELOG} - {"min.cleanable.dirty.ratio"}
    olds = [
        NewTopic(
            topics.physical(role),
            1,
            1,
            topic_configs={key: value for key, value in settings_of(role, 1).items() if role == CONTROL or key not in sizes},
        )
        for role in ROLES
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([*olds, NewTopic(changelog, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    finally:
        await admin.close()
    found = await ensure(kafka.url, topics, changelog=changelog)
    assert found.created == ()
    named = [remark.split()[1:4:2] for remark in found.remarks]
    assert named == [
        *([topics.physical(role), "segment.ms=604800000:"] for role in ROLES if role != CONTROL),
        [changelog, "segment.bytes=1073741824:"],
        [changelog, "segment.ms=604800000:"],
        [changelog, "min.cleanable.dirty.ratio=0.5:"],
    ]


async def test_a_changelog_that_is_not_there_yet_is_no_remark(kafka: Kafka, suffix: str) -> None:
    """Faust creates it when the first worker of a group starts."""
    topics = Topics(f"none-{suffix}.")
    assert (await ensure(kafka.url, topics, changelog=f"none-{suffix}.failshut-snapshots-changelog")).remarks == ()


async def test_missing_topics_are_created_and_described(kafka: Kafka, suffix: str) -> None:
    """A fresh cluster gets every topic, with the counts asked for and an evidence id; a second look creates none."""
    topics = Topics(f"fresh-{suffix}.")
    found = await ensure(kafka.url, topics, Counts(telemetry=3, evidence=2))
    assert set(found.created) == set(ROLES)
    assert {role: found.partitions(role) for role in ROLES} == {
        "telemetry": 3,
        "otlp_metrics": 4,
        "internal": 1,
        "control": 1,
        "evidence": 2,
        "decisions": 4,
        "dead_letter": 1,
    }
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found.evidence_id)
    again = await ensure(kafka.url, topics, Counts(telemetry=9, evidence=9))
    assert again.created == ()
    assert again.found == found.found


async def test_a_topic_made_anew_has_another_id(kafka: Kafka, suffix: str) -> None:
    """The id tells a topic from its successor of the same name."""
    topics = Topics(f"anew-{suffix}.")
    before = (await ensure(kafka.url, topics)).evidence_id
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topics.evidence])
        async with asyncio.timeout(patient(60)):
            while topics.evidence in await admin.list_topics():
                await asyncio.sleep(0.05)  # the deletion is still under way
    finally:
        await admin.close()
    assert (await ensure(kafka.url, topics)).evidence_id != before


async def test_two_workers_that_create_at_once_both_succeed(kafka: Kafka, suffix: str) -> None:
    """A topic that another worker makes meanwhile is no failure."""
    topics = Topics(f"both-{suffix}.")
    found = await asyncio.gather(*(ensure(kafka.url, topics) for _ in range(3)))
    assert {one.evidence_id for one in found} == {found[0].evidence_id}


async def test_unfit_topics_are_refused_together(kafka: Kafka, suffix: str) -> None:
    """Telemetry without LogAppendTime and control with three partitions are refused in one message that says what to do."""
    topics = Topics(f"unfit-{suffix}.")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        control = settings_of(CONTROL, 1)
        await admin.create_topics([NewTopic(topics.telemetry, 4, 1), NewTopic(topics.control, 3, 1, topic_configs=control)])
    finally:
        await admin.close()
    with pytest.raises(TopicsUnfit) as refusal:
        await ensure(kafka.url, topics)
    assert len(refusal.value.problems) == 2
    assert f"kafka-configs --alter --topic {topics.telemetry}" in str(refusal.value)
    assert f"{topics.control} has 3 partitions and must have 1" in str(refusal.value)


async def test_front_door_times_are_the_brokers(kafka: Kafka, suffix: str) -> None:
    """A producer that claims the future does not get it: append time stands in the record."""
    topics = Topics(f"times-{suffix}.")
    await ensure(kafka.url, topics)
    claimed_ms = 4_000_000_000_000
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        sent = [
            await producer.send_and_wait(name, b"{}", b"k", partition=0, timestamp_ms=claimed_ms)
            for name in (*topics.front_door, topics.evidence)
        ]
    finally:
        await producer.stop()
    assert all(one.timestamp_type == 1 and one.timestamp < claimed_ms for one in sent)


async def test_compaction_keeps_every_command_and_drops_marks(kafka: Kafka, suffix: str) -> None:
    """After compaction control holds each command still, and few of the marks that were written before them."""
    topics = Topics(f"compact-{suffix}.")
    hasty = settings_of(CONTROL, 1) | {"min.compaction.lag.ms": "0", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topics.control, 1, 1, topic_configs=hasty | {"max.compaction.lag.ms": "500"})])
    finally:
        await admin.close()
    await ensure(kafka.url, topics)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    commands = {f"activate/{n}".encode() for n in range(5)}
    marks = 0
    try:
        for key in sorted(commands):
            for _ in range(20):
                await producer.send_and_wait(topics.control, b"mark", b"failshut.mark")
                marks += 1
            await producer.send_and_wait(topics.control, b"command", key)
        for _ in range(600):  # the cleaner looks every 15 s
            await producer.send_and_wait(topics.control, b"mark", b"failshut.mark")
            marks += 1
            keys = await _keys(kafka, topics.control)
            if keys.count(b"failshut.mark") < marks / 2:
                break
            await asyncio.sleep(0.25)
    finally:
        await producer.stop()
    assert keys.count(b"failshut.mark") < marks / 2
    assert {key for key in keys if key != b"failshut.mark"} == commands


async def _keys(kafka: Kafka, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        (place,) = consumer.assignment()
        end = (await consumer.end_offsets([place]))[place]
        keys: list[bytes | None] = []
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                keys += [record.key for record in records]
        return keys
    finally:
        await consumer.stop()


async def test_no_broker_is_an_error_of_its_own(free_port: object) -> None:
    """A broker that is not there is told from topics that do not fit."""
    port = free_port()  # type: ignore[operator]
    with pytest.raises(BrokerUnreachable):
        await ensure(f"kafka://127.0.0.1:{port}", Topics(), timeout_s=2)
