"""What producers sent of one series, for `failshut try`: what Kafka still holds of it, read by the monitor's own codecs.

It reads as any consumer may: nothing is committed, and nothing is written. Partitions are read one after the other, so readings
are put in the order of their times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from failshut_console.exits import Trouble
from failshut_console.monitor.kafka_log import KafkaLog
from failshut_console.monitor.observed_series import AnyDecoder
from failshut_replay.sources.front_door import Event
from failshut_replay.trial.series import READINGS_MAX
from failshut_streams.codecs import Fault, NativeDecoder, OtlpDecoder, Sample
from failshut_streams.sources.marks import MARK_KEY


def readings_of(broker: str, prefix: str, series: str, last_ms: int) -> Iterator[Event]:
    """Yield the readings of a series of the last `last_ms`, in the order of their times.

    Raises:
        Trouble: Kafka does not answer, it has no such topics, or there are more readings than can be tried.
    """
    since_ms = int(time.time() * 1000) - last_ms
    with KafkaLog(broker, prefix) as log:
        decoders: Mapping[str, AnyDecoder] = {log.topics.telemetry: NativeDecoder(), log.topics.otlp_metrics: OtlpDecoder()}
        found: list[tuple[int, float | None]] = []
        for topic, record in log.front_door(since_ms):
            found += _readings(decoders[topic], record, series)
            if len(found) > READINGS_MAX:
                raise Trouble(
                    f"Kafka holds more than {READINGS_MAX} readings of {series} in that time",
                    "nothing was tried, and no gate is concerned",
                    "try a shorter time: --last 1d",
                )
    for time_ms, value in sorted(found, key=lambda one: one[0]):
        yield Event(time_ms, ("fault", series, "it could not be read") if value is None else ("sample", series, value))


def _readings(decoder: AnyDecoder, record: Any, series: str) -> list[tuple[int, float | None]]:
    if record.key == MARK_KEY or not record.value:
        return []
    found: list[tuple[int, float | None]] = []
    for item in decoder.decode(record.key, record.value, record.headers, record.timestamp):
        if isinstance(item, Sample) and item.series == series:
            claimed_ms = record.timestamp if item.time_ms is None else item.time_ms
            found.append((min(claimed_ms, record.timestamp), item.value))
        elif isinstance(item, Fault) and item.series == series:
            found.append((record.timestamp, None))
    return found
