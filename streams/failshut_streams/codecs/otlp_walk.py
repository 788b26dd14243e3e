"""One OTLP message on its way to items: protobuf messages, or JSON structs that look like them.

Walking costs some microseconds for each object in a message. An empty object needs only two bytes: an empty resource, a
scope without metrics, a point without a value. So each list is counted before it is walked, against two bounds for the
whole message. One is for points and items, the other for the objects that hold them.

What a message says in fields that are not read must not vanish. A holder with only unknown fields (an older protocol's,
another spelling's) is a fault of its series if it names one, and else unreadable.

Limits: a holder that has fields of both kinds is read as far as it is known, as the protocol demands of every receiver.
"""

import math
from collections.abc import Iterable, Sized
from typing import Any

from google.protobuf.message import Message  # type: ignore[import-untyped]  # ships no type information
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from opentelemetry.proto.metrics.v1.metrics_pb2 import SummaryDataPoint

from failshut_streams.codecs import otlp_json
from failshut_streams.codecs.items import DeadKind, Item, Sample, fault
from failshut_streams.codecs.lenient import Unreadable
from failshut_streams.codecs.names import Instances, SeriesNames
from failshut_streams.codecs.times import EARLIEST_NANO, NANO_BELOW, NANOSECONDS_A_MILLISECOND, NO_UNIX_NANO, nano_ms

UNKNOWN_SERVICE = "unknown_service"
NO_RECORDED_VALUE = 1
DELTA, CUMULATIVE = 1, 2
ELEMENTS_MAX = 100_000
"""Points, and what becomes of them."""

HOLDERS_MAX = 30_000
"""Resources, attributes of theirs, scopes and metrics. A message of 1 MiB that says something with each has fewer."""

BAD_POINTS_MAX = 1_000
"""Points in JSON that are damaged, each with a fault of its own."""

BAD_HOLDERS_MAX = 1_000
"""Resources, scopes and metrics in JSON that are damaged and name no series, each with a fault of its own."""

COUNT_BELOW = 1 << 64

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


class LookAgain(Exception):
    """A JSON message holds something empty: only its text says whether there were fields that are not read."""


