"""Chunks: what one fetch brought of one partition, and what may be said about it.

A chunk vouches for a stretch of a partition, `fetched_from` up to `upto`, and not only for its records.
Transactions and compaction leave holes. So only the positions distinguish "no record at 17" from "17 was never
read". `previous` is where the chunk before it ended, or where a seek or a commit said that reading starts. If
it differs from `fetched_from`, something in between was never seen.

A **reading** is one uninterrupted pass over a partition. Each assignment and each seek begins a new one, with
a higher number, and what belongs to an older one is dropped.

`Hooks` is what reading asks of the app that reads: how, which topics, from where, and what must be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from faust.types import TP

from failshut_streams.transport.settings import Settings


class TransportError(Exception):
    """Reading went wrong in a way that must stop the worker."""


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
    """A commit names a position that no chunk has brought yet."""


class ReadFault(TransportError):
    """Records cannot be fetched or unpacked."""


class Record(NamedTuple):
    """One Kafka record."""

    offset: int
    timestamp_ms: int
    timestamp_type: int
    """0: claimed by the producer; 1: the broker's append time."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Position(NamedTuple):
    """A committed position and the text that was committed with it."""

    offset: int
    metadata: str = ""


class Commit(NamedTuple):
    """What an agent says: of this partition, everything below `offset` is done."""

    tp: TP
    reading: int
    offset: int
    metadata: str = ""


@dataclass(slots=True, eq=False)
class Chunk:
    """What one fetch brought of one partition.

    Attributes:
        fetched_from: the position that was really fetched from.
        upto: the position after the chunk, behind any hole.
        records: in the order of their offsets; none, if the stretch is a hole.
        reading: the pass over the partition that it belongs to.
        previous: where the chunk before it ended, or where a seek, a hook or a commit said that reading
            starts; None if it is the first and nobody had said so.
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
        """Whether nothing was left out before it."""
        return self.previous is None or self.previous == self.fetched_from

    def done(self, offset: int | None = None, metadata: str = "") -> Commit:
        """What to commit when everything below `offset` (its end, by default) is done."""
        return Commit(self.tp, self.reading, self.upto if offset is None else offset, metadata)


@dataclass(frozen=True)
class Assignment:
    """Partitions that this worker has just got, before anything of them is delivered.

    Attributes:
        generation: of the group.
        tps: the partitions of the hook's topics.
        committed: what the group has committed for them; partitions without a commit are absent.
    """

    generation: int
    tps: frozenset[TP]
    committed: Mapping[TP, Position]


class Hooks(Protocol):
    """What a consumer asks of its app. The app is one; a consumer knows no more of it than this."""

    settings: Settings

    def batched(self, topic: str) -> bool:
        """Whether a topic is delivered in chunks."""

    async def find_starts(self, assignment: Assignment) -> dict[TP, int]:
        """Where the partitions of an assignment start. One that is left out starts at its commit, or as the policy says."""

    async def tell_revoked(self, tps: frozenset[TP]) -> None:
        """These partitions are about to go: returns when all who must be told were told."""


@dataclass(slots=True, eq=False)
class Reading:
    """One pass over a partition. Two threads share it, and each field has one writer.

    Attributes:
        start: where it was said to start; None: wherever the start policy leads.
        taken: chunks that were fetched. Written by the consumer's thread alone.
        released: chunks that the agent is through with. Written by the main thread alone.
        delivered: end of the newest chunk that the agent has got. Written by the main thread alone.
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
        """How many chunks may still be fetched before the agent is through with one."""
        return self.limit - (self.taken - self.released)
