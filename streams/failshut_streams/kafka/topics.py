"""The topics: what each is called, what it must be like, and that it is.

A topic with the wrong settings fails late and in silence. Producers may then set the times of front-door records, retention
removes commands, or compaction removes evidence. So a worker creates missing topics and refuses to run on topics that do not
fit. It says what that means for the gates and what to do.

Control is compacted, because time marks arrive there several times a second for ever. All marks share one key, so only the
newest stays. Every command has a key of its own (`operator.command_key`), so compaction removes none. It removes no term and no
reset, and no activation because of a later one that was refused or forged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from failshut_breakers.evidence.log import EvidenceLog
from failshut_streams.kafka import segments
from failshut_streams.kafka.address import client_options, shown
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.metadata import ClusterFound, TopicFound, ask

TELEMETRY: Final = "telemetry"
OTLP_METRICS: Final = "otlp_metrics"
INTERNAL: Final = "internal"
CONTROL: Final = "control"
EVIDENCE: Final = "evidence"
DECISIONS: Final = "decisions"
DEAD_LETTER: Final = "dead_letter"

FRONT_DOOR: Final = (TELEMETRY, OTLP_METRICS, INTERNAL, CONTROL)
"""Where everything that a decision may depend on comes in, and so where time marks are written."""
ROLES: Final = (*FRONT_DOOR, EVIDENCE, DECISIONS, DEAD_LETTER)

EVIDENCE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest evidence record that the topic takes."""
CONTROL_BYTES_MAX: Final = 4 * 1024 * 1024
"""The largest control record: a policy bundle, signed."""

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_CREATE_SECONDS_MAX = 30.0
_CONFIG_SECONDS_MAX = 30.0


class TopicsUnfit(Exception):
    """Topics are not what the gates need. `problems` has a line for each: what is wrong, what it means, what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BrokerUnreachable(Exception):
    """No broker answered, or it refused to. Nothing is known of the topics."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The physical names: prefix and role."""

    prefix: str = ""

    def physical(self, role: str) -> str:
        """Return the name at the broker. Raises KeyError for what is no role."""
        if role not in ROLES:
            raise KeyError(role)
        return self.prefix + role

    def role(self, physical: str) -> str:
        """Return the role that a name at the broker has. Raises KeyError for a topic that is not ours."""
        role = physical.removeprefix(self.prefix)
        if role not in ROLES or not physical.startswith(self.prefix):
            raise KeyError(physical)
        return role

    @property
    def telemetry(self) -> str:
        """Native JSON and CloudEvents."""
        return self.physical(TELEMETRY)

    @property
    def otlp_metrics(self) -> str:
        """What OpenTelemetry collectors write."""
        return self.physical(OTLP_METRICS)

    @property
    def internal(self) -> str:
        """What Failshut itself measures: outcomes of guards, lag of consumer groups. Nobody else may write it."""
        return self.physical(INTERNAL)

    @property
    def control(self) -> str:
        """Operators' commands."""
        return self.physical(CONTROL)

    @property
    def evidence(self) -> str:
        """Runs."""
        return self.physical(EVIDENCE)

    @property
    def decisions(self) -> str:
        """What governors decided."""
        return self.physical(DECISIONS)

    @property
    def dead_letter(self) -> str:
        """What could not be read."""
        return self.physical(DEAD_LETTER)

    @property
    def front_door(self) -> tuple[str, ...]:
        """The physical names of the front-door topics."""
        return tuple(self.physical(role) for role in FRONT_DOOR)


@dataclass(frozen=True, slots=True)
class Counts:
    """Partitions of a topic that is created. Control has one, always."""

    telemetry: int = 4
    otlp_metrics: int = 4
    internal: int = 1
    evidence: int = 4
    decisions: int = 4
    dead_letter: int = 1

    def of(self, role: str) -> int:
        """Return the count for a role."""
        return 1 if role == CONTROL else int(getattr(self, role))


