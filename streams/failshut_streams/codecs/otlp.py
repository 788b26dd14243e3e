"""OpenTelemetry metrics: what the topic `otlp_metrics` holds, as the collector's Kafka exporter writes it.

A decoder keeps nothing between records, so it cannot turn a running total into increments. The series id says
instead what its numbers are, and a policy names the one it judges (docs/telemetry.md, "What a series means"):

    gauge, non-monotonic cumulative sum      service/metric              a level
    delta sum                                service/metric.delta        what this interval added
    monotonic cumulative sum                 service/metric.total        all since the start
    delta histogram                          service/metric.count .sum .mean .min .max         of this interval
    cumulative histogram, summary            service/metric.total.count .total.sum ...         since the start

Attributes of points are no part of a series id. A point marked "no recorded value" is the end of a series and no
evidence. It yields nothing, and a heartbeat notices the silence.

Limits: parsing is cheap, walking a protobuf message in Python is not (benchmarks have the figure). So everything that a
message can hold is counted before it is walked (otlp_walk.py).
"""

from typing import Literal

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no type information
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from failshut_streams.codecs import otlp_json
from failshut_streams.codecs.items import DeadKind, Headers, Item
from failshut_streams.codecs.lenient import Unreadable, parse
from failshut_streams.codecs.names import NAMES_MAX, Instances, SeriesNames
from failshut_streams.codecs.native import REFUSED, VALUE_BYTES_MAX, refuse_value, unreadable, with_key_fault
from failshut_streams.codecs.otlp_lenient import walk_parsed
from failshut_streams.codecs.otlp_walk import ELEMENTS_MAX, HOLDERS_MAX, LookAgain, Walk

Encoding = Literal["auto", "otlp_proto", "otlp_json"]

# What may stand before the brace of a JSON message: a byte order mark and white space.
JSON_LEAD = b"\xef\xbb\xbf \t\r\n"


class OtlpDecoder:
    """Decodes records of `otlp_metrics`. One per worker: it keeps the tables of names.

    `encoding` "auto" tells JSON from protobuf by the first byte; the limits are those of `NativeDecoder`, items
    being the elements: a histogram's point has up to five. `holders_max` bounds what holds them: resources, their
    attributes, scopes and metrics together.
    """

    def __init__(
        self,
        encoding: Encoding = "auto",
        *,
        bytes_max: int = VALUE_BYTES_MAX,
        elements_max: int = ELEMENTS_MAX,
        holders_max: int = HOLDERS_MAX,
        names_max: int = NAMES_MAX,
    ) -> None:
        self.names = SeriesNames(names_max)
        self.instances = Instances(names_max)
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._elements_max = elements_max
        self._holders_max = holders_max

    def samples(self, value: bytes) -> None:
        """Return None: there is no short cut, every message is walked."""

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """Return the items of one record, in order. Never raises; an empty list for a message without points."""
        if refusal := refuse_value(value, self._bytes_max):
            return unreadable(key, refusal, DeadKind.SIZE)
        assert value  # noqa: S101  # refuse_value refuses an empty one
        try:
            return with_key_fault(key, self._items(value, append_ms))
        except (DecodeError, RecursionError) as error:
            return unreadable(key, f"not OTLP metrics: {error}", DeadKind.OTLP)
        except Unreadable as error:
            return unreadable(key, error, error.kind)

    def _items(self, value: bytes, append_ms: int) -> list[Item]:
        # No OTLP message in protobuf begins with a brace: it would be a group, which the format does not have.
        if self._encoding == "otlp_json" or (self._encoding == "auto" and value[:1] == b"{"):
            return self._json(value, append_ms)
        try:
            resource_metrics = MetricsData.FromString(value).resource_metrics
        except DecodeError:
            if self._encoding != "auto" or value.lstrip(JSON_LEAD)[:1] != b"{":
                raise
            return self._json(value, append_ms)
        if not resource_metrics:  # protobuf takes many other bytes for unknown fields, and no exporter writes this
            raise Unreadable("not OTLP metrics: no resource_metrics", DeadKind.OTLP)
        walk = self._walk(append_ms)
        walk.resources(resource_metrics)
        return walk.items

    def _json(self, value: bytes, append_ms: int) -> list[Item]:
        """Return a message in JSON: at once where every field is as it should be, else point by point."""
        walk = self._walk(append_ms)
        try:
            walk.resources(otlp_json.decode(value).resource_metrics or ())
        except (*REFUSED, LookAgain):
            walk = self._walk(append_ms)
            walk_parsed(walk, parse(value))
        return walk.items

    def _walk(self, append_ms: int) -> Walk:
        return Walk(self.names, self.instances, append_ms, self._elements_max, self._holders_max)
