"""The operator's side of the control topic: signed commands in, and what control holds now.

A command counts because of its signature, not because of who could write to the topic. Each command has a key of its own there,
so compaction removes none. Suppose that compaction dropped a command because a later one had the same key. Then a router that
starts later would load other policies than the routers that run.

Limits: an acknowledged command is on the log. Whether a governor obeyed it is in the decisions. Anybody who may write
to control can use a command's key again; routers then write the command again if it must last (belonging.py). If no
router runs for an hour, compaction may be faster: a gate that loses its policy that way closes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import ConsumerRecord

from failshut.epoch import TERM_MAX
from failshut.signing import TYP_COMMAND, KeySet, SigningKey, TokenError, claims_unverified, read_token
from failshut.store.names import check_installation, new_installation
from failshut_breakers.command import Activate, Command, CommandError, NamelessCommand, OpenTerm, parse_command
from failshut_streams.kafka.address import READ_COMMITTED, client_options
from failshut_streams.kafka.compression import COMMANDS_CODEC
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.topics import CONTROL_BYTES_MAX, FRONT_DOOR, BrokerUnreachable, Topics, TopicsFound
from failshut_streams.sources.marks import MARK_KEY, wall_ms

COMMAND_BYTES_MAX: Final = CONTROL_BYTES_MAX - 64 * 1024
"""The longest command, as a token; what is left of the topic's limit is the record around it."""

_TEXT_MAX = 200


class TermError(Exception):
    """A term cannot be opened as asked: the one that is open is of another evidence topic."""


class Unacknowledged(Exception):
    """The broker did not acknowledge a command in time. It may be on the log all the same: look before sending it again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A verified command as it stands in control."""

    offset: int
    time_ms: int
    command: Command


def read_claims(token: bytes | None, keys: KeySet | None) -> dict[str, Any]:
    """Verify a command, the value of a control record whose key is not a mark's, and return its claims.

    `keys` are the operators', None where nobody is named yet.

    Raises:
        CommandError: no command, too long, unsigned, forged, or signed by nobody known.
    """
    if not token:
        raise CommandError("no value")
    if keys is None:
        raise CommandError("control names no operators yet")
    try:
        _, claims = read_token(token, keys, TYP_COMMAND, bytes_max=COMMAND_BYTES_MAX)
    except TokenError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error
    return claims


def read_command(token: bytes | None, keys: KeySet | None) -> Command:
    """Verify and read a command.

    Raises:
        CommandError: as `read_claims`, or its claims are no command's.
    """
    return parse_command(read_claims(token, keys))


def command_key(command: Command) -> bytes:
    """Return the record key of a command: its own, so that compaction keeps it."""
    return f"{command.kind}/{command.id}".encode()


def new_id() -> str:
    """Return an id that no other command has."""
    return uuid.uuid4().hex


def _root(terms: Iterable[tuple[OpenTerm, int]], evidence_id: str) -> str:
    """Return the installation of the first term that names an evidence topic, as routers find it; empty where none does."""
    return next((term.installation for term, _ in terms if term.evidence_id == evidence_id), "")


def _owner(terms: list[tuple[OpenTerm, int]], evidence_id: str, given: str) -> str:
    """Return the installation that the next term is of; empty where it is the first, whose id is still to be made.

    Raises:
        TermError: there is another than was given, or there are several and nothing says which.
    """
    root, known = _root(terms, evidence_id), {term.installation for term, _ in terms}
    if given and root not in ("", given):
        raise TermError(f"this evidence topic is of installation {root}, not of {given}")
    if not (given or root) and len(known) > 1:
        raise TermError(f"control holds terms of several installations ({', '.join(sorted(known))}): say which is yours")
    return given or root or next(iter(known), "")


def _number_of(token: bytes | None) -> int:
    """Return the number of a verified term of an older version; 0 for another command."""
    claims = claims_unverified(token or b"")
    number = claims.get("term") if claims.get("kind") == "term" else 0
    return number if type(number) is int and 0 < number < TERM_MAX else 0


