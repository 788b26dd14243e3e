"""The dead-letter envelope."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failshut_streams.codecs import (
    Fault,
    Origin,
    Sample,
    decode_dead_letter,
    encode_dead_letter,
    unreadable_reason,
)

ORIGIN = Origin("telemetry", 2, 40, 1_800_000_000_000)


def test_an_envelope_says_reason_origin_and_the_first_bytes() -> None:
    """As JSON that needs no code of ours to be read."""
    letter = json.loads(encode_dead_letter("not JSON", ORIGIN, b"refunds/eur", b"x" * 10_000))
    assert letter["v"] == 1
    assert letter["reason"] == "not JSON"
    assert letter["origin"] == {"topic": "telemetry", "partition": 2, "offset": 40, "append_ms": 1_800_000_000_000}
    assert base64.b64decode(letter["key"]) == b"refunds/eur"
    assert base64.b64decode(letter["value"]) == b"x" * 4096
    assert letter["size"] == 10_000
    assert base64.b64decode(json.loads(encode_dead_letter("x", ORIGIN, b"k" * 2000, None))["key"]) == b"k" * 1024


@pytest.mark.slow
@given(st.text(), st.none() | st.binary(max_size=3000), st.none() | st.binary(max_size=9000))
def test_every_record_has_a_bounded_envelope(reason: str, key: bytes | None, value: bytes | None) -> None:
    """Whatever the record and the reason are; absent and empty stay apart."""
    envelope = encode_dead_letter(reason, ORIGIN, key, value)
    assert len(envelope) < 9000
    letter = decode_dead_letter(envelope)
    assert letter.reason.isprintable()
    assert len(letter.reason) <= 200
    assert letter.origin == ORIGIN
    assert letter.size == len(value or b"")
    assert (letter.key is None, letter.value is None) == (key is None, value is None)
    assert value is None or base64.b64decode(letter.value or "") == value[:4096]


def test_an_envelope_of_another_version_is_refused() -> None:
    """Rather than misread."""
    other = encode_dead_letter("x", ORIGIN, None, None).replace(b'"v":1', b'"v":2')
    with pytest.raises(msgspec.ValidationError):
        decode_dead_letter(other)


def test_only_unreadable_items_send_a_record_there() -> None:
    """A fault of a named series is evidence, and no dead letter."""
    good, named = Sample("a/b", 1.0, None, None), Fault("a/b", "value is not finite")
    assert unreadable_reason([]) is None
    assert unreadable_reason([good, named]) is None
    assert unreadable_reason([good, Fault(None, "x"), named]) == "x"
    assert unreadable_reason([Fault(None, "x"), Fault(None, "y"), Fault(None, "z")]) == "x (and 2 more elements)"
