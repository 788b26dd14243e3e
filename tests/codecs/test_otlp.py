"""OTLP metrics, as the protobuf classes of OpenTelemetry write them and as the collector writes JSON."""

import json
import math
from typing import Any

import pytest
from draws import draws
from google.protobuf import json_format  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from failshut_streams.codecs import DeadKind, Fault, Item, OtlpDecoder, Sample

APPEND_MS = 1_800_000_000_000
TIME_MS = 1_700_000_000_123
TIME_NANO = TIME_MS * 1_000_000 + 456
DELTA, CUMULATIVE = pb.AGGREGATION_TEMPORALITY_DELTA, pb.AGGREGATION_TEMPORALITY_CUMULATIVE


def resource(*metrics: pb.Metric, service: str | None = "checkout", instance: str | None = None) -> pb.ResourceMetrics:
    found = pb.ResourceMetrics(scope_metrics=[pb.ScopeMetrics(metrics=metrics)])
    for key, value in (("service.name", service), ("host.name", "h"), ("service.instance.id", instance)):
        if value is not None:
            found.resource.attributes.add(key=key).value.string_value = value
    return found


def apart_from_reason(item: Item) -> Item:
    return Fault(item.series, "") if isinstance(item, Fault) else item


def decode(*resources: pb.ResourceMetrics, key: bytes | None = None) -> list[Item]:
    """From protobuf; the same message as JSON must give the same items."""
    message = ExportMetricsServiceRequest(resource_metrics=resources)
    items = OtlpDecoder().decode(key, message.SerializeToString(), (), APPEND_MS)
    as_json = json_format.MessageToJson(message, use_integers_for_enums=True, indent=None).encode()
    from_json = OtlpDecoder().decode(key, as_json, (), APPEND_MS)
    assert [apart_from_reason(item) for item in from_json] == [apart_from_reason(item) for item in items]
    return items


def number(value: float | None, **fields: Any) -> pb.NumberDataPoint:
    point = pb.NumberDataPoint(time_unix_nano=TIME_NANO, **fields)
    if isinstance(value, int):
        point.as_int = value
    elif value is not None:
        point.as_double = value
    return point


def gauge(*values: float | None, name: str = "m") -> pb.Metric:
    return pb.Metric(name=name, gauge=pb.Gauge(data_points=[number(value) for value in values]))


def total(temporality: Any, is_monotonic: bool, value: float = 5) -> pb.Metric:
    data = pb.Sum(data_points=[number(value)], aggregation_temporality=temporality, is_monotonic=is_monotonic)
    return pb.Metric(name="m", sum=data)


def sample(series: str, value: float, instance: str | None = None) -> Sample:
    return Sample(series, value, TIME_MS, instance)


def test_a_fault_names_the_instance_of_its_resource() -> None:
    """A point that cannot be read, and a metric without data; a name that is none is nobody's."""
    metrics = (gauge(float("nan"), None), pb.Metric(name="empty"))
    named = decode(resource(*metrics, instance="pod-1"))
    assert [(item.series, item.instance) for item in named if isinstance(item, Fault)] == [
        ("checkout/m", "pod-1"),
        ("checkout/m", "pod-1"),
        ("checkout/empty", "pod-1"),
    ]
    assert [item.instance for item in decode(resource(*metrics, instance="\x1b")) if isinstance(item, Fault)] == [None] * 3


def test_a_gauge_is_a_level() -> None:
    """Doubles and integers, in order; nanoseconds become milliseconds."""
    assert decode(resource(gauge(1.5, 2))) == [sample("checkout/m", 1.5), sample("checkout/m", 2.0)]


@pytest.mark.parametrize(
    ("temporality", "is_monotonic", "series"),
    [
        (DELTA, True, "checkout/m.delta"),
        (DELTA, False, "checkout/m.delta"),
        (CUMULATIVE, True, "checkout/m.total"),
        (CUMULATIVE, False, "checkout/m"),
    ],
)
def test_a_sum_says_in_its_series_what_it_is(temporality: Any, is_monotonic: bool, series: str) -> None:
    """A total never passes for an increment, nor an increment for a level."""
    assert decode(resource(total(temporality, is_monotonic))) == [sample(series, 5.0)]


