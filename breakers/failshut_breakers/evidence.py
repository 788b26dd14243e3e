"""Evidence: everything that a decision may depend on, as records in one ordered log.

The problem: a governor must decide the same whoever runs it, whenever, from a log that several routers write,
some of them late, restarted or stalled. So an evidence record is not a sample but a *run*: it vouches that of
one front-door partition, from `previous` up to `upto`, this is all that concerns this evidence partition. A
governor that joins runs knows what it has not seen, and a mark (the time up to which a front-door partition
was vouched for) reaches a gate only behind everything that stood before it.

The wire form is MessagePack arrays, tagged and versioned. Readings of one series are kept together as a block
of rows, because a governor feeds one detector at a time; a reading's own place in the front-door topic
(offset, index) is kept in each row, so that order between series can be restored where it matters.

Limits: a run says nothing of what producers never sent; that is a heartbeat's business.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

SCHEMA = 2
"""Version of the wire form. A reader refuses a newer one."""

OLDEST_SCHEMA = 1
"""The oldest that is read, as recordings hold it: what came later has a default."""

TERM_FACTOR = 1 << 40
"""An epoch is `term * TERM_FACTOR + offset`; it stays below 2**53, as far as Lua and JavaScript count."""

MAX_TERM = (1 << 13) - 1


class EvidenceError(Exception):
    """The evidence log is not what its records claim: another topic, another partition count, a newer wire form.

    A worker that meets it stops: going on would be deciding on a log that nobody can replay.
    """


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a reading stood at the front door: what a decision cites as its origin."""

    topic: str
    partition: int
    offset: int
    index: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A time mark: everything before it in its front-door partition was appended no later than about `time_ms`.

    `time_ms` is the smaller of the writer's clock and the broker's append time; `partitions` is the partition count of the
    topic, read from the broker after that time was taken.
    """

    time_ms: int
    partitions: int


SampleRow: TypeAlias = tuple[int, int, int, float]
"""offset, index, time_ms, value"""


class Samples(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """Finite values of one series, in order: a block of columns, each packed little-endian (int64; values float64).

    Columns because nearly all evidence is samples: a detector is fed the values alone, and where a value stood is looked
    up only when a decision cites it.
    """

    series: str
    offsets: bytes
    indexes: bytes
    times: bytes
    floats: bytes

    @classmethod
    def of(cls, series: str, rows: Sequence[SampleRow]) -> Samples:
        """Return the block of these rows, at least one."""
        offsets, indexes, times, values = zip(*rows, strict=True)
        whole = f"<{len(rows)}q"
        return cls(
            series,
            struct.pack(whole, *offsets),
            struct.pack(whole, *indexes),
            struct.pack(whole, *times),
            struct.pack(f"<{len(rows)}d", *values),
        )

    @property
    def count(self) -> int:
        """Return how many rows there are."""
        return len(self.floats) // 8

    @property
    def rows(self) -> list[SampleRow]:
        """Return the rows, for whoever needs all of each."""
        columns = (_whole(self.offsets), _whole(self.indexes), _whole(self.times), self.values())
        return list(zip(*columns, strict=True))

    def values(self, skip: int = 0) -> tuple[float, ...]:
        """Return the values from a row on."""
        return struct.unpack(f"<{self.count - skip}d", memoryview(self.floats)[8 * skip :])

    def times_ms(self, skip: int = 0) -> tuple[int, ...]:
        """Return the times from a row on."""
        return _whole(memoryview(self.times)[8 * skip :])

    def time_max(self, skip: int) -> int:
        """Return the newest time from a row on; 0 where there is no row."""
        return max(_whole(memoryview(self.times)[8 * skip :]), default=0)

    def before(self, lo: int) -> int:
        """Return how many rows stand before a front-door offset: they were covered by an earlier run."""
        if not self.offsets or _at(self.offsets, 0) >= lo:
            return 0
        return bisect_left(_whole(self.offsets), lo)

    def place(self, row: int) -> tuple[int, int]:
        """Return offset and index of a row."""
        return _at(self.offsets, row), _at(self.indexes, row)


def _whole(column: bytes | memoryview) -> tuple[int, ...]:
    return struct.unpack(f"<{len(column) // 8}q", column)


def _at(column: bytes, row: int) -> int:
    return int(_int64.unpack_from(column, 8 * row)[0])


_int64 = struct.Struct("<q")


class Faults(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """Readings of a known series that no detector may see: NaN, infinity, a wrong type. Rows: offset, index, time, reason."""

    series: str
    rows: list[tuple[int, int, int, str]]


class Beats(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """Explicit heartbeats of one source, and of one instance of it where beats name one. Rows: offset, index, time_ms."""

    source: str
    rows: list[tuple[int, int, int]]
    instance: str = ""


class Lags(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Sampled offsets of a watched consumer group. Rows: offset, index, time_ms, {partition: (committed or -1, end)}."""

    group: str
    topic: str
    rows: list[tuple[int, int, int, dict[int, tuple[int, int]]]]


