"""The governor of one evidence partition: runs in, decisions out.

It is a pure function over the log, written as an object that takes one evidence record after the other. It joins runs
(coverage) and keeps the policies that activations bring. It hands each gate what concerns it, and returns what was decided.
Its state is rebuilt from a snapshot and the log behind it, and never trusted otherwise. It asks for no time but the one that
the evidence brings.

A fault inside one gate's step makes that gate LOCKED and leaves the others alone. Evidence that is not what it
claims to be (another topic, another partition count, a newer wire form) raises, and stops the worker.

A run of a router that feeds some of the gates something else than their policies ask for counts for the others alone
(agreement.py). Those gates go on with a fork of the coverage, whose evidence time stands still until a router that agrees
has told the same again.
"""

from __future__ import annotations

from collections.abc import Callable

from failshut.cause import Cause
from failshut.seal import Seal
from failshut_breakers.agreement import Agreement
from failshut_breakers.conditions import Moment
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.evidence.coverage import CONTROL, Admission, Coverage
from failshut_breakers.evidence.history import is_history
from failshut_breakers.evidence.lanes import Lanes
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import AcceptedGap, Activation, EvidenceError, Place, Reading, Run, Term
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Record, Step
from failshut_breakers.gate.turn import Turn
from failshut_breakers.learning import Learning
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.sealing import Sealing
from failshut_breakers.waking import Waking

TRUST = "unlock the gate when you trust its evidence"

Owns = Callable[[str], bool]

Touched = tuple[Gate, list[Reading], int, Coverage]
"""A gate that a run concerns, with its readings, the first front-door offset that counts, and its coverage."""