def test_a_sum_without_temporality_is_a_fault_of_every_series_that_it_may_be() -> None:
    """Nobody can say which one was meant, so a policy on any of them sees it."""
    items = decode(resource(total(0, True)))
    assert [item.series for item in items] == ["checkout/m", "checkout/m.delta", "checkout/m.total"]  # type: ignore[union-attr]
    assert all(isinstance(item, Fault) for item in items)


@pytest.mark.parametrize(("temporality", "infix"), [(DELTA, ""), (CUMULATIVE, ".total")])
@pytest.mark.parametrize("kind", ["histogram", "exponential_histogram"])
def test_a_histogram_is_count_sum_mean_and_extremes(temporality: Any, infix: str, kind: str) -> None:
    """As far as the point says them; an empty one has no mean."""
    data: Any
    point: Any
    if kind == "histogram":
        data, point = pb.Histogram(aggregation_temporality=temporality), pb.HistogramDataPoint
    else:
        data, point = pb.ExponentialHistogram(aggregation_temporality=temporality), pb.ExponentialHistogramDataPoint
    data.data_points.append(point(time_unix_nano=TIME_NANO, count=4, sum=10.0, min=1.0, max=5.0))
    data.data_points.append(point(time_unix_nano=TIME_NANO, count=2))
    data.data_points.append(point(time_unix_nano=TIME_NANO, count=0, sum=0.0))
    parts = [("count", 4), ("sum", 10), ("mean", 2.5), ("min", 1), ("max", 5), ("count", 2), ("count", 0), ("sum", 0)]
    items = decode(resource(pb.Metric(name="m", **{kind: data})))
    assert items == [sample(f"checkout/m{infix}.{part}", float(value)) for part, value in parts]


def test_a_summary_is_count_sum_and_mean_since_the_start() -> None:
    """Its sum is not optional: 0 is 0."""
    points = [pb.SummaryDataPoint(time_unix_nano=TIME_NANO, count=count, sum=total) for count, total in ((4, 10.0), (2, 0))]
    items = decode(resource(pb.Metric(name="m", summary=pb.Summary(data_points=points))))
    values = [("count", 4.0), ("sum", 10.0), ("mean", 2.5), ("count", 2.0), ("sum", 0.0), ("mean", 0.0)]
    assert items == [sample(f"checkout/m.total.{part}", value) for part, value in values]


def test_many_resources_keep_their_own_service_and_instance() -> None:
    """Also one that names no service, after one that does."""
    items = decode(
        resource(gauge(1.0), service="a", instance="pod-1"),
        resource(gauge(2.0), service=None),
        resource(gauge(3.0), service=""),
        resource(gauge(4.0), service="ns/app"),
    )
    assert items == [
        sample("a/m", 1.0, "pod-1"),
        sample("unknown_service/m", 2.0),
        sample("unknown_service/m", 3.0),
        sample("ns%2Fapp/m", 4.0),
    ]


