"""OTLP as JSON: structs that look like the protobuf classes, so that one walker reads both.

The collector's Kafka exporter (otlp_json) writes lowerCamelCase names, 64-bit integers as text, enumerations as
numbers and NaN or Infinity as text. msgspec's lax mode reads all of that, and numbers where text is usual. Fields
that nothing here needs (ids, exemplars, buckets, attributes of points) are skipped unread.
"""

from typing import Annotated, Any

import msgspec

Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# Other OTLP writers spell the enumeration out.
TEMPORALITIES = {
    "AGGREGATION_TEMPORALITY_UNSPECIFIED": 0,
    "AGGREGATION_TEMPORALITY_DELTA": 1,
    "AGGREGATION_TEMPORALITY_CUMULATIVE": 2,
}


class _Message(msgspec.Struct, rename="camel"):
    def HasField(self, name: str) -> bool:  # protobuf's name
        """Whether an optional field is there."""
        return getattr(self, name) is not None


class NumberPoint(_Message):
    """A point of a gauge or a sum."""

    as_double: float | None = None
    as_int: Signed | None = None
    time_unix_nano: Unsigned = 0
    flags: Unsigned = 0

    def WhichOneof(self, _: str) -> str | None:  # protobuf's name
        """The value's field."""
        if self.as_double is not None:
            return "as_double"
        return None if self.as_int is None else "as_int"


class DistributionPoint(_Message):
    """A point of a histogram or an exponential histogram."""

    count: Unsigned = 0
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    time_unix_nano: Unsigned = 0
    flags: Unsigned = 0


class SummaryPoint(_Message):
    """A point of a summary. Its sum is not optional: a writer leaves 0 out."""

    count: Unsigned = 0
    sum: float = 0.0
    time_unix_nano: Unsigned = 0
    flags: Unsigned = 0


class _Temporal(_Message):
    aggregation_temporality: int | str = 0

    def __post_init__(self) -> None:
        if isinstance(self.aggregation_temporality, str):
            # An unknown name is read as unspecified, which the walker refuses.
            self.aggregation_temporality = TEMPORALITIES.get(self.aggregation_temporality, 0)


class Gauge(_Message):
    """A level."""

    data_points: list[NumberPoint] = []


class Sum(_Temporal):
    """Increments or a total."""

    data_points: list[NumberPoint] = []
    is_monotonic: bool = False


class Histogram(_Temporal):
    """Distributions, with either kind of buckets."""

    data_points: list[DistributionPoint] = []


class Summary(_Message):
    """Distributions since the start, as Prometheus clients make them."""

    data_points: list[SummaryPoint] = []


class Metric(_Message):
    """A named metric and its points."""

    name: str = ""
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: Histogram | None = None
    summary: Summary | None = None

    def WhichOneof(self, _: str) -> str | None:  # protobuf's name
        """The kind of the metric."""
        for kind in POINTS:
            if getattr(self, kind) is not None:
                return kind
        return None


class AnyValue(_Message):
    """An attribute's value; only text is of use here."""

    string_value: Any = None


class KeyValue(_Message):
    """An attribute."""

    key: str = ""
    value: AnyValue | None = None


class Resource(_Message):
    """Who measured."""

    attributes: list[KeyValue] = []


class ScopeMetrics(_Message):
    """Metrics of one library."""

    metrics: list[Metric] = []


class ResourceMetrics(_Message):
    """Metrics of one resource."""

    resource: Resource = msgspec.field(default_factory=Resource)
    scope_metrics: list[ScopeMetrics] = []


class MetricsData(_Message):
    """A whole message. Something that has no `resourceMetrics` is not one."""

    resource_metrics: list[ResourceMetrics]


# The kinds of a metric and the shape of their points.
POINTS: dict[str, type[NumberPoint] | type[DistributionPoint] | type[SummaryPoint]] = {
    "gauge": NumberPoint,
    "sum": NumberPoint,
    "histogram": DistributionPoint,
    "exponential_histogram": DistributionPoint,
    "summary": SummaryPoint,
}

decode = msgspec.json.Decoder(MetricsData, strict=False).decode
