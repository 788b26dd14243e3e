"""A batch that unpacks to more than it may, or is damaged, costs its own records and stops no reading."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record._crc32c import crc
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from streams.front_door import ROUTES, START_MS, chunk, cutter, record, rows_of, sample

from failshut_streams.kafka import unpacking
from failshut_streams.kafka.unpacking import BoundedRecords, why_unreadable
from failshut_streams.sources import lag_offsets
from failshut_streams.transport import Record
from failshut_streams.transport.fetch import light_record

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
BOUND = unpacking.UNPACKED_BYTES_MAX
CODECS = {"none": 0, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
TP = TopicPartition("telemetry", 0)
LOG_APPEND_TIME = 0x08
AFTER_THE_CRC, CRC_AT = 21, 17
XERIAL_BACKWARDS = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01" + b"\xff\xff\xff\xec" + b"z" * 40
"""A piece of -20 bytes."""


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is small here; everything else is as in a worker."""
    unpacking.install()
    monkeypatch.setattr(unpacking, "UNPACKED_BYTES_MAX", 64 * 1024)


def batch(values: list[bytes], codec: int = 0, base: int = 0, headers: Any = ()) -> bytearray:
    """One batch of records as a broker stores it, stamped with the broker's time."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for at, value in enumerate(values):
        builder.append(at, START_MS, None, value, list(headers))
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    data[22] |= LOG_APPEND_TIME
    return signed(data)


def signed(data: bytearray) -> bytearray:
    """The batch with the checksum of what it holds now."""
    struct.pack_into(">I", data, CRC_AT, crc(bytes(data[AFTER_THE_CRC:])))
    return data


def read(*batches: bytearray) -> tuple[list[Any], int]:
    """What a consumer reads of these, and where it would go on."""
    records = BoundedRecords(TP, MemoryRecords(bytes(b"".join(batches))), None, 0, None, None, True, "read_committed")
    records._consumer_record = light_record
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_is_within_the_bound_is_read_as_it_was_written(codec: int) -> None:
    """Every codec, whether it shrinks what it packs or not."""
    values = [b"x" * 30_000, b"", bytes(range(256)) * 20]
    found, upto = read(batch(values, codec), batch([b"next"], codec, base=3))
    assert [one.value for one in found] == [*values, b"next"]
    assert [one.offset for one in found] == [0, 1, 2, 3]
    assert upto == 4


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_unpacks_to_more_than_it_may_is_one_record_that_says_so(codec: int) -> None:
    """What stands before and behind it is read."""
    bomb = batch([b"x" * 100_000, b"y"], codec, base=1)
    found, upto = read(batch([b"before"]), bomb, batch([b"behind"], codec, base=3))
    assert [(one.offset, one.value) for one in found] == [(0, b"before"), (2, None), (3, b"behind")]
    assert "more than 65536 bytes" in why_unreadable(found[1].headers)
    assert (found[1].timestamp_ms, found[1].timestamp_type) == (START_MS, 1), "the broker's time, as of every other record"
    assert upto == 4


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize(
    "payload", [b"", b"\x00" * 40, b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xec" + b"z" * 40]
)
def test_a_batch_that_is_no_such_thing_is_one_record_that_says_so(codec: int, payload: bytes) -> None:
    """Whatever stands in it: nothing, zeros, a piece of a negative length."""
    damaged = batch([b"x" * 100], codec)
    del damaged[61:]
    damaged += payload
    struct.pack_into(">i", damaged, 8, len(damaged) - 12)
    found, upto = read(signed(damaged), batch([b"behind"], base=1))
    assert [(one.offset, one.value) for one in found] == [(0, None), (1, b"behind")]
    assert why_unreadable(found[0].headers)
    assert upto == 2


def test_a_header_whose_name_is_no_text_ends_no_reading() -> None:
    """C's clients write any bytes as a name; brokers do not look. What stood before it in the batch is read."""
    bad = batch([b"good", b"bad"], headers=[("name", b"")])
    at = bytes(bad).rindex(b"name")
    bad[at : at + 4] = b"\xff\xfe\xfd\xfc"
    found, upto = read(signed(bad), batch([b"behind"], base=2))
    assert [(one.offset, one.value) for one in found] == [(0, b"good"), (1, None), (2, b"behind")]
    assert "UnicodeDecodeError" in why_unreadable(found[1].headers)
    assert upto == 3


def test_a_record_whose_lengths_do_not_add_up_ends_no_reading() -> None:
    """It is damage like any other."""
    bad = batch([b"value"])
    bad[61] += 2  # the length of the record, which is behind the end now
    found, upto = read(signed(bad), batch([b"behind"], base=1))
    assert [(one.offset, one.value) for one in found] == [(0, None), (1, b"behind")]
    assert upto == 2


def test_a_codec_whose_library_is_missing_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that reads less than the others must not vouch for it: it stops."""
    packed = batch([b"x" * 100], ZSTD)
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    with pytest.raises(UnsupportedCodecError, match="zstd"):
        read(packed)


def test_what_cannot_be_unpacked_is_unreadable_and_told_to_those_who_ask() -> None:
    """A router forwards what it could read, and that there was more; the record goes to the dead letters."""
    (bomb,), _ = read(batch([b"x" * 100_000], ZSTD, base=1))
    cut = cutter().cut(chunk([record(0, sample()), Record(*bomb), record(2, sample())]), ROUTES)
    assert [(dead.record.offset, "unpacked" in dead.reason) for dead in cut.dead] == [(1, True)]
    rows = rows_of(cut.runs)
    assert {gate for gate, row in rows if row[0] == "Unreadable"} == {*"abcd"}
    assert [row[-1][0] for gate, row in rows if gate == "a" and row[0] == "Samples"] == [0, 2]


class Reading:
    """A consumer that has fetched what is given, of one partition."""

    def __init__(self, records: list[Any], position: int) -> None:
        self.records, self._position = records, position

    def assign(self, places: Any) -> None:
        """There is one."""

    def seek(self, place: Any, offset: int) -> None:
        """It is there."""

    def unsubscribe(self) -> None:
        """Nothing is kept."""

    async def getmany(self, *places: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        """What was fetched."""
        return {TP: self.records}

    async def position(self, place: Any) -> int:
        """Behind it."""
        return self._position


async def test_a_group_before_what_cannot_be_unpacked_is_behind_by_all_of_it() -> None:
    """The stand-in stands at the end of a batch: where it stands says nothing of where records begin."""
    records, upto = read(batch([b"x"] * 50 + [b"x" * 100_000], ZSTD))
    place = lag_offsets._Place(begin=0, readable=0)
    reading: Any = Reading(records, upto)
    await lag_offsets._first_records(reading, TP.topic, {TP.partition: place}, {TP.partition: upto}, 5.0)
    assert (place.found, place.readable) == (True, 0)


def test_nobody_writes_a_record_that_passes_for_a_stand_in() -> None:
    """A producer's own header says nothing of the kind, whatever its name."""
    (mine,), _ = read(batch([b"x"], headers=[("records that cannot be unpacked", None)]))
    assert why_unreadable(mine.headers) == ""


def test_the_bound_is_above_what_brokers_take_of_a_batch_that_is_not_packed() -> None:
    """Kafka's own default is a little more than 1 MiB; a topic may be set to more."""
    assert BOUND >= 16 * 1024 * 1024
