"""The dead-letter envelope: what could not be read, where it was and why, and enough of it to find the producer.

JSON, because whoever opens it has a pager in the other hand. Bytes are base64; the envelope is bounded whatever the
record was. One envelope a record, not one an element.
"""

from base64 import b64encode
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from failshut_streams.codecs.items import DeadKind, Fault, Item, fault

VERSION = 1
VALUE_BYTES_KEPT = 4096
KEY_BYTES_KEPT = 1024


class Origin(msgspec.Struct, frozen=True):
    """Where a record stands. `append_ms` is the broker's time."""

    topic: str
    partition: int
    offset: int
    append_ms: int


class DeadLetter(msgspec.Struct, frozen=True):
    """The envelope. `key` and `value` are base64 of their first bytes, or None where the record had none."""

    v: int
    reason: str
    origin: Origin
    key: str | None
    value: str | None
    size: int


class Dead(NamedTuple):
    """Why a record belongs into the dead-letter topic: for a person, and in one word."""

    reason: str
    kind: DeadKind = DeadKind.OTHER


def why_dead(items: Iterable[Item]) -> Dead | None:
    """Return why a record with these items is a dead letter, or None where it is not. The first reason is named."""
    faults = [item for item in items if type(item) is Fault and item.series is None]
    if not faults:
        return None
    first, more = faults[0], len(faults) - 1
    return Dead(f"{first.reason} (and {more} more elements)" if more else first.reason, first.kind)


def encode_dead_letter(reason: str, origin: Origin, key: bytes | None, value: bytes | None) -> bytes:
    """Return the bytes of an envelope. Same record and reason, same bytes."""
    return msgspec.json.encode(
        DeadLetter(
            v=VERSION,
            reason=fault(None, reason).reason,
            origin=origin,
            key=None if key is None else b64encode(key[:KEY_BYTES_KEPT]).decode(),
            value=None if value is None else b64encode(value[:VALUE_BYTES_KEPT]).decode(),
            size=0 if value is None else len(value),
        )
    )


def decode_dead_letter(envelope: bytes) -> DeadLetter:
    """Return an envelope read back. Raises `msgspec.ValidationError` for another version or shape."""
    letter = msgspec.json.decode(envelope, type=DeadLetter)
    if letter.v != VERSION:
        raise msgspec.ValidationError(f"a dead letter of version {letter.v}, this code reads {VERSION}")
    return letter
