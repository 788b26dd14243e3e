"""Reads the control topic: every router reads it whole, from its beginning, in no group."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from failshut_streams.kafka.address import consumer_options
from failshut_streams.transport import Record


class ControlReader:
    """Reads the control partition from its beginning. Not in a group: every router reads it whole."""

    def __init__(self, broker: str, topic: str) -> None:
        self._tp = TopicPartition(topic, 0)
        self._broker = broker
        self._consumer: AIOKafkaConsumer
        self.position = 0

    async def start(self) -> None:
        """Connect, and go to the beginning."""
        self._consumer = AIOKafkaConsumer(
            **consumer_options(self._broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=50,
            metadata_max_age_ms=1_000,
        )
        await self._consumer.start()
        self._consumer.assign([self._tp])
        self._consumer.seek(self._tp, 0)
        self.position = 0

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    def awaited(self) -> int | None:
        """Return where the open transaction begins to which reading has come, or None where it waits for none."""
        stable, end = self._consumer.last_stable_offset(self._tp), self._consumer.highwater(self._tp)
        if stable is None or end is None or not self.position >= stable >= 0:
            return None
        return int(stable) if stable < end else None

    async def all_of_it(self) -> list[Record]:
        """Return every record from the position to what is the end now."""
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        records: list[Record] = []
        while self.position < end:
            records += await self.next_batch(timeout_ms=500)
        return records

    async def next_batch(self, timeout_ms: int) -> list[Record]:
        """Return the next records, if any come in time.

        Raises:
            KafkaError: among others OffsetOutOfRangeError, where the beginning is gone: nothing may be routed then.
        """
        batches = await self._consumer.getmany(self._tp, timeout_ms=timeout_ms, max_records=5_000)
        self.position = await self._consumer.position(self._tp)
        return [
            Record(at.offset, at.timestamp, at.timestamp_type, at.key, at.value, ())
            for batch in batches.values()
            for at in batch
        ]
