"""OpenTelemetry metrics: what the topic `otlp_metrics` holds, as the collector's Kafka exporter writes it.

A decoder keeps nothing between records, so it cannot turn a running total into increments. The series id says
instead what its numbers are, and a policy names the one it judges (docs/telemetry.md, "What a series means"):

    gauge, non-monotonic cumulative sum      service/metric              a level
    delta sum                                service/metric.delta        what this interval added
    monotonic cumulative sum                 service/metric.total        all since the start
    delta histogram                          service/metric.count .sum .mean .min .max         of this interval
    cumulative histogram, summary            service/metric.total.count .total.sum ...         since the start

Attributes of points are no part of a series id. A point marked "no recorded value" is the end of a series and no
evidence: it yields nothing, and its absence is for a heartbeat to notice.

Limits: parsing is cheap, walking a protobuf message in Python is not (benchmarks have the figure).
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no type information
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData, SummaryDataPoint

from . import otlp_json
from .items import Headers, Item, Sample, fault
from .lenient import Unreadable, parse
from .names import NAMES_MAX, Instances, SeriesNames
from .native import ELEMENTS_MAX, REFUSED, VALUE_BYTES_MAX, refuse_value, unreadable, with_key_fault

Encoding = Literal["auto", "otlp_proto", "otlp_json"]

UNKNOWN_SERVICE = "unknown_service"
NO_RECORDED_VALUE = 1
DELTA, CUMULATIVE = 1, 2
NANOSECONDS_A_MILLISECOND = 1_000_000
# What may stand before the brace of a JSON message: a byte order mark and white space.
JSON_LEAD = b"\xef\xbb\xbf \t\r\n"


class OtlpDecoder:
    """Decodes records of `otlp_metrics`. One per worker: it keeps the tables of names.

    `encoding` "auto" tells JSON from protobuf by the first byte; the limits are those of `NativeDecoder`, items
    being the elements: a histogram's point has up to five.
    """

    def __init__(
        self,
        encoding: Encoding = "auto",
        *,
        bytes_max: int = VALUE_BYTES_MAX,
        elements_max: int = ELEMENTS_MAX,
        names_max: int = NAMES_MAX,
    ) -> None:
        self.names = SeriesNames(names_max)
        self.instances = Instances(names_max)
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._elements_max = elements_max

    def samples(self, value: bytes) -> None:
        """There is no short cut: every message is walked."""

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """The items of one record, in order. Never raises; an empty list for a message without points."""
        if refusal := refuse_value(value, self._bytes_max):
            return unreadable(key, refusal)
        assert value  # noqa: S101  # refuse_value refuses an empty one
        walk = _Walk(self.names, self.instances, append_ms, self._elements_max)
        try:
            self._walk_value(walk, value)
        except (DecodeError, RecursionError) as error:
            return unreadable(key, f"not OTLP metrics: {error}")
        except Unreadable as error:
            return unreadable(key, error)
        return with_key_fault(key, walk.items)

    def _walk_value(self, walk: "_Walk", value: bytes) -> None:
        # No OTLP message in protobuf begins with a brace: it would be a group, which the format does not have.
        if self._encoding == "otlp_json" or (self._encoding == "auto" and value[:1] == b"{"):
            walk.json(value)
            return
        try:
            resource_metrics = MetricsData.FromString(value).resource_metrics
        except DecodeError:
            if self._encoding != "auto" or value.lstrip(JSON_LEAD)[:1] != b"{":
                raise
            walk.json(value)
            return
        if not resource_metrics:  # protobuf takes many other bytes for unknown fields, and no exporter writes this
            raise Unreadable("not OTLP metrics: no resource_metrics")
        walk.resources(resource_metrics)


class _Walk:
    """One message on its way to items."""

    def __init__(self, names: SeriesNames, instances: Instances, append_ms: int, elements_max: int) -> None:
        self.items: list[Item] = []
        self._names = names
        self._instances = instances
        self._append_ms = append_ms
        self._elements_max = elements_max
        self._service = UNKNOWN_SERVICE
        self._instance: str | None = None

    def resources(self, resource_metrics: Iterable[Any]) -> None:
        """Everything in these resources: protobuf messages, or structs that look like them."""
        for resource in resource_metrics:
            self.resource(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.metric(metric)

    def resource(self, attributes: Iterable[Any]) -> None:
        """Takes service and instance from a resource; a service that is missing, empty or no text is unknown."""
        found: dict[str, Any] = {
            attribute.key: attribute.value.string_value
            for attribute in attributes
            if attribute.key in ("service.name", "service.instance.id") and attribute.value is not None
        }
        service, instance = found.get("service.name"), found.get("service.instance.id")
        self._service = service if isinstance(service, str) and service else UNKNOWN_SERVICE
        self._instance = instance if isinstance(instance, str) and instance else None

    def metric(self, metric: Any) -> None:
        """The points of one metric, as samples or faults."""
        kind = metric.WhichOneof("data")
        if kind is None:
            self.faults(metric.name, ("",), "a metric without data")
            return
        data = getattr(metric, kind)
        points = data.data_points
        suffixes = _suffixes(kind, data)
        self._bound(len(points) * len(suffixes))
        refusal: object = None if suffixes else "no aggregation temporality"
        try:
            if len(suffixes) == 1:
                self._numbers(metric.name + suffixes[0], points)
            elif suffixes:
                self._distributions(metric.name, suffixes, points)
        except ValueError as error:  # a bad name, before any point was read
            refusal = error
        if refusal is not None:
            for _ in points:
                self.faults(metric.name, suffixes or SUFFIXES[kind], refusal)

    def faults(self, name: object, suffixes: Iterable[str], reason: object) -> None:
        """A fault of each series that a bad point would have fed, or an unreadable element if it names none."""
        try:
            if not isinstance(name, str):
                raise ValueError(reason)
            found = [fault(self._names[self._service, name + suffix], reason) for suffix in suffixes]
        except ValueError as error:
            found = [fault(None, error)]
        self._bound(len(found))
        self.items.extend(found)

    def _bound(self, more: int) -> None:
        if len(self.items) + more > self._elements_max:
            raise Unreadable(f"more than {self._elements_max} elements")

    def _checked_instance(self) -> str | None:
        return None if self._instance is None else self._instances[self._instance]

    def _time_ms(self, nanoseconds: int) -> int | None:
        return min(nanoseconds // NANOSECONDS_A_MILLISECOND, self._append_ms) if nanoseconds else None

    def _numbers(self, name: str, points: Iterable[Any]) -> None:
        series, instance = self._names[self._service, name], self._checked_instance()
        append, append_ms, isfinite = self.items.append, self._append_ms, math.isfinite
        for point in points:
            if point.flags & NO_RECORDED_VALUE:
                continue
            which = point.WhichOneof("value")
            if which is None:
                append(fault(series, "a point without a value"))
                continue
            value = float(getattr(point, which))
            if not isfinite(value):
                append(fault(series, "value is not finite"))
                continue
            nanoseconds = point.time_unix_nano
            time_ms = nanoseconds // NANOSECONDS_A_MILLISECOND if nanoseconds else None
            append(Sample(series, value, min(time_ms, append_ms) if time_ms is not None else None, instance))

    def _distributions(self, name: str, suffixes: tuple[str, ...], points: Iterable[Any]) -> None:
        series = [self._names[self._service, name + suffix] for suffix in suffixes]
        instance = self._checked_instance()
        for point in points:
            if point.flags & NO_RECORDED_VALUE:
                continue
            time_ms = self._time_ms(point.time_unix_nano)
            for part, value in zip(series, _parts(point), strict=False):  # a summary ends with its mean
                if value is None:
                    continue
                if math.isfinite(value):
                    self.items.append(Sample(part, value, time_ms, instance))
                else:
                    self.items.append(fault(part, "value is not finite"))

    def json(self, value: bytes) -> None:
        """A message in JSON: at once where every field is as it should be, else point by point."""
        try:
            message = otlp_json.decode(value)
        except REFUSED:
            self._json_lenient(parse(value))
        else:
            self.resources(message.resource_metrics)

    def _json_lenient(self, message: Any) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("resourceMetrics"), list):
            raise Unreadable("not OTLP metrics: no list of resourceMetrics")
        for resource in message["resourceMetrics"]:
            try:
                described = _field(resource, "resource", dict, {})
                self.resource(msgspec.convert(described, otlp_json.Resource, strict=False).attributes)
                scopes = _field(resource, "scopeMetrics", list, [])
            except REFUSED as error:
                self.faults(None, (), error)
                continue
            for scope in scopes:
                try:
                    metrics = _field(scope, "metrics", list, [])
                except ValueError as error:
                    self.faults(None, (), error)
                    continue
                for metric in metrics:
                    self._json_metric(metric)

    def _json_metric(self, metric: Any) -> None:
        """A metric of which something may be wrong: its good points are walked, its bad ones are faults."""
        if not isinstance(metric, dict):
            self.faults(None, (), "a metric is an object")
            return
        name = metric.get("name", "")
        kind = next((kind for kind in SUFFIXES if metric.get(_camel(kind)) is not None), None)
        if kind is None:
            self.faults(name, ("",), "a metric without data")
            return
        try:
            body = _field(metric, _camel(kind), dict, {})
            raw = _field(body, "dataPoints", list, [])
            empty = {"name": name, _camel(kind): {**body, "dataPoints": []}}
            shell = msgspec.convert(empty, otlp_json.Metric, strict=False)
        except REFUSED as error:
            self.faults(name, SUFFIXES[kind], error)
            return
        self._bound(len(raw))
        good: list[Any] = []
        bad: list[Exception] = []
        for point in raw:
            try:
                good.append(msgspec.convert(point, otlp_json.POINTS[kind], strict=False))
            except REFUSED as error:
                bad.append(error)
        data = getattr(shell, kind)
        data.data_points = good
        self.metric(shell)
        for reason in bad:
            self.faults(name, _suffixes(kind, data) or SUFFIXES[kind], reason)


DISTRIBUTION = (".count", ".sum", ".mean", ".min", ".max")
DISTRIBUTION_TOTAL = tuple(".total" + suffix for suffix in DISTRIBUTION)
# Every suffix that a metric of a kind can have: what a fault concerns when the form cannot be told.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "gauge": ("",),
    "sum": ("", ".delta", ".total"),
    "histogram": DISTRIBUTION + DISTRIBUTION_TOTAL,
    "exponential_histogram": DISTRIBUTION + DISTRIBUTION_TOTAL,
    "summary": DISTRIBUTION_TOTAL[:3],
}


def _suffixes(kind: str, data: Any) -> tuple[str, ...]:
    """The suffixes of the series that this metric's points feed; none if its temporality is not told."""
    if kind in ("gauge", "summary"):
        return SUFFIXES[kind]
    temporality = data.aggregation_temporality
    if kind == "sum":
        cumulative = ".total" if data.is_monotonic else ""
        return {DELTA: (".delta",), CUMULATIVE: (cumulative,)}.get(temporality, ())
    return {DELTA: DISTRIBUTION, CUMULATIVE: DISTRIBUTION_TOTAL}.get(temporality, ())


def _parts(point: Any) -> Iterator[float | None]:
    """Count, sum, mean, minimum and maximum of a distribution's point; None for what it does not say."""
    count = point.count
    yield float(count)
    is_summary = isinstance(point, SummaryDataPoint | otlp_json.SummaryPoint)  # its sum is not optional
    total = point.sum if is_summary or point.HasField("sum") else None
    yield total
    yield total / count if count and total is not None else None
    if not is_summary:
        yield point.min if point.HasField("min") else None
        yield point.max if point.HasField("max") else None


def _field(holder: Any, name: str, shape: type, default: Any) -> Any:
    """A field of a parsed object; null and absence are the default. Raises ValueError for another type."""
    if not isinstance(holder, dict):
        raise ValueError(f"expected an object that may have {name}")
    content = holder.get(name)
    if content is None:
        return default
    if not isinstance(content, shape):
        raise ValueError(f"{name} is of the wrong type")
    return content


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
