"""Cuts the control topic into runs of evidence: commands, policy activations, terms, operators' keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from failshut.signing import KeySet, kid_of
from failshut_breakers.agreement import digest_of_control, digest_of_table, feeds_of
from failshut_breakers.command import GATE_PATTERN, AcceptGap, Activate, CommandError, OpenTerm, parse_command
from failshut_breakers.evidence.coverage import CONTROL
from failshut_breakers.evidence.history import HISTORIES_MAX
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import (
    SCHEMA,
    AcceptedGap,
    Activation,
    Commanded,
    Feeds,
    Mark,
    Notice,
    Reading,
    Run,
    Term,
)
from failshut_breakers.policy.learn import Wanted, wanted_history
from failshut_breakers.policy.policy import Entry, PolicyBook, gates_in_force, prepare
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import DeadKind
from failshut_streams.control.belonging import Belonging, installation_of, unverified
from failshut_streams.control.client import read_claims
from failshut_streams.control.operators import OperatorsInForce, is_named
from failshut_streams.control.retelling import Asked, Retell, is_retell
from failshut_streams.router.cutter import NO_APPEND_TIME
from failshut_streams.sources.marks import MARK_KEY, BadMark, decode_mark
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME, DeadRecord, PartitionOf

PIECE_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of commands after which a run of control is ended, so that an evidence record stays below its topic's limit however
many bundles control holds."""

Digest = bytes

SMALL_BYTES = 4 * 1024
"""A bundle below this is read where it is taken up; a larger one takes so long that time marks must be written meanwhile."""

NAMES_MAX = 1_000
"""Gates that one notice names: less than what a governor reads of a bundle that must not be trusted."""

UNSIGNED = "the policy bundle is not signed by a known operator"


@dataclass
class ControlCut:
    """What a batch of control records became.

    `applied` are the activations that were taken up (offset and append time), `gaps` the gaps that an operator signed for.
    """

    runs: list[tuple[int, Run]] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    applied: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[AcceptedGap] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    retells: list[Retell] = field(default_factory=list)
    restore: list[tuple[bytes, bytes]] = field(default_factory=list)  # key and token of what must be written again


class HistoryOf(NamedTuple):
    """An activation whose new conditions learn from telemetry of before it. `made` is what this router's runs say then."""

    routing: int
    append_ms: int
    made: tuple[Digest, ...]
    wanted: Wanted