@dataclass(frozen=True, slots=True)
class TopicsFound:
    """The topics as they are now, by role. `created` names the roles of those that did not exist before; `copies`
    is the replication factor for a topic that is created on these brokers. `remarks` says what could be
    better, and stops nothing.
    """

    topics: Topics
    found: Mapping[str, TopicFound]
    created: tuple[str, ...]
    copies: int
    remarks: tuple[str, ...] = ()

    @property
    def log(self) -> EvidenceLog:
        """The evidence log that is there."""
        return EvidenceLog(self.evidence_id, self.evidence_partitions)

    @property
    def evidence_id(self) -> str:
        """The evidence topic's id, which stands in every evidence record: 22 characters, as Kafka prints it."""
        return self.found[EVIDENCE].topic_id

    @property
    def evidence_partitions(self) -> int:
        """How many partitions the evidence topic has."""
        return self.found[EVIDENCE].partitions

    def partitions(self, role: str) -> int:
        """Return how many partitions a topic has."""
        return self.found[role].partitions


def settings_of(role: str, brokers: int) -> dict[str, str]:
    """Return the settings with which a topic is created."""
    settings = {"min.insync.replicas": str(max(1, replicas(brokers) - 1)), "unclean.leader.election.enable": "false"}
    if role in (*FRONT_DOOR, EVIDENCE):
        settings["message.timestamp.type"] = "LogAppendTime"
    if role == CONTROL:
        return settings | {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(_HOUR_MS),
            "max.message.bytes": str(CONTROL_BYTES_MAX),
            **segments.CONTROL,
        }
    settings |= segments.RETAINED
    settings["cleanup.policy"] = "delete"
    settings["retention.ms"] = str((30 if role == DECISIONS else 7) * _DAY_MS)
    if role == EVIDENCE:
        settings["max.message.bytes"] = str(EVIDENCE_BYTES_MAX)
    return settings


def replicas(brokers: int) -> int:
    """Return the replication factor on so many brokers."""
    return max(1, min(3, brokers))


