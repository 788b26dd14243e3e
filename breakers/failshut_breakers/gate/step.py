"""One evidence record of one gate: evidence to conditions, conditions to breaker, breaker to a decision.

A step takes one evidence record. It feeds the conditions whole blocks. It merges what they demand with the outcomes in the
record, by place, and applies both in that order. Then it applies the commands, then the time. At the end it concludes once: a
record leads to at most one decision about the gate's state. Everything here is a function of the evidence: no clock, no I/O,
no randomness, no order that a hash decides.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from msgspec.structs import replace

from failshut.cause import Cause
from failshut_breakers.command import Accept, Bypass, Command, CommandError, Confirm, GateCommand, parse_command
from failshut_breakers.conditions import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.decisions.decision import Answer, Brief, BypassInForce, Decision, Kind, Result, epoch_text
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.permits import LIFE_MS, lives_by_seals
from failshut_breakers.evidence.records import Commanded, OutcomeRow, Outcomes, Place, Reading, epoch_of
from failshut_breakers.gate import orders as gate_orders
from failshut_breakers.gate.breaker import Closing
from failshut_breakers.gate.state import Gate, Wanted
from failshut_breakers.gate.turn import Turn
from failshut_breakers.gate.twins import Fed
from failshut_breakers.policy.feeds import key_of, upto_of
from failshut_breakers.words import printable

DECISION_SCHEMA = 2
RENEWALS_PER_TTL = 6
"""A permit is renewed when evidence time has come this fraction of its ttl further, so that renewals are bounded."""
RESIGNED_MS = LIFE_MS // 2
"""A permit that seals renew is signed again after so long at most, and no sooner than after two thirds of that."""


WOULD_CLOSE, WOULD_OPEN = "in shadow: it would close: ", "in shadow: it would open: "
"""How notes begin about a gate whose policy is in shadow."""


class Overslept(Exception):
    """A fault in this code: a gate was left alone for longer than it had asked for."""


class Record(NamedTuple):
    """The evidence record that a gate is judging: whose it is, where it stands, and where it came from."""

    installation: str
    term: int
    evidence_partition: int
    offset: int
    topic: str
    partition: int


class Raised(NamedTuple):
    """A demand, by its place at the front door, with the condition that raised it."""

    offset: int
    item: int  # of the record there
    condition: Condition
    demand: Demand


class Step:
    """One record's step of one gate. Short-lived: what lasts is the gate's, what happened is the turn's."""

    def __init__(self, gate: Gate, turn: Turn, record: Record, moment: Moment) -> None:
        self.gate, self.turn, self.record, self.moment = gate, turn, record, moment
        self.ticked = False
        self._shadow = False  # it is open whatever its conditions say
        # Whose demand counted before this record, and who began to demand in it: a demand that ends here has met these.
        self._met = self._demanding()

    # --- evidence ---

    def read(self, readings: list[Reading], lo: int) -> None:
        """Judge what a run holds for this gate, in order. `lo` is the first front-door offset that counts."""
        raised = self._feed(readings, lo)
        outcomes = [row for reading in readings if isinstance(reading, Outcomes) for row in reading.rows]
        probes = [row for row in outcomes if row.offset >= lo and row.token]
        for event in _in_order(raised, probes):
            place = Place(self.record.topic, self.record.partition, event.offset, event.item)
            if isinstance(event, Raised):
                self._demand(event.condition, event.demand, place)
            else:
                gate_orders.on_outcome(self.gate, self.turn, event, place, self.moment)

    def _feed(self, readings: list[Reading], lo: int) -> list[Raised]:
        """Feed the conditions; return what they demand."""
        gate, key = self.gate, (self.record.topic, self.record.partition)
        kept_lo = max(lo, gate.kept_from.get(key, 0))
        raised: list[Raised] = []
        for reading in readings:
            gate.reach[key] = max(gate.reach.get(key, 0), upto_of(reading))
            for condition in gate.by_key.get(key_of(reading), ()):
                counts = kept_lo if condition.name in gate.goes_on else lo
                if gate.twins.by_name:
                    gate.twins.see(Fed(condition.name, reading, counts, self.moment))
                for demand in condition.feed(reading, counts, self.moment):
                    raised.append(Raised(demand.offset, demand.index, condition, demand))
        return raised

    def obey(self, readings: list[Reading], lo: int) -> None:
        """Take the operators' commands, in order."""
        for reading in readings:
            if isinstance(reading, Commanded) and reading.offset >= lo:
                self.order(reading, Place(self.record.topic, self.record.partition, reading.offset, 0))

    def order(self, commanded: Commanded, place: Place) -> None:
        """Take an operator's command. What is refused is noted, never dropped in silence."""
        try:
            command = parse_command(commanded.claims)
        except CommandError as error:
            why = str(error)
            self.turn.note(None, why, place, commanded.kid, Answer("", Result.REFUSED, printable(why)))
            return
        if command.installation != self.record.installation:
            self._refuse(command, "it is of another installation", place, commanded.kid)
        elif isinstance(command, GateCommand) and command.gate == self.gate.name:
            self._take(command, commanded, place)
        else:
            self._refuse(command, "it is not for this gate", place, commanded.kid)

    def _take(self, command: GateCommand, commanded: Commanded, place: Place) -> None:
        turn, signer = self.turn, f"{command.by} ({commanded.kid[:12]})"
        refusal = self.gate.taken.take(command.id, command.signed_ms, commanded.time_ms)
        refusal = refusal or gate_orders.take(self.gate, turn, command, place, self.moment)
        if refusal:
            self._refuse(command, refusal, place, signer)
        elif isinstance(command, Accept):
            self._done(
                command, f"accepted: {command.condition} takes what it reads now for normal: {command.why}", place, signer
            )
        elif isinstance(command, Confirm):
            self._done(command, f"confirmed: the trip of epoch {command.epoch} had a cause: {command.why}", place, signer)
        else:
            turn.origin, turn.by = place, f"{signer}: {command.why}"
            if isinstance(command, Bypass):
                self.gate.bypass_by = signer

    def _done(self, command: GateCommand, what: str, place: Place, by: str) -> None:
        """Answer a command that was carried out, and left the gate's state as it was."""
        self.turn.note(None, what, place, by, Answer(command.kind, Result.DONE, printable(what)))

    def _refuse(self, command: Command, why: str, place: Place, by: str) -> None:
        self.turn.note(None, f"{command.kind} refused: {why}", place, by, Answer(command.kind, Result.REFUSED, printable(why)))

    def tick(self, place: Place) -> None:
        """Take note that evidence time has come further."""
        self.ticked = True
        self._met |= self._demanding()
        for condition in self.gate.conditions:
            if condition.tick(self.moment):
                self._demand(condition, Demand(place.offset, place.index, condition.text), place)
        gate_orders.on_time(self.gate, self.turn, place, self.moment)

    def fault(self, error: Exception, place: Place) -> None:
        """Lock the gate: its own step failed, and nothing that it says can be relied on."""
        text = re.sub(r"0x[0-9a-fA-F]+", "0x..", str(error))  # an address differs from one governor to the next
        because = f"a fault in this gate's step: {type(error).__name__}: {text}"[:300]
        if self.gate.breaker.state is not State.LOCKED:
            self.gate.lock(Cause.FAULT, because, place, self.moment.newest_ms, self.turn)
        self.turn.notes, self.turn.prove = [], False
        self.gate.begin_anew()

    def catch_up(self, place: Place) -> None:
        """Take note of a time at which the gate asked for no tick.

        Raises:
            Overslept: the time alone led to a decision.
        """
        self.tick(place)
        if decisions := self.conclude():
            raise Overslept(f"time alone led to {decisions[0].kind}, and nothing had asked for a tick then")

    def wakes_ms(self) -> int:
        """Return the evidence time (ms) before which no tick leads to a decision; 0 where every tick may. After a tick."""
        gate, moment = self.gate, self.moment
        policy, state = gate.entry.policy, gate.breaker.state
        cools = state is State.TRIPPED and policy is not None and policy.reset.after is not None
        if not self.ticked or not moment.evidence_ms or moment.routing or gate.bypass or cools or state is State.PROVING:
            return 0
        wakes_ms = min((condition.wakes_ms(moment) for condition in gate.conditions), default=NEVER_MS)
        if gate.shown.mode and policy is not None:
            wakes_ms = min(wakes_ms, gate.permit_ms + _renewed_after_ms(gate, gate.shown.mode, policy.permit.ttl))
        return wakes_ms

    def _demanding(self) -> set[str]:
        return {condition.name for condition in self.gate.votes()}

    def _demand(self, condition: Condition, demand: Demand, place: Place) -> None:
        gate, policy, met = self.gate, self.gate.entry.policy, self._met
        if policy is None or not condition.trips or gate.bypasses(condition.name):
            return
        if policy.demands_to_trip > 1 and condition.interlocks:
            return  # it closes the gate by itself, and is no vote
        met.add(condition.name)
        if len(met) + gate.bypassed() >= policy.demands_to_trip:
            closing = Closing(condition.cause, demand.text, place, frozenset(met), self.moment.newest_ms)
            gate.trip(closing, self.turn)

    # --- the decision ---

    def conclude(self) -> list[Decision]:
        """Return the decisions of this record: notes, and at most one about the gate's state."""
        gate, turn, moment = self.gate, self.turn, self.moment
        decisions = [self._decision(Kind.NOTE, *note) for note in turn.notes]
        turn.notes = []  # a fault behind this point says them no second time
        if turn.edited:
            self._settle_edited()
        self._watch()
        for condition in gate.conditions:
            condition.held = condition.held or condition.status is Status.HOLDS
        if gate.breaker.state in (State.ARMED, State.PROVING) and gate.votes() and gate.persists():
            standing = gate.votes()
            names = frozenset(condition.name for condition in standing)
            gate.trip(Closing(standing[0].cause, standing[0].text, turn.origin, names, moment.newest_ms), turn)
        if turn.prove and not turn.renewed:
            gate.prove(epoch_of(self.record.term, self.record.offset), moment, turn)
        turn.prove = False
        wanted = gate.wanted(moment)
        proving = gate.breaker.proving
        if proving is not None and proving.announced and not wanted.mode:
            gate_orders.interrupt(gate, turn, wanted.because, moment)
            wanted = gate.wanted(moment)
        would, wanted = wanted, gate.in_shadow(wanted, moment)
        self._shadow = wanted is not would
        in_shadow = self._said_in_shadow(would) if self._shadow else []
        decisions += in_shadow
        for condition in gate.conditions:
            condition.gate_is_open(wanted.mode in ("armed", "bypass"), gate.breaker.state is State.TRIPPED, moment)
        kind = self._kind(wanted)
        if kind is None and in_shadow and gate.warns:
            kind = Kind.RENEW  # whoever executes reads of it in the permit
        if kind is not None:
            if kind is not Kind.RENEW:
                gate.epoch = epoch_of(self.record.term, self.record.offset)
                self._count()
            if wanted.mode:
                gate.permit_ms = moment.evidence_ms
            gate.shown = wanted
            decision = self._decision(kind, wanted.cause, wanted.because, turn.origin, turn.by)
            gate.said = replace(decision, tokens=0)
            decisions.append(decision)
        closing = gate.breaker.closing if gate.breaker.state in (State.TRIPPED, State.LOCKED) else None
        gate.spans.note(max(1, closing.at_ms) if closing is not None else 0, moment.newest_ms)
        gate.judge_until(moment.evidence_ms, self.ticked)
        return decisions

    def _settle_edited(self) -> None:
        """Judge at once what changed conditions took over, by their new settings. Others wait for evidence, or for a mark."""
        for condition in self.gate.conditions:
            if condition.goes_on and condition.name not in self.gate.kept:
                condition.tick(self.moment)

    def _said_in_shadow(self, would: Wanted) -> list[Decision]:
        """Return what is said of a gate in shadow, where that is another thing than before. Its epoch stays."""
        gate, turn, before = self.gate, self.turn, self.gate.would
        if turn.tripped:
            self._count()
        if would.mode:
            news = not before.mode
            words = f"{WOULD_OPEN}{would.because}"
        else:
            news = turn.tripped or bool(before.mode) or _otherwise(before, would)
            words = f"{WOULD_CLOSE}{would.because}"
        if not news:
            return []
        gate.would = would
        return [self._decision(Kind.NOTE, would.cause, words, turn.origin, turn.by)]

    def _watch(self) -> None:
        """Let the tallies take note of time in which their conditions could have tripped the breaker."""
        if not self.gate.tallies:
            return
        armed = self.gate.breaker.state is State.ARMED
        for condition in self.gate.conditions:
            tally = self.gate.tallies.get(condition.name)
            if tally is not None:
                tally.watch(self.moment.evidence_ms, armed and condition.status is not Status.INSUFFICIENT)

    def _count(self) -> None:
        """Count a trip of an ARMED breaker for every condition that demanded it."""
        closing = self.gate.breaker.closing
        if self.turn.counts and closing is not None:
            for name in sorted(closing.conditions & self.gate.tallies.keys()):
                self.gate.tallies[name].trip(self.gate.epoch)

    def _brief(self, condition: Condition) -> Brief:
        tally, brief = self.gate.tallies.get(condition.name), condition.brief()
        text = brief.text if tally is None else f"{brief.text}; {tally.words}"
        return Brief(printable(brief.name), brief.status, printable(text))

    def _kind(self, wanted: Wanted) -> Kind | None:
        gate, renewed = self.gate, self.turn.edited if self._shadow else self.turn.renewed
        shown, policy = gate.shown, gate.entry.policy
        if not wanted.mode:
            return Kind.CLOSE if renewed or shown.mode or _otherwise(shown, wanted) else None
        if wanted.mode != shown.mode or renewed:
            return Kind.OPEN
        if policy is None or self.moment.evidence_ms - gate.permit_ms < _renewed_after_ms(gate, wanted.mode, policy.permit.ttl):
            return None
        return Kind.RENEW

    def _decision(
        self, kind: Kind, cause: Cause | None, because: str, origin: Place | None, by: str, answer: Answer | None = None
    ) -> Decision:
        gate, record, moment = self.gate, self.record, self.moment
        policy = gate.entry.policy
        opens = kind in (Kind.OPEN, Kind.RENEW) and policy is not None
        tokens, probe_epoch = self._tokens() if opens and not self._shadow else (0, "")
        ttl_ms = policy.permit.ttl if policy else 0
        exp_ms = moment.evidence_ms + ttl_ms if opens else 0
        if opens and gate.bypass is not None and not self._shadow:
            exp_ms = min(exp_ms, gate.bypass.until_ms)
        return Decision(
            schema=DECISION_SCHEMA,
            kind=kind,
            installation=record.installation,
            gate=gate.name,
            epoch=epoch_text(gate.epoch),
            partition=record.evidence_partition,
            offset=record.offset,
            breaker=gate.breaker.state,
            cause=cause,
            because=printable(because),
            evidence_ms=moment.evidence_ms,
            policy=gate.entry.digest,
            mode=gate.shown.mode if opens else "",
            exp_ms=exp_ms,
            ttl_ms=ttl_ms,
            in_flight=policy.in_flight if policy else "cancel",
            origin=origin,
            readings=[self._brief(condition) for condition in gate.conditions],
            subjects=list(policy.subjects) if opens and policy else [],
            operations=list(policy.operations) if opens and policy else [],
            context=dict(policy.context) if opens and policy else {},
            tokens=tokens,
            probe_epoch=probe_epoch,
            by=printable(by),
            answer=answer,
            bypass=self._bypass() if kind is not Kind.NOTE else None,
        )

    def _bypass(self) -> BypassInForce | None:
        """Return the bypass in force. Renewals say it too: whoever reads the last decision alone knows whose it is."""
        bypass, by = self.gate.bypass, self.gate.bypass_by
        if bypass is None:
            return None
        conditions = [printable(name) for name in bypass.conditions]
        return BypassInForce(printable(by), printable(bypass.why), conditions, bypass.until_ms)

    def _tokens(self) -> tuple[int, str]:
        """Return how many probe tokens this permit brings, and of which PROVING. They are said once: lost ones stay lost."""
        breaker = self.gate.breaker
        if breaker.proving is None:
            return 0, ""
        if breaker.proving.announced:
            return 0, epoch_text(breaker.proving.epoch)
        proving = breaker.proving.handed_out(self.gate.epoch)  # tokens are of the permit that brings them
        breaker.amend(proving=proving)
        return proving.probes, epoch_text(proving.epoch)


def _otherwise(shown: Wanted, wanted: Wanted) -> bool:
    """Return whether a closed gate is closed for another reason.

    What is not enough evidence is said anew when it is another condition's. Other reasons only vary in their numbers.
    """
    return shown.cause is not wanted.cause or (wanted.cause is Cause.INSUFFICIENT and shown.lacking != wanted.lacking)


def _renewed_after_ms(gate: Gate, mode: str, ttl_ms: int) -> int:
    """Return after how much evidence time a permit is signed again; gates that opened together do not all do it at once."""
    if lives_by_seals(mode):
        return RESIGNED_MS - crc32(gate.name.encode()) % (RESIGNED_MS // 3)
    return max(1, ttl_ms // RENEWALS_PER_TTL)


def _in_order(raised: list[Raised], probes: list[OutcomeRow]) -> Iterable[Raised | OutcomeRow]:
    """Merge demands and outcomes by their place. At one place demands come first."""
    return heapq.merge(sorted(raised, key=_place), sorted(probes, key=_place), key=_place)


def _place(event: Raised | OutcomeRow) -> tuple[int, int]:
    return event.offset, event.item
