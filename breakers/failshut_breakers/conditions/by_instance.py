"""A condition on one series that many instances send. Each instance is judged by a state of its own.

The problem: suppose that all instances were judged as one stream. If one of twenty breaks a rule, that is only 5 % of the
readings. And one instance that lives would speak for nine that died.

The idea: each instance has its own condition on the series, built as by a policy without `by: instance`. Rows are split by
sender, in their order, and fed to the sender's condition. If one instance demands, the whole condition demands. Otherwise
instances are counted. Enough of them must be judged. None may be silent, still learning, or beyond the number that can be
judged. If one of these is not met, there is too little evidence, whatever the other instances show.

Instances come and go. A new one closes the gate until it has learnt, unless `newcomer` lets the others decide meanwhile. A
silent one closes the gate until it is back, unless `forget` drops it once enough others are judged. Neither is set by
default. An instance that leaves sends no farewell, because anybody could send one for another instance.

Limits: producers choose the names, and a renamed instance is a new one. `judged_most` bounds the memory. Readings of
instances beyond it are not judged, and keep the gate closed while they arrive.
"""

from __future__ import annotations

from failshut_breakers.conditions.base import Condition, Demand, Moment, Status
from failshut_breakers.conditions.conformance import ConformanceCondition
from failshut_breakers.conditions.on_series import AnomalyCondition, DriftCondition, OnSeries
from failshut_breakers.conditions.staleness import Staleness
from failshut_breakers.evidence.records import FromMany, ManyRow, Reading
from failshut_breakers.policy.policy import Anomaly, Conformance, Drift
from failshut_breakers.policy.units import format_ms

NOBODYS_MAX = 20
"""Unreadable readings of a block without a sender count for every instance, up to this number: it bounds a flood's cost."""

NAMED_MAX = 3
"""The most instances that a text names."""


class _Instance:
    """One instance: its condition, the evidence time of its first reading, and the last reading's own time."""

    def __init__(self, policy: Drift | Anomaly | Conformance, first_ms: int) -> None:
        self.condition = _judge_of(policy)
        self.first_ms = first_ms
        self.last_ms = 0

    def is_silent(self, evidence_ms: int) -> bool:
        """Return whether its last reading is older than its readings may be."""
        return self.condition.is_too_old(evidence_ms - self.last_ms)

    @property
    def is_judged(self) -> bool:
        """Whether it has enough evidence for a judgement."""
        return self.condition.status is not Status.INSUFFICIENT and not self.condition.absent


