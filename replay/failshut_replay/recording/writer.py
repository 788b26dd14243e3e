"""Writing a recording: row group after row group, under the final name only when it is whole.

A recording may be larger than memory, so rows go out in groups of bounded size. It is written in the same folder under
another name, synchronised, and then renamed. Whatever interrupts it (Ctrl-C, a full disk, a fault in the evidence), no
file is left under the final name. A file that was there before is unchanged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from failshut.whole_file import partial_of
from failshut_replay.errors import RecordingError
from failshut_replay.recording.manifest import DIGEST_KEY, KEY, Group, Manifest, digest_of, encode_manifest

GROUP_BYTES, GROUP_ROWS = 4 * 1024 * 1024, 20_000
"""A row group ends at either: what a reader holds in memory, for each partition."""

SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # evidence or decision
        pa.field("partition", pa.int32(), nullable=False),  # of the evidence topic
        pa.field("offset", pa.int64(), nullable=False),  # of the evidence record
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),  # when the evidence record was appended
        pa.field("gate", pa.string(), nullable=False),  # of a decision; empty for evidence, which concerns several
        pa.field("what", pa.string(), nullable=False),  # a decision's kind; for evidence, its place at the front door
        pa.field("breaker", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("because", pa.string(), nullable=False),
        pa.field("record", pa.binary(), nullable=False),  # as it stood in its topic: what a replay reads
    ]
)


class Row(NamedTuple):
    """One row, in the order of the columns."""

    kind: str
    partition: int
    offset: int
    time_ms: int
    gate: str
    what: str
    breaker: str
    cause: str
    because: str
    record: bytes


def digest_of_rows(rows: Iterable[tuple[object, ...]]) -> str:
    """Return the digest of a row group: every column of every row, in order, each with its length."""
    digest = hashlib.sha256()
    for *texts, record in rows:
        head = "\0".join(map(str, texts)).encode("utf-8", "surrogatepass")
        digest.update(len(head).to_bytes(4, "little") + head + len(record).to_bytes(4, "little"))  # type: ignore[arg-type]
        digest.update(record)  # type: ignore[arg-type]
    return digest.hexdigest()


class Writer:
    """A recording in the making. Leaving it without `finish` leaves nothing behind.

    Raises:
        RecordingError: the file is there already, or cannot be written.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        self.path = path
        self.partial = partial_of(path)
        self.groups: list[Group] = []
        self._rows: list[Row] = []
        self._bytes = 0
        self._out: pq.ParquetWriter | None = None
        if path.exists() and not force:
            raise RecordingError(f"{path} is there already: give another name, or say that it may be replaced (--force)")

    def __enter__(self) -> Self:
        try:
            self._out = pq.ParquetWriter(self.partial, SCHEMA, compression="zstd")
        except (OSError, pa.ArrowException) as error:
            self._abandon()
            raise RecordingError(f"{self.path} cannot be written: {error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._abandon()
        if isinstance(error, OSError) and not isinstance(error, RecordingError):
            raise RecordingError(f"{self.path} was not written, and nothing is left of it: {error}") from error

    def add(self, row: Row) -> None:
        """Add a row. Rows of one kind and partition come together, in order."""
        last = self._rows[-1] if self._rows else None
        if last is not None and (
            (last.kind, last.partition) != (row.kind, row.partition)
            or self._bytes >= GROUP_BYTES
            or len(self._rows) >= GROUP_ROWS
        ):
            self.flush()
        self._rows.append(row)
        self._bytes += len(row.record) + len(row.because)

    def flush(self) -> None:
        """Write what is gathered as a row group."""
        if not self._rows or self._out is None:
            return
        rows, self._rows, self._bytes = self._rows, [], 0
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
        self._out.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=len(rows))
        first, last = rows[0], rows[-1]
        group = Group(first.kind, first.partition, len(rows), first.offset, last.offset, digest_of_rows(rows))
        self.groups.append(group)

    def finish(self, manifest: Manifest) -> None:
        """Write the footer and give the file its name."""
        self.flush()
        out, self._out = self._out, None
        if out is None:
            raise RecordingError(f"{self.path}: nothing was begun")
        try:
            footer = encode_manifest(manifest)
            out.add_key_value_metadata({KEY: footer, DIGEST_KEY: digest_of(footer).encode()})
        finally:
            out.close()
        with self.partial.open("rb+") as written:
            os.fsync(written.fileno())
        self.partial.replace(self.path)

    def _abandon(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            try:
                out.close()
            except (OSError, pa.ArrowException):
                pass  # it is removed all the same
        self.partial.unlink(missing_ok=True)
