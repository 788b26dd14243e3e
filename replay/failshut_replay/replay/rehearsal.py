"""Rehearsals: the readings of a recording as telemetry again, for a monitor that is there to practise on.

Marks, policies and commands are not written: the monitor that is rehearsed with has its own. Readings of one series that
several gates share go out once. Times are left out, so that the broker's append time counts: it happens now. Outcomes and lag
are not written either: they are no telemetry, and the monitor that is rehearsed with measures its own.
"""

from __future__ import annotations

import json
from typing import Any

from failshut_breakers.evidence.records import Beats, Faults, FromMany, Reading, Samples
from failshut_replay.replay.replay import Step
from failshut_replay.replay.what_if import key_of


def messages(step: Step) -> list[bytes]:
    """Return the telemetry records (native JSON) that the readings of a step came from, in their order."""
    placed: list[tuple[tuple[int, int], dict[str, Any]]] = []
    # What is judged by instance as well goes out once, and with its instances.
    many = {one.series for readings in step.run.readings.values() for one in readings if isinstance(one, FromMany)}
    seen: set[tuple[str, ...]] = {("series", series) for series in many}
    for gate in sorted(step.run.readings):
        new = {key_of(reading) for reading in step.run.readings[gate]} - seen
        for reading in step.run.readings[gate]:
            if key_of(reading) in new:
                placed += _events(reading)
        seen |= new
    return [json.dumps(event).encode() for _, event in sorted(placed, key=lambda one: one[0])]


def _events(reading: Reading) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    match reading:
        case Samples():
            service, _, metric = reading.series.partition("/")
            return [((row[0], row[1]), {"service": service, "metric": metric, "value": row[3]}) for row in reading.rows]
        case Faults():
            service, _, metric = reading.series.partition("/")
            return [((row[0], row[1]), {"service": service, "metric": metric, "value": row[3]}) for row in reading.rows]
        case FromMany():
            service, _, metric = reading.series.partition("/")
            placed = []
            for offset, index, _, whose, value in reading.rows:
                event: dict[str, Any] = {"service": service, "metric": metric, "value": value}
                event |= {"instance": reading.names[whose]} if reading.names[whose] else {}
                placed.append(((offset, index), event))
            return placed
        case Beats():
            beat = {"kind": "heartbeat", "service": reading.source}
            beat |= {"instance": reading.instance} if reading.instance else {}
            return [((row[0], row[1]), beat) for row in reading.rows]
    return []