def problems_of(role: str, name: str, partitions: int, settings: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a topic as it is, in sentences; nothing if it fits."""
    problems = []

    def alter(setting: str, meaning: str) -> None:
        key = setting.partition("=")[0]
        problems.append(
            f"topic {name} has {key}={settings.get(key, '?')}: {meaning}. "
            f"Run kafka-configs --alter --topic {name} --add-config {setting}"
        )

    if role in (*FRONT_DOOR, EVIDENCE) and settings.get("message.timestamp.type") != "LogAppendTime":
        alter("message.timestamp.type=LogAppendTime", "a producer could claim the future, and a permit outlive its evidence")
    cleanup = "compact" if role == CONTROL else "delete"
    if settings.get("cleanup.policy") != cleanup:
        meaning = "terms, activations and commands would run out" if role == CONTROL else "records would vanish unread"
        alter(f"cleanup.policy={cleanup}", meaning)
    if role in (*FRONT_DOOR, EVIDENCE) and settings.get("unclean.leader.election.enable") == "true":
        alter(
            "unclean.leader.election.enable=false",
            "acknowledged records could be replaced by others at the same offsets, which would be taken for read",
        )
    if role == EVIDENCE and int(settings.get("max.message.bytes", "0")) < EVIDENCE_BYTES_MAX:
        alter(f"max.message.bytes={EVIDENCE_BYTES_MAX}", "a large run could not be written, which stops its router")
    if role == CONTROL and int(settings.get("max.message.bytes", "0")) < CONTROL_BYTES_MAX:
        alter(f"max.message.bytes={CONTROL_BYTES_MAX}", "a policy bundle could not be activated")
    if role == CONTROL and partitions != 1:
        problems.append(
            f"topic {name} has {partitions} partitions and must have 1: commands have one order, which decides what a reset "
            f"answers, so no gate can open on it. Stop the workers, delete {name}, and open a new term: a worker creates it"
        )
    return problems


async def ensure(
    broker: str, topics: Topics, counts: Counts | None = None, *, changelog: str = "", timeout_s: float = 15.0
) -> TopicsFound:
    """Create the topics that are missing and check those that are there; return what they are now.

    A partition count of a topic that exists is taken as it is. `changelog` names that of a worker's snapshots, which Faust
    creates: it is looked at if it is there.

    Raises:
        TopicsUnfit: a topic is not what the gates need.
        BrokerUnreachable: no broker answered in time, or one refused.
    """
    counts = counts or Counts()
    timeout_ms = int(timeout_s * 1000)
    admin = AIOKafkaAdminClient(**client_options(broker), request_timeout_ms=timeout_ms)
    try:
        await admin.start()
        client: AIOKafkaClient = admin._client  # it has no name for it, and no request for topic ids
        names = [topics.physical(role) for role in ROLES]
        before = await ask(client, names)
        missing = tuple(role for role in ROLES if topics.physical(role) not in before.topics)
        if missing:
            await _create(admin, topics, missing, counts, len(before.brokers))
        now = await _all_led(client, names)
        settings = await _settings(admin, names)
        remarks = _remarks(topics, settings)
        if changelog and changelog in (await ask(client, [changelog])).topics:
            remarks += await _remarks_on_changelog(admin, changelog)
    except (KafkaError, OSError, TimeoutError) as error:
        why = await why_unreachable(broker) or f"{type(error).__name__}: {error}"
        raise BrokerUnreachable(f"{shown(broker)}: {why}") from error
    finally:
        await admin.close()
    found = {topics.role(name): topic for name, topic in now.topics.items()}
    problems = [
        problem
        for role in ROLES
        for problem in problems_of(role, found[role].name, found[role].partitions, settings[found[role].name])
    ]
    if problems:
        raise TopicsUnfit(problems)
    return TopicsFound(topics, found, missing, replicas(len(before.brokers)), tuple(remarks))


def _remarks(topics: Topics, settings: Mapping[str, Mapping[str, str]]) -> list[str]:
    wanted = {role: segments.CONTROL if role == CONTROL else segments.RETAINED for role in ROLES}
    names = ((role, topics.physical(role)) for role in ROLES)
    return [remark for role, name in names for remark in segments.remarks_on(name, settings[name], wanted[role])]


async def _remarks_on_changelog(admin: AIOKafkaAdminClient, name: str) -> list[str]:
    """Return what could be better about a changelog; nothing where its settings may not be read."""
    try:
        settings = await _settings(admin, [name])
    except TopicAuthorizationFailedError:
        return []
    return segments.remarks_on(name, settings[name], segments.CHANGELOG)


async def _create(admin: AIOKafkaAdminClient, topics: Topics, roles: tuple[str, ...], counts: Counts, brokers: int) -> None:
    """Create topics; another worker may do the same at the same time."""
    new = [
        NewTopic(topics.physical(role), counts.of(role), replicas(brokers), topic_configs=settings_of(role, brokers))
        for role in roles
    ]
    answer = await admin.create_topics(new)
    for name, code, *_ in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"topic {name} was not created")


async def _all_led(client: AIOKafkaClient, names: list[str]) -> ClusterFound:
    """Wait until every topic is known and every partition has a leader."""
    async with asyncio.timeout(_CREATE_SECONDS_MAX):
        while True:
            now = await ask(client, names)
            if all(name in now.topics and 0 < now.topics[name].partitions == now.topics[name].led for name in names):
                return now
            await asyncio.sleep(0.1)


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the settings in force of each topic, defaults included."""
    async with asyncio.timeout(_CONFIG_SECONDS_MAX):
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    settings = {}
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(message or f"settings of {name}")
            settings[name] = {entry[0]: entry[1] for entry in entries}
    return settings
