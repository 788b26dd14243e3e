"""The governor of one evidence partition: runs in, decisions out.

A pure function over the log in the form of an object that is fed one evidence record after the other: it
joins runs (coverage), keeps the policies that activations bring, hands each gate what concerns it, and
returns what was decided. Its state is rebuilt from a snapshot and the log behind it, and never trusted
otherwise. It asks for no time but the one that the evidence brings.

A fault inside one gate's step makes that gate HELD and leaves the others alone. Evidence that is not what it
claims to be (another topic, another partition count, a newer wire form) raises, and stops the worker.
"""

from __future__ import annotations

from collections.abc import Callable

from failshut.cause import Cause
from failshut_breakers.command import CommandError, GateCommand, parse_command
from failshut_breakers.conditions import Moment
from failshut_breakers.coverage import CONTROL, Admission, Coverage
from failshut_breakers.decision import Decision
from failshut_breakers.evidence import (
    AcceptedGap,
    Activation,
    Commanded,
    EvidenceError,
    Place,
    Reading,
    Run,
    Term,
)
from failshut_breakers.gate import Gate, Record
from failshut_breakers.policy import PolicyBook

TRUST = "reset the gate when you trust its evidence"

Owns = Callable[[str], bool]


class Governor:
    """Everything that one evidence partition decides.

    `owns` says whether a gate's evidence lies in this partition. It is not part of the state: a restored governor is given it.
    """

    def __init__(self, partition: int, evidence_id: str, evidence_partitions: int, owns: Owns) -> None:
        self.partition = partition
        self.evidence_id = evidence_id
        self.evidence_partitions = evidence_partitions
        self.owns = owns
        self.offset = -1  # of the last evidence record that was judged
        self.term = 0
        self.term_offset = -1  # of the term's record in control
        self.installation = ""  # the first term's; empty before one was opened, and then nothing counts
        self.whole = True  # the log was read from its beginning, or from a snapshot that was
        self.book = PolicyBook()
        self.gates: dict[str, Gate] = {}
        self.coverages: list[Coverage] = []  # oldest version first; at least one once a term is open

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "owns"}

    def step(self, offset: int, run: Run) -> list[Decision]:
        """Judge the evidence record at `offset` and return the decisions, in an order that the log alone decides.

        A record at or below the last one is skipped: it was judged.

        Raises:
            EvidenceError: the record does not belong to this log.
        """
        if offset <= self.offset:
            return []
        self._check(offset, run)
        if self.offset < 0 and offset > 0:
            self.whole = False
        self.offset = offset
        changed: set[str] = set()
        for notice in run.notices:
            if isinstance(notice, Term) and self._open_term(notice):
                changed = set(self.gates)
        if self.term == 0 or run.term != self.term:
            return []  # nothing counts before a term is open, or from another one
        changed |= self._take_notices(run)
        touched = self._cover(run)
        for name in changed:
            coverage = next(coverage for coverage in self.coverages if coverage.version == self.gates[name].version)
            touched.setdefault(name, (self.gates[name], [], 0, coverage))
        decisions: list[Decision] = []
        for name in sorted(touched):
            decisions += self._judge(offset, run, *touched[name])
        return decisions

    def _check(self, offset: int, run: Run) -> None:
        if run.evidence_id != self.evidence_id or run.evidence_partitions != self.evidence_partitions:
            raise EvidenceError(
                f"evidence record {self.partition}/{offset} belongs to topic {run.evidence_id} with {run.evidence_partitions} "
                f"partitions; this is {self.evidence_id} with {self.evidence_partitions}. No gate of it opens again until an "
                f"operator opens a new term on a new topic"
            )

    # --- runs ---

    def _cover(self, run: Run) -> dict[str, tuple[Gate, list[Reading], int, Coverage]]:
        """Let every coverage take note of the run; return the gates that it concerns, with the first offset that counts."""
        touched: dict[str, tuple[Gate, list[Reading], int, Coverage]] = {}
        by_version: dict[int, tuple[Coverage, Admission, int, bool]] = {}
        for coverage in self.coverages:
            before_ms = coverage.evidence_ms
            admission, lo = coverage.admit(run)
            by_version[coverage.version] = (coverage, admission, lo, coverage.evidence_ms > before_ms)
        for name, readings in run.readings.items():
            gate = self.gates.get(name)
            if gate is not None and by_version[gate.version][1] is Admission.FRESH:
                coverage, _, lo, _ = by_version[gate.version]
                touched[name] = (gate, readings, lo, coverage)
        moved = {version for version, (_, _, _, came_further) in by_version.items() if came_further}
        if moved:
            for name, gate in self.gates.items():
                if gate.version in moved and name not in touched:
                    touched[name] = (gate, [], 0, by_version[gate.version][0])
            self._merge()
        return touched

    def _judge(self, offset: int, run: Run, gate: Gate, readings: list[Reading], lo: int, coverage: Coverage) -> list[Decision]:
        record = Record(self.installation, self.term, self.partition, offset, run.topic, run.partition)
        moment = Moment(coverage.evidence_ms, coverage.newest_ms)
        place = Place(run.topic, run.partition, max(0, run.upto - 1), 0)
        try:
            gate.read(record, readings, lo, moment)
            for reading in readings:
                if isinstance(reading, Commanded) and reading.offset >= lo:
                    self._order(gate, reading, Place(run.topic, run.partition, reading.offset, 0), moment)
            if run.mark is not None:
                gate.tick(place, moment)
            return gate.conclude(record, moment)
        except Exception as error:  # noqa: BLE001 - whatever fails inside one gate's step closes that gate, and no other
            gate.fault(error, place, moment)
            return gate.conclude(record, moment)

    def _order(self, gate: Gate, commanded: Commanded, place: Place, moment: Moment) -> None:
        try:
            command = parse_command(commanded.claims)
        except CommandError as error:
            gate.notes.append((None, str(error), place, commanded.kid))
            return
        if command.installation != self.installation:
            gate.notes.append((None, f"{command.kind} refused: it is of another installation", place, commanded.kid))
        elif isinstance(command, GateCommand) and command.gate == gate.name:
            gate.order(command, commanded.time_ms, place, moment, commanded.kid)
        else:
            gate.notes.append((None, f"{command.kind} refused: it is not for this gate", place, commanded.kid))

    def _merge(self) -> None:
        """Let go of a coverage that the next one has caught up with, or that no gate counts on."""
        used = {gate.version for gate in self.gates.values()}
        kept: list[Coverage] = []
        for coverage in reversed(self.coverages):
            newer = kept[0] if kept else None
            if newer is not None and coverage.version not in used:
                continue
            if newer is not None and coverage.same_reach(newer):
                for gate in self.gates.values():
                    if gate.version == coverage.version:
                        gate.version = newer.version
                continue
            kept.insert(0, coverage)
        self.coverages = kept

    # --- notices ---

    def _open_term(self, term: Term) -> bool:
        if term.term <= self.term or term.evidence_id != self.evidence_id:
            return False  # an older term, or one that speaks of another log
        if self.installation and term.installation != self.installation:
            return False  # the first term says whose log this is; a copied one of another installation changes nothing
        self.installation = term.installation
        self.whole = term.term == 1 and self.whole and not self.gates
        self.term, self.term_offset = term.term, term.offset
        self.coverages = [Coverage.of_term(term, self.book.routing)]
        for gate in self.gates.values():
            gate.version = self.book.routing
            gate.hold(Cause.TERM, f"term {term.term} began: {TRUST}", Place(CONTROL, 0, term.offset, 0), 0)
        return True

    def _take_notices(self, run: Run) -> set[str]:
        """Apply activations and accepted gaps that were not covered before; return the gates that they changed."""
        covered = self.coverages[-1].covered.get((run.topic, run.partition), 0)
        if run.previous > covered:
            return set()  # a gap: nothing of this run is believed
        changed: set[str] = set()
        for notice in run.notices:
            if notice.offset < covered:
                continue
            if isinstance(notice, Activation):
                changed |= self._activate(notice, Place(run.topic, run.partition, notice.offset, 0))
            elif isinstance(notice, AcceptedGap) and notice.offset > self.term_offset:  # an older one speaks of other offsets
                for coverage in self.coverages:
                    coverage.accept_gap(notice.topic, notice.partition, notice.upto)
        return changed

    def _activate(self, activation: Activation, place: Place) -> set[str]:
        refusal, changed = self.book.apply(activation.offset, activation.version, activation.files, activation.fault)
        if refusal:
            return set()  # the router that forwarded it has told the operator
        self.coverages.append(self.coverages[-1].succeeded_by(activation.offset, activation.time_ms))
        mine = {gate for gate in changed if self.owns(gate)}
        for name in sorted(mine):
            if name not in self.gates:
                self.gates[name] = Gate(name)
                if not self.whole:
                    because = f"the log before this point is not known: {TRUST}"
                    self.gates[name].hold(Cause.TERM, because, place, self.coverages[-1].newest_ms)
            self.gates[name].activate(self.book.entries[name], activation.offset, place, activation.signer)
        return mine