def test_a_service_name_that_is_no_text_is_unknown() -> None:
    """It is not guessed at."""
    found = resource(gauge(1.0), service=None)
    found.resource.attributes.add(key="service.name").value.int_value = 7
    assert decode(found) == [sample("unknown_service/m", 1.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_point_without_a_number_is_a_fault_of_its_series(value: float | None) -> None:
    """Its neighbours count."""
    one, bad, two = decode(resource(gauge(1.0, value, 2.0)))
    assert (one, two) == (sample("checkout/m", 1.0), sample("checkout/m", 2.0))
    assert isinstance(bad, Fault)
    assert bad.series == "checkout/m"


def test_a_bad_part_of_a_histogram_is_a_fault_of_that_part_alone() -> None:
    """A sum that is NaN takes the mean with it, and no more."""
    point = pb.HistogramDataPoint(time_unix_nano=TIME_NANO, count=4, sum=math.nan, min=1.0)
    items = decode(resource(pb.Metric(name="m", histogram=pb.Histogram(data_points=[point], aggregation_temporality=DELTA))))
    assert [(type(item), item.series) for item in items] == [  # type: ignore[union-attr]
        (Sample, "checkout/m.count"),
        (Fault, "checkout/m.sum"),
        (Fault, "checkout/m.mean"),
        (Sample, "checkout/m.min"),
    ]


def test_no_recorded_value_is_no_evidence() -> None:
    """The end of a series is neither a sample of 0 nor a fault."""
    stale = pb.NumberDataPoint(time_unix_nano=TIME_NANO, flags=1, as_double=0.0)
    dead = pb.HistogramDataPoint(flags=1)
    metrics = [
        pb.Metric(name="m", gauge=pb.Gauge(data_points=[stale, number(1.0)])),
        pb.Metric(name="h", histogram=pb.Histogram(data_points=[dead], aggregation_temporality=DELTA)),
    ]
    assert decode(resource(*metrics)) == [sample("checkout/m", 1.0)]


def test_a_time_is_bounded_by_the_append_time() -> None:
    """The future is the append time; no time is none."""
    future, never = pb.NumberDataPoint(time_unix_nano=2**63 - 1, as_int=1), pb.NumberDataPoint(as_int=1)
    items = decode(resource(pb.Metric(name="m", gauge=pb.Gauge(data_points=[future, never]))))
    assert items == [Sample("checkout/m", 1.0, APPEND_MS, None), Sample("checkout/m", 1.0, None, None)]


@pytest.mark.parametrize("name", ["", "a\n", "x" * 600])
def test_a_metric_whose_name_cannot_stand_is_unreadable(name: str) -> None:
    """Its neighbours count, and the key's series hears of it."""
    items = decode(resource(gauge(1.0, name=name), gauge(2.0)), key=b"checkout/m")
    assert [getattr(item, "series", "") for item in items] == [None, "checkout/m", "checkout/m"]
    assert isinstance(items[2], Fault)


def test_a_metric_without_data_is_a_fault_of_its_series() -> None:
    """A kind of metric that we do not know looks like this."""
    assert decode(resource(pb.Metric(name="m"))) == [Fault("checkout/m", "a metric without data")]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\n\xff", b"hello", b"\x18\x01", b"{", b"{}", b'{"resourceMetrics":5}', b"[]", b" \n[", b"{" * 100_000],
)
@pytest.mark.parametrize("encoding", ["auto", "otlp_proto", "otlp_json"])
def test_what_is_no_otlp_is_unreadable(value: bytes | None, encoding: Any) -> None:
    """Also bytes that protobuf takes for unknown fields."""
    items = OtlpDecoder(encoding).decode(b"a/b", value, (), APPEND_MS)
    assert [item.series for item in items] == [None, "a/b"]  # type: ignore[union-attr]
    assert all(isinstance(item, Fault) for item in items)


def test_limits_hold_for_otlp_too() -> None:
    """One point or one byte too many, and there is one unreadable item."""
    value = ExportMetricsServiceRequest(resource_metrics=[resource(gauge(1.0, 2.0), gauge(3.0))]).SerializeToString()
    assert len(OtlpDecoder(elements_max=3, bytes_max=len(value)).decode(None, value, (), APPEND_MS)) == 3
    assert OtlpDecoder(elements_max=2).decode(None, value, (), APPEND_MS) == [
        Fault(None, "more than 2 elements", kind=DeadKind.SIZE)
    ]
    empty = ExportMetricsServiceRequest(resource_metrics=[resource(*[pb.Metric()] * 3)]).SerializeToString()
    many = b'{"resourceMetrics":[5,5,5]}'
    for bad in (empty, many):
        assert OtlpDecoder(elements_max=2).decode(None, bad, (), APPEND_MS) == [
            Fault(None, "more than 2 elements", kind=DeadKind.SIZE)
        ]
    (item,) = OtlpDecoder(bytes_max=len(value) - 1).decode(None, value, (), APPEND_MS)
    assert isinstance(item, Fault)


# JSON, as the collector's Kafka exporter writes it: text for 64-bit integers and for NaN, numbers for enumerations.

COLLECTOR = b"""{"resourceMetrics":[{"resource":{"attributes":[
{"key":"service.name","value":{"stringValue":"checkout"}},{"key":"process.pid","value":{"intValue":"7"}},
{"key":"empty","value":{}},{"key":"service.instance.id","value":{"stringValue":"pod-1"}}]},
"scopeMetrics":[{"scope":{"name":"s"},"metrics":[
{"name":"m","unit":"1","gauge":{"dataPoints":[{"attributes":[{"key":"k","value":{"stringValue":"v"}}],
"startTimeUnixNano":"1700000000000000000","timeUnixNano":"1700000000123000456","asDouble":1.5},
{"timeUnixNano":"1700000000123000456","asInt":"2","exemplars":[{"spanId":"0102030405060708","traceId":""}]}]}},
{"name":"c","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
{"timeUnixNano":"1700000000123000456","asInt":"9007199254740993"}]}},
{"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"1700000000123000456",
"count":"4","sum":10,"bucketCounts":["1","3"],"explicitBounds":[5]}]}}]}],"schemaUrl":"x"}]}"""
COLLECTOR_ITEMS = [
    sample("checkout/m", 1.5, "pod-1"),
    sample("checkout/m", 2.0, "pod-1"),
    sample("checkout/c.total", 9007199254740992.0, "pod-1"),
    sample("checkout/h.count", 4.0, "pod-1"),
    sample("checkout/h.sum", 10.0, "pod-1"),
    sample("checkout/h.mean", 2.5, "pod-1"),
]


def test_the_collectors_json_is_read() -> None:
    """With what stands before it, and whatever the setting says that fits."""
    for lead in (b"", b"\n ", b"\xef\xbb\xbf"):
        assert OtlpDecoder().decode(None, lead + COLLECTOR, (), APPEND_MS) == COLLECTOR_ITEMS
    assert OtlpDecoder("otlp_json").decode(None, COLLECTOR, (), APPEND_MS) == COLLECTOR_ITEMS


@pytest.mark.parametrize("text", [b'"NaN"', b'"+Inf"', b'"-Inf"', b"NaN", b"1e400", b"true", b'"x"', b"[]"])
def test_a_bad_number_in_json_is_a_fault_of_its_series_alone(text: bytes) -> None:
    """All other points of the message count, whichever reader it took."""
    items = OtlpDecoder().decode(None, COLLECTOR.replace(b'"asDouble":1.5', b'"asDouble":' + text), (), APPEND_MS)
    faults = [item for item in items if isinstance(item, Fault)]
    assert [item.series for item in faults] == ["checkout/m"]
    assert [item for item in items if not isinstance(item, Fault)] == COLLECTOR_ITEMS[1:]


def test_a_bad_point_in_json_is_a_fault_of_the_series_that_a_policy_names() -> None:
    """A total's fault is a total's, a histogram's concerns its parts, not the bare metric that nobody judges."""
    broken = COLLECTOR.replace(b'"9007199254740993"', b"[]").replace(b'"count":"4"', b'"count":"-4"')
    faults = [item for item in OtlpDecoder().decode(None, broken, (), APPEND_MS) if isinstance(item, Fault)]
    parts = ["count", "sum", "mean", "min", "max"]
    assert [item.series for item in faults] == ["checkout/c.total", *(f"checkout/h.{part}" for part in parts)]


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        (b'"aggregationTemporality":2', b'"aggregationTemporality":{}', 2),
        (b'"aggregationTemporality":2', b'"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE"', None),
        (b'"aggregationTemporality":2', b'"aggregationTemporality":"ANY"', 2),
        (b'"name":"c"', b'"name":5', 2),
        (b'"sum":{', b'"other":{', 2),
        (b'"sum":10', b'"sum":null', None),
        (b'{"name":"c"', b'7,{"name":"c"', None),
        (b'"scopeMetrics":[', b'"scopeMetrics":[5,{"metrics":null},', None),
        (b'{"resourceMetrics":[', b'{"resourceMetrics":[5,{"resource":[]},{"scopeMetrics":5},', None),
    ],
)
def test_damage_to_a_message_costs_what_it_damages(old: bytes, new: bytes, lost: int | None) -> None:
    """A metric, a scope or a resource of a wrong shape: the others count."""
    items = OtlpDecoder().decode(None, COLLECTOR.replace(old, new), (), APPEND_MS)
    samples = [item for item in items if isinstance(item, Sample)]
    if b"null" in new and b"sum" in new:
        expected = COLLECTOR_ITEMS[:4]
    else:
        expected = [item for index, item in enumerate(COLLECTOR_ITEMS) if index != lost]
        assert (lost is None and b"CUMULATIVE" in new) or any(isinstance(item, Fault) for item in items)
    assert samples == expected


# Properties

doubles = st.floats() | st.none() | st.integers(-(2**63), 2**63 - 1)
temporalities = st.sampled_from([0, 1, 2])


@st.composite
def metrics(draw: st.DrawFn) -> pb.Metric:
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary", None]))
    metric = pb.Metric(name=draw(st.sampled_from(["m", "n", "", "a\x00", "é"])))
    if kind is None:
        return metric
    data = getattr(metric, kind)
    data.SetInParent()
    if kind not in ("gauge", "summary"):
        data.aggregation_temporality = draw(temporalities)
    for _ in range(draw(st.integers(0, 3))):
        point = data.data_points.add(time_unix_nano=draw(st.integers(0, 2**63 - 1)), flags=draw(st.sampled_from([0, 1, 2, 3])))
        if kind in ("gauge", "sum"):
            value = draw(doubles)
            if value is not None:
                setattr(point, "as_int" if isinstance(value, int) else "as_double", value)
            continue
        point.count = draw(st.integers(0, 2**63 - 1))
        for field in ("sum",) if kind == "summary" else ("sum", "min", "max"):
            if draw(st.booleans()):
                setattr(point, field, draw(st.floats()))
    return metric


messages = st.lists(
    st.builds(
        lambda found, service: resource(*found, service=service),
        st.lists(metrics(), max_size=3),
        st.sampled_from(["a", None, "\n"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=draws(100))
@given(messages)
def test_json_and_protobuf_of_one_message_give_the_same(message: list[pb.ResourceMetrics]) -> None:
    """Every item, in the same order (`decode` compares the two), with finite values and bounded times."""
    for item in decode(*message):
        assert isinstance(item, Sample | Fault)
        if isinstance(item, Sample):
            assert math.isfinite(item.value)
            assert item.time_ms is None or 0 <= item.time_ms <= APPEND_MS


@settings(max_examples=draws(100))
@given(messages)
def test_every_point_is_accounted_for(message: list[pb.ResourceMetrics]) -> None:
    """A point of a message alone yields the items that it yields among the others; only "no value" yields none."""
    apart: list[Item] = []
    for found in message:
        for metric in found.scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            points = list(getattr(metric, kind).data_points) if kind else []
            if kind is None:
                apart += decode_one(found, metric)
            for point in points:
                alone = pb.Metric()
                alone.CopyFrom(metric)
                del getattr(alone, kind).data_points[:]
                getattr(alone, kind).data_points.append(point)
                items = decode_one(found, alone)
                refused = any(isinstance(item, Fault) for item in items)
                assert items or point.flags & 1
                assert refused or not (items and point.flags & 1)
                apart += items
    assert decode(*message) == apart


def decode_one(like: pb.ResourceMetrics, metric: pb.Metric) -> list[Item]:
    found = pb.ResourceMetrics(resource=like.resource, scope_metrics=[pb.ScopeMetrics(metrics=[metric])])
    return decode(found)


@given(
    st.binary(max_size=100) | messages.map(lambda found: pb.MetricsData(resource_metrics=found).SerializeToString()), st.data()
)
def test_no_bytes_make_the_decoder_raise(value: bytes, data: st.DataObject) -> None:
    """Nor does damage to a good message, in protobuf or JSON."""
    place = data.draw(st.integers(0, len(value)))
    damaged = value[:place] + data.draw(st.binary(max_size=4)) + value[place + data.draw(st.integers(0, 4)) :]
    OtlpDecoder().decode(None, damaged, (), APPEND_MS)
    OtlpDecoder("otlp_json").decode(None, damaged, (), APPEND_MS)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.data())
def test_no_json_makes_the_decoder_raise(data: st.DataObject) -> None:
    """Any node of a good message may be anything: there are items, and none of them is not finite."""
    message = json.loads(COLLECTOR)
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = message
        while isinstance(node, dict | list) and node:
            step = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[step], dict | list) or not node[step] or data.draw(st.integers(0, 5)) == 0:
                node[step] = data.draw(trees)
                break
            node = node[step]
    for item in OtlpDecoder().decode(None, json.dumps(message).encode(), (), APPEND_MS):
        assert isinstance(item, Fault) or (isinstance(item, Sample) and math.isfinite(item.value))
