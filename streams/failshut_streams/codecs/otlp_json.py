"""OTLP as JSON: structs that look like the protobuf classes, so that one walker reads both.

The collector's Kafka exporter (otlp_json) writes lowerCamelCase names, 64-bit integers as text, enumerations as numbers
and NaN or Infinity as text. The lax mode of msgspec reads all of that, and numbers where text is usual. Fields that
nothing here needs (ids, exemplars, buckets, attributes of points) are skipped unread.

Null is absence, for any field, as ProtoJSON has it: Go writes it for an empty slice. Whole numbers are checked by the walker,
because msgspec's bounds end at 63 bits and OTLP's times at 64.

OTLP takes lowerCamelCase alone ("the original field names are not valid"). Protobuf's own names and those of older versions
would be skipped as unknown, and a value, a time or a whole resource with them. So each is a field that may only be null.
"""

from typing import Annotated, Any

import msgspec

Flags = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# Other OTLP writers spell the enumeration out.
TEMPORALITIES = {
    "AGGREGATION_TEMPORALITY_UNSPECIFIED": 0,
    "AGGREGATION_TEMPORALITY_DELTA": 1,
    "AGGREGATION_TEMPORALITY_CUMULATIVE": 2,
}


def _not(name: str) -> Any:
    """Return a field of another spelling, which only null may have."""
    return msgspec.field(default=None, name=name)


class _Message(msgspec.Struct, rename="camel", gc=False):
    def HasField(self, name: str) -> bool:  # protobuf's name
        """Return whether an optional field is there."""
        return getattr(self, name) is not None


class NumberPoint(_Message):
    """A point of a gauge or a sum."""

    as_double: float | None = None
    as_int: Signed | None = None
    time_unix_nano: int | None = None
    flags: Flags | None = None
    not_as_double: None = _not("as_double")
    not_as_int: None = _not("as_int")
    not_time: None = _not("time_unix_nano")

    def WhichOneof(self, _: str) -> str | None:  # protobuf's name
        """Return the value's field."""
        if self.as_double is not None:
            return "as_double"
        return None if self.as_int is None else "as_int"


class DistributionPoint(_Message):
    """A point of a histogram or an exponential histogram."""

    count: int | None = None
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    time_unix_nano: int | None = None
    flags: Flags | None = None
    not_time: None = _not("time_unix_nano")


class SummaryPoint(_Message):
    """A point of a summary. Its sum is not optional: a writer leaves 0 out."""

    count: int | None = None
    sum: float | None = None
    time_unix_nano: int | None = None
    flags: Flags | None = None
    not_time: None = _not("time_unix_nano")


class _Data(_Message):
    not_data_points: None = _not("data_points")


class _Temporal(_Data):
    aggregation_temporality: int | str | None = None
    not_temporality: None = _not("aggregation_temporality")

    def __post_init__(self) -> None:
        if isinstance(self.aggregation_temporality, str):
            # An unknown name is read as unspecified, which the walker refuses.
            self.aggregation_temporality = TEMPORALITIES.get(self.aggregation_temporality, 0)


class Gauge(_Data):
    """A level."""

    data_points: list[NumberPoint] | None = None


class Sum(_Temporal):
    """Increments or a total."""

    data_points: list[NumberPoint] | None = None
    is_monotonic: bool | None = None
    not_monotonic: None = _not("is_monotonic")


class Histogram(_Temporal):
    """Distributions, with either kind of buckets."""

    data_points: list[DistributionPoint] | None = None


class Summary(_Data):
    """Distributions since the start, as Prometheus clients make them."""

    data_points: list[SummaryPoint] | None = None


class Metric(_Message):
    """A named metric and its points."""

    name: str | None = None
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: Histogram | None = None
    summary: Summary | None = None

    def WhichOneof(self, _: str) -> str | None:  # protobuf's name
        """Return the kind of the metric."""
        for kind in POINTS:
            if getattr(self, kind) is not None:
                return kind
        return None


class AnyValue(_Message):
    """An attribute's value; only text is of use here."""

    string_value: Any = None
    not_string: None = _not("string_value")


class KeyValue(_Message):
    """An attribute."""

    key: str | None = None
    value: AnyValue | None = None


class Resource(_Message):
    """Who measured."""

    attributes: list[KeyValue] | None = None


class ScopeMetrics(_Message):
    """Metrics of one library."""

    metrics: list[Metric] | None = None


class ResourceMetrics(_Message):
    """Metrics of one resource."""

    resource: Resource | None = None
    scope_metrics: list[ScopeMetrics] | None = None
    not_scopes: None = _not("scope_metrics")
    not_libraries: None = _not("instrumentationLibraryMetrics")
    not_old_libraries: None = _not("instrumentation_library_metrics")


class MetricsData(_Message):
    """A whole message. Something that has no `resourceMetrics` is not one."""

    resource_metrics: list[ResourceMetrics]
    not_resources: None = _not("resource_metrics")


# The kinds of a metric and the shape of their points.
POINTS: dict[str, type[NumberPoint] | type[DistributionPoint] | type[SummaryPoint]] = {
    "gauge": NumberPoint,
    "sum": NumberPoint,
    "histogram": DistributionPoint,
    "exponential_histogram": DistributionPoint,
    "summary": SummaryPoint,
}

decode = msgspec.json.Decoder(MetricsData, strict=False).decode
