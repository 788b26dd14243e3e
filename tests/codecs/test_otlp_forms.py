"""OTLP as people send it: nulls, other spellings, times from other clocks, and messages that hold much and say nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from failshut_streams.codecs import DeadKind, Fault, Item, OtlpDecoder, Sample

APPEND_MS = 1_772_366_401_000
TIME_MS = 1_772_366_400_250
NANO = str(TIME_MS * 1_000_000)
DELTA, CUMULATIVE = 1, 2

POINT = {"timeUnixNano": NANO, "asDouble": 1.5}
SERVICE = {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]}


def message(*metrics: Any, resource: Any = SERVICE, **more: Any) -> dict[str, Any]:
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": list(metrics)}], **more}]}


def gauge(*points: Any) -> dict[str, Any]:
    return {"name": "m", "gauge": {"dataPoints": list(points)}}


def decode(value: Any, key: bytes | None = None, **limits: Any) -> list[Item]:
    encoded = value if isinstance(value, bytes) else json.dumps(value).encode()
    return OtlpDecoder(**limits).decode(key, encoded, (), APPEND_MS)


def in_protobuf(time_unix_nano: int, **fields: Any) -> bytes:
    found = pb.MetricsData()
    resource = found.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "a"
    metric = resource.scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(time_unix_nano=time_unix_nano, as_double=1.5, **fields)
    encoded: bytes = found.SerializeToString()
    return encoded


# Null is absence

WHOLE: dict[str, Any] = {
    "resourceMetrics": [
        {
            "resource": {
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "a"}},
                    {"key": "service.instance.id", "value": {"stringValue": "pod"}},
                ]
            },
            "scopeMetrics": [
                {
                    "scope": {"name": "s"},
                    "metrics": [
                        {"name": "g", "gauge": {"dataPoints": [{**POINT, "flags": 0}, {"timeUnixNano": NANO, "asInt": "2"}]}},
                        {
                            "name": "s",
                            "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [POINT]},
                        },
                        {
                            "name": "h",
                            "histogram": {
                                "aggregationTemporality": 1,
                                "dataPoints": [{"timeUnixNano": NANO, "count": "4", "sum": 10, "min": 1, "max": 4, "flags": 0}],
                            },
                        },
                        {
                            "name": "e",
                            "exponentialHistogram": {
                                "aggregationTemporality": 2,
                                "dataPoints": [{"timeUnixNano": NANO, "count": "4", "sum": 10}],
                            },
                        },
                        {"name": "q", "summary": {"dataPoints": [{"timeUnixNano": NANO, "count": "4", "sum": 10}]}},
                    ],
                }
            ],
        }
    ]
}


def fields(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every field of every object."""
    for step, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if isinstance(node, dict):
            yield (*path, step)
        yield from fields(inner, (*path, step))


def changed(path: tuple[Any, ...], *content: Any) -> dict[str, Any]:
    """`WHOLE` with another content at a place, or without it."""
    found: dict[str, Any] = json.loads(json.dumps(WHOLE))
    node: Any = found
    for step in path[:-1]:
        node = node[step]
    node.pop(path[-1])
    if content:
        node[path[-1]] = content[0]
    return found


@pytest.mark.parametrize("path", [path for path in fields(WHOLE) if len(path) > 1], ids=str)
def test_null_is_absence_at_every_level(path: tuple[Any, ...]) -> None:
    """A null is read as a field that is not there, whichever it is."""
    assert decode(changed(path, None)) == decode(changed(path))


def test_a_message_of_nulls_keeps_what_it_says() -> None:
    """Attributes or time that are null cost the attributes or the time, and no point."""
    assert decode(message(gauge(POINT), resource={"attributes": None})) == [Sample("unknown_service/m", 1.5, TIME_MS, None)]
    assert decode(message(gauge(POINT), resource=None)) == [Sample("unknown_service/m", 1.5, TIME_MS, None)]
    assert decode(message(gauge({**POINT, "timeUnixNano": None}))) == [Sample("a/m", 1.5, None, None)]
    assert decode(message(gauge(POINT), None, gauge(POINT)))[0::2] == [Sample("a/m", 1.5, TIME_MS, None)] * 2