class Outcomes(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """Outcomes of executions of the gate. Rows: offset, index, time_ms, epoch, token, outcome, count.

    The outcome is `ok`, `failed`, or `cancelled`: an execution that was not carried out says nothing of the action.
    """

    rows: list[tuple[int, int, int, int, str, str, int]]


class Unreadable(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    """Records that could not be read at all, for every gate that their topic feeds. Rows: offset, index, time_ms, reason."""

    rows: list[tuple[int, int, int, str]]


class Commanded(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A verified operator command for the gate: its claims as JSON text, its append time and its signer's key id."""

    offset: int
    time_ms: int
    claims: str
    kid: str


Reading: TypeAlias = Samples | Faults | Beats | Lags | Outcomes | Unreadable | Commanded


class Activation(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A policy bundle from the control topic, for every evidence partition. `fault` names why it must not be trusted, if so."""

    offset: int
    time_ms: int
    version: int
    files: dict[str, str]
    signer: str
    fault: str


class Term(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A term of the log, opened by an operator: which evidence topic, and where covering starts in each front-door topic."""

    offset: int
    time_ms: int
    term: int
    evidence_id: str
    evidence_partitions: int
    starts: dict[str, dict[int, int]]
    signer: str
    topic_ids: dict[str, str] = {}


class AcceptedGap(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """An operator signs that what one front-door partition held before `upto` will not be seen."""

    offset: int
    time_ms: int
    topic: str
    partition: int
    upto: int
    signer: str


Notice: TypeAlias = Activation | Term | AcceptedGap
"""What concerns a whole evidence partition rather than one gate."""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One evidence record: all that `[previous, upto)` of a front-door partition holds for one evidence partition.

    `previous` is the position that was really fetched from (or up to which this evidence partition was already told of),
    `append_ms` the append time of its last record, `mark` the mark with which it ends, if it ends with one.
    `routing` is the control offset of the newest activation
    that the router had applied, -1 before the first.
    """

    schema: int
    evidence_id: str
    evidence_partitions: int
    term: int
    routing: int
    router: str
    topic: str
    partition: int
    previous: int
    upto: int
    append_ms: int
    mark: Mark | None
    readings: dict[str, list[Reading]]
    notices: list[Notice]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Run)


def encode_run(run: Run) -> bytes:
    """Return the wire form of a run."""
    return _encoder.encode(run)


def decode_run(data: bytes) -> Run:
    """Read a run.

    Raises:
        EvidenceError: these bytes are not an evidence record that this code understands.
    """
    try:
        run = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise EvidenceError(f"not an evidence record: {error}") from error
    if not OLDEST_SCHEMA <= run.schema <= SCHEMA:
        raise EvidenceError(f"evidence record of wire form {run.schema}, this code reads {SCHEMA}")
    return run


def epoch_of(term: int, offset: int) -> int:
    """Return the epoch of a decision taken at an offset of the evidence log.

    Raises:
        EvidenceError: the term or the offset is outside what an epoch can hold.
    """
    if not 0 < term <= MAX_TERM or not 0 <= offset < TERM_FACTOR:
        raise EvidenceError(f"no epoch for term {term}, offset {offset}")
    return term * TERM_FACTOR + offset
