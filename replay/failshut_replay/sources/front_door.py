"""A front door of our own, for what was never in Kafka: a file's values, a script's incident.

One telemetry partition and one of control, one router, one evidence partition, in virtual time. Marks stand at a fixed
cadence; each record is what one router would have written between two of them. Everything behind it, evidence,
governor and decisions, is as it is live.

Limits: no late router, no second partition, no lag between telemetry and evidence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from failshut_breakers.agreement import digest_of_control, digest_of_table, feeds_of
from failshut_breakers.evidence.records import (
    SCHEMA,
    Activation,
    Beats,
    Commanded,
    FaultRow,
    Faults,
    FromMany,
    Lags,
    Mark,
    Notice,
    OutcomeRow,
    Outcomes,
    Reading,
    Run,
    Samples,
    Term,
    Unreadable,
    encode_run,
)
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes
from failshut_replay.errors import ImportFault
from failshut_replay.recording.record import Evidence

EVIDENCE_ID = "imported-evidence"
INSTALLATION = "importedevidence"
OPERATOR = "import"
LEAD_MS = 10_000
"""So long before the first event the term is opened and the policies are activated."""
NAMES_SHOWN = 5
ENDED_BY = {"sample": "fault", "fault": "sample"}
IDLE_MARKS_MAX = 1_000_000
EVENTS_A_RUN_MAX = 5_000


class Event(NamedTuple):
    """Something at the front door. `item` is one of

    ("sample", series, value), ("fault", series, reason), each with an instance behind it where it names one, ("beat", source),
    ("lag", group, topic, {partition: (committed, end)}), ("outcome", gate, epoch, token, outcome, count), ("command", claims),
    ("unreadable", reason).
    """

    time_ms: int
    item: tuple[Any, ...]


def evidence_of(
    events: Iterable[Event],
    policies: Mapping[str, str],
    mark_every_ms: int = 1_000,
    told: Callable[[str], None] = lambda text: None,
) -> Iterator[Evidence]:
    """Yield the evidence records of one partition that a front door with these events leads to.

    `told` hears it at their end if no policy asked for any of them.

    Raises:
        ImportFault: times go backwards, or stand still for longer than marks can be written.
    """
    door: _Door | None = None
    for number, event in enumerate(events, 1):
        if door is None:
            door = _Door(event.time_ms, policies, mark_every_ms)
            yield from door.open()
        if event.time_ms < door.now_ms:
            raise ImportFault(f"event {number}: its time {event.time_ms} is before {door.now_ms}: times are out of order")
        if (event.time_ms - door.next_mark_ms) // mark_every_ms > IDLE_MARKS_MAX:
            raise ImportFault(
                f"event {number} comes {event.time_ms - door.now_ms} ms after the one before: is its time right? "
                "Then mark less often"
            )
        yield from door.marks_before(event.time_ms)
        yield from door.take(event)
    if door is not None:
        yield from door.marks_before(door.next_mark_ms + 1)
        if door.unasked and not door.fed:
            told(f"no policy asks for any of these readings: they are of {', '.join(door.unasked)}")


class _Door:
    def __init__(self, first_ms: int, policies: Mapping[str, str], mark_every_ms: int) -> None:
        self.now_ms = first_ms
        self.next_mark_ms = first_ms + mark_every_ms
        self._every_ms, self._policies = mark_every_ms, dict(policies)
        self._upto = {"telemetry": 0, "control": 0}
        self._gathered: list[tuple[int, Event]] = []
        self._offset = 0
        self.fed = False  # whether any reading reached a gate
        self.unasked: dict[str, None] = {}  # a few names of those that did not
        book = PolicyBook()
        book.apply(1, 1, self._policies, "")
        self._routes = Routes.of(book)
        self._made = digest_of_table(feeds_of(book.entries.values()).gates)

    def open(self) -> Iterator[Evidence]:
        at_ms = self.now_ms - LEAD_MS
        starts = {"telemetry": {0: 0}, "control": {0: 0}}
        yield self._run(
            "control", 1, at_ms, None, {}, [Term(0, at_ms, 1, EVIDENCE_ID, 1, starts, OPERATOR, INSTALLATION)], routing=-1
        )
        activation = Activation(1, at_ms, 1, self._policies, OPERATOR, "")
        yield self._run("control", 2, at_ms, None, {}, [activation], routing=-1)
        yield from self._mark(self.now_ms - 1)

    def take(self, event: Event) -> Iterator[Evidence]:
        self.now_ms = event.time_ms
        if event.item[0] == "command":
            offset = self._upto["control"]
            said = {"installation": INSTALLATION, "id": f"imported-{offset}", "signed_ms": event.time_ms}
            claims = said | event.item[1]
            commanded = Commanded(offset, event.time_ms, json.dumps(claims), OPERATOR)
            yield from self._flush(event.time_ms)
            yield self._run("control", offset + 1, event.time_ms, None, {claims["gate"]: [commanded]})
            return
        self._gathered.append((self._upto["telemetry"] + len(self._gathered), event))
        if len(self._gathered) >= EVENTS_A_RUN_MAX:
            yield from self._flush(event.time_ms)

    def marks_before(self, time_ms: int) -> Iterator[Evidence]:
        while self.next_mark_ms < time_ms:
            yield from self._mark(self.next_mark_ms)
            self.next_mark_ms += self._every_ms

    def _mark(self, time_ms: int) -> Iterator[Evidence]:
        mark = Mark(time_ms, 1)
        upto = self._upto["telemetry"] + len(self._gathered) + 1
        readings = self._readings()
        yield self._run("telemetry", upto, time_ms, mark, readings)
        yield self._run("control", self._upto["control"] + 1, time_ms, mark, {})

    def _flush(self, time_ms: int) -> Iterator[Evidence]:
        if self._gathered:
            upto = self._upto["telemetry"] + len(self._gathered)
            yield self._run("telemetry", upto, time_ms, None, self._readings())

    def _run(
        self,
        topic: str,
        upto: int,
        append_ms: int,
        mark: Mark | None,
        readings: dict[str, list[Reading]],
        notices: list[Notice] | None = None,
        routing: int = 1,
    ) -> Evidence:
        previous, self._upto[topic] = self._upto[topic], upto
        head = (SCHEMA, EVIDENCE_ID, 1, 1, routing, "import", topic, 0, previous, upto, append_ms)
        self._offset += 1
        made = digest_of_control(b"") if topic == "control" else self._made
        run = Run(*head, mark, readings, notices or [], made)
        return Evidence(0, self._offset - 1, append_ms, encode_run(run))

    def _readings(self) -> dict[str, list[Reading]]:
        gathered, self._gathered = self._gathered, []
        blocks: list[tuple[tuple[Any, ...], list[Any]]] = []
        under_way: dict[tuple[Any, ...], list[Any]] = {}
        for offset, event in gathered:
            key, row = _row(offset, event)
            self._take_many(key, row, event, under_way, blocks)
            # As in a router: samples and faults of a series are judged in their order, so each ends the block of the other.
            if key[0] in ENDED_BY:
                under_way.pop((ENDED_BY[key[0]], *key[1:]), None)
            rows = under_way.get(key)
            if rows is None:
                rows = under_way[key] = []
                blocks.append((key, rows))
            rows.append(row)
        readings: dict[str, list[Reading]] = {}
        for key, rows in blocks:
            gates, reading = self._routed(key, rows)
            if gates or key[0] == "many":
                self.fed = True
            elif len(self.unasked) < NAMES_SHOWN:
                self.unasked[" ".join(key[1:]) or key[0]] = None
            for gate in gates:
                readings.setdefault(gate, []).append(reading)
        return readings

    def _take_many(
        self,
        key: tuple[Any, ...],
        row: tuple[Any, ...],
        event: Event,
        under_way: dict[tuple[Any, ...], list[Any]],
        blocks: list[tuple[tuple[Any, ...], list[Any]]],
    ) -> None:
        """Keep a reading of a series that a policy judges by instance with who sent it."""
        if key[0] not in ENDED_BY or key[1] not in self._routes.instances:
            return
        many = ("many", key[1])
        if many not in under_way:
            under_way[many] = []
            blocks.append((many, under_way[many]))
        instance = event.item[3] if len(event.item) > 3 else ""
        under_way[many].append((*row[:3], instance, row[3]))

    def _routed(self, key: tuple[Any, ...], rows: list[Any]) -> tuple[tuple[str, ...], Reading]:
        routes = self._routes
        match key:
            case ("sample", series):
                return routes.series.get(series, ()), Samples.of(series, rows)
            case ("fault", series):
                return routes.series.get(series, ()), Faults(series, [FaultRow(*row) for row in rows])
            case ("many", series):
                names = list(dict.fromkeys(row[3] for row in rows))
                return routes.instances[series], FromMany(
                    series, names, [(*row[:3], names.index(row[3]), row[4]) for row in rows]
                )
            case ("beat", source):
                return routes.sources.get(source, ()), Beats(source, rows)
            case ("lag", group, topic):
                return routes.lags.get((group, topic), ()), Lags(group, topic, rows)
            case ("unreadable",):
                return routes.unreadable, Unreadable([FaultRow(*row) for row in rows])
        return (key[1],), Outcomes([OutcomeRow(*row) for row in rows])


def _row(offset: int, event: Event) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    at = (offset, 0, event.time_ms)
    match event.item:
        case ("sample", series, value, *_) if math.isfinite(value):
            return ("sample", series), (*at, float(value))
        case ("sample", series, value, *_):
            return ("fault", series), (*at, "NaN" if math.isnan(value) else "infinite")
        case ("fault", series, reason, *_):
            return ("fault", series), (*at, reason)
        case ("beat", source):
            return ("beat", source), at
        case ("lag", group, topic, partitions):
            return ("lag", group, topic), (*at, partitions)
        case ("outcome", gate, epoch, token, outcome, count):
            return ("outcome", gate), (*at, epoch, token, outcome, count)
        case ("unreadable", reason):
            return ("unreadable",), (*at, reason)
    raise ImportFault(f"no event: {event.item!r}")