# What is not read does not vanish


@pytest.mark.parametrize(
    "value",
    [
        {"resourceMetrics": [{"resource": {}, "instrumentationLibraryMetrics": [{"metrics": [gauge(POINT)]}]}]},
        {"resourceMetrics": [{"resource": {}, "scope_metrics": [{"metrics": [gauge(POINT)]}]}]},
        {"resource_metrics": message(gauge(POINT))["resourceMetrics"]},
        {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metric": [gauge(POINT)]}]}]},
        {"resourceMetrics": [{"resource": {}, "scopeMetrics": [], "libraries": [{}]}]},
    ],
)
def test_a_holder_of_another_name_is_unreadable(value: Any) -> None:
    """And the series that the record's key names hears of it."""
    items = decode(value, b"a/m")
    assert [item.series for item in items if isinstance(item, Fault)] == [None, "a/m"] == [*map(series_of, items)]


def series_of(item: Item) -> str | None:
    assert isinstance(item, Sample | Fault)
    return item.series


@pytest.mark.parametrize(
    ("metric", "series"),
    [
        (gauge({"time_unix_nano": NANO, "as_double": 1.5}), ["a/m"]),
        (gauge({"time_unix_nano": NANO, "asDouble": 1.5}), ["a/m"]),
        (gauge({**POINT, "as_int": 3}), ["a/m"]),
        ({"name": "m", "gauge": {"data_points": [POINT]}}, ["a/m"]),
        ({"name": "m", "gauge": {"points": [POINT]}}, ["a/m"]),
        ({"name": "m", "doubleGauge": {"dataPoints": [POINT]}}, ["a/m"]),
        (
            {"name": "m", "sum": {"dataPoints": [POINT], "aggregation_temporality": 1}},
            ["a/m", "a/m.delta", "a/m.total"],
        ),
        (
            {"name": "m", "sum": {"dataPoints": [POINT], "aggregationTemporality": 2, "is_monotonic": True}},
            ["a/m", "a/m.delta", "a/m.total"],
        ),
    ],
)
def test_a_field_of_another_name_is_a_fault_of_its_series(metric: Any, series: list[str]) -> None:
    """A time or a value is never dropped in silence, nor a total taken for a level; the neighbours count."""
    items = decode(message(metric, {"name": "n", "gauge": {"dataPoints": [POINT]}}))
    faults = [item for item in items if isinstance(item, Fault)]
    assert [item.series for item in faults] == series
    assert items[-1] == Sample("a/n", 1.5, TIME_MS, None)


def test_an_old_name_beside_the_new_one_is_told_and_the_new_one_read() -> None:
    """A writer that writes both loses neither in silence."""
    both = message(gauge(POINT), instrumentationLibraryMetrics=[{"metrics": [gauge(POINT)]}])
    items = decode(both)
    assert [type(item) for item in items] == [Fault, Sample]


def test_nothing_at_all_is_nothing() -> None:
    """An exporter that has nothing to say is no fault."""
    empty: dict[str, Any]
    for empty in (
        {"resourceMetrics": []},
        {"resourceMetrics": [{"resource": {}, "schemaUrl": "x"}]},
        {"resourceMetrics": [{"scopeMetrics": [{"scope": {}, "metrics": []}]}]},
        message(gauge()),
        message({"name": "m", "sum": {"aggregationTemporality": 2, "isMonotonic": True}}),
    ):
        assert decode(empty) == []


@pytest.mark.parametrize("level", ["resource", "scope", "metric"])
def test_unknown_fields_in_protobuf_do_not_vanish(level: str) -> None:
    """A message of another protocol version: what holds nothing that is known, and something that is not."""
    unknown = b"\xfa\x3e\x02hi"  # field 1007, two bytes
    found = pb.MetricsData()
    resource = found.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "a"
    if level == "resource":
        resource.MergeFromString(unknown)
    elif level == "scope":
        resource.scope_metrics.add().MergeFromString(unknown)
    else:
        resource.scope_metrics.add().metrics.add(name="m").gauge.MergeFromString(unknown)
    (item,) = decode(found.SerializeToString())
    assert isinstance(item, Fault)
    assert item.series == ("a/m" if level == "metric" else None)
    assert len(UnknownFieldSet(pb.Gauge.FromString(unknown))) == 1


# Times


@pytest.mark.parametrize("nano", [2**63 - 1, 2**63, 11651379494838206464, 2**64 - 1])
def test_the_far_future_is_the_append_time_in_either_form(nano: int) -> None:
    """Also beyond 63 bits, as text and as a number."""
    expected = [Sample("a/m", 1.5, APPEND_MS, None)]
    assert decode(in_protobuf(nano)) == expected
    for written in (nano, str(nano)):
        assert decode(message(gauge({**POINT, "timeUnixNano": written}))) == expected
        # The same through the reader that takes a message apart.
        assert decode(message(gauge({**POINT, "timeUnixNano": written}), 5))[0] == expected[0]


@pytest.mark.parametrize(
    "nano",
    [
        4_142_047_000_000_000,  # since boot
        TIME_MS // 1000,  # seconds
        TIME_MS,  # milliseconds
        TIME_MS * 1000,  # microseconds
        946_684_799_999_999_999,
        1,
    ],
)
def test_a_time_that_is_not_unix_nanoseconds_is_a_fault_of_its_series(nano: int) -> None:
    """A clock since boot or another unit: the gate can say why it is closed, and nothing of 1970 is believed."""
    for value in (in_protobuf(nano), message(gauge({**POINT, "timeUnixNano": str(nano)}))):
        (item,) = decode(value)
        assert isinstance(item, Fault)
        assert item.series == "a/m"
        assert "nanoseconds" in item.reason


@pytest.mark.parametrize("written", ["-5", -5, str(2**64), "1" * 30, 1.5, "1.5", True, "noon", []])
def test_a_time_in_json_that_no_protobuf_holds_is_a_fault_of_its_series(written: Any) -> None:
    """Negative, beyond 64 bits, a fraction, another type."""
    for kind, suffix in (("gauge", ""), ("histogram", ".count")):
        metric = {"name": "m", kind: {"aggregationTemporality": 1, "dataPoints": [{**POINT, "timeUnixNano": written}]}}
        items = decode(message(metric))
        assert all(isinstance(item, Fault) for item in items)
        assert next(map(series_of, items)) == f"a/m{suffix}"


@pytest.mark.parametrize("count", [-1, 2**64, "-1", "1" * 400, 10**30])
def test_a_count_that_is_none_is_a_fault_of_every_part(count: Any) -> None:
    """A distribution without a count that can be read has no mean either."""
    point = {"timeUnixNano": NANO, "count": count, "sum": 3}
    for kind in ("histogram", "exponentialHistogram"):
        items = decode(message({"name": "m", kind: {"aggregationTemporality": 1, "dataPoints": [point]}}))
        assert [series_of(item) for item in items] == [f"a/m.{part}" for part in ("count", "sum", "mean", "min", "max")]
        assert all(isinstance(item, Fault) for item in items)


def test_a_fault_keeps_the_time_that_it_claims() -> None:
    """Whoever has no append time needs it; a time that cannot be read is none."""
    bad = [{**POINT, "asDouble": "NaN"}, {"timeUnixNano": NANO}, {**POINT, "asDouble": []}, {"timeUnixNano": "1"}]
    assert [getattr(item, "time_ms", 0) for item in decode(message(gauge(*bad)))] == [TIME_MS, TIME_MS, None, TIME_MS]


# Cost


def nested(number: int, inner: bytes) -> bytes:
    """A protobuf field of that number that holds these bytes."""
    size, length = len(inner), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + inner


EMPTY = b"\x0a\x00", b"\x12\x00"
HOLDERS_4 = {
    "resources": (EMPTY[0] * 4, {"resourceMetrics": [{}] * 4}),
    "attributes": (
        nested(1, nested(1, EMPTY[0] * 3)),
        {"resourceMetrics": [{"resource": {"attributes": [{}] * 3}}]},
    ),
    "scopes": (nested(1, EMPTY[1] * 3), {"resourceMetrics": [{"scopeMetrics": [{}] * 3}]}),
    "metrics": (nested(1, nested(2, EMPTY[1] * 2)), {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{}] * 2}]}]}),
}


