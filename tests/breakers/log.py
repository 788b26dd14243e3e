"""Evidence logs, written the way that front door, routers and governors write them, but in one thread and without a clock.

`FrontDoor` holds what producers, mark writers and operators append. `Router` cuts it into runs, under the policies that
it has read so far. `Log` is the evidence topic, in its wire form. `World` is one of each, with governors that are fed
at once, for tests that tell a story: `world.samples([48.0])`, `world.mark()`, `world.command(...)`; each returns the decisions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from failshut.seal import Seal
from failshut_breakers.agreement import digest_of_control, digest_of_table, feeds_of
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.decisions.permits import lives_by_seals
from failshut_breakers.evidence.boundaries import look_before
from failshut_breakers.evidence.coverage import BROKER_SKEW_MS
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import (
    SCHEMA,
    AcceptedGap,
    Activation,
    Beats,
    Commanded,
    FaultRow,
    Faults,
    Feeds,
    FromMany,
    Lags,
    Mark,
    Notice,
    OutcomeRow,
    Outcomes,
    Reading,
    Run,
    Samples,
    Sent,
    Term,
    Unreadable,
    decode_run,
    encode_run,
)
from failshut_breakers.gate.state import Gate
from failshut_breakers.governor import Governor
from failshut_breakers.policy.policy import Entry as PolicyEntry
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes

EVIDENCE_ID = "evidence-id"
INSTALLATION = "installationoftests"
START_MS = 1_700_000_000_000
Key = tuple[str, int]
TELEMETRY: Key = ("telemetry", 0)
CONTROL: Key = ("control", 0)


@dataclass(frozen=True)
class Entry:
    """A front-door record: when it was appended, and what a decoder would make of it (tuples, see `World`), or a mark."""

    append_ms: int
    items: tuple[tuple[Any, ...], ...] = ()
    mark: Mark | None = None


class FrontDoor:
    """What stands in the front-door topics."""

    def __init__(self, telemetry_partitions: int = 1) -> None:
        self.counts = {"telemetry": telemetry_partitions, "otlp_metrics": 1, "internal": 1, "control": 1}
        self.logs: dict[Key, list[Entry]] = {
            (topic, partition): [] for topic, count in self.counts.items() for partition in range(count)
        }

    def append(self, key: Key, append_ms: int, *items: tuple[Any, ...]) -> int:
        """Append a record; return its offset."""
        self.logs[key].append(Entry(append_ms, items))
        return len(self.logs[key]) - 1

    def mark(self, key: Key, time_ms: int, append_ms: int | None = None) -> None:
        """Append a mark of a writer whose clock says `time_ms`."""
        append_ms = time_ms if append_ms is None else append_ms
        mark = Mark(min(time_ms, append_ms), self.counts[key[0]])
        self.logs[key].append(Entry(append_ms, mark=mark))

    def mark_all(self, time_ms: int) -> None:
        for key in list(self.logs):
            self.mark(key, time_ms)


class Log:
    """The evidence topic: per partition the wire form of runs."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: list[list[bytes]] = [[] for _ in range(partitions)]

    def partition_of(self, gate: str) -> int:
        return zlib.crc32(gate.encode()) % len(self.records)

    def governor(self, partition: int = 0) -> Governor:
        log = EvidenceLog(EVIDENCE_ID, len(self.records))
        return Governor(partition, log, lambda gate: self.partition_of(gate) == partition)

    def runs(self, partition: int = 0) -> list[Run]:
        return [decode_run(data) for data in self.records[partition]]


