"""Telemetry events as the monitor reads them, as bytes: what to put on the topic `telemetry`, not how.

A service sends them with the Kafka producer that it has; the guard brings none. A heartbeat says "I am alive";
the mere arrival of samples can count as one too, if the policy says so. Use `key` as the record's key. Then a
record that cannot be read still names its series, and all values of one series keep their order in one
partition.

producer.send("telemetry", value=sample("refund-agent", "amount_eur", 48.0), key=key("refund-agent",
"amount_eur"))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def sample(
    service: str,
    metric: str,
    value: float,
    *,
    time_ms: int | None = None,
    instance: str = "",
    attributes: Mapping[str, str] | None = None,
) -> bytes:
    """Return one value of the series `service/metric`; without `time_ms` it has its record's time.

    NaN and infinity are written as Python writes them: the monitor counts them as evidence that does not conform.
    """
    event: dict[str, Any] = {"service": service, "metric": metric, "value": value}
    return _event(event, time_ms, instance, attributes)


def heartbeat(service: str, *, time_ms: int | None = None, instance: str = "") -> bytes:
    """Return a sign of life of `service`."""
    return _event({"kind": "heartbeat", "service": service}, time_ms, instance, None)


def joined(events: Iterable[bytes]) -> bytes:
    """Return several events as one message: cheaper to send than one by one."""
    return b"[" + b",".join(events) + b"]"


def key(service: str, metric: str) -> bytes:
    """Return the record key of a series."""
    return f"{service}/{metric}".encode()


def _event(event: dict[str, Any], time_ms: int | None, instance: str, attributes: Mapping[str, str] | None) -> bytes:
    if time_ms is not None:
        event["time"] = time_ms
    if instance:
        event["instance"] = instance
    if attributes:
        event["attributes"] = dict(attributes)
    return json.dumps(event, separators=(",", ":")).encode()
