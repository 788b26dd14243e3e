"""docs/policy.md, read a second time: a slow, plain evaluator, written from the page and sharing no code with the project.

It is told evidence in the order of its places, and decides anew at each mark. reading_kinds.py says what each condition says;
here stand votes, the breaker, and operators' orders.

Limits: several detectors that vote, and several series together, are not read here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reading_kinds import FailureRate, Told

DAY_MS = 86_400_000
#: Orders that take authority away and give none: they name no epoch.
ONLY_CLOSE = ("lock", "end_bypass")


class Event(NamedTuple):
    """One piece of evidence: of what, its own time, what it says; and which probe of the present PROVING it is about."""

    of: str
    time_ms: int
    what: Any
    probe: str = ""


class Reader:
    """A gate: conditions by name, how many votes trip, how it is reset (`after_ms` 0: by operators alone)."""

    def __init__(self, conditions: dict[str, Told], wanted: int, after_ms: int, probes: int, deadline_ms: int) -> None:
        self.conditions, self.wanted = conditions, wanted
        self.after_ms, self.probes, self.deadline_ms = after_ms, probes, deadline_ms
        self.state = "ARMED"
        self.closing_ms = 0  # the newest mark at the closing
        self.closed_by: set[str] = set()
        self.proven: set[str] = set()
        self.proving_ends_ms = 0
        self.bypassed: set[str] = set()
        self.bypass_ends_ms = 0
        self.stood: set[str] = set()  # whose demands counted at the end of the last record
        self.known: dict[str, set[str]] = {name: set() for name in conditions}
        self.needed = probes  # of the present PROVING
        self.now_ms = self.newest_ms = 0
        self.tripped = self.renewed = self.resets = False  # in this record

    # --- what the conditions say ---

    def votes(self, bypassed: bool = False) -> set[str]:
        """Whose demands count: where one demand trips, each; else those that have evidence."""
        return {
            name
            for name, one in self.conditions.items()
            if one.trips
            and one.says(self.now_ms)[0] == "demands"
            and (self.wanted == 1 or not one.alone(self.now_ms))
            and (bypassed or name not in self.bypassed)
        }

    def trip_it(self, votes: set[str]) -> bool:
        """Whether so many demands trip: a bypassed condition counts as demanding."""
        accepted = sum(self.conditions[name].trips for name in self.bypassed)
        return bool(votes) and len(votes) + accepted >= self.wanted

    def closed_alone(self, bypassed: bool = False) -> bool:
        return any(one.alone(self.now_ms) for name, one in self.conditions.items() if bypassed or name not in self.bypassed)

    # --- a record of evidence, and a mark behind it ---

    def mark(self, events: list[Event], now_ms: int, newest_ms: int) -> str:
        """Take the evidence of a record, and the time; return how the gate is open, or "" where it is closed."""
        self.now_ms, self.newest_ms = now_ms, newest_ms
        standing = set(self.stood)
        for event, begun in self._heard(events):
            for name in begun:
                self._begins(name, standing)
            if event.probe and self.state == "PROVING":
                self._probe(event)
        standing |= self.votes()
        for name, one in self.conditions.items():
            one.tick(now_ms)
            if self._new_causes(name):
                self._begins(name, standing)
        self._time()
        return self._conclude()

    def _heard(self, events: list[Event]) -> list[tuple[Event, list[str]]]:
        """Let the conditions hear all of it; return with each piece which demands began there."""
        heard = []
        for event in events:
            begun = []
            for name, one in self.conditions.items():
                if one.settings["of"] == event.of:
                    one.take(event.time_ms, event.what, self.now_ms, self.newest_ms)
                    begun += [name] if not one.at_marks and self._new_causes(name) else []
            heard.append((event, begun))
        return heard

    def _new_causes(self, name: str) -> bool:
        before = self.known[name]
        self.known[name] = self.conditions[name].causes(self.now_ms)
        return bool(self.known[name] - before)

    def _begins(self, name: str, standing: set[str]) -> None:
        one = self.conditions[name]
        if one.trips and name not in self.bypassed and (self.wanted == 1 or not one.alone(self.now_ms)):
            standing.add(name)
            if self.trip_it(standing):
                self._trip(standing)

    def _trip(self, names: set[str]) -> None:
        """Close, or renew a closing; of a record the first closing counts, and whose demands followed."""
        stay = {name for name in self.closed_by if self.tripped or name in self._gone() or self.conditions[name].by_probes}
        self.closed_by = stay | names
        self.tripped = self.renewed = True
        self.closing_ms, self.bypassed = self.newest_ms, set()
        self.state = "LOCKED" if self.state == "LOCKED" else "TRIPPED"

    def _gone(self) -> set[str]:
        """What closed the gate and is in the policy no more: it can give no news."""
        return self.closed_by - self.conditions.keys()

    def _probe(self, event: Event) -> None:
        if event.probe in self.proven:
            return  # a token counts once
        if event.what == "ok":
            self.proven.add(event.probe)
            if len(self.proven) >= self.needed:
                self.state, self.closed_by, self.renewed = "ARMED", set(), True
        elif event.what != "cancelled":
            self._trip(self.closed_by)

    def _time(self) -> None:
        """A bypass ends, PROVING runs out, a cooldown has passed."""
        if self.bypassed and self.newest_ms >= self.bypass_ends_ms:
            self.bypassed, self.renewed = set(), True
        if self.state == "PROVING" and self.newest_ms >= self.proving_ends_ms:
            self._trip(self.closed_by)
        if self.state == "TRIPPED" and self.after_ms and not self.bypassed and not self.renewed:
            doubled = min(6, max((self.conditions[name].again for name in self.closed_by - self._gone()), default=0))
            cooled = self.now_ms >= self.closing_ms + self.after_ms * 2**doubled
            self.resets = cooled and not self._gone() and self._may_reset()

    def _may_reset(self) -> bool:
        """The three things that must be true first."""
        demanding = self.votes(bypassed=True)
        told = [self.conditions[name] for name in self.closed_by - self._gone()]
        news = all(one.news(self.closing_ms, self.now_ms) and (self.probes > 0 or not one.by_probes) for one in told)
        return len(demanding) < self.wanted and news and not self.closed_alone(bypassed=True)

    def _conclude(self) -> str:
        for one in self.conditions.values():
            one.held = one.held or one.says(self.now_ms)[0] == "holds"
        votes = self.votes()
        if self.state in ("ARMED", "PROVING") and self.trip_it(votes):
            self._trip(votes)
        if self.resets and not self.renewed:
            self.state, self.bypassed, self.proven = "PROVING" if self.probes else "ARMED", set(), set()
            self.proving_ends_ms, self.needed = self.newest_ms + self.deadline_ms, self.probes
            self.closed_by = self.closed_by if self.probes else set()
        if self.state == "PROVING" and self.closed_alone():
            self._trip(self.closed_by)
        mode = self._mode()
        for one in self.conditions.values():
            if isinstance(one, FailureRate):
                one.opened(mode in ("armed", "bypass"), self.state == "TRIPPED", self.now_ms)
        self.known = {name: one.causes(self.now_ms) for name, one in self.conditions.items()}
        self.stood = self.votes()
        self.tripped = self.renewed = self.resets = False
        return mode

    def _mode(self) -> str:
        covered = self.state == "TRIPPED" and bool(self.closed_by) and self.closed_by <= self.bypassed
        if self.state not in ("ARMED", "PROVING") and not covered:
            return ""
        if self.trip_it(self.votes()) or self.closed_alone():
            return ""
        return "proving" if self.state == "PROVING" else "bypass" if self.bypassed else "armed"

    # --- operators ---

    def edit(self, conditions: dict[str, Told], wanted: int, after_ms: int, probes: int, deadline_ms: int) -> str:
        """Take another policy: what it does not change is kept, the breaker stays as it was, a bypass ends."""
        before = self.conditions
        same = {name for name, one in conditions.items() if name in before and one.settings == before[name].settings}
        for name in conditions.keys() & before.keys() - same:
            if all(conditions[name].settings[key] == before[name].settings[key] for key in ("kind", "of")):
                conditions[name].inherit(before[name], self.now_ms)
                conditions[name].held = before[name].held and conditions[name].goes_on(before[name])
                conditions[name].tick(self.now_ms)
        self.conditions = {name: before[name] if name in same else one for name, one in conditions.items()}
        self.known = {name: self.known[name] if name in same else set() for name in conditions}
        self.wanted, self.after_ms, self.probes, self.deadline_ms = wanted, after_ms, probes, deadline_ms
        self.bypassed, self.renewed = set(), True
        return self._conclude()

    def order(self, kind: str, fresh: bool, names: set[str], until_ms: int) -> tuple[bool, str]:
        """Take an order about the epoch that is (`fresh`) or an older one; return whether it is taken, and the mode."""
        taken = bool(getattr(self, f"_{kind}")(names, until_ms)) if fresh or kind in ONLY_CLOSE else False
        return taken, self._conclude()

    def _lock(self, names: set[str], until_ms: int) -> bool:
        self.state, self.closing_ms, self.bypassed, self.renewed = "LOCKED", self.newest_ms, set(), True
        return True

    def _reset(self, names: set[str], until_ms: int) -> bool:
        closed = self.state in ("TRIPPED", "LOCKED")
        self.resets = closed and self.now_ms > self.closing_ms and self._may_reset()
        return self.resets

    def _unlock(self, names: set[str], until_ms: int) -> bool:
        return self.state == "LOCKED" and self._reset(names, until_ms)

    def _bypass(self, names: set[str], until_ms: int) -> bool:
        uncovered = self.state == "TRIPPED" and not (self.closed_by and self.closed_by <= names)
        unknown = names - self.conditions.keys()
        if self.state == "LOCKED" or uncovered or unknown or not self.newest_ms < until_ms <= self.newest_ms + DAY_MS:
            return False
        self.bypassed, self.bypass_ends_ms, self.renewed = set(names), until_ms, True
        return True

    def _end_bypass(self, names: set[str], until_ms: int) -> bool:
        taken = bool(self.bypassed)
        self.bypassed, self.renewed = set(), self.renewed or taken
        return taken

    def _accept(self, names: set[str], until_ms: int) -> bool:
        (name,) = names
        taken = name in self.conditions and self.conditions[name].accept()
        if taken and self.conditions[name].by_probes:
            self.closed_by -= {name}  # the operator's word stands in for executions
        return taken