@dataclass
class Router:
    """Cuts a front door into runs. `told` is, per front-door and evidence partition, how far it has been told."""

    door: FrontDoor
    log: Log
    name: str = "router"
    position: dict[Key, int] = field(default_factory=dict)
    boundary: dict[Key, int] = field(default_factory=dict)  # what may be committed: behind the last mark
    routing: dict[Key, int] = field(default_factory=dict)  # under which version: the commit's metadata
    told: dict[tuple[Key, int], int] = field(default_factory=dict)
    book: PolicyBook = field(default_factory=PolicyBook)
    routes: Routes = field(default_factory=Routes)
    term: int = 0
    exempt: dict[Key, int] = field(default_factory=dict)
    blind: frozenset[str] = frozenset()  # gates whose policies it cannot read, as an older version could not
    operators: bytes = b""  # digest of whom it believes
    feeds_told: dict[int, Feeds] = field(default_factory=dict)
    tables: dict[tuple[int, bytes], Feeds] = field(default_factory=dict)

    def pending(self, key: Key) -> int:
        return len(self.door.logs[key]) - self.position.get(key, 0)

    def route(self, key: Key, most: int | None = None) -> None:
        """Route up to `most` records (all) of a partition: a run ends at each mark, and where the chunk ends."""
        at = self.position.get(key, 0)
        upto = min(len(self.door.logs[key]), at + (most if most is not None else 1 << 60))
        first = at
        while at < upto:
            at += 1
            if self.door.logs[key][at - 1].mark is not None or at == upto or key == CONTROL:
                self._write(key, first, at)
                if key == CONTROL:
                    self._take_up(at - 1)
                first = at

    def route_all(self) -> None:
        self.route(CONTROL)
        for key in sorted(self.door.logs):
            self.route(key)

    def restart(self, committed: dict[Key, int] | None = None) -> None:
        """Start again from what was committed, with control read to its end first."""
        self.book, self.routes, self.term, self.told, self.feeds_told = PolicyBook(), Routes(), 0, {}, {}
        self.position = dict(self.boundary if committed is None else committed)
        self.exempt = dict(self.routing)
        for offset in range(len(self.door.logs[CONTROL])):
            self._take_up(offset)
        self.exempt = {}

    def _take_up(self, offset: int) -> None:
        entry = self.door.logs[CONTROL][offset]
        for item in entry.items:
            if item[0] == "term":
                self.term = max(self.term, item[1]["term"])
            if item[0] == "activate":
                before = self.book.routing
                self.book.apply(offset, item[1], item[2], item[4])
                self._misread()
                if self.book.routing != before:
                    feeds = [self.feeds(partition) for partition in range(len(self.log.records))]
                    made = tuple(digest_of_table(one.gates) for one in feeds)
                    self.tables |= {(at, made[at]): feeds[at] for at in range(len(made))}
                    self.routes = Routes.of(self.book, made)
                    self._go_back(entry.append_ms, offset)

    def _misread(self) -> None:
        for gate in self.blind & self.book.entries.keys():
            entry = self.book.entries[gate]
            if entry.policy is not None:
                fault = f"{entry.file}: conditions.0: no detector is called 'newer'"
                self.book.entries[gate] = PolicyEntry(gate, entry.file, entry.digest, None, fault)

    def feeds(self, partition: int) -> Feeds:
        return feeds_of(entry for gate, entry in self.book.entries.items() if self.log.partition_of(gate) == partition)

    def _go_back(self, activated_ms: int, version: int) -> None:
        for key, log in self.door.logs.items():
            if key == CONTROL or self.exempt.get(key, -1) >= version:
                continue
            last = 0
            for offset, entry in enumerate(log[: self.position.get(key, 0)]):
                if entry.mark is not None and entry.append_ms < look_before(activated_ms - BROKER_SKEW_MS, activated_ms):
                    last = offset + 1
            self.position[key] = min(self.position.get(key, 0), last)
            for partition in range(len(self.log.records)):
                self.told[key, partition] = self.position[key]

    def _write(self, key: Key, first: int, upto: int) -> None:
        entries = list(enumerate(self.door.logs[key][first:upto], first))
        gathered: list[dict[str, list[Reading]]] = [{} for _ in self.log.records]
        notices: list[Notice] = []
        for offset, entry in entries:
            for index, item in enumerate(entry.items):
                notices += self._notice(offset, entry, item)
                for gate, reading in self._readings(offset, index, entry, item):
                    _add(gathered[self.log.partition_of(gate)].setdefault(gate, []), reading)
        if any(isinstance(notice, Term) for notice in notices):
            self.term = max(self.term, *(notice.term for notice in notices if isinstance(notice, Term)))
        last = entries[-1][1]
        self.position[key] = upto
        for partition, records in enumerate(self.log.records):
            if not gathered[partition] and not notices and last.mark is None:
                continue
            previous = self.told.get((key, partition), first)
            made = self.routes.made[partition] if self.routes.made else digest_of_table({})
            feeds = self.tables.get((partition, made), Feeds({}, {}))
            told, self.feeds_told[partition] = self.feeds_told.get(partition), feeds
            run = Run(
                *(SCHEMA, EVIDENCE_ID, len(self.log.records), self.term, self.routes.routing, self.name, *key, previous, upto),
                *(last.append_ms, last.mark, gathered[partition], notices),
                made=digest_of_control(self.operators) if key == CONTROL else made,
                operators=self.operators,
                feeds=None if told == feeds else feeds,
            )
            records.append(encode_run(run))
            self.told[key, partition] = upto
        if last.mark is not None:
            self.boundary[key], self.routing[key] = upto, self.routes.routing

    def _notice(self, offset: int, entry: Entry, item: tuple[Any, ...]) -> list[Notice]:
        at = (offset, entry.append_ms)
        match item:
            case ("term", claims):
                term = Term(*at, claims["term"], EVIDENCE_ID, len(self.log.records), claims["starts"], "operator", INSTALLATION)
                return [term]
            case ("activate", version, files, signer, fault):
                return [Activation(*at, version, files, signer, fault)]
            case ("accept_gap", topic, partition, upto):
                return [AcceptedGap(*at, topic, partition, upto, "operator")]
        return []

    def _readings(self, offset: int, index: int, entry: Entry, item: tuple[Any, ...]) -> list[tuple[str, Reading]]:
        at, routes = (offset, index, entry.append_ms), self.routes
        reading: Reading
        gates: Iterable[str]
        match item:
            case ("sample", series, value):
                gates, reading = routes.series.get(series, ()), Samples.of(series, [(*at, value)])
            case ("fault", series, reason):
                gates, reading = routes.series.get(series, ()), Faults(series, [FaultRow(*at, reason)])
            case ("from", series, instance, value):  # by instance; a text is why it cannot be read
                many = FromMany(series, [instance], [(*at, 0, value)])
                plain = many.as_one()[0]
                return [
                    *((gate, plain) for gate in routes.series.get(series, ())),
                    *((gate, many) for gate in routes.instances.get(series, ())),
                ]
            case ("beat", source, time_ms, *instance):
                row = (offset, index, entry.append_ms if time_ms is None else time_ms)
                gates, reading = routes.sources.get(source, ()), Beats(source, [row], *instance)
            case ("lag", group, topic, partitions):
                gates, reading = routes.lags.get((group, topic), ()), Lags(group, topic, [(*at, partitions)])
            case ("outcome", gate, epoch, token, ok, count):
                outcome = {True: "ok", False: "failed"}.get(ok, ok)
                gates, reading = (gate,), Outcomes([OutcomeRow(*at, epoch, token, outcome, count)])
            case ("sent", gate, guard, total, count, lost):
                gates, reading = (gate,), Sent([(*at, guard, total, count, lost)])
            case ("unreadable", reason):
                gates, reading = routes.unreadable, Unreadable([FaultRow(*at, reason)])
            case ("command", claims, kid):
                named = {"installation": INSTALLATION, "id": f"c{offset}.{index}", "signed_ms": entry.append_ms}
                claims = named | claims
                gates, reading = (claims["gate"],), Commanded(offset, entry.append_ms, json.dumps(claims), kid)
            case _:
                return []
        return [(gate, reading) for gate in gates]


