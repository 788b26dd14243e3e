"""Reading a recording: nothing of a row group is used before all of it was found to be as it was written.

Each partition's evidence and decisions are streams of their own that hold one row group in memory. So a
recording larger than memory can be replayed, and partitions can be merged by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from failshut_replay.errors import RecordingError
from failshut_replay.recording.manifest import DECISION, DIGEST_KEY, EVIDENCE, KEY, Manifest, decode_manifest, digest_of
from failshut_replay.recording.policy_names import PolicyNames
from failshut_replay.recording.writer import SCHEMA, digest_of_rows


class Recorded(NamedTuple):
    """A record as it stood in its topic. `time_ms` is when the evidence record that it is, or follows from, was appended."""

    partition: int
    offset: int
    time_ms: int
    record: bytes


class Recording:
    """A recording that was opened: its manifest was read and fits the file.

    Raises:
        RecordingError: truncated, tampered with, of a newer version, without its columns, or empty.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise RecordingError(f"there is no recording {self.path}")
        file = self._open()
        self.digest = ""
        """By which reports name it: over the footer's bytes, and so over everything."""
        self.manifest = self._manifest(file)
        missing = [name for name in SCHEMA.names if name not in file.schema_arrow.names]
        if missing:
            raise RecordingError(f"{self.path} lacks the columns {', '.join(missing)}: it is not a recording as it was made")
        groups = self.manifest.groups
        rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        if rows != [group.rows for group in groups]:
            raise self._tampered("row groups were added, removed or cut")
        if not self.manifest.rows(EVIDENCE):
            raise RecordingError(f"{self.path} holds no evidence: there is nothing to replay")
        self._check_order()

    def evidence(self, partition: int) -> Iterator[Recorded]:
        """Yield the evidence records of a partition, in order.

        Raises:
            RecordingError: they are not as they were written.
        """
        return self._stream(EVIDENCE, partition)

    def decisions(self, partition: int) -> Iterator[Recorded]:
        """Yield the decisions that were taken over a partition, in order."""
        return self._stream(DECISION, partition)

    def _stream(self, kind: str, partition: int) -> Iterator[Recorded]:
        file: pq.ParquetFile | None = None
        for number, group in enumerate(self.manifest.groups):
            if (group.kind, group.partition) != (kind, partition):
                continue
            file = file or self._open()
            try:
                table = file.read_row_group(number, columns=SCHEMA.names, use_threads=False)
                columns = [
                    table.column(name).cast(pa.int64()).to_pylist() if name == "time" else table.column(name).to_pylist()
                    for name in SCHEMA.names
                ]
            except (OSError, pa.ArrowException) as error:
                raise self._tampered(f"row group {number} cannot be read: {error}") from error
            rows = list(zip(*columns, strict=True))
            if digest_of_rows(rows) != group.digest:
                raise self._tampered(
                    f"row group {number} ({kind}, partition {partition}, offsets {group.first} to {group.last})"
                )
            offset = -1
            for row in rows:
                if row[2] < offset or (kind == EVIDENCE and row[2] == offset):
                    raise RecordingError(f"{self.path}: {kind} of partition {partition}: offset {row[2]} after {offset}")
                offset = row[2]
                yield Recorded(row[1], row[2], row[3], row[9])

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise RecordingError(
                f"{self.path} cannot be read as Parquet, it may be truncated: {error}. Copy it again from where it was made"
            ) from error

    def _manifest(self, file: pq.ParquetFile) -> Manifest:
        held = file.metadata.metadata or {}
        if KEY not in held:
            raise RecordingError(
                f"{self.path} is Parquet but no recording of ours; `failshut record --import` takes plain files"
            )
        manifest = decode_manifest(held[KEY], str(self.path))
        self.digest = digest_of(held[KEY])
        if held.get(DIGEST_KEY, b"").decode("ascii", "replace") != self.digest:
            raise self._tampered("its footer is not the one that its digest was made for")
        return manifest

    def _check_order(self) -> None:
        last: dict[tuple[str, int], int] = {}
        for group in self.manifest.groups:
            key = (group.kind, group.partition)
            if group.first < last.get(key, -1) or (group.kind == EVIDENCE and group.first == last.get(key)):
                raise RecordingError(
                    f"{self.path}: offset {group.first} of partition {group.partition} comes twice or out of order"
                )
            last[key] = group.last

    def _tampered(self, where: str) -> RecordingError:
        return RecordingError(f"{self.path} is not as it was made: {where}. Nothing of it is relied on")


class Decided:
    """The decisions on record over one partition, by the evidence that they follow from. Read once, in order.

    They name their policies as decisions do now (policy_names.py).
    """

    def __init__(self, recording: Recording, partition: int) -> None:
        self._stream = recording.decisions(partition)
        self._names = PolicyNames(recording.manifest)
        self._ahead: Recorded | None = None

    def next(self) -> Recorded | None:
        """Return the next one without taking it; None at the end."""
        if self._ahead is None:
            self._ahead = next(self._stream, None)
        return self._ahead

    def at(self, offset: int) -> list[bytes]:
        """Take those up to an evidence record."""
        found = []
        while (one := self.next()) is not None and one.offset <= offset:
            found.append(self._names.presently(one.record))
            self._ahead = None
        return found
