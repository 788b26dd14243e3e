"""Evidence: everything that a decision may depend on, as records in one ordered log.

The problem: a governor must decide the same whoever runs it, and whenever. It reads a log that several routers
write, and some of them are late, restarted or stalled. So an evidence record is not a sample but a *run*. It
vouches for one front-door partition from `previous` up to `upto`: this is all that concerns this evidence
partition. A governor that joins runs knows what it has not seen. A mark is the time up to which a front-door
partition was vouched for. It reaches a gate only after everything that was before it.

The wire form is MessagePack arrays, tagged and versioned. Readings of one series are stored together as a block
of rows, because a governor feeds one detector at a time. Each row stores the reading's own place in the
front-door topic (offset, index). So the order between series can be restored where it matters. A block travels
once, with the gates that it feeds (`Packed`): what a run weighs does not grow with their number.

Limits: a run says nothing of what producers never sent; that is a heartbeat's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from failshut import epoch as epochs
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.readings import (
    Beats,
    Commanded,
    FaultRow,
    Faults,
    FromMany,
    Known,
    LagRow,
    Lags,
    ManyRow,
    Offsets,
    OutcomeRow,
    Outcomes,
    Packed,
    Packer,
    Reading,
    SampleRow,
    Samples,
    Sent,
    Shared,
    Unknown,
    Unreadable,
    packed,
)

__all__ = [
    "SCHEMA",
    "AcceptedGap",
    "Activation",
    "Beats",
    "Commanded",
    "EvidenceError",
    "FaultRow",
    "Faults",
    "Feeds",
    "FromMany",
    "Known",
    "LagRow",
    "Lags",
    "ManyRow",
    "Mark",
    "Notice",
    "Offsets",
    "OlderWire",
    "OperatorsNamed",
    "OutcomeRow",
    "Outcomes",
    "Packed",
    "Packer",
    "Place",
    "Reading",
    "Run",
    "SampleRow",
    "Samples",
    "Sent",
    "Shared",
    "Term",
    "Unknown",
    "Unreadable",
    "decode_run",
    "encode_run",
    "epoch_of",
]

SCHEMA = 2
"""Version of the wire form. A reader refuses a newer one, and counts nothing of an older one."""


class EvidenceError(Exception):
    """The evidence log is not what its records claim: another topic, another partition count, a newer wire form.

    A worker that meets it stops: going on would be deciding on a log that nobody can replay.
    """


class OlderWire(EvidenceError):
    """A record of an older wire form. It counts for nobody: no worker of this version stops over one that has not stopped."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a reading stood at the front door: what a decision cites as its origin."""

    topic: str
    partition: int
    offset: int
    index: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A time mark: everything before it in its front-door partition was appended no later than about `time_ms`.

    `time_ms` is the smaller of the writer's clock and the broker's append time. `partitions` is the topic's partition count,
    which the writer read from the broker after it took the time.
    """

    time_ms: int
    partitions: int


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
    installation: str
    topic_ids: dict[str, str] = {}

    @property
    def log(self) -> EvidenceLog:
        """The evidence log that it opens."""
        return EvidenceLog(self.evidence_id, self.evidence_partitions)


class AcceptedGap(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """An operator signs that what one front-door partition held before `upto` will not be seen."""

    offset: int
    time_ms: int
    topic: str
    partition: int
    upto: int
    signer: str


class OperatorsNamed(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """From this place of control on, these keys' commands count. `digest` (16 bytes) is of their ids; a worker named them."""

    offset: int
    time_ms: int
    digest: bytes
    kids: list[str]
    changed_ms: int
    worker: str


Notice: TypeAlias = Activation | Term | AcceptedGap | OperatorsNamed
"""What concerns a whole evidence partition rather than one gate."""


class Feeds(msgspec.Struct, frozen=True, array_like=True):
    """What a router feeds the gates of one evidence partition: 8 bytes for each gate, and why it feeds another nothing."""

    gates: dict[str, bytes]
    faults: dict[str, str]


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One evidence record: all that `[previous, upto)` of a front-door partition holds for one evidence partition.

    `previous` is the position that was really fetched from, or the one up to which this evidence partition was already told.
    `append_ms` is the append time of the last record. `mark` is the mark with which the run ends, if it ends with one.
    `routing` is the control offset of the newest activation that the router had applied, -1 before the first. `made` (16
    bytes) is the digest of what the router made of control: what it feeds each gate of this evidence partition. In a run of
    control it is the digest of whose commands the router believed. `operators` is the digest of those operators' keys, and
    empty while none are named. `feeds` stands in a run of control that first uses the table behind a digest.
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
    readings: Mapping[str, list[Reading]]
    notices: list[Notice]
    made: bytes = b""
    operators: bytes = b""
    feeds: Feeds | None = None

    @property
    def log(self) -> EvidenceLog:
        """The evidence log that it was written to."""
        return EvidenceLog(self.evidence_id, self.evidence_partitions)


class _Wire(Run, frozen=True, array_like=True):
    """A run as it travels."""

    readings: Packed  # type: ignore[assignment]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_run(run: Run) -> bytes:
    """Return the wire form of a run."""
    return _encoder.encode(msgspec.structs.replace(run, readings=packed(run.readings)))


def decode_run(data: bytes) -> Run:
    """Read a run.

    Raises:
        OlderWire: a worker of an older version wrote it.
        EvidenceError: these bytes are not an evidence record that this code understands.
    """
    if _schema_of(data) < SCHEMA:
        raise OlderWire(
            f"it is of wire form {_schema_of(data)}, this code reads {SCHEMA}: a worker of an older version wrote it, and what "
            f"that made of the policies is not known"
        )
    try:
        wire = _decoder.decode(data)
        by_gate = Shared(wire.readings).by_gate()
    except (msgspec.MsgspecError, IndexError) as error:
        raise EvidenceError(f"not an evidence record: {error}") from error
    if wire.schema != SCHEMA:
        raise EvidenceError(f"evidence record of wire form {wire.schema}, this code reads {SCHEMA}")
    if not wire.made:
        raise EvidenceError("an evidence record that does not say what its router made of control")
    values: list[Any] = [by_gate if name == "readings" else getattr(wire, name) for name in Run.__struct_fields__]
    return Run(*values)


def _schema_of(data: bytes) -> int:
    """Return the first number of the array that a record is, or `SCHEMA` where it is none: one byte behind the array's head."""
    if len(data) < 4:
        return SCHEMA
    place = {0xDC: 3, 0xDD: 5}.get(data[0], 1 if data[0] >> 4 == 0x9 else 0)
    return data[place] if 0 < place < len(data) and 0 < data[place] < 0x80 else SCHEMA


def epoch_of(term: int, offset: int) -> int:
    """Return the epoch of a decision taken at an offset of the evidence log.

    Raises:
        EvidenceError: the term or the offset is outside what an epoch can hold.
    """
    if term <= 0:  # without a term there is no decision
        raise EvidenceError(f"no epoch for term {term}, offset {offset}")
    try:
        return epochs.number_of(term, offset)
    except ValueError as error:
        raise EvidenceError(f"no epoch for term {term}, offset {offset}") from error
