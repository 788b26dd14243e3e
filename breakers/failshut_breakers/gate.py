"""One gate's governor: evidence to conditions, conditions to breaker, breaker to a decision.

For each evidence record a gate feeds its conditions whole blocks, merges what they demand with the commands
and outcomes of the record by their place, applies these in order, and then concludes once: at most one
decision about the gate's state for a record. Everything here is a function of the evidence: no clock, no I/O,
no randomness, no order that a hash decides.

A condition demands a trip or a lapse. Trips latch in the breaker. Lapses are interlocks: the gate is closed
while they stand and comes back when their cause is gone. Missing evidence is an interlock too, whatever `trip_on` says.
Votes are the demands of tripping conditions that have evidence; one that is bypassed counts as demanding.

Another policy leaves a condition that it does not change as it was, with what it knows and demands.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from failshut.cause import Cause
from failshut_breakers import gate_orders
from failshut_breakers.breaker import Breaker, Closing, Proving
from failshut_breakers.command import Accept, Bypass, Confirm, GateCommand
from failshut_breakers.conditions import Condition, Demand, Moment, Status, build
from failshut_breakers.decision import Breaker as State
from failshut_breakers.decision import Brief, Decision, Kind, epoch_text
from failshut_breakers.evidence import Outcomes, Place, Reading, epoch_of
from failshut_breakers.feeding import budget_of_ms, key_of, keys_of_policy, upto_of
from failshut_breakers.policy import MAX_FAULT_CHARS, ConditionPolicy, Entry
from failshut_breakers.taken import Taken
from failshut_breakers.tally import ACCEPTED, CONFIRMED, Tally
from failshut_breakers.words import printable

DECISION_SCHEMA = 2
RENEWALS_PER_TTL = 6
"""A permit is renewed when evidence time has come this fraction of its ttl further, so that renewals are bounded."""


class Record(NamedTuple):
    """The evidence record that a gate is judging: whose it is, where it stands, and where it came from."""

    installation: str
    term: int
    evidence_partition: int
    offset: int
    topic: str
    partition: int


class Wanted(NamedTuple):
    """What the gate should be now, by its evidence."""

    mode: str  # "" is closed
    cause: Cause | None
    because: str
    lacking: str = ""  # the condition that has not enough evidence, where that is why


class Gate:
    """The state of one gate. Picklable; owned by the governor of its evidence partition."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry = Entry(name, "", "", None, "no policy yet")
        self.version = -1  # routing version from which its evidence counts
        self.fork = 0  # of that version's coverage, where routers disagree about this gate
        self.conditions: list[Condition] = []
        self.by_key: dict[tuple[str, ...], list[Condition]] = {}
        self.breaker = Breaker()
        self.bypass: Bypass | None = None
        self.epoch = 0
        self.shown = Wanted("", None, "")  # what the last decision made of the gate
        self.permit_ms = 0  # evidence time of the last permit
        self.renewed = False  # a closing that must be said again: a later demand, a new policy
        self.origin: Place | None = None  # what moved the gate in this record
        self.by = ""
        self.tripped = False  # a demand closed the gate in this record
        self.counts = False  # that demand met an ARMED breaker
        self.tallies: dict[str, Tally] = {}  # by condition, of those with a budget of false trips
        self.taken = Taken()  # ids of commands
        self.prove_at_conclusion = False  # a reset was granted in this record
        self.notes: list[tuple[Cause | None, str, Place, str]] = []
        self.waits = ""  # what a reset was last said to wait for
        self.known: dict[str, tuple[ConditionPolicy, Condition]] = {}  # conditions of the last policy that had any, by name
        self.kept: frozenset[str] = frozenset()  # those of them that the last activation left as they were
        self.reach: dict[tuple[str, int], int] = {}  # by front-door partition: the offset up to which it has read
        self.kept_from: dict[tuple[str, int], int] = {}  # the same at the last activation

    @property
    def lane(self) -> tuple[int, int]:
        """Which coverage its evidence counts on."""
        return self.version, self.fork

    # --- the policy ---

    def activate(self, entry: Entry, version: int, place: Place, signer: str) -> None:
        """Take up another policy: a breaker that is tripped or held stays so, and a condition that it does not change."""
        same = entry.policy is not None and entry.policy == self.entry.policy
        self.entry, self.version, self.fork = entry, version, 0
        self._build_conditions()
        if not same:
            self.bypass = None
        self.renewed, self.origin, self.by = True, place, signer

    def _build_conditions(self) -> None:
        policies = self.entry.policy.conditions if self.entry.policy else ()
        self.kept = frozenset(policy.name for policy in policies if self._knows(policy))
        # An activation goes back to the last mark before it: what a condition has read, it reads once.
        self.kept_from = dict(self.reach)
        try:
            self.conditions = [self._condition(policy) for policy in policies]
        except Exception as error:  # noqa: BLE001 - a policy that cannot be built closes its own gate, and no other
            fault = f"{self.entry.file}: its conditions cannot be built: {type(error).__name__}: {error}"[:MAX_FAULT_CHARS]
            self.entry = Entry(self.entry.gate, self.entry.file, self.entry.digest, None, fault)
            self.conditions, policies = [], ()
        if policies:  # while there is no policy, what the last one knew is kept
            self.known = {one.name: (policy, one) for policy, one in zip(policies, self.conditions, strict=True)}
        self.tallies = {
            policy.name: self._tally(policy.name, budget_ms) for policy in policies if (budget_ms := budget_of_ms(policy))
        }
        self.by_key = {}
        for policy, condition in zip(policies, self.conditions, strict=True):
            for key in keys_of_policy(policy):
                self.by_key.setdefault(key, []).append(condition)

    def _knows(self, policy: ConditionPolicy) -> bool:
        return policy.name in self.known and self.known[policy.name][0] == policy

    def _condition(self, policy: ConditionPolicy) -> Condition:
        """Return the condition that a policy asks for: the same as before, one that inherits a demand, or a new one."""
        before = self.known[policy.name][1] if policy.name in self.known else None
        if before is not None and self._knows(policy):
            return before
        condition = build(policy)
        if before is not None:
            condition.inherit(before)
        return condition

    def _tally(self, name: str, per_ms: float) -> Tally:
        """Go on with the tally of a condition whose budget another policy leaves as it was."""
        before = self.tallies.get(name)
        return before if before is not None and before.per_ms == per_ms else Tally(per_ms)

    def hold(self, cause: Cause, because: str, place: Place, at_ms: int) -> None:
        """Make the gate HELD: only an operator leads out of it. What had closed it before has to be answered as well."""
        before = self.breaker.closing.conditions if self.breaker.closing else frozenset()
        self.breaker.move(State.HELD, Closing(cause, because, place, before, at_ms))
        if cause is Cause.TERM:  # offsets may begin again
            self.reach, self.kept, self.kept_from = {}, frozenset(), {}
        self.bypass = None
        self.renewed, self.origin = True, place

    # --- evidence ---

    def read(self, record: Record, readings: list[Reading], lo: int, moment: Moment) -> None:
        """Judge what a run holds for this gate, in order. `lo` is the first front-door offset that counts."""
        events: list[tuple[int, int, int, object]] = []
        key = (record.topic, record.partition)
        kept_lo = max(lo, self.kept_from.get(key, 0))
        # Before they are fed: what only begins to demand later in this run does not yet count at its first readings.
        demanding = {condition.name for condition in self.votes()}
        for reading in readings:
            self.reach[key] = max(self.reach.get(key, 0), upto_of(reading))
            for condition in self.by_key.get(key_of(reading), ()):
                for demand in condition.feed(reading, kept_lo if condition.name in self.kept else lo, moment):
                    events.append((demand.offset, demand.index, 0, (condition, demand)))
            if isinstance(reading, Outcomes):
                events += [(row[0], row[1], 1, row) for row in reading.rows if row[0] >= lo and row[4]]
        events.sort(key=lambda event: event[:3])
        for offset, index, kind, event in events:
            place = Place(record.topic, record.partition, offset, index)
            if kind == 0:
                condition, demand = event  # type: ignore[misc]
                self._demand(condition, demand, demanding, place, moment)
            else:
                gate_orders.on_outcome(self, event, place, moment)  # type: ignore[arg-type]

    def order(self, command: GateCommand, append_ms: int, place: Place, moment: Moment, kid: str) -> None:
        """Take an operator's command. What is refused is noted, never dropped in silence."""
        refusal = self.taken.take(command.id, command.signed_ms, append_ms)
        refusal = refusal or gate_orders.take(self, command, place, moment)
        if refusal:
            self.notes.append((None, f"{command.kind} refused: {refusal}", place, f"{command.by} ({kid[:12]})"))
        elif isinstance(command, Confirm | Accept):
            words = f"{CONFIRMED}the trip of epoch {command.epoch} had a cause: {command.why}"
            if isinstance(command, Accept):
                words = f"{ACCEPTED}{command.condition} takes what it reads now for normal: {command.why}"
            self.notes.append((None, words, place, f"{command.by} ({kid[:12]})"))
        else:
            self.origin, self.by = place, f"{command.by} ({kid[:12]}): {command.why}"

    def tick(self, place: Place, moment: Moment) -> None:
        """Take note that evidence time has come further."""
        demanding = {condition.name for condition in self.votes()}
        for condition in self.conditions:
            if condition.tick(moment):
                self._demand(condition, Demand(place.offset, place.index, condition.text), demanding, place, moment)
        gate_orders.on_time(self, place, moment)

    def fault(self, error: Exception, place: Place, moment: Moment) -> None:
        """Hold the gate: its own step failed, and nothing that it says can be relied on."""
        text = re.sub(r"0x[0-9a-fA-F]+", "0x..", str(error))  # an address differs from one governor to the next
        because = f"a fault in this gate's step: {type(error).__name__}: {text}"[:300]
        if self.breaker.state is not State.HELD:
            self.hold(Cause.FAULT, because, place, moment.newest_ms)
        self.notes, self.prove_at_conclusion = [], False
        self.known = {}  # half-changed ones are not to be relied on
        self._build_conditions()

    def _demand(self, condition: Condition, demand: Demand, demanding: set[str], place: Place, moment: Moment) -> None:
        policy = self.entry.policy
        if policy is None or not condition.trips or self.bypasses(condition.name):
            return
        if policy.demands_to_trip > 1 and condition.interlocks:
            return  # it closes the gate by itself, and is no vote
        demanding.add(condition.name)
        if len(demanding) + self._bypassed() >= policy.demands_to_trip:
            self.trip(Closing(condition.cause, demand.text, place, frozenset(demanding), moment.newest_ms))

    def trip(self, closing: Closing) -> None:
        """Trip the breaker, or say again why it is tripped or held: a later demand voids a reset that had not seen it.

        The first closing of a record stands; what demands later in the same record is only named with it.
        """
        if self.tripped and self.breaker.closing is not None:
            self.breaker.closing.conditions |= closing.conditions
            return
        self.tripped = True
        self.counts = self.breaker.state is State.ARMED
        if self.breaker.state is State.HELD:
            held = self.breaker.closing
            because = f"{held.because}; and {closing.because}" if held and "; and " not in held.because else closing.because
            cause = held.cause if held else closing.cause
            closing = Closing(cause, because, closing.origin, closing.conditions, closing.at_ms)
            self.breaker.move(State.HELD, closing)
        else:
            self.breaker.move(State.TRIPPED, closing)
        self.bypass = None
        self.renewed, self.origin = True, closing.origin

    def prove(self, record_epoch: int, moment: Moment) -> None:
        """Begin PROVING, or arm at once where the policy wants no probes."""
        policy = self.entry.policy
        if policy is None or policy.reset.probes == 0:
            self.breaker.move(State.ARMED)
        else:
            proving = Proving(record_epoch, policy.reset.probes, moment.newest_ms + policy.reset.deadline)
            self.breaker.move(State.PROVING, proving=proving)
        self.bypass = None
        self.renewed = True

    def bypasses(self, name: str) -> bool:
        """Return whether an operator's bypass covers a condition."""
        return self.bypass is not None and name in self.bypass.conditions

    def _bypassed(self) -> int:
        """How many tripping conditions are bypassed: an operator accepted what they demand, and not what others do."""
        return sum(condition.trips and self.bypasses(condition.name) for condition in self.conditions)

    def persists(self) -> bool:
        """Return whether what trips the breaker still stands, so that a reset is refused."""
        policy, votes = self.entry.policy, len(self.votes())
        return policy is None or (votes > 0 and votes + self._bypassed() >= policy.demands_to_trip)

    def votes(self, bypassed: bool = False) -> list[Condition]:
        """Return the conditions whose demands count towards a trip, those that are bypassed as well if asked for.

        Where one demand trips, each counts; otherwise those that have evidence.
        """
        lone = self.entry.policy is not None and self.entry.policy.demands_to_trip == 1
        return [
            condition
            for condition in self.conditions
            if condition.trips
            and condition.status is Status.DEMANDS
            and (lone or not condition.interlocks)
            and (bypassed or not self.bypasses(condition.name))
        ]

    def interlock(self) -> Condition | None:
        """Return the first condition that closes the gate by itself, if one does."""
        for condition in self.conditions:
            if condition.interlocks and not self.bypasses(condition.name):
                return condition
        return None

    # --- the decision ---

    def wanted(self, moment: Moment) -> Wanted:
        """Return what the gate should be, by everything that it knows."""
        policy, closing = self.entry.policy, self.breaker.closing
        if policy is None:
            return Wanted("", Cause.BAD_POLICY if self.entry.digest else Cause.NO_POLICY, self.entry.fault)
        mode = "proving" if self.breaker.state is State.PROVING else "armed"
        if self.breaker.state in (State.TRIPPED, State.HELD):
            cause, because = (closing.cause, closing.because) if closing else (Cause.FAULT, "no closing is known")
            demanded = closing.conditions if closing else frozenset()
            covered = self.bypass is not None and bool(demanded) and demanded <= set(self.bypass.conditions)
            if self.breaker.state is State.HELD or not covered:
                return Wanted("", cause, because)
        if self.persists():
            standing = self.votes()[0]  # ARMED and PROVING have tripped: a bypass that leaves this one out opens nothing
            return Wanted("", standing.cause, standing.text)
        if moment.routing:
            return Wanted("", Cause.ROUTING, moment.routing)
        if self.bypass is not None and mode != "proving":
            mode = "bypass"
        if not moment.evidence_ms:
            return Wanted("", Cause.INSUFFICIENT, "no evidence time yet: not every partition has been marked")
        condition = self.interlock()
        if condition is not None and condition.status is Status.INSUFFICIENT:
            return Wanted("", Cause.INSUFFICIENT, condition.text, condition.name)
        if condition is not None:
            return Wanted("", condition.cause, condition.text)
        return Wanted(mode, None, self._holding())

    def conclude(self, record: Record, moment: Moment) -> list[Decision]:
        """Return the decisions of this record: notes, and at most one about the gate's state."""
        decisions = [self._decision(record, moment, Kind.NOTE, *note) for note in self.notes]
        self.notes = []
        self._watch(moment)
        for condition in self.conditions:
            condition.held = condition.held or condition.status is Status.HOLDS
        if self.breaker.state in (State.ARMED, State.PROVING) and self.votes() and self.persists():
            standing = self.votes()
            names = frozenset(condition.name for condition in standing)
            self.trip(Closing(standing[0].cause, standing[0].text, self.origin, names, moment.newest_ms))
        if self.prove_at_conclusion and not self.renewed:
            self.prove(epoch_of(record.term, record.offset), moment)
        self.prove_at_conclusion = False
        wanted = self.wanted(moment)
        proving = self.breaker.proving
        if proving is not None and proving.announced and not wanted.mode:
            gate_orders.interrupt(self, wanted.because, self.origin, moment)
            wanted = self.wanted(moment)
        for condition in self.conditions:
            condition.gate_is_open(wanted.mode in ("armed", "bypass"), moment)
        kind = self._kind(wanted, moment)
        if kind is not None:
            if kind is not Kind.RENEW:
                self.epoch = epoch_of(record.term, record.offset)
                self._count()
            if wanted.mode:
                self.permit_ms = moment.evidence_ms
            self.shown = wanted
            decisions.append(self._decision(record, moment, kind, wanted.cause, wanted.because, self.origin, self.by))
        self.renewed, self.tripped, self.counts, self.origin, self.by = False, False, False, None, ""
        return decisions

    def _watch(self, moment: Moment) -> None:
        """Let the tallies take note of time in which their conditions could have tripped the breaker."""
        if not self.tallies:
            return
        armed = self.breaker.state is State.ARMED
        for condition in self.conditions:
            tally = self.tallies.get(condition.name)
            if tally is not None:
                tally.watch(moment.evidence_ms, armed and condition.status is not Status.INSUFFICIENT)

    def _count(self) -> None:
        """Count a trip of an ARMED breaker for every condition that demanded it."""
        closing = self.breaker.closing
        if self.counts and closing is not None:
            for name in sorted(closing.conditions & self.tallies.keys()):
                self.tallies[name].trip(self.epoch)

    def _brief(self, condition: Condition) -> Brief:
        tally, brief = self.tallies.get(condition.name), condition.brief()
        text = brief.text if tally is None else f"{brief.text}; {tally.words}"
        return Brief(printable(brief.name), brief.status, printable(text))

    def _kind(self, wanted: Wanted, moment: Moment) -> Kind | None:
        shown, policy = self.shown, self.entry.policy
        if not wanted.mode:
            # What is not enough evidence is said anew when it is another condition's; other reasons only vary in their numbers.
            other = shown.cause is not wanted.cause or (wanted.cause is Cause.INSUFFICIENT and shown.lacking != wanted.lacking)
            return Kind.CLOSE if self.renewed or shown.mode or other else None
        if wanted.mode != shown.mode or self.renewed:
            return Kind.OPEN
        if policy is None or moment.evidence_ms - self.permit_ms < max(1, policy.permit.ttl // RENEWALS_PER_TTL):
            return None
        return Kind.RENEW

    def _holding(self) -> str:
        holds = sum(condition.status is Status.HOLDS for condition in self.conditions)
        return f"{holds} of {len(self.conditions)} conditions hold"

    def _decision(
        self, record: Record, moment: Moment, kind: Kind, cause: Cause | None, because: str, origin: Place | None, by: str
    ) -> Decision:
        policy = self.entry.policy
        opens = kind in (Kind.OPEN, Kind.RENEW) and policy is not None
        tokens, probe_epoch = self._tokens() if opens else (0, "")
        ttl_ms = policy.permit.ttl if policy else 0
        exp_ms = moment.evidence_ms + ttl_ms if opens else 0
        if opens and self.bypass is not None:
            exp_ms = min(exp_ms, self.bypass.until_ms)
        return Decision(
            schema=DECISION_SCHEMA,
            kind=kind,
            installation=record.installation,
            gate=self.name,
            epoch=epoch_text(self.epoch),
            partition=record.evidence_partition,
            offset=record.offset,
            breaker=self.breaker.state,
            cause=cause,
            because=printable(because),
            evidence_ms=moment.evidence_ms,
            policy=self.entry.digest,
            mode=self.shown.mode if opens else "",
            exp_ms=exp_ms,
            ttl_ms=ttl_ms,
            in_flight=policy.in_flight if policy else "cancel",
            origin=origin,
            readings=[self._brief(condition) for condition in self.conditions],
            subjects=list(policy.subjects) if opens and policy else [],
            operations=list(policy.operations) if opens and policy else [],
            context=dict(policy.context) if opens and policy else {},
            tokens=tokens,
            probe_epoch=probe_epoch,
            by=printable(by),
        )

    def _tokens(self) -> tuple[int, str]:
        """Return how many probe tokens this permit brings, and of which PROVING. They are said once: lost ones stay lost."""
        proving = self.breaker.proving
        if proving is None:
            return 0, ""
        tokens = 0 if proving.announced else proving.probes
        if not proving.announced:
            proving.announced, proving.epoch = True, self.epoch  # tokens are of the permit that brings them
        return tokens, epoch_text(proving.epoch)
