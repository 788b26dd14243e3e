"""An operator's command, from the signature to the decision that answers it.

Sending is not doing. A command is done when a governor's decision names it. It is refused when a decision says so and why. So
this module reads the decisions topic, from before the command was sent, and looks for the command's own offset in control. A
command for an unknown gate, or one that no known operator signed, never reaches a governor. The dead-letter topic says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from failshut.signing import SigningKey
from failshut_breakers.command import CommandError, GateCommand
from failshut_breakers.decisions.decision import Decision, Kind, decode_decision
from failshut_console.exits import Exit, Trouble, unreachable
from failshut_streams.codecs.dead_letter import decode_dead_letter
from failshut_streams.control.client import Operator, TermError, Unacknowledged
from failshut_streams.kafka.address import consumer_options, shown
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.topics import CONTROL, BrokerUnreachable, Topics


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. `result` is done, refused or unanswered."""

    gate: str
    command: str
    result: str
    because: str
    breaker: str = ""
    state: str = ""
    epoch: str = ""
    offset: int = -1

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return asdict(self)

    @property
    def status(self) -> Exit:
        """How the command line ends."""
        return {"done": Exit.DONE, "refused": Exit.REFUSED}.get(self.result, Exit.UNREACHABLE)


def load_operator_key(path: str) -> SigningKey:
    """Return the operator's private key.

    Raises:
        Trouble: it is not there, or is none.
    """
    try:
        return SigningKey.load(path)
    except FileNotFoundError as error:
        raise Trouble(
            f"there is no operator key at {path}",
            "nothing was sent: a command counts by its signature alone",
            "run this where `failshut up` runs, make one (failshut keys create), or name yours: --key FILE",
        ) from error
    except (OSError, ValueError) as error:
        raise Trouble(
            f"the operator key {path} cannot be used: {error}", "nothing was sent", "give an Ed25519 key in PEM: --key"
        ) from error


async def installation_there(broker: str, prefix: str, key: SigningKey) -> str:
    """Return the installation whose log this is, as far as terms that this operator believes say.

    Raises:
        Trouble: no term says, or the broker did not answer.
    """
    try:
        async with Operator(broker, key, prefix, timeout_s=10.0) as operator:
            return await operator.installation()
    except TermError as error:
        raise Trouble(
            f"no installation is known: {error}",
            "nothing was sent: a command counts in the installation that it names",
            "open a term (failshut term open), or name it: --installation ID",
        ) from error
    except (BrokerUnreachable, KafkaError, OSError) as error:
        why = await why_unreachable(broker) or str(error)
        raise unreachable(f"Kafka at {shown(broker)} does not answer: {why}", "start it, or name it with --broker") from error


async def send_and_wait(broker: str, prefix: str, key: SigningKey, order: GateCommand, timeout_s: float) -> Answer:
    """Send a command about a gate and wait for the decision that answers it.

    Raises:
        Trouble: the broker did not answer, or did not acknowledge the command.
    """
    topics = Topics(prefix)
    try:
        async with _listening(broker, topics) as consumer, Operator(broker, key, prefix, order.by, timeout_s=10.0) as operator:
            offset = await operator.send(order)
            try:
                async with asyncio.timeout(timeout_s):
                    async for answer in _answers(consumer, topics, order, offset, key.kid):
                        return answer
            except TimeoutError:
                pass
    except Unacknowledged as error:
        raise unreachable(
            f"the broker did not acknowledge the command, which may be on the log: {error}",
            "look at `failshut gates` and `failshut log` before you send it again",
        ) from error
    except (BrokerUnreachable, KafkaError, OSError) as error:
        why = await why_unreachable(broker) or str(error)
        raise unreachable(f"Kafka at {shown(broker)} does not answer: {why}", "start it, or name it with --broker") from error
    except CommandError as error:
        raise Trouble(str(error), "nothing was sent, and the gate is as it was", "give a shorter reason: --why") from error
    because = (
        f"the command is on the log (control offset {offset}), and no governor answered within {timeout_s:g} s: "
        "no monitor runs, or it is behind. It will be judged when one runs"
    )
    return Answer(order.gate, order.kind, "unanswered", because, offset=offset)


@asynccontextmanager
async def _listening(broker: str, topics: Topics) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer without a group, at the present end of decisions and dead letters."""
    consumer = AIOKafkaConsumer(
        **consumer_options(broker),
        group_id=None,
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        request_timeout_ms=10_000,
    )
    try:
        await consumer.start()
        places = []
        for topic in (topics.decisions, topics.dead_letter):
            # aiokafka knows the partitions only of topics that it was told of.
            await consumer._client.add_topic(topic)
            partitions = consumer.partitions_for_topic(topic)
            if not partitions:
                raise unreachable(
                    f"Kafka at {shown(broker)} has no topic {topic}, or this login may not see it",
                    "start a monitor (failshut up, failshut run), or give the --prefix that it runs with",
                )
            places += [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        yield consumer
    finally:
        await consumer.stop()


async def _answers(
    consumer: AIOKafkaConsumer, topics: Topics, order: GateCommand, offset: int, kid: str
) -> AsyncIterator[Answer]:
    while True:
        for place, records in (await consumer.getmany(timeout_ms=250)).items():
            for record in records:
                if place.topic == topics.decisions:
                    answer = _decided(record.value, order, offset, kid)
                else:
                    answer = _dead(record.value, order, offset, topics)
                if answer is not None:
                    yield answer


def _decided(value: bytes, order: GateCommand, offset: int, kid: str) -> Answer | None:
    try:
        decision = decode_decision(value)
    except ValueError:
        return None
    if decision.gate != order.gate or not _answers_it(decision, order, offset, kid):
        return None
    if decision.kind is Kind.NOTE and decision.answer is None:
        return None  # it speaks of the gate, and of no command
    result, because = "done", decision.because  # a decision about the gate's state says that the command moved it
    if decision.answer is not None:
        result, because = decision.answer.result.value, decision.answer.because
    state = {Kind.OPEN: "OPEN", Kind.RENEW: "OPEN", Kind.CLOSE: "CLOSED"}.get(decision.kind, "")
    return Answer(
        order.gate,
        order.kind,
        result,
        because,
        decision.breaker.value,
        state,
        decision.epoch,
        offset,
    )


def _answers_it(decision: Decision, order: GateCommand, offset: int, kid: str) -> bool:
    origin = decision.origin
    if origin is not None and (origin.topic, origin.partition, origin.offset) == (CONTROL, 0, offset):
        return True
    # Something else in the same record moved the gate as well; the command still stands beside it, with its name.
    return decision.by == f"{order.by} ({kid[:12]}): {order.why}"


def _dead(value: bytes, order: GateCommand, offset: int, topics: Topics) -> Answer | None:
    try:
        letter = decode_dead_letter(value)
    except msgspec.MsgspecError:
        return None
    if letter.origin.topic not in (CONTROL, topics.control) or letter.origin.offset != offset:
        return None
    return Answer(order.gate, order.kind, "refused", letter.reason, offset=offset)
