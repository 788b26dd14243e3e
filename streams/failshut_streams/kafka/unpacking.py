"""Batches of records, unpacked within a bound. One that cannot be unpacked costs its own records, and no other's.

Producers compress. A batch of 1 MiB may unpack to gigabytes, and Kafka accepts it: a broker reads records one after the other
and keeps none. But aiokafka unpacks a batch whole, into memory, in the one thread that reads for every series. And some records
that librdkafka can write are an error for aiokafka that ends reading, for example a header whose name is no UTF-8. That
producer would stop every worker, and each that is started later.

So every consumer of Failshut unpacks here. What a batch unpacks to is bounded before or while it is unpacked. If a batch is
damaged, or exceeds the bound, one record at the batch's last offset replaces the part that could not be read. It has no key and
no value, and says why (`why_unreadable`). Whoever reads telemetry makes an unreadable record of it.

Limits: nobody knows which series such a batch names, so it is reported to the gates that ask about unreadable records. A codec
whose library is missing is no damage: it raises, because a worker that read less than the others would vouch for it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from gzip import BadGzipFile, GzipFile
from typing import Any, Final, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records, legacy_records
from aiokafka.record._crecords import default_records as c_default_records
from aiokafka.record._crecords import legacy_records as c_legacy_records

UNPACKED_BYTES_MAX: Final = 32 * 1024 * 1024
"""What one batch may unpack to: thirty-two times the largest that brokers take by default."""

_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16
_ROOM_BYTES_MIN: Final = 64 * 1024
_GROWTH: Final = 8


class Unpackable(Exception):
    """A batch is damaged, or unpacks to more than it may."""


class _Reason(str):
    """Why records could not be read, in place of a header's name: nothing that a producer writes is of this type."""

    __slots__ = ()


class _StandIn(NamedTuple):
    """A record in place of those that could not be read, as aiokafka's batches give them."""

    offset: int
    timestamp: int
    timestamp_type: int
    headers: list[tuple[str, bytes | None]]
    key: bytes | None = None
    value: bytes | None = None
    checksum: int | None = None


def why_unreadable(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Return why a record stands in for others that could not be read; an empty text for every other record."""
    return str(headers[0][0]) if headers and type(headers[0][0]) is _Reason else ""


class BoundedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of a partition, with stand-ins for what cannot be read."""

    def __init__(self, tp: Any, records: Any, *more: Any) -> None:
        super().__init__(tp, _Batches(records), *more)


class _Batches:
    """The batches of a fetch."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return batch if batch is None or getattr(batch, "magic", 0) < 2 else _Batch(batch)


class _Batch:
    """One batch, of the format that every broker stores. What is not its records is asked of the batch itself."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)  # a control batch's one record

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except (Unpackable, CorruptRecordException, UnicodeDecodeError) as error:
            yield self._stand_in(error)

    def _stand_in(self, error: Exception) -> _StandIn:
        batch = self._batch
        why = str(error) if isinstance(error, Unpackable) else f"damaged: {type(error).__name__}"
        reason = _Reason(f"records that cannot be unpacked, up to offset {batch.next_offset - 1}: {why}")
        return _StandIn(batch.next_offset - 1, batch.max_timestamp, batch.timestamp_type, [(reason, None)])


# --- codecs ---


def gunzip(packed: Any) -> bytes:
    """Unpack gzip. Raises Unpackable."""
    try:
        with GzipFile(fileobj=io.BytesIO(packed)) as file:
            return _bounded(file.read(UNPACKED_BYTES_MAX + 1))
    except (BadGzipFile, EOFError, zlib.error) as error:
        raise Unpackable("no gzip") from error


def unsnappy(packed: Any) -> bytes:
    """Unpack snappy, in one piece or in the pieces of Java's library. Raises Unpackable."""
    data = bytes(packed)
    if not data.startswith(_XERIAL):
        return _unsnapped(data, UNPACKED_BYTES_MAX)
    pieces: list[bytes] = []
    at, left = _XERIAL_HEAD, UNPACKED_BYTES_MAX
    while at < len(data):
        size = struct.unpack_from("!i", data, at)[0] if at + 4 <= len(data) else 0
        if size <= 0 or at + 4 + size > len(data):
            raise Unpackable("no snappy")
        pieces.append(_unsnapped(data[at + 4 : at + 4 + size], left))
        at, left = at + 4 + size, left - len(pieces[-1])
    return b"".join(pieces)


def _unsnapped(data: bytes, bytes_max: int) -> bytes:
    try:
        if cramjam.snappy.decompress_raw_len(data) > bytes_max:  # it says so before it unpacks
            raise _too_large()
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise Unpackable("no snappy") from error


def unlz4(packed: Any) -> bytes:
    """Unpack LZ4. Raises Unpackable."""
    return _into(cramjam.lz4.decompress_into, packed, "LZ4")


def unzstd(packed: Any) -> bytes:
    """Unpack Zstandard. Raises Unpackable."""
    return _into(cramjam.zstd.decompress_into, packed, "Zstandard")


def _into(unpack: Callable[[Any, Any], int], packed: Any, what: str) -> bytes:
    """Unpack into a buffer of a likely size, and into larger ones where that is too small."""
    data = bytes(packed)
    room_bytes = max(_ROOM_BYTES_MIN, _GROWTH * len(data))
    while True:
        room = bytearray(min(room_bytes, UNPACKED_BYTES_MAX))
        try:
            return bytes(memoryview(room)[: unpack(data, room)])
        except cramjam.DecompressionError as error:  # there is no other word for a buffer that is full
            if len(room) == UNPACKED_BYTES_MAX:
                raise Unpackable(f"no {what}, or more than {UNPACKED_BYTES_MAX} bytes") from error
        room_bytes *= _GROWTH


def _bounded(data: bytes) -> bytes:
    if len(data) > UNPACKED_BYTES_MAX:
        raise _too_large()
    return data


def _too_large() -> Unpackable:
    return Unpackable(f"more than {UNPACKED_BYTES_MAX} bytes")


def install() -> None:
    """Have aiokafka unpack here, in every consumer of this process. More than once is as once."""
    for module in (default_records, legacy_records, c_default_records, c_legacy_records):
        for name, decode in (
            ("gzip_decode", gunzip),
            ("snappy_decode", unsnappy),
            ("lz4_decode", unlz4),
            ("zstd_decode", unzstd),
        ):
            if hasattr(module, name):
                setattr(module, name, decode)
    fetcher.PartitionRecords = BoundedRecords
