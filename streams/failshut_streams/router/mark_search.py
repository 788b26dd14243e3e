"""Finds the last boundary before a time in a front-door partition, by reading it.

A router that applies a policy goes back to the last boundary before the activation. It remembers its own; one
that has just started, or that has forgotten, looks them up here. boundaries.py says which marks are boundaries.
For the first mark of a read stretch, that is known only once the mark before it was read too. The search widens
from a few seconds before that time to the beginning of the partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from failshut_breakers.evidence.boundaries import ends_run
from failshut_streams.kafka.address import consumer_options
from failshut_streams.sources.marks import MARK_KEY, BadMark, decode_mark
from failshut_streams.transport.front_door import APPEND_TIME

FIRST_WINDOW_MS = 5_000
WIDEN = 8


async def last_boundary_before(broker: str, tp: TopicPartition, append_ms: int, begin: int) -> int:
    """Return the position after the last boundary whose mark was appended before a time, or `begin` where there is none.

    Raises:
        KafkaError: the partition cannot be read.
    """
    consumer = AIOKafkaConsumer(
        **consumer_options(broker),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,  # at the end of a log each question waits behind a fetch
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        first = max(begin, (await consumer.beginning_offsets([tp]))[tp])
        stop = await position_at(consumer, tp, append_ms)
        window_ms, open_question = FIRST_WINDOW_MS, None
        while True:
            start = max(first, await position_at(consumer, tp, max(0, append_ms - window_ms)))
            seen = await _marks_between(consumer, tp, start, stop)
            if open_question and seen.last and ends_run(open_question.append_ms, seen.last.append_ms):
                return open_question.position
            if seen.boundary is not None:
                return seen.boundary
            if start <= first or window_ms >= append_ms:  # the beginning, which retention may move at any time
                return begin
            open_question = seen.first or open_question
            stop, window_ms = start, window_ms * WIDEN
    finally:
        await consumer.stop()


async def position_at(consumer: AIOKafkaConsumer, tp: TopicPartition, time_ms: int) -> int:
    """Return the first position whose record was appended at that time or later, or the end."""
    found = (await consumer.offsets_for_times({tp: time_ms}))[tp]
    if found is not None:
        return int(found.offset)
    return int((await consumer.end_offsets([tp]))[tp])


class _Mark(NamedTuple):
    append_ms: int
    position: int  # behind it


@dataclass(slots=True)
class _Seen:
    """The marks between two positions: the first, the last, and the last boundary, which the first may be or not."""

    first: _Mark | None = None
    last: _Mark | None = None
    boundary: int | None = None


async def _marks_between(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, stop: int) -> _Seen:
    seen = _Seen()
    consumer.seek(tp, start)
    while await consumer.position(tp) < stop:
        for batch in (await consumer.getmany(tp, timeout_ms=500)).values():
            for record in batch:
                if record.offset >= stop:
                    return seen
                if not _is_mark(record, len(consumer.partitions_for_topic(tp.topic) or ())):
                    continue
                mark = _Mark(record.timestamp, record.offset + 1)
                if seen.last is not None and ends_run(mark.append_ms, seen.last.append_ms):
                    seen.boundary = mark.position
                seen.first, seen.last = seen.first or mark, mark
    return seen


def _is_mark(record: ConsumerRecord[bytes, bytes], partitions: int) -> bool:
    """Return whether routers take a record for a mark: what they refuse as one is none here either."""
    if record.key != MARK_KEY or record.timestamp_type != APPEND_TIME:
        return False
    mark = decode_mark(record.value)
    return not isinstance(mark, BadMark) and mark.partitions <= partitions