@pytest.mark.parametrize("what", HOLDERS_4)
def test_what_holds_nothing_is_counted_before_it_is_walked(what: str) -> None:
    """Two bytes make a resource, a scope, an attribute or a metric: four are refused where three are the limit."""
    for value in HOLDERS_4[what]:
        assert decode(value, holders_max=3) == [
            Fault(None, "more than 3 resources, attributes, scopes and metrics", kind=DeadKind.SIZE)
        ]
        assert "more than" not in str(decode(value, holders_max=4))


def test_what_the_careful_reader_walks_is_counted_too() -> None:
    """One damaged element sends a message there; it is no way around the bound."""
    value = {"resourceMetrics": [5, {}, {}, {}]}
    assert decode(value, holders_max=3) == [
        Fault(None, "more than 3 resources, attributes, scopes and metrics", kind=DeadKind.SIZE)
    ]


def test_points_that_become_nothing_are_counted() -> None:
    """Points marked as no value yield no item, and are walked all the same: over all metrics of a message."""
    stale = gauge(*[{"flags": 1}] * 2)
    assert decode(message(stale, stale), elements_max=4) == []
    assert decode(message(stale, stale), elements_max=3) == [Fault(None, "more than 3 elements", kind=DeadKind.SIZE)]


@pytest.mark.parametrize("value", [EMPTY[0] * 500_000, b'{"resourceMetrics":[' + b",".join([b"{}"] * 300_000) + b"]}"])
def test_kilobytes_of_nothing_are_one_unreadable_item(value: bytes) -> None:
    """What compresses to a kilobyte is refused by its count, within the limits that a router has."""
    assert decode(value) == [Fault(None, "more than 30000 resources, attributes, scopes and metrics", kind=DeadKind.SIZE)]


