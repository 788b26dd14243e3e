"""Which policies are in force, and how they came there: control is read whole, as a router reads it, by the same code.

Limits: whose activations count is named in control by the monitor's key. Without the monitor's public keys, or before a worker
has named anybody, one's own key alone is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from failshut.signing import KeySet, SigningKey
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.evidence.records import Activation
from failshut_breakers.policy.authority import Authority
from failshut_breakers.policy.policy import Entry
from failshut_console.exits import Trouble, unreachable
from failshut_streams.control.cutter import ControlCutter
from failshut_streams.control.operators import OperatorsInForce
from failshut_streams.control.reader import ControlReader
from failshut_streams.kafka.address import client_options, shown
from failshut_streams.kafka.metadata import ask
from failshut_streams.kafka.topics import Topics

LOOK_SECONDS = 30.0


class Activated(NamedTuple):
    """One activation in control. `signer` is the key id of the operator, empty where it is nobody known."""

    offset: int
    time_ms: int
    version: int
    files: int
    signer: str
    what: str


class InForce(NamedTuple):
    """What control says now: of each gate, of the bundle in force, of every activation, and whose signatures policies need."""

    entries: Mapping[str, Entry]
    version: int
    files: Mapping[str, str]
    activations: list[Activated]
    authority: Authority | None
    installation: str  # empty where no term of this evidence topic is open


async def in_force(broker: str, prefix: str, key: SigningKey | None, jwks: str = "") -> InForce:
    """Return what control says of policies now.

    Raises:
        Trouble: the broker did not answer, or has no such topics.
    """
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
    cut = cutter.everything(records, reader.position)
    told = [notice for at, run in cut.runs for notice in run.notices if at == 0 and isinstance(notice, Activation)]
    applied, newest = {offset for offset, _ in cut.applied}, cutter.book.routing
    files = next((notice.files for notice in reversed(told) if notice.offset == newest and not notice.fault), {})
    activations = [_activated(notice, notice.offset in applied, newest) for notice in told]
    entries, version = dict(cutter.book.entries), cutter.book.version
    return InForce(entries, version, files, activations, operators.authority, cutter.belonging.installation)


def _activated(notice: Activation, applied: bool, newest: int) -> Activated:
    what = "in force" if notice.offset == newest else "replaced"
    if not applied:
        what = f"refused: {notice.fault or 'its version was not above the one in force'}"
    return Activated(notice.offset, notice.time_ms, notice.version, len(notice.files), notice.signer, what)


async def written_in_force(broker: str, prefix: str, jwks: str, gate: str) -> tuple[Entry | None, str]:
    """Return what control says of one gate now, and the text of its file, empty where the bundle in force has none.

    Raises:
        Trouble: the broker did not answer, or has no such topics.
    """
    found = await in_force(broker, prefix, None, jwks)
    entry = found.entries.get(gate)
    return entry, "" if entry is None else found.files.get(entry.file, "")


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