def _add(readings: list[Reading], reading: Reading) -> None:
    """Keep readings of one series in one block until another kind of reading of it interrupts."""
    for at in range(len(readings) - 1, -1, -1):
        there = readings[at]
        if _names(there) == _names(reading) and not isinstance(reading, Commanded):
            if isinstance(there, Samples) and isinstance(reading, Samples):
                readings[at] = Samples.of(there.series, [*there.rows, *reading.rows])
                return
            if isinstance(there, FromMany) and isinstance(reading, FromMany):
                readings[at] = _joined(there, reading)
                return
            if type(there) is type(reading):
                there.rows.extend(reading.rows)  # type: ignore[union-attr,arg-type]
                return
            break
    readings.append(_copy(reading))


def _joined(there: FromMany, reading: FromMany) -> FromMany:
    names = [*dict.fromkeys((*there.names, *reading.names))]
    more = [(*row[:3], names.index(reading.names[row[3]]), row[4]) for row in reading.rows]
    return FromMany(there.series, names, [*there.rows, *more])


def _names(reading: Reading) -> tuple[object, ...]:
    if isinstance(reading, Samples | Faults):
        return ("series", reading.series)
    if isinstance(reading, FromMany):
        return ("instances", reading.series)
    if isinstance(reading, Beats):
        return ("source", reading.source, reading.instance)
    if isinstance(reading, Lags):
        return ("lag", reading.group, reading.topic)
    return (type(reading).__name__,)


def _copy(reading: Reading) -> Reading:
    values = [getattr(reading, name) for name in reading.__struct_fields__]
    return type(reading)(*(list(value) if isinstance(value, list) else value for value in values))


