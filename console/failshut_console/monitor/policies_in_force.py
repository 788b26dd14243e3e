"""Which policies are in force: control is read whole, as a router reads it, by the same code.

Limits: whose activations count is named in control by the monitor's key. Without the monitor's public keys, or before a worker
has named anybody, one's own key alone is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from failshut.signing import KeySet, SigningKey, TokenError, claims_unverified
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.policy.policy import Entry, digest_of
from failshut_console.exits import Trouble, unreachable
from failshut_streams.control.cutter import ControlCutter
from failshut_streams.control.operators import OperatorsInForce
from failshut_streams.control.reader import ControlReader
from failshut_streams.kafka.address import client_options, shown
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.topics import Topics
from failshut_streams.transport import Record

LOOK_SECONDS = 30.0


async def in_force(broker: str, prefix: str, key: SigningKey | None, jwks: str = "") -> Mapping[str, Entry]:
    """Return what control says of each gate now.

    Raises:
        Trouble: the broker did not answer, or has no such topics.
    """
    return (await _read(broker, prefix, key, jwks))[0]


async def written_in_force(broker: str, prefix: str, jwks: str, gate: str) -> tuple[Entry | None, str]:
    """Return what control says of one gate now, and the text of its file, empty where control does not hold it any more.

    Raises:
        Trouble: the broker did not answer, or has no such topics.
    """
    entries, records = await _read(broker, prefix, None, jwks)
    entry = entries.get(gate)
    return entry, "" if entry is None else await asyncio.to_thread(_text_of, records, entry.text)


def _text_of(records: Sequence[Record], digest: str) -> str:
    """Return the text with this digest, of whatever record holds it: the digest is of an activation that was verified."""
    for record in reversed(records):
        try:
            files = claims_unverified(record.value or b"").get("files")
        except (TokenError, ValueError):
            continue
        for text in files.values() if isinstance(files, Mapping) else ():
            if isinstance(text, str) and digest_of(text) == digest:
                return text
    return ""


async def _read(broker: str, prefix: str, key: SigningKey | None, jwks: str) -> tuple[Mapping[str, Entry], Sequence[Record]]:
    topics = Topics(prefix)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            log = await _log(broker, topics)
            reader = ControlReader(broker, topics.control)
            await reader.start()
            try:
                records = await reader.all_of_it()
            finally:
                await reader.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(
            f"Kafka at {shown(broker)} did not say which policies are in force: {type(error).__name__}: {error}",
            "start it, or name it with --broker",
        ) from error
    operators = OperatorsInForce(None if key is None else key.key_set(), _monitor(jwks), log.id)
    cutter = ControlCutter(operators, log, "console", partial(partition_of, partitions=log.partitions), 0)
    cutter.everything(records, reader.position)
    return dict(cutter.book.entries), records


async def _log(broker: str, topics: Topics) -> EvidenceLog:
    client = AIOKafkaClient(**client_options(broker))
    await client.bootstrap()
    try:
        found = (await ask(client, [topics.evidence])).topics.get(topics.evidence)
    finally:
        await client.close()
    if found is None:
        raise Trouble(
            f"there is no topic {topics.evidence}",
            "nobody knows which policies are in force",
            "start a worker, open a term, or name the monitor's: --broker, and --prefix if it has one",
        )
    return EvidenceLog(found.topic_id, found.partitions)


def _monitor(jwks: str) -> KeySet | None:
    try:
        return KeySet.load(Path(jwks)) if jwks else None
    except (OSError, ValueError):
        return None
