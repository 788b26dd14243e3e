"""CloudEvents 1.0, structured and binary, around native JSON."""

import base64
import json
from collections.abc import Sequence

import pytest

from failshut_streams.codecs import Beat, DeadKind, Fault, Item, NativeDecoder, Sample

APPEND_MS = 1_800_000_000_000
DATA = {"service": "refunds", "metric": "eur", "value": 1.5}
EVENT = {"specversion": "1.0", "id": "1", "source": "/refunds", "type": "sample", "data": DATA}
BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/refunds"),
    ("ce_type", b"sample"),
    ("content-type", b"application/json"),
]
SAMPLE = Sample("refunds/eur", 1.5, None, None)


def structured(event: object) -> list[Item]:
    return NativeDecoder().decode(None, json.dumps(event).encode(), (), APPEND_MS)


def binary(headers: Sequence[tuple[str, bytes | None]], data: object = DATA) -> list[Item]:
    return NativeDecoder().decode(None, json.dumps(data).encode(), list(headers), APPEND_MS)


def test_structured_events_are_read() -> None:
    """One datum, a list, base64, other kinds, and a batch of events."""
    assert structured(EVENT) == [SAMPLE]
    assert structured(EVENT | {"data": [DATA, DATA]}) == [SAMPLE, SAMPLE]
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    assert structured({**EVENT, "data": None, "data_base64": encoded}) == [SAMPLE]
    assert structured(EVENT | {"data": {"kind": "heartbeat", "service": "s"}}) == [Beat("s", None)]
    assert structured([EVENT, DATA, EVENT | {"data": [DATA, 0]}])[:3] == [SAMPLE, SAMPLE, SAMPLE]


def test_a_structured_event_with_fields_of_a_sample_is_still_an_event() -> None:
    """Extension attributes named like a sample's fields do not hide the data."""
    assert structured(EVENT | {"service": "x", "metric": "y", "value": 9}) == [SAMPLE]


def test_the_events_time_is_the_time_of_data_that_have_none() -> None:
    """And data that have one keep their own."""
    timed = EVENT | {"time": "2023-11-14T22:13:20Z", "data": [DATA, DATA | {"time": 1600000000}]}
    expected = [Sample("refunds/eur", 1.5, 1700000000000, None), Sample("refunds/eur", 1.5, 1600000000000, None)]
    assert structured(timed) == expected
    assert structured(timed | {"data": [*timed["data"], {"kind": "heartbeat", "service": "s"}]})[:2] == expected
    assert binary([*BINARY, ("ce_time", b"2023-11-14T22:13:20Z")], timed["data"]) == expected
    assert structured(EVENT | {"time": "2099-01-01T00:00:00Z"}) == [Sample("refunds/eur", 1.5, APPEND_MS, None)]


def test_a_bad_event_time_is_a_fault_of_data_that_have_none() -> None:
    """The series is named, so it is the one that does not conform; data with a time of their own count."""
    data = [DATA, DATA | {"time": 1600000000}]
    for items in (structured(EVENT | {"time": "noon", "data": data}), binary([*BINARY, ("ce_time", b"noon")], data)):
        assert isinstance(items[0], Fault)
        assert items[0].series == "refunds/eur"
        assert items[1] == Sample("refunds/eur", 1.5, 1600000000000, None)


def test_binary_events_are_read() -> None:
    """Headers speak for the event, the value is the data; names of headers know no case."""
    assert binary(BINARY) == [SAMPLE]
    assert binary([(name.upper(), content) for name, content in BINARY]) == [SAMPLE]
    assert binary(BINARY, [DATA, DATA]) == [SAMPLE, SAMPLE]
    assert binary([("ce_specversion", b"1.0")], {"kind": "heartbeat", "service": "s"}) == [Beat("s", None)]


def test_headers_that_are_no_events_change_nothing() -> None:
    """Trace headers, empty ones, bytes that are no text."""
    assert binary([("traceparent", b"00-1"), ("x", None), ("y", b"\xff")]) == [SAMPLE]


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_specversion", b"0.3")],
        [("ce_specversion", b"\xff")],
        [*BINARY[:-1], ("content-type", b"application/avro")],
    ],
)
def test_a_binary_event_that_we_do_not_speak_is_unreadable(headers: list[tuple[str, bytes | None]]) -> None:
    """Another version, data that are no JSON."""
    (item,) = binary(headers)
    assert isinstance(item, Fault)
    assert item.series is None


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"specversion": 1.0},
        {"datacontenttype": "application/avro"},
        {"datacontenttype": 5},
        {"data": None},
        {"data_base64": base64.b64encode(json.dumps(DATA).encode()).decode()},
        {"data": None, "data_base64": "no base64!"},
        {"data": None, "data_base64": 5},
        {"data": None, "data_base64": "é"},
        {"data": "text"},
        {"data": EVENT},
    ],
)
def test_a_structured_event_that_we_do_not_speak_is_one_unreadable_item(change: dict[str, object]) -> None:
    """Alone or in a batch, where its neighbours count."""
    (item,) = structured(EVENT | change)
    assert isinstance(item, Fault)
    assert item.series is None
    assert structured([EVENT, EVENT | change, DATA]) == [SAMPLE, item, SAMPLE]


def test_an_event_inside_a_binary_event_is_refused() -> None:
    """One envelope is enough."""
    assert binary(BINARY, EVENT) == [Fault(None, "a CloudEvent inside a CloudEvent", kind=DeadKind.CLOUD_EVENT)]


STRUCTURED = "application/cloudevents+json; charset=utf-8"


@pytest.mark.parametrize("media_type", [STRUCTURED, "Application/CloudEvents", "application/cloudevents-batch+json"])
def test_the_content_type_decides_which_form_an_event_has(media_type: str) -> None:
    """A bridge that repeats the attributes in headers beside a structured event does not make it a binary one."""
    headers = [*BINARY[:-1], ("ce_time", b"2020-01-01T00:00:00Z"), ("Content-Type", media_type.encode())]
    timed = EVENT | {"time": "2023-11-14T22:13:20Z"}
    for value, expected in ((timed, 1), ([timed, timed], 2)):
        assert binary(headers, value) == [Sample("refunds/eur", 1.5, 1700000000000, None)] * expected


@pytest.mark.parametrize("media_type", [b"application/cloudevents+avro", b"application/cloudevents+protobuf"])
def test_a_structured_event_in_another_format_is_unreadable(media_type: bytes) -> None:
    """With attributes in headers as without."""
    for more in ([], BINARY[:-1]):
        assert binary([*more, ("content-type", media_type)]) == [
            Fault(None, "a CloudEvent in another format than JSON", kind=DeadKind.CLOUD_EVENT)
        ]


def test_a_fault_keeps_the_time_of_its_event() -> None:
    """Data without a time of their own have the event's, faulty ones as well."""
    timed = EVENT | {"time": "2023-11-14T22:13:20Z", "data": [{**DATA, "value": None}, {**DATA, "value": 1, "instance": ""}]}
    for items in (structured(timed), binary([*BINARY, ("ce_time", b"2023-11-14T22:13:20Z")], timed["data"])):
        assert [(type(item), getattr(item, "time_ms", 0)) for item in items] == [(Fault, 1700000000000)] * 2