class Walk:
    """One message. `items` grows in the message's order; `Unreadable` is raised where it holds too much."""

    def __init__(self, names: SeriesNames, instances: Instances, append_ms: int, elements_max: int, holders_max: int) -> None:
        self.items: list[Item] = []
        self.append_ms = append_ms
        self.bad_points_left = BAD_POINTS_MAX
        self.bad_holders_left = BAD_HOLDERS_MAX
        self._names = names
        self._instances = instances
        self._elements_max = elements_max
        self._holders_max = holders_max
        self._holders_left = holders_max
        self._points_left = elements_max
        self._service = UNKNOWN_SERVICE
        self._instance: str | None = None

    def resources(self, resource_metrics: Any) -> None:
        """Take everything in these resources."""
        self.hold(resource_metrics)
        for resource in resource_metrics:
            described = resource.resource
            self.resource(() if described is None else described.attributes or ())
            scopes = resource.scope_metrics
            if not scopes:
                self._look_at_empty(resource, "a resource without scope metrics")
                continue
            self.hold(scopes)
            for scope in scopes:
                metrics = scope.metrics
                if not metrics:
                    self._look_at_empty(scope, "a scope without metrics")
                    continue
                self.hold(metrics)
                for metric in metrics:
                    self.metric(metric)

    def _look_at_empty(self, holder: Any, what: str) -> None:
        if not isinstance(holder, Message):
            raise LookAgain
        if len(UnknownFieldSet(holder)):
            self.faults(None, (), f"{what}, but with fields that are unknown here")

    def resource(self, attributes: Any) -> None:
        """Take service and instance from a resource; a service that is missing, empty or no text is unknown."""
        self.hold(attributes)
        found: dict[str, Any] = {
            attribute.key: attribute.value.string_value
            for attribute in attributes
            if attribute.key in ("service.name", "service.instance.id") and attribute.value is not None
        }
        service, instance = found.get("service.name"), found.get("service.instance.id")
        self._service = service if isinstance(service, str) and service else UNKNOWN_SERVICE
        self._instance = instance if isinstance(instance, str) and instance else None

    def metric(self, metric: Any) -> None:
        """Take the points of one metric, as samples or faults."""
        kind = metric.WhichOneof("data")
        name = metric.name or ""
        if kind is None:
            self.faults(name, ("",), "a metric without data")
            return
        data = getattr(metric, kind)
        points = data.data_points or ()
        suffixes = suffixes_of(kind, data)
        if not points:
            if not isinstance(data, Message):
                raise LookAgain
            if len(UnknownFieldSet(data)):
                self.faults(name, suffixes or SUFFIXES[kind], "no data points, but fields that are unknown here")
            return
        self.hold_points(points)
        self.bound(len(points) * len(suffixes))
        self._points(name, kind, points, suffixes)

    def _points(self, name: str, kind: str, points: Any, suffixes: tuple[str, ...]) -> None:
        refusal: object = None if suffixes else "no aggregation temporality"
        try:
            if len(suffixes) == 1:
                self._numbers(name + suffixes[0], points)
            elif suffixes:
                self._distributions(name, suffixes, points)
        except ValueError as error:  # a bad name, before any point was read
            refusal = error
        if refusal is not None:
            for _ in points:
                self.faults(name, suffixes or SUFFIXES[kind], refusal)

    def faults(self, name: object, suffixes: Iterable[str], reason: object, time_ms: int | None = None) -> None:
        """Add a fault of each series that a bad point would have fed, or an unreadable element if it names none."""
        try:
            if not isinstance(name, str):
                raise ValueError(reason)
            whose = self._known_instance()
            names = [self._names[self._service, name + suffix] for suffix in suffixes]
            found = [fault(series, reason, time_ms, instance=whose) for series in names]
        except ValueError as error:
            found = [fault(None, error, time_ms, DeadKind.OTLP)]
        self.bound(len(found))
        self.items.extend(found)

    def bound(self, more: int) -> None:
        """Refuse more items than a message may become."""
        if len(self.items) + more > self._elements_max:
            raise Unreadable(f"more than {self._elements_max} elements", DeadKind.SIZE)

    def hold(self, holders: Sized) -> None:
        """Count what is about to be walked and is no point."""
        self._holders_left -= len(holders)
        if self._holders_left < 0:
            raise Unreadable(f"more than {self._holders_max} resources, attributes, scopes and metrics", DeadKind.SIZE)

    def hold_points(self, points: Sized) -> None:
        """Count points that are about to be walked: those that are marked as no value become no items."""
        self._points_left -= len(points)
        if self._points_left < 0:
            raise Unreadable(f"more than {self._elements_max} elements", DeadKind.SIZE)

    def _checked_instance(self) -> str | None:
        return None if self._instance is None else self._instances[self._instance]

    def _known_instance(self) -> str | None:
        try:
            return self._checked_instance()
        except ValueError:
            return None  # a name that is none names nobody

    def _numbers(self, metric: str, points: Iterable[Any]) -> None:
        series = self._names[self._service, metric]
        instance, append_ms, append = self._checked_instance(), self.append_ms, self.items.append
        for point in points:
            flags = point.flags
            if flags and flags & NO_RECORDED_VALUE:
                continue
            nanoseconds = point.time_unix_nano
            time_ms = None
            if nanoseconds:
                if not EARLIEST_NANO <= nanoseconds < NANO_BELOW:
                    append(fault(series, NO_UNIX_NANO, instance=instance))
                    continue
                time_ms = nanoseconds // NANOSECONDS_A_MILLISECOND
                time_ms = time_ms if time_ms < append_ms else append_ms
            which = point.WhichOneof("value")
            if which is None:
                append(fault(series, "a point without a value", time_ms, instance=instance))
                continue
            value = float(getattr(point, which))
            if math.isfinite(value):
                append(Sample(series, value, time_ms, instance))
            else:
                append(fault(series, "value is not finite", time_ms, instance=instance))

    def _distributions(self, name: str, suffixes: tuple[str, ...], points: Iterable[Any]) -> None:
        series = [self._names[self._service, name + suffix] for suffix in suffixes]
        instance = self._checked_instance()
        for point in points:
            if (point.flags or 0) & NO_RECORDED_VALUE:
                continue
            try:
                time_ms = self.time_ms(point.time_unix_nano or 0)
                parts = _parts(point)
            except ValueError as error:
                self.items.extend(fault(part, error, instance=instance) for part in series)
                continue
            for part, value in zip(series, parts, strict=False):  # a summary ends with its mean
                if value is None:
                    continue
                if math.isfinite(value):
                    self.items.append(Sample(part, value, time_ms, instance))
                else:
                    self.items.append(fault(part, "value is not finite", time_ms, instance=instance))

    def time_ms(self, nanoseconds: int) -> int | None:
        """Return the time of a point; None where it claims none. Raises `BadTime`."""
        return min(nano_ms(nanoseconds), self.append_ms) if nanoseconds else None


def suffixes_of(kind: str, data: Any) -> tuple[str, ...]:
    """Return the suffixes of the series that this metric's points feed; none if its temporality is not told."""
    if kind in ("gauge", "summary"):
        return SUFFIXES[kind]
    temporality = data.aggregation_temporality
    if kind == "sum":
        cumulative = ".total" if data.is_monotonic else ""
        return {DELTA: (".delta",), CUMULATIVE: (cumulative,)}.get(temporality, ())
    return {DELTA: DISTRIBUTION, CUMULATIVE: DISTRIBUTION_TOTAL}.get(temporality, ())


def _parts(point: Any) -> list[float | None]:
    """Count, sum, mean, minimum and maximum of a distribution's point; None for what it does not say. Raises ValueError."""
    count = point.count or 0
    if not 0 <= count < COUNT_BELOW:
        raise ValueError("count is no whole number of 64 bits")
    is_summary = isinstance(point, SummaryDataPoint | otlp_json.SummaryPoint)  # its sum is not optional
    total = (point.sum or 0.0) if is_summary else point.sum if point.HasField("sum") else None
    parts = [float(count), total, total / count if count and total is not None else None]
    if not is_summary:
        parts += [point.min if point.HasField("min") else None, point.max if point.HasField("max") else None]
    return parts
