"""Readings: what producers and Failshut's own parts say, in blocks of one series each, as a run carries them.

Nearly all evidence is samples, so a block of them is columns. A governor feeds one detector at a time, and looks up a value's
place only when a decision cites it. A block travels once, with the gates that it feeds (`Packed`): what a run weighs does not
grow with their number.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, NamedTuple, TypeAlias

import msgspec

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
        """How many rows there are."""
        return len(self.floats) // 8

    @property
    def rows(self) -> list[SampleRow]:
        """The rows, for whoever needs all of each."""
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


class FaultRow(NamedTuple):
    """One reading that could not be read, by its place: the record's offset, and which of its items."""

    offset: int
    item: int
    time_ms: int
    reason: str


class Faults(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """Readings of a known series that no detector may see: NaN, infinity, a wrong type."""

    series: str
    rows: list[FaultRow]


ManyRow: TypeAlias = tuple[int, int, int, int, float | str]
"""offset, index, time_ms, whose it is (its place among the names), and the value, or why it could not be read"""


class FromMany(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """Readings of one series for those who judge it by instance: of all instances, in order, readable or not.

    A reading that names no instance has an empty name. Rows and no columns: whoever reads them takes them apart by instance.
    """

    series: str
    names: list[str]
    rows: list[ManyRow]

    def as_one(self) -> list[Samples | Faults]:
        """Return the readings as those of one stream, which is what others are fed with."""
        blocks: list[Samples | Faults] = []
        for bad, some in groupby(self.rows, lambda row: isinstance(row[4], str)):
            rows = [(*row[:3], row[4]) for row in some]
            blocks.append(Faults(self.series, [FaultRow(*row) for row in rows]) if bad else Samples.of(self.series, rows))  # type: ignore[arg-type]
        return blocks


class Beats(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """Explicit heartbeats of one source, and of one instance of it where beats name one. Rows: offset, index, time_ms."""

    source: str
    rows: list[tuple[int, int, int]]
    instance: str = ""


Known = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Unknown = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class Offsets(NamedTuple):
    """Where a consumer group is in one partition, as sampled.

    `committed` is -1 where the group never committed. `end` is the high watermark, and `start` what retention has left. The
    last two are -1 where nobody measured them. `stable` is where the first open transaction begins, or the end. Between
    `committed` and `readable` there is nothing that the group could read.
    """

    committed: Unknown
    end: Known
    start: Known = 0
    stable: Unknown = -1
    readable: Unknown = -1

    @property
    def behind(self) -> int:
        """How many records the group is behind, at most: all that are there where it never committed."""
        return max(0, self.end - max(self.committed, self.start, self.readable))


class LagRow(NamedTuple):
    """One sample, by its place: the record's offset, and which of its items.

    `told` says why there is nothing in it, or what it lacks; `topic_id` tells a topic made anew from the old.
    """

    offset: int
    item: int
    time_ms: int
    partitions: dict[int, Offsets]
    topic_id: str = ""
    told: str = ""


class Lags(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Sampled offsets of a watched consumer group."""

    group: str
    topic: str
    rows: list[LagRow]


class OutcomeRow(NamedTuple):
    """How many executions ended in one way, by its place: the record's offset, and which of its items.

    `token` is a probe's, and empty elsewhere. The outcome is `ok`, `failed`, `interrupted` or `cancelled`. Interrupted:
    somebody else's timeout or cancellation ended it after its admission. Cancelled: it was not carried out, or its gate ended
    it, so it says nothing of the action.
    """

    offset: int
    item: int
    time_ms: int
    epoch: int
    token: str
    outcome: str
    executions: int


class Outcomes(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """Outcomes of executions of the gate."""

    rows: list[OutcomeRow]


class Sent(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """What guards say of the outcomes that they sent. Rows: offset, index, time_ms, guard, total, count, lost.

    `total` is how many that guard has sent for this gate so far, the `count` of this entry included: what does not come is
    a hole in it. `lost` were never sent.
    """

    rows: list[tuple[int, int, int, str, int, int, int]]


class Unreadable(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    """Records that could not be read at all, for every gate that asks about them."""

    rows: list[FaultRow]


class Commanded(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A verified operator command for the gate: its claims as JSON text, its append time and its signer's key id."""

    offset: int
    time_ms: int
    claims: str
    kid: str


Reading: TypeAlias = Samples | Faults | FromMany | Beats | Lags | Outcomes | Sent | Unreadable | Commanded


_Index = Annotated[int, msgspec.Meta(ge=0)]


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """Readings as they travel: each block once, in order, with the number of the group of gates that it feeds."""

    gates: list[str]
    groups: list[list[_Index]]  # each of places in `gates`
    blocks: list[tuple[_Index, Reading]]


class Shared(Mapping[str, list[Reading]]):
    """Readings by gate, kept as they travel: many gates may be fed by one block."""

    __slots__ = ("_by_gate", "packed")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self._by_gate: dict[str, list[Reading]] | None = None

    def by_gate(self) -> dict[str, list[Reading]]:
        """Return the readings of each gate. Raises IndexError where a number is none of this run's."""
        if self._by_gate is None:
            packed = self.packed
            held: list[list[Reading]] = [[] for _ in packed.gates]
            groups = [[held[gate] for gate in group] for group in packed.groups]
            for number, reading in packed.blocks:
                for readings in groups[number]:
                    readings.append(reading)
            self._by_gate = dict(zip(packed.gates, held, strict=True))
        return self._by_gate

    def __getitem__(self, gate: str) -> list[Reading]:
        return self.by_gate()[gate]

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed.gates)

    def __len__(self) -> int:
        return len(self.packed.gates)


class Packer:
    """Puts blocks together for one run, in the order in which a gate is to read them."""

    def __init__(self) -> None:
        self._gates: dict[str, int] = {}
        self._groups: dict[tuple[str, ...], int] = {}
        self._blocks: list[tuple[int, Reading]] = []

    def group(self, gates: tuple[str, ...]) -> int:
        """Return the number of a group of gates."""
        return self._groups.setdefault(gates, len(self._groups))

    def add(self, group: int, reading: Reading) -> None:
        """Add the next block, for the gates of a group."""
        self._blocks.append((group, reading))

    def shared(self) -> Shared:
        """Return what was added."""
        places, groups = self._gates, list(self._groups)
        numbers = [[places.setdefault(gate, len(places)) for gate in gates] for gates in groups]
        return Shared(Packed(list(places), numbers, self._blocks))


def packed(readings: Mapping[str, list[Reading]]) -> Packed:
    """Return readings as they travel; those that were not gathered together share nothing."""
    if isinstance(readings, Shared):
        return readings.packed
    gates = list(readings)
    blocks = [(place, reading) for place, gate in enumerate(gates) for reading in readings[gate]]
    return Packed(gates, [[place] for place in range(len(gates))], blocks)
