"""Recording: evidence and decisions, from wherever they come, into one file that explains itself.

A recording is a verbatim copy of evidence partitions from the beginning of the log, because a decision depends
on all evidence before it. An ADWIN window reaches back to the last change, and a breaker latches until it is
reset. `from_ms` only says what the recording is about. It does not start from a snapshot. A snapshot is bound
to one version of Python and of the detectors' library, and nobody could replay it with another. Where retention
has removed the log's beginning, it begins with what is left, and says what is known there (replay/resume.py).

Decisions arrive out of order and more than once (a standby, a worker that was killed and replaced). Each is kept once
and sorted in a file on disk, since memory is bounded. If two governors decided differently over the same record, the
recording says so.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from failshut.epoch import term_of
from failshut_breakers.decisions.decision import Decision, Kind, decode_decision, encode_decision
from failshut_breakers.evidence.history import is_history
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.evidence.records import Activation, EvidenceError, Run, Term, decode_run
from failshut_breakers.governor import Governor
from failshut_breakers.policy.policy import MEANING, PolicyBook, digest_of
from failshut_replay.errors import RecordingError
from failshut_replay.recording.manifest import DECISION, EVIDENCE, VERSION, Activated, Manifest, Start, versions
from failshut_replay.recording.policy_names import name_of_text
from failshut_replay.recording.writer import Row, Writer

DIFFERING_MAX = 20
POLICIES_MAX = 1_000
POSITIONS_WITHIN_MS = 60_000
"""A front-door partition of which nothing was told for so long was added later: it is covered from its own beginning."""

Progress = Callable[[int, int], None]
"""Called with how many evidence records are written and the append time of the last one."""


Activations = Callable[[int], Activation | None]
"""Returns the policy activation at an offset of control; None where there is none."""


class Evidence(NamedTuple):
    """An evidence record as it stands in its topic."""

    partition: int
    offset: int
    time_ms: int
    record: bytes


def record(
    path: Path | str,
    evidence: Iterable[Evidence],
    decisions: Iterable[bytes] | None = None,
    *,
    gates: Collection[str] = (),
    from_ms: int = 0,
    to_ms: int = 0,
    source: str = "",
    force: bool = False,
    progress: Progress = lambda done, time_ms: None,
    activations: Activations = lambda offset: None,
) -> Manifest:
    """Write a recording and return its manifest.

    Args:
        path: where it is to stand.
        evidence: evidence records, one partition after the other, each in order.
        decisions: records of the decisions topic, in any order; None where no monitor took any, then this code takes them.
        gates: whose decisions are kept; all that the recorded partitions hold, if none are named.
        from_ms: what the recording is about begins here; 0 is its beginning.
        to_ms: evidence appended later is left out; 0 is the end.
        source: where it comes from, in a few words.
        force: whether a file that is there may be replaced.
        progress: told now and then how far it is.
        activations: asked for the policies that were in force where the log's beginning is gone; the decisions on record
            name their digests, so that another text is not taken for them.

    Raises:
        RecordingError: what came is no evidence log, what was in force at its beginning is not known, a gate is not in it,
            or it cannot be written.
    """
    with Writer(Path(path), force) as writer, _Spool(writer.partial) as spool:
        seen = _Seen(set(gates), to_ms, activations)
        for one in evidence:
            run = seen.take(one)
            if run is None:
                continue
            place = f"{run.topic}/{run.partition}"
            writer.add(Row(EVIDENCE, one.partition, one.offset, one.time_ms, "", place, "", "", "", one.record))
            if decisions is None:
                spool.put_all(seen.judge(one, run))
            spool.note_time(one)
            if seen.count % 1024 == 0:
                progress(seen.count, one.time_ms)
        seen.check(taken=decisions is not None)
        owners = seen.owners()
        seen.take_decisions(decisions or (), owners, spool)
        for row in spool.rows():
            writer.add(row)
        writer.flush()
        manifest = seen.manifest(writer, spool, owners, from_ms, to_ms, source, decisions is not None)
        writer.finish(manifest)
        progress(seen.count, manifest.end_ms)
        return manifest


class _Seen:
    """What the evidence has shown so far: which log it is, which policies were in force, where each partition stands."""

    def __init__(self, gates: set[str], to_ms: int, activations: Activations) -> None:
        self.gates, self.to_ms, self.activations = gates, to_ms, activations
        self.count = 0
        self.begin_ms = self.end_ms = 0
        self.log, self.installation = EvidenceLog("", 0), ""
        self.last: dict[int, tuple[int, bytes]] = {}  # by partition: offset and digest of the last record
        self.terms: set[int] = set()
        self.named: dict[str, None] = {}
        self.activated: dict[tuple[int, int], Activated] = {}
        self.governors: dict[int, Governor] = {}
        self.starts: dict[str, Start] = {}
        self._begun_ms: dict[int, int] = {}  # by partition in `starts`: append time of its first record
        self._digests = {""}
        self._book = PolicyBook()

    def take(self, one: Evidence) -> Run | None:
        """Check the next record and take note of it; None for one that is not wanted: a second copy, or after the end."""
        digest = hashlib.sha256(one.record).digest()
        offset, before = self.last.get(one.partition, (-1, b""))
        if one.offset == offset and digest == before:
            return None
        if one.offset == offset:
            raise RecordingError(f"offset {offset} of evidence partition {one.partition} comes twice, with different records")
        if one.offset < offset:
            raise RecordingError(f"offset {one.offset} of evidence partition {one.partition} comes after {offset}")
        if self.to_ms and one.time_ms > self.to_ms:
            return None
        try:
            run = decode_run(one.record)
        except EvidenceError as error:
            raise RecordingError(f"record {one.partition}/{one.offset}: {error}") from error
        if self.count and run.log != self.log:
            raise RecordingError(f"record {one.partition}/{one.offset} belongs to another evidence topic, {run.evidence_id}")
        self.log = run.log
        if offset < 0 and one.offset > 0:
            self._start(one, run)
        if one.partition in self._begun_ms and run.append_ms < self._begun_ms[one.partition] + POSITIONS_WITHIN_MS:
            self._position(self.starts[str(one.partition)].positions, run)
        self.last[one.partition] = (one.offset, digest)
        self.begin_ms = min(self.begin_ms or run.append_ms, run.append_ms)
        self.end_ms = max(self.end_ms, run.append_ms)
        self.count += 1
        for notice in run.notices:
            if isinstance(notice, Activation):
                self._activation(notice)
            elif isinstance(notice, Term):
                self.terms.add(notice.term)
                self.installation = self.installation or notice.installation
        return run

    def _start(self, one: Evidence, run: Run) -> None:
        """Take note of what is known where the log begins now: its beginning is gone."""
        self.starts[str(one.partition)] = Start(one.offset, run.term, run.routing, [], {})
        self._begun_ms[one.partition] = run.append_ms
        if run.term:
            self.terms.add(run.term)
        if run.routing < 0:
            return
        activation = self.activations(run.routing)
        if activation is None:
            raise RecordingError(
                f"evidence partition {one.partition} begins at offset {one.offset}: its beginning is gone or left out, "
                f"and the policies in force there, offset {run.routing} of control, are not known either"
            )
        self._activation(activation)

    @staticmethod
    def _position(positions: list[tuple[str, int, int]], run: Run) -> None:
        if is_history(run):
            return
        if (run.topic, run.partition) not in {place[:2] for place in positions}:
            positions.append((run.topic, run.partition, run.previous))

    def check_policy(self, decision: Decision) -> None:
        """Refuse texts of policies that are not those under which was decided."""
        if self.starts and decision.policy not in self._digests:
            raise RecordingError(
                f"the policy under which {decision.gate} was decided at evidence {decision.partition}/{decision.offset} is "
                f"{decision.policy}, and neither evidence nor control holds its text: nobody could replay it"
            )

    def _activation(self, notice: Activation) -> None:
        key = (notice.offset, notice.version)
        if key in self.activated or len(self.activated) >= POLICIES_MAX:
            return
        self._book.apply(notice.offset, notice.version, notice.files, notice.fault)
        self.named.update(dict.fromkeys(self._book.entries))
        for text in notice.files.values():
            self._digests.update((name_of_text(text), digest_of(text)))  # a version before named it by its bytes
        self.activated[key] = Activated(
            notice.offset, notice.time_ms, notice.version, notice.files, notice.signer, notice.fault
        )

    def judge(self, one: Evidence, run: Run) -> list[Decision]:
        """Take the decisions that follow from a record, where no monitor has."""
        governor = self.governors.get(one.partition)
        if governor is None:
            governor = self.governors[one.partition] = Governor(one.partition, run.log, self._owns(one.partition))
        decisions = governor.step(one.offset, run)
        return [decision for decision in decisions if not self.gates or decision.gate in self.gates]

    def _owns(self, partition: int) -> Callable[[str], bool]:
        return lambda gate: partition_of(gate, self.log.partitions) == partition

    def holds(self, decision: Decision) -> bool:
        """Return whether a decision follows from a record that was recorded."""
        term = term_of(decision.epoch)
        start = self.starts.get(str(decision.partition))
        within = (start.offset if start else 0) <= decision.offset <= self.last[decision.partition][0]
        return within and (not term or not self.terms or term in self.terms)

    def take_decisions(self, decisions: Iterable[bytes], owners: dict[str, int], spool: _Spool) -> None:
        """Keep the decisions that follow from what was recorded, and what stood before it."""
        for data in decisions:
            decision = _decision(data)
            if owners.get(decision.gate) != decision.partition:
                continue
            if self.stands_before(decision):
                self.stand(decision)
            elif self.holds(decision):
                spool.put(decision, data)
                self.installation = self.installation or decision.installation
                self.check_policy(decision)

    def stands_before(self, decision: Decision) -> bool:
        """Return whether a decision is of the same log, from before what is left of it."""
        start = self.starts.get(str(decision.partition))
        return start is not None and decision.offset < start.offset and term_of(decision.epoch) == start.term

    def stand(self, decision: Decision) -> None:
        """Keep the newest decision about each gate's state from before what is left of the log."""
        standing = self.starts[str(decision.partition)].standing
        before = decode_decision(standing[decision.gate]) if decision.gate in standing else None
        if decision.kind is not Kind.NOTE and (before is None or before.offset < decision.offset):
            standing[decision.gate] = encode_decision(decision)

    def check(self, taken: bool) -> None:
        if not self.count:
            raise RecordingError("there is no evidence in this time: nothing was recorded")
        if self.starts and not taken:
            raise RecordingError(
                "this log's beginning is gone: what was decided is known from the record alone, and there is none"
            )
        if not self.terms:
            raise RecordingError("no term was opened in this log: no gate has ever been able to open on it")
        unknown = sorted(self.gates - set(self.named))
        if unknown:
            raise RecordingError(
                f"no policy in this log speaks of gate {unknown[0]}; it speaks of {', '.join(sorted(self.named))}"
            )

    def owners(self) -> dict[str, int]:
        """Return the gates whose evidence was recorded, with their partitions."""
        found = {gate: partition_of(gate, self.log.partitions) for gate in sorted(self.gates or self.named)}
        return {gate: partition for gate, partition in found.items() if partition in self.last}

    def manifest(
        self, writer: Writer, spool: _Spool, owners: dict[str, int], from_ms: int, to_ms: int, source: str, taken: bool
    ) -> Manifest:
        return Manifest(
            version=VERSION if self.starts else 1,
            meaning=MEANING,
            sealed=True,
            source=source,
            gates=owners,
            from_ms=max(from_ms, self.begin_ms),
            to_ms=to_ms or self.end_ms,
            begin_ms=self.begin_ms,
            end_ms=self.end_ms,
            evidence_id=self.log.id,
            evidence_partitions=self.log.partitions,
            made_by=versions(),
            policies=list(self.activated.values()),
            groups=list(writer.groups),
            decided_upto=spool.decided_upto()
            if taken
            else {str(partition): last for partition, (last, _) in self.last.items()},
            decisions_taken=taken,
            differing=spool.differing(),
            installation=self.installation,
            starts=self.starts,
        )


