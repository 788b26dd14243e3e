"""Finds the last mark before a time in a front-door partition, by reading it.

A router that takes up a policy goes back to the last mark before the activation. It remembers its own marks;
one that has just started, or that has forgotten, looks them up here. The search widens from a few seconds
before that time to the beginning of the partition.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from failshut_streams.broker import consumer_options
from failshut_streams.cutter import APPEND_TIME
from failshut_streams.marks import MARK_KEY, BadMark, decode_mark

FIRST_WINDOW_MS = 5_000
WIDEN = 8


async def last_boundary_before(broker: str, tp: TopicPartition, append_ms: int, begin: int) -> int:
    """Return the position after the last mark that was appended before a time, or `begin` where there is none.

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
        stop = await _position_at(consumer, tp, append_ms)
        window_ms = FIRST_WINDOW_MS
        while True:
            start = max(first, await _position_at(consumer, tp, max(0, append_ms - window_ms)))
            found = await _last_mark(consumer, tp, start, stop)
            if found is not None:
                return found
            if start <= first:
                return begin
            stop, window_ms = start, window_ms * WIDEN
    finally:
        await consumer.stop()


async def _position_at(consumer: AIOKafkaConsumer, tp: TopicPartition, time_ms: int) -> int:
    """Return the first position whose record was appended at that time or later, or the end."""
    found = (await consumer.offsets_for_times({tp: time_ms}))[tp]
    if found is not None:
        return int(found.offset)
    return int((await consumer.end_offsets([tp]))[tp])


async def _last_mark(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, stop: int) -> int | None:
    newest: int | None = None
    consumer.seek(tp, start)
    while await consumer.position(tp) < stop:
        for batch in (await consumer.getmany(tp, timeout_ms=500)).values():
            for record in batch:
                if record.offset >= stop:
                    return newest
                if _is_boundary(record, len(consumer.partitions_for_topic(tp.topic) or ())):
                    newest = record.offset + 1
    return newest


def _is_boundary(record: ConsumerRecord[bytes, bytes], partitions: int) -> bool:
    """Return whether routers end their runs at a record: what they refuse as a mark is none here either."""
    if record.key != MARK_KEY or record.timestamp_type != APPEND_TIME:
        return False
    mark = decode_mark(record.value)
    return not isinstance(mark, BadMark) and mark.partitions <= partitions
