"""Where routers have got, so that one without a commit of its own starts there and not at the front door's beginning.

A commit says under which term, routing and accepted gap its position was reached. A new group, such as a hot standby, has no
commit. It would write all that the front door holds into evidence once more, and every governor would read it and skip it. But
evidence itself says where routers have got: each mark ends a run in every evidence partition. So the newest place that all of
them have is a place like a commit: a boundary, whose runs are acknowledged.

Nothing here is trusted with safety. A run that begins beyond what a governor has covered is a gap to it: evidence time stops,
the governor asks, and routers go back. A run that begins below counts once, like every other.

Limits: so many of the newest records are read. If a front-door partition is not named in all evidence partitions there, for
example because no worker ran under this term, its reading starts where the term begins.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import EvidenceError, OlderWire, Run, decode_run
from failshut_streams.kafka.address import consumer_options
from failshut_streams.transport import Position

logger = logging.getLogger(__name__)

RECORDS_MAX = 40_000
"""Of the newest evidence records that are read, in all partitions together."""
RECORDS_MIN = 500
"""And in each partition at least so many."""
SECONDS_MAX = 20.0
"""A broker that takes longer is not waited for: reading then starts where the term begins."""

Place = tuple[str, int]
"""A front-door topic's role, and a partition of it."""


def metadata_of(term: int, routing: int, gap: int | None) -> str:
    """Return what a commit says of its position."""
    return f"{term}/{routing}" + ("" if gap is None else f"/{gap}")


def read_metadata(metadata: str) -> tuple[int, int, int]:
    """Return the term, the routing and the accepted gap with which a position was committed; -1 for what it does not say."""
    match = re.fullmatch(r"([0-9]{1,6})/(-1|[0-9]{1,18})(?:/([0-9]{1,18}))?", metadata, re.ASCII)
    return (int(match[1]), int(match[2]), int(match[3] or -1)) if match else (-1, -1, -1)


class Reached:
    """The newest boundary of each front-door partition, by evidence partition, of one term of one evidence topic."""

    def __init__(self, log: EvidenceLog, term: int) -> None:
        self._log, self._term = log, term
        self._newest: dict[Place, dict[int, tuple[int, int]]] = {}  # upto and routing, by evidence partition

    def take(self, evidence_partition: int, run: Run) -> None:
        """Take note of a run. One that ends at no mark ends at no boundary."""
        if run.mark is None or (run.log, run.term) != (self._log, self._term):
            return
        found = self._newest.setdefault((run.topic, run.partition), {})
        found[evidence_partition] = max(found.get(evidence_partition, (0, -1)), (run.upto, run.routing))

    def positions(self) -> dict[Place, Position]:
        """Return where reading may start, as commits of these places would say it."""
        return {
            place: Position(
                min(found.values())[0], metadata_of(self._term, min(routing for _, routing in found.values()), None)
            )
            for place, found in self._newest.items()
            if len(found) == self._log.partitions
        }


async def reached_in(broker: str, topic: str, log: EvidenceLog, term: int) -> Mapping[Place, Position]:
    """Return where routers have got, by the newest evidence; nothing where it cannot be read in time."""
    reached = Reached(log, term)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await _read_newest(broker, topic, log.partitions, reached)
    except (KafkaError, OSError, TimeoutError) as error:
        logger.warning("how far others have routed could not be read, so reading starts where the term begins: %s", error)
        return {}
    return reached.positions()


async def _read_newest(broker: str, topic: str, partitions: int, reached: Reached) -> None:
    consumer = AIOKafkaConsumer(
        **consumer_options(broker), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(places)
        first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        most = max(RECORDS_MIN, RECORDS_MAX // partitions)
        for place in places:
            consumer.seek(place, max(first[place], ends[place] - most))
        left = [place for place in places if first[place] < ends[place]]
        while left:
            for place, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                for record in records:
                    _take(reached, place.partition, record.value)
            left = [place for place in left if await consumer.position(place) < ends[place]]
    finally:
        await consumer.stop()


def _take(reached: Reached, evidence_partition: int, value: bytes | None) -> None:
    try:
        reached.take(evidence_partition, decode_run(value or b""))
    except (EvidenceError, OlderWire):
        return  # of another version, or none: it says of no place that it was reached
