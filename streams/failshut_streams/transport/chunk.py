"""Chunks: what one fetch returned of one partition, with the positions that it covers.

A chunk covers a range of a partition, from `fetched_from` up to `upto`, and not only its records. Transactions
and compaction leave holes. So only the positions distinguish "no record at 17" from "17 was never read".
`previous` is where the chunk before it ended, or where a seek, a hook or a commit placed the start. If it
differs from `fetched_from`, the offsets in between were never seen.

A **reading** is one uninterrupted pass over a partition. Each assignment and each seek begins a new one with a
higher number. Chunks and commits of an older reading are dropped.

`Hooks` is the interface that the consumer needs of the app that reads: settings, topics, starts and revocations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from faust.types import TP

from failshut_streams.transport.settings import Settings


class TransportError(Exception):
    """Reading failed in a way that must stop the worker."""


class ChunkGap(TransportError):
    """A chunk does not start where the one before it ended."""

    def __init__(self, tp: TP, previous: int, fetched_from: int) -> None:
        super().__init__(
            f"{tp.topic}[{tp.partition}]: reading ended at {previous} and went on at {fetched_from}: "
            "retention or a replaced log took records that were not read"
        )
        self.tp = tp
        self.previous = previous
        self.fetched_from = fetched_from


class CommitBeyondDelivery(TransportError):
    """A commit names a position that no delivered chunk has reached yet."""


class ReadFault(TransportError):
    """Records cannot be fetched or unpacked."""


class Record(NamedTuple):
    """One Kafka record."""

    offset: int
    timestamp_ms: int
    timestamp_type: int
    """0: the producer's claimed time; 1: the broker's append time."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Position(NamedTuple):
    """A committed position and the text that was committed with it."""

    offset: int
    metadata: str = ""


class Commit(NamedTuple):
    """An agent's statement that everything below `offset` in this partition is done."""

    tp: TP
    reading: int
    offset: int
    metadata: str = ""


@dataclass(slots=True, eq=False)
class Chunk:
    """What one fetch returned of one partition.

    Attributes:
        fetched_from: the position that was really fetched from.
        upto: the position after the chunk, behind any hole.
        records: the records in the order of their offsets. It is empty if the range is a hole.
        reading: the number of the reading that the chunk belongs to.
        previous: where the chunk before it ended, or where a seek, a hook or a commit placed the start. None
            if it is the first chunk and nothing placed the start.
    """

    topic: str
    partition: int
    fetched_from: int
    upto: int
    records: Sequence[Record]
    reading: int
    previous: int | None = None

    @property
    def tp(self) -> TP:
        """Topic and partition."""
        return TP(self.topic, self.partition)

    @property
    def joins(self) -> bool:
        """Whether no offset was left out before the chunk."""
        return self.previous is None or self.previous == self.fetched_from

    def done(self, offset: int | None = None, metadata: str = "") -> Commit:
        """Return what to commit when everything below `offset` (by default the chunk's end) is done."""
        return Commit(self.tp, self.reading, self.upto if offset is None else offset, metadata)


@dataclass(frozen=True)
class Assignment:
    """Partitions that this worker has just been assigned, before any of their chunks is delivered.

    Attributes:
        generation: the group's generation.
        tps: the assigned partitions of the hook's topics.
        committed: what the group has committed for them. Partitions without a commit are absent.
    """

    generation: int
    tps: frozenset[TP]
    committed: Mapping[TP, Position]


class Hooks(Protocol):
    """What a consumer needs of its app. The app implements it, and the consumer uses nothing else of the app."""

    settings: Settings

    def batched(self, topic: str) -> bool:
        """Return whether a topic is delivered in chunks."""

    async def find_starts(self, assignment: Assignment) -> dict[TP, int]:
        """Return where the partitions of an assignment start.

        A partition that is left out starts at its commit, or by the start policy if there is no commit.
        """

    async def tell_revoked(self, tps: frozenset[TP]) -> None:
        """Pass the partitions that are about to be revoked to all hooks. Return when all hooks have ended."""


@dataclass(slots=True, eq=False)
class Reading:
    """One pass over a partition. Two threads share it, and each field has one writer.

    Attributes:
        start: the position at which it starts; None: the start policy decides.
        taken: the number of chunks that were fetched. Only the consumer's thread writes it.
        released: the number of chunks that the agent has finished. Only the main thread writes it.
        delivered: the end of the newest chunk that the agent has received. Only the main thread writes it.
    """

    tp: TP
    number: int
    start: int | None
    limit: int
    taken: int = 0
    released: int = 0
    delivered: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.delivered = self.start

    @property
    def room(self) -> int:
        """How many chunks may still be fetched before the agent has finished another one."""
        return self.limit - (self.taken - self.released)
