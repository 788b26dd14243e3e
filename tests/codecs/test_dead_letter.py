"""The dead-letter envelope."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failshut_streams.codecs import (
    Dead,
    DeadKind,
    Fault,
    InternalDecoder,
    NativeDecoder,
    Origin,
    OtlpDecoder,
    Sample,
    decode_dead_letter,
    encode_dead_letter,
    why_dead,
)
from failshut_streams.codecs.native import ELEMENTS_MAX, VALUE_BYTES_MAX

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
    assert why_dead([]) is None
    assert why_dead([good, named]) is None
    assert why_dead([good, Fault(None, "x"), named]) == Dead("x")
    assert why_dead([Fault(None, "x"), Fault(None, "y"), Fault(None, "z")]) == Dead("x (and 2 more elements)")


def kind_of(
    decoder: NativeDecoder | OtlpDecoder | InternalDecoder, value: bytes | None, *headers: tuple[str, bytes]
) -> DeadKind:
    why = why_dead(decoder.decode(None, value, headers, 1_700_000_000_000))
    assert why is not None
    return why.kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"not JSON", DeadKind.JSON),
        (b"[" * 100_000, DeadKind.JSON),
        (b"x" * (VALUE_BYTES_MAX + 1), DeadKind.SIZE),
        (b"", DeadKind.SIZE),
        (None, DeadKind.SIZE),
        (b"[%s1]" % (b"1," * ELEMENTS_MAX), DeadKind.SIZE),
        (b'{"specversion":"0.3","data":1}', DeadKind.CLOUD_EVENT),
        (b'{"specversion":"1.0"}', DeadKind.CLOUD_EVENT),
        (b'{"specversion":"1.0","datacontenttype":"text/plain","data":1}', DeadKind.CLOUD_EVENT),
        (b'{"specversion":"1.0","data":{"specversion":"1.0"}}', DeadKind.CLOUD_EVENT),
        (b"7", DeadKind.OTHER),
        (b'{"kind":"not JSON, and more than 3 bytes"}', DeadKind.OTHER),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else str(value),
)
def test_what_is_wrong_with_telemetry_is_a_kind(value: bytes | None, kind: DeadKind) -> None:
    """The kind is said where the fault is found; no word of the producer's can change it."""
    assert kind_of(NativeDecoder(), value) is kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"\xff", DeadKind.OTLP),
        (b"{}", DeadKind.OTLP),
        (b'{"resourceMetrics":[{"scopeMetrics":7}]}', DeadKind.OTLP),
        (b"{", DeadKind.JSON),
        (b"", DeadKind.SIZE),
    ],
)
def test_what_is_wrong_with_otlp_is_a_kind(value: bytes, kind: DeadKind) -> None:
    """What is JSON and no OTLP is told from what is not even JSON."""
    assert kind_of(OtlpDecoder(), value) is kind


def test_what_is_wrong_with_a_cloud_event_in_headers_is_a_kind() -> None:
    """Also where the envelope is in headers."""
    for headers in ([("ce_specversion", b"0.3")], [("ce_specversion", b"1.0"), ("content-type", b"text/plain")]):
        assert kind_of(NativeDecoder(), b"{}", *headers) is DeadKind.CLOUD_EVENT
    assert kind_of(NativeDecoder(), b"{}", ("content-type", b"application/cloudevents+avro")) is DeadKind.CLOUD_EVENT


def test_what_is_no_event_of_failshuts_own_has_no_kind_of_its_own() -> None:
    """Its writers are this code: there is nobody to tell."""
    assert kind_of(InternalDecoder(), b"x") is DeadKind.OTHER
    assert kind_of(InternalDecoder(), None) is DeadKind.SIZE
