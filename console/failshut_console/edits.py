"""What a bundle of policies would change, gate by gate, and what that costs: which conditions must learn, and for how long.

Pure. It compares by meaning, as governors do: the same in other words changes nothing. What a condition needs is tried out:
its detector is fed until it is ready. How long that takes follows from how often its series is sent, if that is known.

Limits: a series that wanders, or that stops, takes longer. Who is judged by instance needs as much of each instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from failshut_breakers.conditions.memory import BLOCK
from failshut_breakers.policy.learn import learns_from_history
from failshut_breakers.policy.policy import (
    Anomaly,
    ConditionPolicy,
    Conformance,
    Drift,
    Entry,
    Heartbeat,
    Lag,
    Policy,
    read_bundle,
)
from failshut_breakers.policy.units import format_ms
from failshut_console.hazards import readings_to_learn
from failshut_console.monitor.observed_series import Observed, pace_of


class What(StrEnum):
    """What becomes of a gate, or of one of its conditions."""

    SAME = "unchanged"
    EDITED = "edited"
    NEW = "new"
    GONE = "gone"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class ConditionEdit:
    """What becomes of a condition. `readings` is what it must read before it holds; `closed_ms` how long, None if unknown."""

    name: str
    what: What
    readings: int = 0
    of: str = ""
    closed_ms: float | None = 0.0  # where it learns from news alone
    history: bool = False  # it learns from what Kafka holds as well

    @property
    def words(self) -> str:
        """Say it in words."""
        if self.what is What.GONE:
            return "gone: what it knew is forgotten; if it closed the gate, only an operator resets it"
        if self.what is What.SAME:
            return "unchanged: it keeps what it knows"
        if not self.readings:
            return f"{self.what}: it needs nothing new"
        long = "for nobody knows how long" if self.closed_ms is None else f"for about {_told(self.closed_ms)}"
        news = f"from news alone {long}" if self.history else long
        held = "which takes seconds where Kafka holds as many, and " if self.history else ""
        return f"{self.what}: it must read {self.readings} of {self.of}, {held}{news}"


@dataclass(frozen=True, slots=True)
class GateEdit:
    """What becomes of a gate. `in_force` says whether it has a policy now, so that it may be open."""

    gate: str
    file: str
    what: What
    in_force: bool
    conditions: tuple[ConditionEdit, ...] = ()
    why: str = ""
    in_shadow: bool = False  # it will withhold nothing by its own judgement
    loosened: bool = False  # and did so far

    @property
    def closed_ms(self) -> float | None:
        """For how long the gate closes: 0 not at all, None nobody knows, or until there is another policy."""
        if self.what in (What.GONE, What.BAD):
            return None
        if self.in_shadow:
            return 0
        known = [one.closed_ms for one in self.conditions]
        return None if None in known else max((one for one in known if one is not None), default=0.0)

    @property
    def closes(self) -> bool:
        """Whether a gate that has a policy now would close."""
        return self.in_force and self.closed_ms != 0

    @property
    def needs_consent(self) -> bool:
        """Whether it closes a gate that has a policy now, or lets through what its policy withheld."""
        return self.closes or self.loosened

    @property
    def words(self) -> str:
        """Say it in words."""
        closed = self.closed_ms
        match self.what:
            case What.SAME:
                return "unchanged: its epoch, its permit and what it has learnt stay"
            case What.GONE:
                return "no policy speaks of it any more: it closes"
            case What.BAD:
                return f"its policy cannot be used, so it closes: {self.why}"
        begins = "new: " if self.what is What.NEW else "edited, with a new epoch: "
        if self.in_shadow:
            return f"{begins}{'from then on' if self.loosened else 'in shadow,'} it withholds nothing by its own judgement"
        if closed == 0:
            return begins + "it is not closed by that"
        most = ", or less where Kafka holds what it must read" if any(one.history for one in self.conditions) else ""
        return begins + ("closed until it has learnt" if closed is None else f"closed for about {_told(closed)}") + most

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        conditions = [{**asdict(one), "words": one.words} for one in self.conditions]
        return {
            **asdict(self),
            "conditions": conditions,
            "closes": self.closes,
            "needs_consent": self.needs_consent,
            "closed_ms": self.closed_ms,
            "words": self.words,
        }


def edits(before: Mapping[str, Entry], files: Mapping[str, str], observed: Observed | None = None) -> list[GateEdit]:
    """Return what becomes of each gate if these files are put in force instead of what is now, by name."""
    after = read_bundle(0, files, before).entries
    return [
        _edit(gate, before.get(gate), after.get(gate), observed)
        for gate in sorted(before.keys() | after.keys())
        if gate in after or before[gate].policy is not None
    ]


def _edit(gate: str, old: Entry | None, new: Entry | None, observed: Observed | None) -> GateEdit:
    in_force = old is not None and old.policy is not None
    if new is None:
        return GateEdit(gate, old.file if old else "", What.GONE, in_force)
    if new.policy is None:
        return GateEdit(gate, new.file, What.BAD, in_force, why=new.fault)
    if new.says_the_same_as(old):
        return GateEdit(gate, new.file, What.SAME, in_force)
    was = old.policy if old is not None else None
    what = What.NEW if was is None else What.EDITED
    loosened = new.policy.in_shadow and was is not None and not was.in_shadow
    conditions = tuple(_conditions(was, new.policy, observed))
    return GateEdit(gate, new.file, what, in_force, conditions, in_shadow=new.policy.in_shadow, loosened=loosened)


def _conditions(was: Policy | None, will_be: Policy, observed: Observed | None) -> Iterator[ConditionEdit]:
    known = {one.name: one for one in was.conditions} if was is not None else {}
    for condition in will_be.conditions:
        before = known.pop(condition.name, None)
        if before == condition:
            yield ConditionEdit(condition.name, What.SAME)
            continue
        what = What.NEW if before is None else What.EDITED
        remembered = BLOCK if before is not None and _inherits(before, condition) else 0
        needs = _needs(condition, what, remembered, observed)
        yield replace(needs, history=bool(needs.readings) and learns_from_history(will_be, condition))
    for name in known:
        yield ConditionEdit(name, What.GONE)


def _inherits(before: ConditionPolicy, condition: ConditionPolicy) -> bool:
    """Return whether a condition takes over what its predecessor remembers: at least the readings of one block."""
    if type(before) is not type(condition):
        return False
    if isinstance(before, Drift | Anomaly | Conformance) and isinstance(condition, Drift | Anomaly | Conformance):
        return (before.all_series, before.by) == (condition.all_series, condition.by)
    return True


def _needs(condition: ConditionPolicy, what: What, remembered: int, observed: Observed | None) -> ConditionEdit:
    match condition:
        case Drift() | Anomaly() | Conformance():
            readings = max(0, readings_to_learn(condition) - remembered)
            of, names = condition.all_series[0], observed.series if observed else {}
        case Heartbeat():
            readings = 0 if remembered else condition.instances
            of = condition.source or condition.series or ""
            names = (observed.sources if condition.source else observed.series) if observed else {}
        case Lag():
            readings, of, names = (0 if remembered else 1), f"the lag of {condition.group}", {}
        case _:
            return ConditionEdit(condition.name, what)
    pace = pace_of(names[of]) if of in names else 0.0
    if isinstance(condition, Drift | Anomaly) and condition.every is not None:
        pace = float(condition.every)
    closed_ms = 0.0 if not readings else (pace * readings or None)
    return ConditionEdit(condition.name, what, readings, of, closed_ms)


def _told(length_ms: float) -> str:
    return format_ms(max(1, 100 * round(length_ms / 100) if length_ms > 1_000 else round(length_ms)))