class Governor:
    """Everything that one evidence partition decides.

    `owns` says whether a gate's evidence lies in this partition. It is not part of the state: a restored governor is given it.
    """

    def __init__(self, partition: int, log: EvidenceLog, owns: Owns) -> None:
        self.partition = partition
        self.log = log
        self.owns = owns
        self.offset = -1  # of the last evidence record that was judged
        self.term = 0
        self.term_offset = -1  # of the term's record in control
        self.installation = ""  # the first term's; empty before one was opened, and then nothing counts
        self.whole = True  # the log was read from its beginning, or from a snapshot that was
        self.unsure_below = 0  # records below it may have been judged by another version, with another result (standing.py)
        self.book = PolicyBook()
        self.activation: Activation | None = None  # that brought the policies in force
        self.gates: dict[str, Gate] = {}
        self.lanes = Lanes()  # at least one coverage once a term is open
        self.agreement = Agreement()
        self.sealing = Sealing()
        self.waking = Waking()
        self.learning = Learning()
        self.seal: Seal | None = None  # of the last record, where one was due
        self.changed: set[str] = set()  # gates since somebody last asked (parts.py): whoever keeps a copy keeps these anew
        self.shape = 0  # grows with what is kept beside gates and coverages: policies, and the tables of routers
        self._turns: dict[str, Turn] = {}  # of gates that a notice changed, until their next record is judged

    @classmethod
    def lost(cls, partition: int, log: EvidenceLog, owns: Owns) -> Governor:
        """Return a governor of a log of which a part is gone: it knows nothing, and its gates start LOCKED."""
        governor = cls(partition, log, owns)
        governor.whole = False
        return governor

    @classmethod
    def resumed(
        cls, partition: int, term: Term, owns: Owns, offset: int, place: Place, activation: Activation | None
    ) -> Governor:
        """Return a governor that goes on behind `offset` in the middle of a log: what a replay of what is left begins with.

        `term` names the log and from where on it is covered. `activation` brought the policies in force, from `place` in
        control; the conditions of their gates start without evidence. Where no term was open yet (0), nothing more is known.
        """
        governor = cls(partition, term.log, owns)
        governor.offset = offset
        if not term.term:
            return governor
        governor.term, governor.installation, governor.whole = term.term, term.installation, term.term == 1
        if activation is not None:
            governor.book.apply(activation.offset, activation.version, activation.files, activation.fault)
        routing = governor.book.routing
        governor.lanes.begin(term, routing)
        governor._agree()
        for name in sorted(filter(owns, governor.book.entries)):
            gate = governor._begin(name)
            gate.activate(governor.book.entries[name], routing, place, "", governor._turn(name))
        return governor

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "owns"}

    def step(self, offset: int, run: Run) -> list[Decision]:
        """Judge the evidence record at `offset` and return the decisions, in an order that the log alone decides.

        A record at or below the last one is skipped: it was judged.

        Raises:
            EvidenceError: the record does not belong to this log.
        """
        self.seal = None
        if offset <= self.offset:
            return []
        self._check(offset, run)
        if self.offset < 0 and offset > 0:
            self.whole = False
        self.offset = offset
        if run.notices or run.feeds is not None:
            self.shape += 1
        changed: set[str] = set()
        for notice in run.notices:
            if isinstance(notice, Term) and self._open_term(notice):
                changed = set(self.gates)
        if self.term == 0 or run.term != self.term:
            return []  # nothing counts before a term is open, or from another one
        self.agreement.learn(run)
        believed = self.agreement.operators
        touched: dict[str, Touched]
        if is_history(run):
            touched = self._learn(run)
        elif self._is_of_others(run):
            touched = self._refuse_control(run)
        else:
            changed |= self._take_notices(run)
            touched = self._cover(run)
        for name in changed:
            touched.setdefault(name, (self.gates[name], [], 0, self.coverage_of(self.gates[name])))
        decisions: list[Decision] = []
        for name in sorted(touched):
            decisions += self._judge(offset, run, *touched[name])
            self.sealing.note(touched[name][0])
        if self.agreement.operators != believed:
            self.shape += 1
        if run.mark is not None and self.learning.histories:
            self.changed |= self.learning.give_up(max(coverage.newest_ms for coverage in self.lanes), self.gates)
        evidence_ms = max(coverage.evidence_ms for coverage in self.lanes)
        self.seal = self.sealing.after(self.installation, self.partition, self.term, offset, self.judged_ms, evidence_ms)
        return decisions

    def look(self, name: str) -> Gate | None:
        """Return a gate as time has made it, for whoever looks at its conditions; None if there is none."""
        gate = self.gates.get(name)
        if gate is not None:
            self._wake(gate)
        return gate

    def judged_ms(self, gate: Gate) -> int:
        """Return the evidence time (ms) up to which a gate was judged."""
        return self.waking.judged_ms(gate.name, gate.judged_ms)

    def ends_ms(self, gate: Gate) -> int:
        """Return when what a gate's last decision permits ends, as evidence stands (ms); 0 where it is closed or not judged."""
        if gate.said is None or gate.said.kind is Kind.CLOSE:
            return 0
        return self.judged_ms(gate) + gate.said.ttl_ms if gate.sealed else gate.said.exp_ms

    def coverage_of(self, gate: Gate) -> Coverage:
        """Return the coverage that a gate's evidence counts on."""
        return self.lanes.of(gate.lane)

    @property
    def coverages(self) -> list[Coverage]:
        """The coverages that are no forks, the oldest version first."""
        return self.lanes.coverages

    def pass_over(self, offset: int) -> None:
        """Take note of a record that counts for nobody: what it told is not known, so nothing here is whole."""
        if offset > self.offset:
            self.offset, self.whole = offset, False

    def _check(self, offset: int, run: Run) -> None:
        if run.log != self.log:
            raise EvidenceError(
                f"evidence record {self.partition}/{offset} belongs to {run.log}; this is {self.log}. No gate of it opens "
                f"again until an operator opens a new term on a new topic"
            )

    # --- runs ---

    def _cover(self, run: Run) -> dict[str, Touched]:
        """Let every coverage take note of the run; return the gates that it concerns, with the first offset that counts."""
        refusing = self._split(run)
        by_lane: dict[tuple[int, int], tuple[Coverage, Admission, int]] = {}
        moved: set[tuple[int, int]] = set()
        for coverage in self.lanes:
            before_ms = coverage.evidence_ms
            if coverage.lane in refusing:
                coverage.refuse(run)
                by_lane[coverage.lane] = (coverage, Admission.DISPUTED, 0)
            else:
                by_lane[coverage.lane] = (coverage, *coverage.admit(run))
            if coverage.evidence_ms > before_ms:
                moved.add(coverage.lane)
        touched: dict[str, Touched] = {}
        for name, readings in run.readings.items():
            gate = self.gates.get(name)
            if gate is not None and by_lane[gate.lane][1] is Admission.FRESH:
                coverage, _, lo = by_lane[gate.lane]
                touched[name] = (gate, readings, lo, coverage)
        # A mark that does not count moves no time, and may show that a gate has been held back for too long.
        stirred = [by_lane[lane][0] for lane in sorted(moved | (refusing if run.mark is not None else set()))]
        for coverage in stirred:
            for name in self._due(coverage):
                touched.setdefault(name, (self.gates[name], [], 0, coverage))
        for gate, *_ in touched.values():
            self._wake(gate)
        for coverage in stirred:
            self.waking.passes(coverage.lane, Moment(coverage.evidence_ms, coverage.newest_ms))
        if moved and len(list(self.lanes)) > 1:
            self._merge()
        return touched

    def _due(self, coverage: Coverage) -> set[str]:
        """Return the gates of a coverage that must be told of its time now: all of them where some router disagrees."""
        lane = coverage.lane
        if coverage.refused:
            return {name for name, gate in self.gates.items() if gate.lane == lane}
        return self.waking.due(lane, coverage.evidence_ms) | {
            name for name in self.waking.awake if self.gates[name].lane == lane
        }

    def _wake(self, gate: Gate) -> None:
        """Wake a gate before something happens to it, and make up for the marks that it was not told of."""
        self.changed.add(gate.name)
        missed = self.waking.wake(gate.name)
        if missed is None:
            return
        turn, place = Turn(), Place(CONTROL, 0, 0, 0)
        step = Step(gate, turn, Record(self.installation, self.term, self.partition, self.offset, CONTROL, 0), missed)
        try:
            step.catch_up(place)
        except Exception as error:  # noqa: BLE001 - whatever fails inside one gate's step closes that gate, and no other
            step.fault(error, place)
            self._turns[gate.name] = turn

    def _begin(self, name: str) -> Gate:
        gate = self.gates[name] = Gate(name)
        self.waking.stay_awake(name)
        self.changed.add(name)
        return gate

    def _is_of_others(self, run: Run) -> bool:
        """Return whether a run of control that counts was judged by other operators' keys than this log names."""
        counts = run.topic == CONTROL and self.coverages[-1].owes(run)
        return counts and not self.agreement.control_agrees(run, self._covered(run))

    def _learn(self, run: Run) -> dict[str, Touched]:
        """Let new conditions learn from what was sent before their activation; return the gates that have."""
        if not self.agreement.agrees(run):
            return {}
        taught, whole = self.learning.take(run, self.gates)
        self.changed |= taught
        touched: dict[str, Touched] = {}
        for name in whole:
            gate = self.gates[name]
            coverage = self.coverage_of(gate)
            self._wake(gate)
            gate.end_twins(run.routing, Moment(coverage.evidence_ms, coverage.newest_ms))
            touched[name] = (gate, [], 0, coverage)
        return touched

    def _split(self, run: Run) -> set[tuple[int, int]]:
        """Fork coverages for the gates for which a run does not count; return the lanes that refuse it."""
        if run.topic == CONTROL or self.agreement.agrees(run):
            return set()
        versions = {name: gate.version for name, gate in self.gates.items()}
        disputed = self.agreement.disputed(run, versions)
        refusing: set[tuple[int, int]] = set()
        if not disputed:
            return refusing
        for coverage in self.lanes:
            gates = [gate for gate in self.gates.values() if gate.lane == coverage.lane]
            mine = [gate for gate in gates if gate.name in disputed]
            if not mine or not coverage.owes(run):
                continue  # nothing is vouched for here
            shared = coverage.fork == 0 or len(mine) < len(gates)
            alone = self.lanes.fork(coverage) if shared else None
            if alone is None:
                refusing.add(coverage.lane)
                continue
            for gate in mine:
                self._wake(gate)
                gate.fork = alone.fork
            refusing.add(alone.lane)
        return refusing

    def _refuse_control(self, run: Run) -> dict[str, Touched]:
        """Count nothing of a run whose router believed other operators: not its commands, and not its mark."""
        touched: dict[str, Touched] = {}
        for coverage in self.lanes:
            if coverage.owes(run):
                coverage.refuse(run)
        if run.mark is not None:
            for name, gate in self.gates.items():
                self._wake(gate)
                touched[name] = (gate, [], 0, self.coverage_of(gate))
        return touched

    def _covered(self, run: Run) -> int:
        return self.coverages[-1].covered.get((run.topic, run.partition), 0)

    def _moment(self, gate: Gate, coverage: Coverage) -> Moment:
        """Return the gate's time, with who holds it back where that is why its permit has lapsed."""
        held = coverage.held_back_by()
        policy = gate.entry.policy
        if held is None or policy is None or held[1] <= policy.permit.ttl:
            return Moment(coverage.evidence_ms, coverage.newest_ms)
        refused = held[0]
        words = self.agreement.why(refused.router, refused.made, gate.name)
        return Moment(coverage.evidence_ms, coverage.newest_ms, words)

    def _judge(self, offset: int, run: Run, gate: Gate, readings: list[Reading], lo: int, coverage: Coverage) -> list[Decision]:
        record = Record(self.installation, self.term, self.partition, offset, run.topic, run.partition)
        moment = self._moment(gate, coverage)
        place = Place(run.topic, run.partition, max(0, run.upto - 1), 0)
        step = Step(gate, self._turns.pop(gate.name, Turn()), record, moment)
        decisions: list[Decision] = []
        try:
            step.read(readings, lo)
            step.obey(readings, lo)
            if run.mark is not None:
                step.tick(place)
            decisions = step.conclude()
            if gate.lane == coverage.lane:  # otherwise it was not judged yet on the coverage that it counts on
                self.waking.sleep(gate.name, gate.lane, step.wakes_ms(), moment)
            return decisions
        except Exception as error:  # noqa: BLE001 - whatever fails inside one gate's step closes that gate, and no other
            self.waking.stay_awake(gate.name)
            step.fault(error, place)
            # What was said beside the state stands: nobody says it a second time.
            return [one for one in decisions if one.kind is Kind.NOTE] + step.conclude()

    def _turn(self, gate: str) -> Turn:
        """Return the turn of a gate's next record, which a notice begins."""
        return self._turns.setdefault(gate, Turn())

    def _merge(self) -> None:
        """Let go of coverages that have ended; their gates go on with others."""
        moves = self.lanes.merge({gate.lane for gate in self.gates.values()})
        for gate in self.gates.values() if moves else ():
            if gate.lane in moves:
                self._wake(gate)
                gate.version, gate.fork = moves[gate.lane]
        self.waking.keep(coverage.lane for coverage in self.lanes)

    # --- notices ---

    def _open_term(self, term: Term) -> bool:
        if term.term <= self.term or term.evidence_id != self.log.id:
            return False  # an older term, or one that speaks of another log
        if self.installation and term.installation != self.installation:
            return False  # the first term says whose log this is; a copied one of another installation changes nothing
        self.installation = term.installation
        for gate in self.gates.values():
            self._wake(gate)
        self.whole = term.term == 1 and self.whole and not self.gates
        self.term, self.term_offset = term.term, term.offset
        self.lanes.begin(term, self.book.routing)
        self.agreement.operators = None  # all of control is told anew
        self.sealing.begin_term()
        self.learning = Learning()  # offsets may have begun again
        place = Place(CONTROL, 0, term.offset, 0)
        for name, gate in self.gates.items():
            gate.version, gate.fork = self.book.routing, 0
            gate.lock(Cause.TERM, f"term {term.term} began: {TRUST}", place, 0, self._turn(name))
        return True

    def _take_notices(self, run: Run) -> set[str]:
        """Apply activations and accepted gaps that were not covered before; return the gates that they changed."""
        covered = self._covered(run)
        if run.previous > covered:
            return set()  # a gap: nothing of this run is believed
        changed: set[str] = set()
        for notice in run.notices:
            if notice.offset < covered:
                continue
            if isinstance(notice, Activation):
                changed |= self._activate(notice, Place(run.topic, run.partition, notice.offset, 0))
            elif isinstance(notice, AcceptedGap) and notice.offset > self.term_offset:  # of an older term: of other offsets
                for coverage in self.lanes:
                    coverage.accept_gap(notice.topic, notice.partition, notice.upto)
        self._forget(changed)
        return changed

    def _agree(self) -> None:
        """Take note of what the policies in force ask to be fed."""
        mine = [entry for gate, entry in self.book.entries.items() if self.owns(gate)]
        self.agreement.activated(self.book.routing, mine)

    def _activate(self, activation: Activation, place: Place) -> set[str]:
        refusal, changed = self.book.apply(activation.offset, activation.version, activation.files, activation.fault)
        if refusal:
            return set()  # the router that forwarded it has told the operator
        self._agree()
        if activation.fault:  # it closes gates, and nobody routes otherwise because of it
            mine = changed & self.gates.keys()
            for name in sorted(mine):
                gate, fork = self.gates[name], self.gates[name].fork
                self._wake(gate)
                gate.activate(self.book.entries[name], gate.version, place, activation.signer, self._turn(name))
                gate.fork = fork
            return mine
        self.activation = activation
        self.lanes.succeed(activation)
        mine = {gate for gate in changed if self.owns(gate)}
        forks: dict[int, int] = {}
        for name in sorted(mine):
            if name not in self.gates:
                self._begin(name)
                if not self.whole:
                    because = f"the log before this point is not known: {TRUST}"
                    self.gates[name].lock(Cause.TERM, because, place, self.coverages[-1].newest_ms, self._turn(name))
            gate = self.gates[name]
            before = gate.lane
            self._wake(gate)
            gate.activate(self.book.entries[name], activation.offset, place, activation.signer, self._turn(name))
            if before[1]:  # what was not told to it is still owed: its next policy may ask for the same series
                forks[before[1]] = gate.fork = forks.get(before[1]) or self.lanes.succeed_fork(before, activation)
        coverage = self.lanes.of((activation.offset, 0))
        self.learning.begin(activation.offset, activation.time_ms, coverage, [self.gates[name] for name in sorted(mine)])
        return mine

    def _forget(self, changed: set[str]) -> None:
        """Forget gates that two bundles have not named. Their closings stay in the store.

        A gate that this record changed stays: its closing is still to be said. A breaker that is not ARMED stays as well,
        because a policy that went and came back is no reset.
        """
        for name in [name for name in self.gates if name not in self.book.entries and name not in changed]:
            if self.gates[name].breaker.state is Breaker.ARMED:
                del self.gates[name]
                self.waking.forget(name)
                self.sealing.forget(name)
                self._turns.pop(name, None)