class ByInstanceCondition(Condition):
    """Judges every instance that sends a series. None speaks for another."""

    def __init__(self, policy: Drift | Anomaly | Conformance) -> None:
        super().__init__(policy.name, policy.action)
        (self.series,) = policy.all_series
        self._metric = self.series.split("/", 1)[-1]
        self._of_one = policy.of_one
        self.cause = _judge_of(self._of_one).cause
        self._least, self._most = policy.judged_least, policy.judged_most
        self._newcomer_ms, self._forget_ms = policy.newcomer, policy.forget
        self._instances: dict[str, _Instance] = {}
        self._beyond = Staleness(policy.stale)  # of readings from instances beyond those that are judged
        self.unjudged = 0  # the number of such readings
        self.text = f"no reading of {self._metric} yet"

    # --- reading ---

    def feed(self, reading: Reading, lo: int, moment: Moment) -> list[Demand]:
        if not isinstance(reading, FromMany):
            return []
        demands: list[Demand] = []
        for name, rows in self._apart(reading, lo, moment).items():
            condition = self._instances[name].condition
            for block in FromMany(self.series, [], rows).as_one():
                for demand in condition.feed(block, 0, moment):
                    demands.append(Demand(demand.offset, demand.index, f"{_called(name)}: {demand.text}"))
        self._settle(moment)
        return sorted(demands)

    def _apart(self, reading: FromMany, lo: int, moment: Moment) -> dict[str, list[ManyRow]]:
        """Return the rows that count, by instance. Instances are in the order of their first row here."""
        apart: dict[str, list[ManyRow]] = {}
        nobodys = 0
        for row in reading.rows:
            if row[0] < lo:
                continue
            name = reading.names[row[3]]
            if not name and isinstance(row[4], str) and name not in self._instances:
                nobodys += 1
                for one in self._instances if nobodys <= NOBODYS_MAX else ():
                    apart.setdefault(one, []).append(row)
            elif name in self._instances or self._begins(name, row, moment):
                apart.setdefault(name, []).append(row)
                self._instances[name].last_ms = max(self._instances[name].last_ms, row[2])
        return apart

    def _begins(self, name: str, row: ManyRow, moment: Moment) -> bool:
        """Add an instance that was not heard before. Return whether there is room for it."""
        if len(self._instances) >= self._most:
            self.unjudged += 1
            self._beyond.take(row[2:3])
            return False
        self._instances[name] = _Instance(self._of_one, moment.evidence_ms or row[2])
        return True

    def tick(self, moment: Moment) -> bool:
        before = self.status
        began = [one.condition.tick(moment) for one in self._instances.values()]
        self._forget(moment)
        self._settle(moment)
        return self.status is Status.DEMANDS and (before is not Status.DEMANDS or any(began))

    def wakes_ms(self, moment: Moment) -> int:
        now_ms = moment.evidence_ms
        at_ms = [self._beyond.old_from_ms(self._beyond.newest_ms, now_ms)]
        for one in self._instances.values():
            new_ms, kept_ms = one.first_ms + (self._newcomer_ms or 0), one.last_ms + (self._forget_ms or 0)
            at_ms += [one.condition.wakes_ms(moment), one.condition.old_from_ms(one.last_ms, now_ms)]
            at_ms += [after_ms + 1 for after_ms in (new_ms, kept_ms) if after_ms >= now_ms]
        return min(at_ms)

    def _forget(self, moment: Moment) -> None:
        """Drop instances that were silent for `forget`, if enough others are judged."""
        if self._forget_ms is None or sum(one.is_judged for one in self._instances.values()) < self._least:
            return
        for name, one in list(self._instances.items()):
            if one.is_silent(moment.evidence_ms) and moment.evidence_ms - one.last_ms > self._forget_ms:
                del self._instances[name]

    # --- what it says ---

    def _settle(self, moment: Moment) -> None:
        for one in self._instances.values():
            one.condition.held = one.condition.held or one.condition.status is Status.HOLDS
        lacks = self._lacks(moment)
        demanding = [name for name in sorted(self._instances) if self._instances[name].condition.status is Status.DEMANDS]
        self.absent = bool(demanding) and bool(lacks or any(self._instances[name].condition.interlocks for name in demanding))
        if demanding:
            told = self._words(demanding)
            self.status, self.text = Status.DEMANDS, f"{told}; {lacks}" if lacks else told
        elif lacks:
            self.status, self.text = Status.INSUFFICIENT, lacks
        else:
            judged = sum(one.is_judged for one in self._instances.values())
            learning = len(self._instances) - judged
            new = f", {learning} new" if learning else ""
            self.status, self.text = Status.HOLDS, f"{self._metric}: {judged} instances judged, {self._least} needed{new}"

    def _lacks(self, moment: Moment) -> str:
        """Return why there is too little evidence, whatever the judged instances show. Return "" if there is enough."""
        beyond = self._beyond.newest_ms > 0 and not self._beyond.is_old(moment.evidence_ms)
        if beyond or len(self._instances) > self._most:
            return f"more than {self._most} instances send {self._metric}, and no more are judged (instances_max)"
        silent = [name for name, one in sorted(self._instances.items()) if one.is_silent(moment.evidence_ms)]
        if silent:
            first = self._instances[silent[0]]
            age_s, allowed = (moment.evidence_ms - first.last_ms) / 1000, format_ms(first.condition.stale_ms)
            return self._words(silent, f"no reading of {self._metric} for {age_s:.1f} s, {allowed} is allowed")
        unsure = [name for name, one in sorted(self._instances.items()) if one.condition.status is Status.INSUFFICIENT]
        late = [name for name in unsure if not self._is_new(self._instances[name], moment)]
        if late:
            return self._words(late)
        judged = sum(one.is_judged for one in self._instances.values())
        if judged >= self._least:
            return ""
        if not self._instances:
            return f"no reading of {self._metric} yet"
        return f"{judged} of {self._least} instances of {self._metric} are judged" + (
            f"; {self._words(unsure)}" if unsure else ""
        )

    def _is_new(self, one: _Instance, moment: Moment) -> bool:
        """Return whether an instance may still learn while the others decide."""
        learnt = one.condition.held or self._newcomer_ms is None
        return not learnt and moment.evidence_ms - one.first_ms <= (self._newcomer_ms or 0)

    def _words(self, names: list[str], text: str = "") -> str:
        first, *more = names
        told = f"{_called(first)}: {text or self._instances[first].condition.text}"
        if not more:
            return told
        others = ", ".join(name or "one without a name" for name in more[: NAMED_MAX - 1])
        return f"{told}; and {len(more)} more: {others}{', ..' if len(more) >= NAMED_MAX else ''}"

    def _grade(self) -> float:
        return max((one.condition.score for one in self._instances.values()), default=0.0)

    # --- after a closing ---

    def news(self, since_ms: int) -> str:
        lacking = {name: one.condition.news(since_ms) for name, one in sorted(self._instances.items())}
        for name, news in lacking.items():
            if news and (self._newcomer_ms is None or self._instances[name].condition.held):
                return f"{news}, of {_called(name)}"
        known = sum(not news for news in lacking.values())
        return "" if known >= self._least else f"readings of {self._least} instances of {self._metric} from after the closing"

    def accept(self, moment: Moment) -> str:
        silent = [name for name, one in self._instances.items() if one.is_silent(moment.evidence_ms)]
        living = {name: one for name, one in sorted(self._instances.items()) if name not in silent}
        demanding = {name: one.condition for name, one in living.items() if one.condition.status is Status.DEMANDS}
        for name, condition in demanding.items():
            if not condition.demands_level:
                return f"{_called(name)}: {condition.accept(moment)}"
        if not silent and not demanding:
            return f"{self.name} has no level that could be accepted, and no instance is silent: {self.text}"
        for name in silent:
            del self._instances[name]
        for condition in demanding.values():
            condition.accept(moment)
        self._settle(moment)
        return ""

    def inherit(self, before: Condition) -> None:
        if not isinstance(before, ByInstanceCondition) or before.cause is not self.cause or before.series != self.series:
            return
        self.goes_on = True
        if before._of_one == self._of_one:  # only the fleet's settings changed
            self._instances = before._instances
        else:
            for name, one in before._instances.items():
                mine = self._instances[name] = _Instance(self._of_one, one.first_ms)
                mine.last_ms, mine.condition.held = one.last_ms, one.condition.held
                mine.condition.inherit(one.condition)
        self._beyond.inherit(before._beyond)


def _judge_of(policy: Drift | Anomaly | Conformance) -> OnSeries:
    """Return a condition that judges one instance."""
    match policy:
        case Drift():
            return DriftCondition(policy)
        case Anomaly():
            return AnomalyCondition(policy)
    return ConformanceCondition(policy)


def _called(name: str) -> str:
    return f"instance {name}" if name else "an instance without a name"
