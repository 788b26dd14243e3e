"""One gate's state: its policy, its conditions, its breaker, and what these make of it.

A condition demands a trip or a lapse. Trips latch in the breaker. Lapses are interlocks: the gate is closed
while they stand and comes back when their cause is gone. Missing evidence is an interlock too, whatever `trip_on` says.
Votes are the demands of tripping conditions that have evidence; one that is bypassed counts as demanding.

Another policy leaves a condition that it does not change as it was, with what it knows and demands.

What changes the state takes the record's `Turn`, which says what happened. Who changes it, and when, stands in gate_orders
(commands, probes, time) and gate_step (one record).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from failshut.cause import Cause
from failshut.seal import name_of
from failshut_breakers.command import Bypass
from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.conditions.on_series import OnSeries
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.decisions.permits import lives_by_seals
from failshut_breakers.evidence.records import Place
from failshut_breakers.gate.breaker import Breaker, Closing, Proving
from failshut_breakers.gate.tally import Tally
from failshut_breakers.gate.turn import Turn
from failshut_breakers.gate.twins import Spans, Twins, takes_the_place
from failshut_breakers.policy.feeds import budget_of_ms, keys_of_policy
from failshut_breakers.policy.learn import learns_from_history
from failshut_breakers.policy.policy import FAULT_CHARS_MAX, ConditionPolicy, Entry
from failshut_breakers.taken_ids import Taken


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
        self.bypass_by = ""  # who gave the last bypass, with the key
        self.epoch = 0
        self.shown = Wanted("", None, "")  # what the last decision made of the gate
        self.would = Wanted("", None, "")  # what it would be, by the last word about that, while its policy is in shadow
        self.permit_ms = 0  # evidence time of the last permit
        self.said: Decision | None = None  # the last decision about its state, without its probe tokens
        self.judged_ms = 0  # evidence time up to which it was judged last
        self.sealed = b""  # what seals call its permit; empty while none renews it
        self.tallies: dict[str, Tally] = {}  # by condition, of those with a budget of false trips
        self.taken = Taken()  # ids of commands
        self.waits = ""  # what a reset was last said to wait for
        self.known: dict[str, tuple[ConditionPolicy, Condition]] = {}  # conditions of the last policy that had any, by name
        self.kept: frozenset[str] = frozenset()  # those of them that the last activation left as they were
        self.goes_on: frozenset[str] = frozenset()  # these, and those that took over what their predecessors had read
        self.reach: dict[tuple[str, int], int] = {}  # by front-door partition: the offset up to which it has read
        self.kept_from: dict[tuple[str, int], int] = {}  # the same at the last activation
        self.twins = Twins()  # of conditions that could learn from history
        self.spans = Spans()  # in which its breaker was TRIPPED or LOCKED

    @property
    def lane(self) -> tuple[int, int]:
        """Which coverage its evidence counts on."""
        return self.version, self.fork

    # --- the policy ---

    def activate(self, entry: Entry, version: int, place: Place, signer: str, turn: Turn) -> None:
        """Take up another policy: a breaker that is tripped or locked stays so, and a condition that it does not change."""
        same = entry.policy is not None and entry.says_the_same_as(self.entry)
        self.entry, self.version, self.fork, self.would = entry, version, 0, Wanted("", None, "")
        self._build_conditions()
        if not same:
            self.bypass = None
        turn.renew(place)
        turn.edited, turn.by = True, signer

    def begin_twins(self, version: int) -> bool:
        """Let the conditions that the last activation left without evidence have twins. Return whether any has."""
        policy = self.entry.policy
        self.twins.keep(self.kept)
        if policy is None:
            return False
        enough = {one.name for one in self.conditions if one.goes_on and isinstance(one, OnSeries) and one.detector_ready}
        lacking = [one for one in policy.conditions if one.name not in self.kept | enough]
        new = [one for one in lacking if learns_from_history(policy, one)]
        self.twins.begin(version, new)
        return bool(new)

    def end_twins(self, version: int, moment: Moment) -> None:
        """Let the twins that have read an activation's history take the place of their conditions."""
        for twin in self.twins.grown(version, moment):
            at = next((at for at, one in enumerate(self.conditions) if one.name == twin.name), None)
            old = self.conditions[at] if at is not None else None
            if at is None or not isinstance(old, OnSeries) or not takes_the_place(twin, old):
                continue
            twin.take_over_from(old)
            self.conditions[at] = twin
            self.known[twin.name] = (self.known[twin.name][0], twin)
            for fed in self.by_key.values():
                fed[:] = [twin if one is old else one for one in fed]

    def begin_anew(self) -> None:
        """Build all conditions again, with no evidence: what a fault left half-changed is not to be relied on."""
        self.known = {}
        self.twins = Twins()
        self._build_conditions()

    def _build_conditions(self) -> None:
        policies = self.entry.policy.conditions if self.entry.policy else ()
        self.kept = frozenset(policy.name for policy in policies if self._knows(policy))
        # An activation goes back to the last mark before it: what a condition has read, or took over, it reads once.
        self.kept_from = dict(self.reach)
        try:
            self.conditions = [self._condition(policy) for policy in policies]
        except Exception as error:  # noqa: BLE001 - a policy that cannot be built closes its own gate, and no other
            fault = f"{self.entry.file}: its conditions cannot be built: {type(error).__name__}: {error}"[:FAULT_CHARS_MAX]
            self.entry = replace(self.entry, policy=None, fault=fault)
            self.conditions, policies = [], ()
        self.goes_on = self.kept | {condition.name for condition in self.conditions if condition.goes_on}
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
            condition.held = condition.goes_on and before.held  # a demand that it took over stays the vote that it was
        return condition

    def _tally(self, name: str, per_ms: float) -> Tally:
        """Go on with the tally of a condition whose budget another policy leaves as it was."""
        before = self.tallies.get(name)
        return before if before is not None and before.per_ms == per_ms else Tally(per_ms)

    # --- the breaker ---

    def lock(self, cause: Cause, because: str, place: Place, at_ms: int, turn: Turn) -> None:
        """Make the gate LOCKED: only an operator leads out of it. What had closed it before has to be answered as well."""
        before = self.breaker.closing.conditions if self.breaker.closing else frozenset()
        self.breaker.move(State.LOCKED, Closing(cause, because, place, before, at_ms))
        if cause is Cause.TERM:  # offsets may begin again
            self.reach, self.kept, self.goes_on, self.kept_from = {}, frozenset(), frozenset(), {}
            self.twins = Twins()
        self.bypass = None
        turn.renew(place)

    def trip(self, closing: Closing, turn: Turn) -> None:
        """Trip the breaker, or say again why it is tripped or locked: a later demand voids a reset that had not seen it.

        The first closing of a record stands; what demands later in the same record is only named with it.
        """
        standing = self.breaker.closing
        if turn.tripped and standing is not None:
            self.breaker.amend(closing=replace(standing, conditions=standing.conditions | closing.conditions))
            return
        if standing is not None:
            closing = replace(closing, conditions=closing.conditions | self._unanswered(standing))
        turn.tripped = True
        turn.counts = self.breaker.state is State.ARMED
        if self.breaker.state is State.LOCKED:
            because = closing.because
            if standing and "; and " not in standing.because:
                because = f"{standing.because}; and {closing.because}"
            cause = standing.cause if standing else closing.cause
            self.breaker.move(State.LOCKED, replace(closing, cause=cause, because=because))
        else:
            self.breaker.move(State.TRIPPED, closing)
        self.bypass = None
        turn.renew(closing.origin)

    def _unanswered(self, closing: Closing) -> frozenset[str]:
        """Return what closed the gate and cannot tell by itself that it is better: only probes can, or an operator."""
        return closing.conditions - {condition.name for condition in self.conditions if not condition.needs_probes}

    def prove(self, record_epoch: int, moment: Moment, turn: Turn) -> None:
        """Begin PROVING, or arm at once where the policy wants no probes."""
        policy = self.entry.policy
        if policy is None or policy.reset.probes == 0 or policy.in_shadow:  # in shadow nobody runs a probe
            self.breaker.move(State.ARMED)
        else:
            proving = Proving(record_epoch, policy.reset.probes, moment.newest_ms + policy.reset.deadline)
            self.breaker.move(State.PROVING, proving=proving)
        self.bypass = None
        turn.renewed = True

    def arm_as_recorded(self) -> None:
        """Begin with an ARMED breaker and no bypass, because a permit on record says that this is what it was."""
        self.breaker, self.bypass = Breaker(), None

    def go_on_from(self, decision: Decision) -> None:
        """Take over what a permit on record has made of the gate."""
        self.epoch, self.permit_ms = int(decision.epoch), decision.evidence_ms
        self.shown, self.said = Wanted(decision.mode, decision.cause, decision.because), decision

    def judge_until(self, evidence_ms: int, ticked: bool) -> None:
        """Take note up to which evidence time everything was judged: what a seal may say of the gate from now on.

        Without a tick nothing was judged that time alone brings. A new policy may count on a coverage whose time is earlier.
        """
        self.judged_ms = evidence_ms if ticked else min(self.judged_ms, evidence_ms)
        said = self.said
        if said is None or said.kind is Kind.CLOSE or not lives_by_seals(said.mode):
            self.sealed = b""
        elif said.kind is Kind.OPEN or not self.sealed:
            self.sealed = name_of(said.gate, said.epoch, said.policy, said.mode)

    # --- what its conditions say ---

    def bypasses(self, name: str) -> bool:
        """Return whether an operator's bypass covers a condition."""
        return self.bypass is not None and name in self.bypass.conditions

    def bypassed(self) -> int:
        """Return how many tripping conditions are bypassed: an operator accepted what they demand, and not what others do."""
        return sum(condition.trips and self.bypasses(condition.name) for condition in self.conditions)

    def persists(self) -> bool:
        """Return whether what trips the breaker still stands, so that a reset is refused."""
        policy, votes = self.entry.policy, len(self.votes())
        return policy is None or (votes > 0 and votes + self.bypassed() >= policy.demands_to_trip)

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

    def interlock(self, bypassed: bool = False) -> Condition | None:
        """Return the first condition that closes the gate by itself: of those that are not bypassed, or of all (`bypassed`)."""
        for condition in self.conditions:
            if condition.interlocks and (bypassed or not self.bypasses(condition.name)):
                return condition
        return None

    def wanted(self, moment: Moment) -> Wanted:
        """Return what the gate should be, by everything that it knows."""
        policy, closing = self.entry.policy, self.breaker.closing
        if policy is None:
            return Wanted("", Cause.BAD_POLICY if self.entry.digest else Cause.NO_POLICY, self.entry.fault)
        mode = "proving" if self.breaker.state is State.PROVING else "armed"
        if self.breaker.state in (State.TRIPPED, State.LOCKED):
            cause, because = (closing.cause, closing.because) if closing else (Cause.FAULT, "no closing is known")
            demanded = closing.conditions if closing else frozenset()
            covered = self.bypass is not None and bool(demanded) and demanded <= set(self.bypass.conditions)
            if self.breaker.state is State.LOCKED or not covered:
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

    @property
    def warns(self) -> bool:
        """Whether its permits say that it would be closed."""
        return self.entry.policy is not None and self.entry.policy.mode == "warn"

    def in_shadow(self, wanted: Wanted, moment: Moment) -> Wanted:
        """Return what the gate is if its policy is in shadow: open, but for a lock, and where nobody can vouch for anything."""
        policy = self.entry.policy
        if policy is None or not policy.in_shadow or self.breaker.state is State.LOCKED:
            return wanted
        if not moment.evidence_ms or moment.routing:
            return wanted
        would = wanted.because if wanted.mode else f"it would be closed: {wanted.because}"
        return Wanted("armed", None, f"in shadow: {would}")

    def _holding(self) -> str:
        holds = sum(condition.status is Status.HOLDS for condition in self.conditions)
        return f"{holds} of {len(self.conditions)} conditions hold"