class Operator:
    """Sends commands and reads control. `keys` says whose commands are believed when reading; by default one's own alone."""

    def __init__(
        self,
        broker: str,
        signing_key: SigningKey,
        prefix: str = "",
        name: str = "operator",
        *,
        keys: KeySet | None = None,
        timeout_s: float = 15.0,
        installation: str = "",
    ) -> None:
        self.topics = Topics(prefix)
        self._installation = check_installation(installation) if installation else ""
        self.name = name
        self._broker, self._options = broker, client_options(broker)
        self._key = signing_key
        self._keys = signing_key.key_set() if keys is None else keys
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._older = 0  # the newest believable term that names no installation

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(self._timeout_s * 1000),
            max_request_size=CONTROL_BYTES_MAX,
            compression_type=COMMANDS_CODEC,
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            why = await why_unreachable(self._broker) or f"{type(error).__name__}: {error}"
            raise BrokerUnreachable(f"{','.join(self._options['bootstrap_servers'])}: {why}") from error
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def installation(self) -> str:
        """Return the id that commands must name: what was given, else what routers find: that of the evidence topic's term.

        Never that of any other term in control: a copied one would have an operator sign for another installation.

        Raises:
            TermError: none was given, and no term of the evidence topic is open or can be seen.
            BrokerUnreachable: control could not be read.
        """
        if not self._installation:
            root = _root(await self._terms(), await self._evidence_id())
            if not root:
                raise TermError("no term of the evidence topic is open here, so there is no installation to command")
            self._installation = root
        return self._installation

    async def _terms(self) -> list[tuple[OpenTerm, int]]:
        return [
            (recorded.command, recorded.offset) for recorded in await self.commands() if isinstance(recorded.command, OpenTerm)
        ]

    async def _evidence_id(self) -> str:
        if self._producer is None:
            raise RuntimeError("use `async with Operator(...)`")
        try:
            async with asyncio.timeout(self._timeout_s):
                found = (await ask(self._producer.client, [self.topics.evidence])).topics.get(self.topics.evidence)
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerUnreachable(f"{type(error).__name__}: {error}") from error
        if found is None:
            raise TermError(f"topic {self.topics.evidence} is not there, or may not be seen: name the installation")
        return found.topic_id

    async def send(self, command: Command) -> int:
        """Sign a command and write it to control; return its offset once every replica in step has it.

        Raises:
            CommandError: longer than a command may be.
            Unacknowledged: no acknowledgement in time.
        """
        if self._producer is None:
            raise RuntimeError("use `async with Operator(...)`")
        token = self._key.sign(command.model_dump(mode="json"), TYP_COMMAND).encode()
        if len(token) > COMMAND_BYTES_MAX:
            raise CommandError(f"a command of {len(token)} bytes; it has at most {COMMAND_BYTES_MAX}")
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                sent = await self._producer.send_and_wait(self.topics.control, token, command_key(command), partition=0)
        except MessageSizeTooLargeError as error:
            raise CommandError(f"control does not take a command of {len(token)} bytes") from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unacknowledged(f"{command.kind} {command.id}: {type(error).__name__}: {error}"[:_TEXT_MAX]) from error
        return int(sent.offset)

    async def commands(self) -> list[Recorded]:
        """Return every believable command that control holds now, oldest first. What does not verify is passed over.

        Raises:
            BrokerUnreachable: control could not be read to its end in time.
        """
        recorded = []
        try:
            async with asyncio.timeout(4 * self._timeout_s):
                async for record in self._control():
                    try:
                        command = read_command(record.value, self._keys)
                    except NamelessCommand:
                        self._older = max(self._older, _number_of(record.value))
                        continue
                    except CommandError:
                        continue
                    recorded.append(Recorded(record.offset, record.timestamp, command))
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerUnreachable(f"control could not be read: {type(error).__name__}: {error}") from error
        return recorded

    async def last_activation(self) -> tuple[int, int] | None:
        """Return version and offset of the believable activation with the highest version, or None if there is none."""
        installation = await self.installation()
        found = [
            (recorded.command.version, recorded.offset)
            for recorded in await self.commands()
            if isinstance(recorded.command, Activate) and recorded.command.installation == installation
        ]
        return max(found, key=lambda pair: (pair[0], -pair[1]), default=None)

    async def activate(self, files: Mapping[str, str], why: str = "policy activation") -> tuple[int, int]:
        """Put a bundle in force (file name to YAML text); return its version and its offset.

        The version is the wall clock in milliseconds, and always above every version that is believed. So operators who do
        not know each other's keys do not collide.
        """
        root = _root(await self._terms(), await self._evidence_id())
        if root not in ("", await self.installation()):
            raise TermError(f"this log is of installation {root}, not of {await self.installation()}")
        last = await self.last_activation()
        version = max(wall_ms(), 0 if last is None else last[0] + 1)
        installation = await self.installation()
        command = Activate(installation=installation, by=self.name, why=why, id=new_id(), version=version, files=dict(files))
        return version, await self.send(command)

    async def open_term(
        self, found: TopicsFound, why: str = "first term", *, renew: bool = False
    ) -> tuple[OpenTerm, int, bool]:
        """Open the first term, or the next with `renew`; return the term, its offset, and whether it was opened now.

        A term that is open is left alone. Covering starts at the oldest record that each front-door partition still holds: 0 in
        new topics. The first term makes the installation's id, unless one was given; the next ones keep it.

        Raises:
            TermError: the open term is of another evidence topic, partition count or installation, or of a version that knew no
                installations, and `renew` is not set.
        """
        terms = await self._terms()
        owner = _owner(terms, found.evidence_id, self._installation)
        mine = [pair for pair in terms if pair[0].installation == owner]
        last, offset = max(mine, key=lambda pair: (pair[0].term, -pair[1]), default=(None, -1))
        if last is None and self._older and not renew:
            raise TermError(
                f"term {self._older} is of an older version of Failshut, which named no installation. Gates stay closed until "
                "an operator opens a new term"
            )
        if last is not None and not renew:
            if last.log != found.log:
                raise TermError(
                    f"term {last.term} is of evidence {last.log}; there is {found.log}. Evidence was lost or replaced, so "
                    "gates stay closed until an operator opens a new term"
                )
            return last, offset, False
        self._installation = owner or new_installation()
        term = OpenTerm(
            installation=self._installation,
            by=self.name,
            why=why,
            id=new_id(),
            term=1 + max(self._older, 0 if last is None else last.term),
            evidence_id=found.evidence_id,
            evidence_partitions=found.evidence_partitions,
            starts=await self._starts(found),
            topic_ids={role: found.found[role].topic_id for role in FRONT_DOOR},
        )
        offset = await self.send(term)
        root = _root(await self._terms(), found.evidence_id)
        if root not in ("", owner or term.installation):
            raise TermError(f"another operator opened the first term before this one: the installation is {root}")
        return term, offset, True

    async def _starts(self, found: TopicsFound) -> dict[str, dict[int, int]]:
        """Return the first offset of every front-door partition, by role."""
        places = {
            TopicPartition(self.topics.physical(role), partition): (role, partition)
            for role in FRONT_DOOR
            for partition in range(found.partitions(role))
        }
        starts: dict[str, dict[int, int]] = {role: {} for role in FRONT_DOOR}
        consumer = await self._consumer()
        try:
            for place, offset in (await consumer.beginning_offsets(list(places))).items():
                role, partition = places[place]
                # Control is read whole: compaction makes holes in it, and takes no command away.
                starts[role][partition] = 0 if self.topics.physical(role) == self.topics.control else int(offset)
        except (KafkaError, OSError) as error:
            raise BrokerUnreachable(f"{type(error).__name__}: {error}") from error
        finally:
            await consumer.stop()
        return {role: dict(sorted(offsets.items())) for role, offsets in starts.items()}

    async def first_offset(self, role: str, partition: int) -> int:
        """Return the offset of the oldest record that a front-door partition still holds.

        Raises:
            BrokerUnreachable: the broker did not say.
        """
        place = TopicPartition(self.topics.physical(role), partition)
        consumer = await self._consumer()
        try:
            return int((await consumer.beginning_offsets([place]))[place])
        except (KafkaError, OSError) as error:
            raise BrokerUnreachable(f"{place.topic}/{partition}: {type(error).__name__}: {error}") from error
        finally:
            await consumer.stop()

    async def _consumer(self) -> AIOKafkaConsumer:
        """Return a started consumer without a group."""
        consumer = AIOKafkaConsumer(
            **self._options,
            isolation_level=READ_COMMITTED,
            group_id=None,
            enable_auto_commit=False,
            request_timeout_ms=int(self._timeout_s * 1000),
            max_partition_fetch_bytes=CONTROL_BYTES_MAX,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise BrokerUnreachable(
                f"{','.join(self._options['bootstrap_servers'])}: {type(error).__name__}: {error}"
            ) from error
        return consumer

    async def _control(self) -> AsyncIterator[ConsumerRecord]:
        """Yield what control holds now, but for marks."""
        place = TopicPartition(self.topics.control, 0)
        consumer = await self._consumer()
        try:
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(place, timeout_ms=500)).values():
                    for record in records:
                        if record.key != MARK_KEY and record.offset < end:
                            yield record
        finally:
            await consumer.stop()
