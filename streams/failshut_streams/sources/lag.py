"""Where the users' consumer groups are: sampled offsets, as events of Failshut's own (topic `internal`).

Once a second, for every group and topic that a policy watches, as lag_offsets.py finds them. One record holds all partitions of
a topic, or none, because a partial or failed sample says nothing about a group. A lag condition without samples calls them
stale, which is not OK. If the broker answers with an error (no such topic, not authorized), its text is written in place of a
sample. Whoever looks at the closed gate does not read a worker's log.

One worker of an installation is enough, the one that owns the first partition of `internal`: `watched` returns nothing
elsewhere. Two samplers at once are harmless, for example during a rebalance or with a standby. Samples are readings with a
place of their own, and a second one only shortens the time that a condition's window spans.

Limits: offsets are what a group said, not what it did. Groups are judged by their offsets alone; aiokafka describes a live
group of the newer protocol as dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from failshut_breakers.evidence.records import Offsets
from failshut_streams.logs.episode import Episode
from failshut_streams.sources.background import Background
from failshut_streams.sources.lag_offsets import GroupOffsets, NotSampled, Sample
from failshut_streams.sources.marks import wall_ms

WATCHED_MAX: Final = 100
"""Groups and topics that are sampled. More are not: their conditions find no samples, which is not OK, and are told why."""
TOLD_MAX: Final = 1_000
"""Groups and topics beyond those that are told so, once in `_ROUNDS_BETWEEN_WORDS` rounds."""

_AT_ONCE = 8
_SAMPLE_SECONDS_MAX = 10.0
_ROUNDS_BETWEEN_WORDS = 10
_TOLD_CHARS_MAX = 200

Watched = tuple[str, str]
"""Consumer group, topic."""

logger = logging.getLogger(__name__)


def lag_record(
    group: str, topic: str, time_ms: int, offsets: Mapping[int, Offsets], topic_id: str = "", told: str = ""
) -> tuple[bytes, bytes]:
    """Return key and value of the telemetry record for a sample, or for why there is none."""
    record: dict[str, object] = {"kind": "lag", "group": group, "topic": topic, "time": time_ms}
    record["partitions"] = {str(partition): offsets[partition] for partition in sorted(offsets)}
    if topic_id:
        record["topic_id"] = topic_id
    if told:
        record["told"] = "".join(char if char.isprintable() else "?" for char in told[:_TOLD_CHARS_MAX])
    return f"{group}/{topic}".encode(), msgspec.json.encode(record)


def words_of(error: Exception) -> str:
    """Return what a failed sample was told, for whoever looks at the gate.

    >>> words_of(UnknownTopicOrPartitionError("no topic refunds"))
    'no such topic'
    """
    match error:
        case UnknownTopicOrPartitionError() | InvalidTopicError():
            return "no such topic"
        case TopicAuthorizationFailedError():
            return "Failshut is not authorized to describe the topic"
        case GroupAuthorizationFailedError():
            return "Failshut is not authorized to describe the consumer group"
        case TimeoutError() | KafkaTimeoutError():
            return "Kafka did not answer in time"
        case NotSampled():
            return str(error)
    return f"Kafka said {type(error).__name__}"


def _ignore(_: bool) -> None:
    """Do nothing: nobody listens."""


class LagSampler(Background):
    """Samples until it is stopped. `watched` says what, each time anew.

    `written` and `failed` count samples; `on_result` is told of each: whether it was written.
    """

    NAME = "lag"

    def __init__(
        self,
        broker: str,
        producer: AIOKafkaProducer,
        topic: str,
        watched: Callable[[], Iterable[Watched]],
        every_ms: int = 1_000,
        *,
        clock_ms: Callable[[], int] = wall_ms,
        on_result: Callable[[bool], None] = _ignore,
    ) -> None:
        super().__init__()
        self._offsets = GroupOffsets(broker)
        self._producer = producer
        self._topic = topic
        self._watched = watched
        self._every_s = every_ms / 1000
        self._clock_ms = clock_ms
        self._on_result = on_result
        self._episodes: dict[Watched, Episode] = {}  # of what is watched now and fails
        self._rounds_beyond = 0
        self.written = 0
        self.failed = 0

    async def _release(self) -> None:
        await self._offsets.disconnect()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            await self.sample_once()
            await asyncio.sleep(max(0.01, self._every_s - (loop.time() - began)))

    async def sample_once(self) -> int:
        """Sample everything that is watched; return how many samples were written. Failures are counted, never raised."""
        watched = sorted(set(self._watched()))
        await self._bound(watched)
        watched = watched[:WATCHED_MAX]
        self._episodes = {pair: self._episodes[pair] for pair in watched if pair in self._episodes}
        if not watched:
            return 0
        try:
            await self._offsets.connect()
        except Exception as error:  # noqa: BLE001  # as below
            await self._offsets.disconnect()
            for pair in watched:
                self._settle(pair, error)
            return 0
        limit = asyncio.Semaphore(_AT_ONCE)
        return sum(await asyncio.gather(*(self._sample(pair, limit) for pair in watched)))

    async def _bound(self, watched: list[Watched]) -> None:
        """Say it where more is watched than is sampled: in the log once, and to the gates again and again."""
        beyond = watched[WATCHED_MAX : WATCHED_MAX + TOLD_MAX]
        if beyond and not self._rounds_beyond:
            logger.warning(
                "%d consumer groups are watched; those after the first %d are not sampled", len(watched), WATCHED_MAX
            )
        if beyond and self._rounds_beyond % _ROUNDS_BETWEEN_WORDS == 0:
            for pair in beyond:
                await self._tell(pair, f"more than {WATCHED_MAX} groups and topics are watched, and this one is not among them")
        self._rounds_beyond = self._rounds_beyond + 1 if beyond else 0

    async def _sample(self, pair: Watched, limit: asyncio.Semaphore) -> bool:
        group, topic = pair
        try:
            async with limit, asyncio.timeout(_SAMPLE_SECONDS_MAX):
                time_ms = self._clock_ms()
                await self._write(group, topic, time_ms, await self._offsets.of(group, topic))
        except Exception as error:  # noqa: BLE001  # whatever it is, there is no sample, and no sample is not OK
            self._offsets.forget(group)
            self._settle(pair, error)
            await self._tell(pair, words_of(error))
            return False
        self._settle(pair, None)
        return True

    async def _write(self, group: str, topic: str, time_ms: int, sample: Sample) -> None:
        key, value = lag_record(group, topic, time_ms, sample.partitions, sample.topic_id, sample.told)
        await self._producer.send_and_wait(self._topic, value, key)

    async def _tell(self, pair: Watched, told: str) -> None:
        """Write why there is no sample, so that the gate can say it. Where that fails too, the gate says that there is none."""
        try:
            async with asyncio.timeout(_SAMPLE_SECONDS_MAX):
                await self._write(*pair, self._clock_ms(), Sample("", {}, told))
        except Exception as error:  # noqa: BLE001  # as in _sample: nothing is written, and nothing written is not OK
            logger.debug("not told of %s on %s: %s", *pair, error)

    def _settle(self, pair: Watched, error: Exception | None) -> None:
        """Count a result; say when a group begins to fail and when it is well again, not each time."""
        if error is None:
            self.written += 1
            if pair in self._episodes:
                self._episodes.pop(pair).end()
        else:
            self.failed += 1
            if pair not in self._episodes:
                self._episodes[pair] = Episode(logger, "lag", "consumer group {} on {} is sampled again".format(*pair))
                words = "consumer group %s on %s is not sampled: %s: %.200s"
                self._episodes[pair].begin(words, *pair, type(error).__name__, error)
        self._on_result(error is None)
