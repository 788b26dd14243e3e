"""Codecs: from one Kafka record to items, purely.

`NativeDecoder` reads the topic `telemetry`, and `OtlpDecoder` reads `otlp_metrics`. `InternalDecoder` reads what Failshut
itself measures, from `internal`. Each has `decode(key, value, headers, append_ms) -> list[Item]`, which never raises.
docs/telemetry.md says what producers may send.
"""

from failshut_streams.codecs.dead_letter import Dead, DeadLetter, Origin, decode_dead_letter, encode_dead_letter, why_dead
from failshut_streams.codecs.internal import InternalDecoder
from failshut_streams.codecs.items import Beat, DeadKind, Fault, Headers, Item, LagPoint, Outcome, Sample
from failshut_streams.codecs.names import BadName, series_id, split_series
from failshut_streams.codecs.native import NativeDecoder
from failshut_streams.codecs.otlp import OtlpDecoder

__all__ = [
    "BadName",
    "Beat",
    "Dead",
    "DeadKind",
    "DeadLetter",
    "Fault",
    "Headers",
    "InternalDecoder",
    "Item",
    "LagPoint",
    "NativeDecoder",
    "Origin",
    "OtlpDecoder",
    "Outcome",
    "Sample",
    "decode_dead_letter",
    "encode_dead_letter",
    "series_id",
    "split_series",
    "why_dead",
]