class ControlCutter:
    """Cuts the control partition, and keeps the policies in force."""

    def __init__(
        self,
        operators: OperatorsInForce | KeySet,
        log: EvidenceLog,
        router: str,
        partition_of: PartitionOf,
        forward_every_ms: int,
    ) -> None:
        self.operators = operators if isinstance(operators, OperatorsInForce) else OperatorsInForce(operators, None, log.id)
        self.book = PolicyBook()
        self.term: Term | None = None
        self.belonging = Belonging(log.id)
        self._asked = Asked(log.id)
        self.applied: list[
            tuple[int, int]
        ] = []  # every activation taken up: offset, append time; grows by hand-made commands alone
        self.gaps: list[AcceptedGap] = []  # every gap signed for, likewise
        self._in_force: Activate | None = None  # the newest bundle that came into force
        self.histories: list[HistoryOf] = []  # of the newest activations whose conditions learn from one
        self._log = log
        self._router = router
        self._partition_of = partition_of
        self._forward_every_ms = forward_every_ms
        self._forwarded_ms = 0
        self._told = [0] * log.partitions
        self._feeds: list[Feeds] = []  # by evidence partition
        self._feeds_told: list[Feeds | None] = [None] * log.partitions
        self._operators_told = (
            self.operators.digest
        )  # digest of the keys that were in force at the end of the run that was told last
        self.routes: Routes
        self._take_up()

    def again(self) -> ControlCutter:
        """Return one that has read nothing yet."""
        return ControlCutter(
            *(self.operators.again(), self._log, self._router, self._partition_of),
            self._forward_every_ms,
        )

    def applied_since(self, routing: int) -> int | None:
        """Return the append time of the oldest activation above a routing version, or None if there is none."""
        return next((append_ms for offset, append_ms in self.applied if offset > routing), None)

    def prepare(self, records: Sequence[Record]) -> None:
        """Read the policies in signed bundles, so that cutting these costs little. It changes nothing: for any thread."""
        operators = self.operators
        if operators.keys is None:
            operators = operators.again()
            operators.begin(records)
        for record in records:
            if record.key != MARK_KEY and len(record.value or b"") > SMALL_BYTES:
                try:
                    command = parse_command(read_claims(record.value, operators.keys))
                except CommandError:
                    continue
                if isinstance(command, Activate):
                    prepare(command.files)

    def gap_since(self, control_offset: int, topic: str, partition: int) -> int | None:
        """Return the lowest position that was signed up to in this term, above an offset of control; None if there is none."""
        after = max(control_offset, self.term.offset if self.term else -1)
        key = topic, partition
        return min((gap.upto for gap in self.gaps if gap.offset > after and (gap.topic, gap.partition) == key), default=None)

    @property
    def newest_gap(self) -> int:
        """The control offset of the newest gap that was signed for, -1 where none was."""
        return self.gaps[-1].offset if self.gaps else -1

    def cut(self, records: Iterable[Record], upto: int) -> ControlCut:
        """Cut a batch of records, the next of the partition, up to a position."""
        cut = ControlCut()
        pending = _Pending()
        for record in records:
            if pending.bytes >= PIECE_BYTES_MAX or pending.named:
                self._tell(pending, cut, record.offset, None)
            pending.append_ms = record.timestamp_ms
            if record.key == MARK_KEY:
                mark = self._mark(record, cut)
                if mark is None:
                    continue
                time_ms = min(mark.time_ms, record.timestamp_ms)
                if time_ms >= self._forwarded_ms + self._forward_every_ms:
                    self._forwarded_ms = time_ms
                    self._tell(pending, cut, record.offset + 1, Mark(time_ms, mark.partitions))
                continue
            if is_retell(record):
                cut.retells += self._asked.take(record, self.operators.monitor)
                continue
            self._take(record, pending, cut)
        self._tell(pending, cut, upto, None)
        cut.restore = self.belonging.restored()
        return cut

    def everything(self, records: Iterable[Record], upto: int) -> ControlCut:
        """Cut the whole partition, for each evidence partition: what a router tells first of all.

        It is one run, or as many as its size asks for. The first brings every term, so that all of them count in the last one.
        """
        cut, newest = ControlCut(), None
        records = list(records)
        self.operators.begin(records)
        self._operators_told = self.operators.digest
        self.belonging.installation = installation_of(records, self.operators.keys, self._log.id)
        pieces = [_Pending()]
        for record in records:
            if pieces[-1].bytes >= PIECE_BYTES_MAX or pieces[-1].named:
                pieces[-1].upto = record.offset
                pieces.append(_Pending(append_ms=pieces[-1].append_ms))
            pending = pieces[-1]
            pending.append_ms = max(pending.append_ms, record.timestamp_ms)
            if is_retell(record):
                continue  # of a past that is told from its beginning anyway
            if record.key != MARK_KEY:
                self._take(record, pending, cut)
            elif (mark := self._mark(record, cut)) is not None:
                newest = Mark(min(mark.time_ms, record.timestamp_ms), mark.partitions)
        self._forwarded_ms = newest.time_ms if newest else 0
        terms = [notice for pending in pieces for notice in pending.notices if isinstance(notice, Term)]
        for pending in pieces:
            pending.notices = [notice for notice in pending.notices if not isinstance(notice, Term)]
        pieces[0].notices = sorted([*terms, *pieces[0].notices], key=lambda notice: notice.offset)
        for pending in pieces:
            pending.all_told = True
            last = pending is pieces[-1]
            self._tell(pending, cut, upto if last else pending.upto, newest if last else None)
        cut.restore = self.belonging.restored()
        return cut

    @staticmethod
    def _mark(record: Record, cut: ControlCut) -> Mark | None:
        """Return the mark, or None for a record that only has its key: that one is dead."""
        mark = decode_mark(record.value)
        if isinstance(mark, BadMark) or mark.partitions != 1 or record.timestamp_type != APPEND_TIME:
            reason = mark.reason if isinstance(mark, BadMark) else "a mark of a control topic that it cannot have"
            cut.dead.append(DeadRecord(record, reason, DeadKind.MARK))
            return None
        return mark

    def _take(self, record: Record, pending: _Pending, cut: ControlCut) -> None:
        if record.timestamp_type != APPEND_TIME:
            # Routers go back to before an activation's time; marks are refused as well then, and gates lapse.
            cut.dead.append(DeadRecord(record, *NO_APPEND_TIME))
            return
        if self.belonging.watch(record):
            return  # a copy of what stands, under its own key: written again so that it stays
        pending.bytes += len(record.value or b"")
        if is_named(record):
            named = self.operators.take(record)
            if isinstance(named, str):
                cut.dead.append(DeadRecord(record, named, DeadKind.COMMAND))
            else:
                pending.notices.append(named)
                pending.named = named.digest
                self._withdraw(record, pending, cut)
            return
        try:
            claims = read_claims(record.value, self.operators.keys)
        except CommandError as error:
            cut.dead.append(DeadRecord(record, str(error), DeadKind.COMMAND))
            self._take_unsigned(record, pending, cut)
            return
        signer = kid_of(record.value or b"")  # verified by now
        try:
            command = parse_command(claims)
        except CommandError as error:
            self.belonging.note(error)
            cut.dead.append(DeadRecord(record, str(error), DeadKind.COMMAND))
            self._forward_unknown(record, claims, signer, pending)
            return
        refusal = self.belonging.refuses(command, record)
        if refusal:
            cut.dead.append(DeadRecord(record, f"{command.kind} refused: {refusal}", DeadKind.COMMAND))
            return
        match command:
            case Activate():
                self._take_bundle(record, command, signer, pending, cut)
            case OpenTerm():
                self._open_term(record, command, signer, pending)
            case AcceptGap():
                gap = AcceptedGap(record.offset, record.timestamp_ms, command.topic, command.partition, command.upto, signer)
                pending.notices.append(gap)
                cut.gaps.append(gap)
                self.gaps.append(gap)
            case _:  # about one gate
                if command.gate not in self.book.entries:
                    # Forwarded all the same: another version may read the policies otherwise, and know the gate.
                    unknown = f"a command for a gate that no policy speaks of: {command.gate}"
                    cut.dead.append(DeadRecord(record, unknown, DeadKind.COMMAND))
                commanded = Commanded(record.offset, record.timestamp_ms, command.model_dump_json(), signer)
                pending.readings.setdefault(command.gate, []).append(commanded)

    def _forward_unknown(self, record: Record, claims: dict[str, Any], signer: str, pending: _Pending) -> None:
        """Let a signed command that only a newer version can read reach its gate: its governor may be of that version."""
        gate = claims.get("gate")
        if not self.belonging.installation or claims.get("installation") != self.belonging.installation:
            return
        if isinstance(gate, str) and re.fullmatch(GATE_PATTERN, gate):
            commanded = Commanded(record.offset, record.timestamp_ms, json.dumps(claims), signer)
            pending.readings.setdefault(gate, []).append(commanded)

    def _take_unsigned(self, record: Record, pending: _Pending, cut: ControlCut) -> None:
        """Let an activation that cannot be verified close the gates that it names."""
        command = unverified(record.value or b"")
        if isinstance(command, Activate) and not self.belonging.names_another(command):
            self._close(gates_in_force(command.files, self.book.entries), record, command, "", UNSIGNED, pending, cut)

    def _take_bundle(self, record: Record, command: Activate, signer: str, pending: _Pending, cut: ControlCut) -> None:
        """Take an operator's activation; without the signatures that the policy authority asks for, it closes what it names."""
        authority = self.operators.authority
        fault = authority.refuses(command, record.timestamp_ms, self.book.version) if authority else ""
        if fault:
            cut.dead.append(DeadRecord(record, f"activate refused: {fault}", DeadKind.COMMAND))
            self._close(gates_in_force(command.files, self.book.entries), record, command, signer, fault, pending, cut)
        else:
            self._activate(record, command, signer, "", pending, cut)

    def _withdraw(self, record: Record, pending: _Pending, cut: ControlCut) -> None:
        """Close every gate if the keys that are named from here on did not sign the bundle that is in force."""
        authority, bundle = self.operators.authority, self._in_force
        fault = authority.withdrawn(bundle) if authority and bundle else ""
        if fault and bundle:
            every = [gate for gate, entry in self.book.entries.items() if entry.policy is not None]
            self._close(every, record, bundle, "", fault, pending, cut)

    def _close(
        self, gates: list[str], record: Record, bundle: Activate, signer: str, fault: str, pending: _Pending, cut: ControlCut
    ) -> None:
        """Close gates over a bundle that must not be trusted. Governors are told their names alone, so many at a time."""
        for first in range(0, len(gates), NAMES_MAX):
            names = bundle.model_copy(update={"files": {gate: f"gate: {gate}" for gate in gates[first : first + NAMES_MAX]}})
            self._activate(record, names, signer, fault, pending, cut)

    def _open_term(self, record: Record, command: OpenTerm, signer: str, pending: _Pending) -> None:
        if self.term is not None and command.term <= self.term.term:
            return
        self.term = Term(
            record.offset,
            record.timestamp_ms,
            command.term,
            *command.log,
            command.starts,
            signer,
            command.installation,
            command.topic_ids,
        )
        pending.notices.append(self.term)
        self.belonging.stands(command, record)

    def _activate(self, record: Record, command: Activate, signer: str, fault: str, pending: _Pending, cut: ControlCut) -> None:
        before = self.book.entries
        refusal, changed = self.book.apply(record.offset, command.version, command.files, fault)
        if refusal:
            cut.refused.append(f"activation at control offset {record.offset} refused: {refusal}")
        # Governors judge for themselves, by the same function over the same records.
        pending.notices.append(Activation(record.offset, record.timestamp_ms, command.version, command.files, signer, fault))
        if not refusal:
            self._take_up()
        if not refusal and not fault:  # even if nothing changed: governors count by its version from here on
            cut.applied.append((record.offset, record.timestamp_ms))
            self.applied.append((record.offset, record.timestamp_ms))
            wanted = wanted_history(before, self.book.entries, changed)
            if wanted.series:
                self.histories = [*self.histories[1 - HISTORIES_MAX :], HistoryOf(*cut.applied[-1], self.routes.made, wanted)]
            self.belonging.stands(command, record)
            self._in_force = command

    def _take_up(self) -> None:
        """Take up the policies in force: whom each series feeds, and the digests by which governors know it."""
        entries: list[list[Entry]] = [[] for _ in range(self._log.partitions)]
        for gate, entry in self.book.entries.items():
            entries[self._partition_of(gate)].append(entry)
        self._feeds = [feeds_of(mine) for mine in entries]
        self.routes = Routes.of(self.book, tuple(digest_of_table(feeds.gates) for feeds in self._feeds))

    def _news(self, partition: int) -> Feeds | None:
        """Return what each gate of an evidence partition is fed, where this router has not told it yet."""
        feeds = self._feeds[partition]
        if self._feeds_told[partition] == feeds:
            return None
        self._feeds_told[partition] = feeds
        return feeds

    def _tell(self, pending: _Pending, cut: ControlCut, upto: int, mark: Mark | None) -> None:
        by_partition: dict[int, dict[str, list[Reading]]] = {}
        for gate, readings in pending.readings.items():
            by_partition.setdefault(self._partition_of(gate), {})[gate] = readings
        everyone = mark is not None or bool(pending.notices) or pending.all_told
        self._operators_told = pending.named or self._operators_told
        for partition in range(self._log.partitions):
            if not everyone and partition not in by_partition:
                continue
            run = Run(
                schema=SCHEMA,
                evidence_id=self._log.id,
                evidence_partitions=self._log.partitions,
                term=self.term.term if self.term else 0,
                routing=self.book.routing,
                router=self._router,
                topic=CONTROL,
                partition=0,
                previous=self._told[partition],
                upto=upto,
                append_ms=pending.append_ms,
                mark=mark,
                readings=by_partition.get(partition, {}),
                notices=list(pending.notices),
                made=digest_of_control(self._operators_told),
                operators=self._operators_told,
                feeds=self._news(partition),
            )
            cut.runs.append((partition, run))
            self._told[partition] = upto
        pending.readings, pending.notices, pending.all_told, pending.bytes, pending.named = {}, [], False, 0, b""


@dataclass
class _Pending:
    """What the run that is being cut will hold."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    append_ms: int = 0
    all_told: bool = False
    bytes: int = 0  # of the commands in it, as they stand in control
    upto: int = 0
    named: Digest = b""  # digest of the operators' keys that its last record names: the run ends there