class _Spool:
    """Decisions on disk, sorted and each once, until they are written."""

    def __init__(self, beside: Path) -> None:
        self._path = beside.with_suffix(".decisions")

    def __enter__(self) -> _Spool:
        self._base = sqlite3.connect(self._path, isolation_level=None)
        self._base.executescript(
            "pragma journal_mode=off; pragma synchronous=off; begin;"
            "create table time (partition, offset, time_ms, primary key (partition, offset)) without rowid;"
            "create table said (n integer primary key, partition, offset, gate, kind, origin, digest, data);"
            "create unique index once on said (partition, offset, gate, digest);"
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._base.close()
        self._path.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise RecordingError(
                f"nothing was recorded: decisions could not be sorted beside the recording: {error}"
            ) from error

    def note_time(self, one: Evidence) -> None:
        self._base.execute("insert or ignore into time values (?, ?, ?)", one[:3])

    def put_all(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self.put(decision, encode_decision(decision))

    def put(self, decision: Decision, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        key = (decision.partition, decision.offset, decision.gate, decision.kind.value, repr(decision.origin))
        columns = "(partition, offset, gate, kind, origin, digest, data)"
        self._base.execute(f"insert or ignore into said {columns} values (?,?,?,?,?,?,?)", (*key, digest, data))  # noqa: S608

    def rows(self) -> Iterator[Row]:
        query = (
            "select said.partition, said.offset, time_ms, data from said join time using (partition, offset)"
            " order by said.partition, said.offset, gate, n"
        )
        for partition, offset, time_ms, data in self._base.execute(query):
            decision = decode_decision(data)
            shown = (decision.kind.value, decision.breaker.value, str(decision.cause or ""), decision.because)
            yield Row(DECISION, partition, offset, time_ms, decision.gate, *shown, data)

    def decided_upto(self) -> dict[str, int]:
        return {
            str(one): last for one, last in self._base.execute("select partition, max(offset) from said group by partition")
        }

    def differing(self) -> list[str]:
        """Return records with two decisions about a gate's state, which cannot both have been right."""
        query = (
            "select gate, partition, offset from said where kind != 'note' group by partition, offset, gate"
            " having count(*) > 1 limit ?"
        )
        found = self._base.execute(query, (DIFFERING_MAX,))
        return [f"{gate} at evidence {partition}/{offset}" for gate, partition, offset in found]


def _decision(data: bytes) -> Decision:
    try:
        return decode_decision(data)
    except ValueError as error:
        raise RecordingError(f"a record of the decisions topic is no decision: {error}") from error