class World:
    """A front door, one prompt router and its governors. Every step returns the decisions that it led to."""

    def __init__(self, *policies: str, telemetry_partitions: int = 1, evidence_partitions: int = 1) -> None:
        self.door = FrontDoor(telemetry_partitions)
        self.log = Log(evidence_partitions)
        self.router = Router(self.door, self.log)
        self.governors = [self.log.governor(partition) for partition in range(evidence_partitions)]
        self.fed = [0] * evidence_partitions
        self.now_ms = START_MS
        self.version = 0
        self.said: list[Decision] = []
        self.seals: list[Seal] = []
        self.ends_ms: dict[str, int] = {}  # by gate: until when a seal renews its permit
        self.open_term(1)
        if policies:
            self.activate(*policies)

    # --- what happens at the front door ---

    def open_term(self, term: int, starts: dict[str, dict[int, int]] | None = None) -> list[Decision]:
        at = {topic: dict.fromkeys(range(count), 0) for topic, count in self.door.counts.items()}
        return self.control(("term", {"term": term, "starts": starts or at}))

    def activate(self, *policies: str, version: int | None = None, fault: str = "", **files: str) -> list[Decision]:
        self.version = self.version + 1 if version is None else version
        named = {f"{number}.yaml": text for number, text in enumerate(policies)} | files
        return self.control(("activate", self.version, named, "operator", fault))

    def control(self, *items: tuple[Any, ...]) -> list[Decision]:
        self.door.append(CONTROL, self.now_ms, *items)
        return self.flush()

    def command(self, kind: str, gate: str = "g", **claims: Any) -> list[Decision]:
        return self.control(command(kind, gate, **claims))

    def send(self, *items: tuple[Any, ...], partition: int = 0) -> list[Decision]:
        self.door.append(("telemetry", partition), self.now_ms, *items)
        return self.flush()

    def samples(self, values: Iterable[float], series: str = "s/x", flush: bool = True) -> list[Decision]:
        for value in values:
            self.door.append(TELEMETRY, self.now_ms, ("sample", series, value))
        return self.flush() if flush else []

    def mark(self, after_ms: int = 200, *, keys: Iterable[Key] | None = None) -> list[Decision]:
        """Let time pass, and mark every partition (or those named)."""
        self.now_ms += after_ms
        for key in list(self.door.logs) if keys is None else keys:
            self.door.mark(key, self.now_ms)
        return self.flush()

    def marks(self, for_ms: int, step_ms: int = 200, beat: str = "") -> list[Decision]:
        """Let time pass with marks all along, and with the heartbeats of a source."""
        decisions: list[Decision] = []
        for _ in range(for_ms // step_ms):
            if beat:
                decisions += self.send(("beat", beat, None))
            decisions += self.mark(step_ms)
        return decisions

    # --- what comes of it ---

    def flush(self) -> list[Decision]:
        self.router.route_all()
        return self.feed()

    def feed(self) -> list[Decision]:
        decisions: list[Decision] = []
        for partition, governor in enumerate(self.governors):
            while self.fed[partition] < len(self.log.records[partition]):
                run = decode_run(self.log.records[partition][self.fed[partition]])
                decisions += governor.step(self.fed[partition], run)
                self.fed[partition] += 1
                self._take_seal(governor)
        self.said += decisions
        return decisions

    def _take_seal(self, governor: Governor) -> None:
        if governor.seal is None:
            return
        self.seals.append(governor.seal)
        for name, gate in governor.gates.items():
            evidence_ms = governor.seal.time_of(gate.sealed) if gate.sealed else 0
            if evidence_ms and gate.said is not None:
                self.ends_ms[name] = evidence_ms + gate.said.ttl_ms

    def gate(self, name: str = "g") -> Gate:
        gate = self.governors[self.log.partition_of(name)].look(name)
        assert gate is not None
        return gate

    def last(self, gate: str = "g") -> Decision:
        """The last decision about a gate's state."""
        return next(one for one in reversed(self.said) if one.gate == gate and one.kind is not Kind.NOTE)

    def is_open(self, gate: str = "g") -> bool:
        """Whether a guard with a good clock would admit now, by the last decision and the last seal alone."""
        last = self.last(gate)
        ends_ms = self.ends_ms.get(gate, 0) if lives_by_seals(last.mode) else last.exp_ms
        return last.kind is not Kind.CLOSE and self.now_ms < ends_ms


def command(kind: str, gate: str = "g", **claims: Any) -> tuple[str, dict[str, Any], str]:
    """An operator's command, as a router passes it on once it is verified. Its id is its place's, unless one is given."""
    return ("command", {"kind": kind, "gate": gate, "by": "ada", "why": "because", **claims}, "kid-of-ada")


def policy(*conditions: str, gate: str = "g", ttl: str = "3s", **more: str) -> str:
    """A policy's text; conditions as flow YAML, such as `heartbeat: {source: a, grace: 3s}`."""
    lines = [f"gate: {gate}", f"permit: {{ttl: {ttl}}}", "conditions:", *(f"  - {{{one}}}" for one in conditions)]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in more.items())]) + "\n"