def test_a_flood_of_damaged_points_is_told_and_counted() -> None:
    """The first thousand are faults of their own, the others one more; good points of the message count."""
    bad = {"name": "m", "gauge": {"dataPoints": [5] * 1_500}}
    items = decode(message(bad, gauge(POINT), bad))
    assert len(items) == 1_000 + 1 + 1 + 1
    assert [getattr(item, "reason", "") for item in items[1_000:]] == [
        "500 more points that cannot be read",
        "",
        "1500 more points that cannot be read",
    ]


READ = ["resourceMetrics", "resource", "scopeMetrics", "metrics", "gauge", "sum", "dataPoints", "name", "flags"]
VALUES = ["timeUnixNano", "asDouble", "asInt", "count", "attributes", "key", "value", "stringValue"]
NAMES = [*READ, *VALUES, "data_points", "time_unix_nano"]
keys = st.sampled_from(NAMES)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["NaN", "x", "1", NANO, "-1", "9" * 400])
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=30
)


@pytest.mark.slow
@settings(max_examples=300)
@given(trees, st.sampled_from([(), ("resourceMetrics",), ("resourceMetrics", "scopeMetrics", "metrics")]))
def test_no_tree_of_known_names_makes_the_decoder_raise(tree: Any, around: tuple[str, ...]) -> None:
    """Whatever the fields that are read hold."""
    for name in reversed(around):
        tree = {name: [tree]}
    for item in decode(tree):
        assert isinstance(item, Sample | Fault)
