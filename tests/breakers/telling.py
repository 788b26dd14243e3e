"""Policies and stories, drawn at random and told twice: to a governor's gate, and to the second reader of docs/policy.md.

A story is a stream of evidence with faults, orders and probes in it. Everything follows from its seed. Where the page leaves
to a detector what only a detector can say, streams are such that nobody can argue: what is normal lies close together, and what
is not lies far away from it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from log import INSTALLATION, START_MS, policy
from reading import ONLY_CLOSE, Event, Reader
from reading_kinds import Drift, FailureRate, Heartbeat, Lag, Rule, Told, Unreadable

from failshut_breakers.conditions import Moment
from failshut_breakers.evidence.records import (
    Beats,
    Commanded,
    FaultRow,
    Faults,
    LagRow,
    Lags,
    Offsets,
    OutcomeRow,
    Outcomes,
    Place,
    Reading,
    Samples,
    Sent,
)
from failshut_breakers.evidence.records import Unreadable as UnreadableReading
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Record, Step
from failshut_breakers.gate.turn import Turn
from failshut_breakers.policy.policy import Entry, Policy, parse_policy
from failshut_breakers.policy.units import format_ms
from failshut_detectors.contract import Alarm, Detector, Kind

LIMIT = 100.0
ALLOWED = 10
MODES = ("good", "good", "good", "good", "bad", "some", "silent", "unreadable", "half", "old", "slow")
KINDS = ("rule", "rule", "drift", "drift", "beats", "values", "lag", "failures", "unreadable")
ORDERS = {
    "ARMED": ("bypass", "bypass", "end_bypass", "lock", "accept"),
    "PROVING": ("bypass", "end_bypass", "lock", "reset"),
    "TRIPPED": ("reset", "reset", "bypass", "end_bypass", "accept", "accept", "lock", "unlock"),
    "LOCKED": ("reset", "unlock", "unlock", "bypass", "end_bypass"),
}


class Level(Detector):
    """A detector that anybody can read: it takes the mean of its first eight values for normal, and hears what is far away."""

    name, kind = "level", Kind.DRIFT

    def __init__(self) -> None:
        self.first: list[float] = []

    @property
    def ready(self) -> bool:
        return len(self.first) == 8

    def summary(self) -> str:
        return f"{len(self.first)} seen"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            if not self.ready:
                self.first.append(value)
            elif abs(value - fmean(self.first)) > LIMIT:
                alarms.append(Alarm(index, f"{value:.0f}"))
        return alarms


class Drawn(NamedTuple):
    """A policy, and what the other reader is told of it."""

    text: str
    policy: Policy
    settings: dict[str, dict[str, Any]]
    gate: dict[str, int]
    texts: dict[str, str]  # by condition

    def edited(self, rng: random.Random) -> Drawn:
        """Return a policy with some of its conditions, some of them with other settings, and other settings of the gate."""
        names = sorted(self.texts)
        stay = rng.sample(names, rng.randint(1, len(names))) if rng.random() < 0.5 else names
        settings, texts = {name: self.settings[name] for name in names if name in stay}, dict(self.texts)
        for name in settings if rng.random() < 0.5 else ():
            if rng.random() < 0.5:
                settings[name], texts[name] = _changed(rng, name, settings[name])
        return _whole(rng, settings, texts)

    def told(self) -> dict[str, Told]:
        made: dict[str, Told] = {}
        for name, own in self.settings.items():
            of = {"rule": Rule, "beats": Heartbeat, "values": Heartbeat, "lag": Lag, "failures": FailureRate}
            kind = own["kind"]
            made[name] = Drift(own, Level) if kind == "drift" else of.get(kind, Unreadable)(own)
        return made


def drawn(rng: random.Random) -> Drawn:
    """Draw a policy."""
    settings: dict[str, dict[str, Any]] = {}
    texts: dict[str, str] = {}
    chosen = rng.sample(KINDS, rng.choice((1, 2, 2, 3, 3, 4, 5)))
    for number, kind in enumerate(chosen):
        again = chosen[:number].count(kind)
        if again and kind not in ("rule", "drift"):
            continue
        name = f"c{number}"
        settings[name], texts[name] = _condition(rng, name, kind, "xyzw"[again + 2 * (kind == "drift")])
    return _whole(rng, settings, texts)


def _condition(rng: random.Random, name: str, kind: str, series: str) -> tuple[dict[str, Any], str]:
    """Draw the settings of a condition; return them for the other reader, and as a policy says them."""
    own: dict[str, Any] = {"kind": kind, "action": rng.choice(("trip", "trip", "trip", "lapse"))}
    text = _DRAW[kind](rng, own, series)
    return own, f"{text}, name: {name}, action: {own['action']}}}"


def _changed(rng: random.Random, name: str, own: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Draw other settings for a condition that keeps its name and what it watches."""
    return _condition(rng, name, own["kind"], own["of"][-1])


def _whole(rng: random.Random, settings: dict[str, dict[str, Any]], texts: dict[str, str]) -> Drawn:
    """Draw the settings of a gate with these conditions."""
    tripping = sum(one["action"] == "trip" for one in settings.values())
    wanted = rng.choice((1, rng.randint(1, tripping))) if tripping else 1
    gate = {"wanted": wanted, "after_ms": rng.choice((0, 1_000, 5_000)), "probes": rng.choice((0, 0, 2))}
    gate["deadline_ms"] = rng.choice((2_000, 60_000))
    after = f"after: {format_ms(gate['after_ms'])}, " if gate["after_ms"] else ""
    more = {"reset": f"{{{after}probes: {gate['probes']}, deadline: {format_ms(gate['deadline_ms'])}}}"}
    if tripping:
        more["trip_on"] = f"'{wanted} of {tripping}'"
    whole = policy(*(texts[name] for name in settings), **more)
    return Drawn(whole, parse_policy(whole), settings, gate, texts)


def _said(own: dict[str, Any], **settings: Any) -> str:
    """Keep settings for the other reader; return them as a policy says them."""
    own |= settings
    words = []
    for key, value in settings.items():
        words.append(f"{key[:-3]}: {format_ms(value)}" if key.endswith("_ms") else f"{key}: {value}")
    return ", ".join(words)


def _stale(rng: random.Random) -> dict[str, int]:
    return {"stale_ms": rng.choice((1_000, 5_000, 20_000))} if rng.random() < 0.3 else {}


def _rule(rng: random.Random, own: dict[str, Any], series: str) -> str:
    at_once = {"at_once": rng.randint(1, 3)} if rng.random() < 0.2 else {}
    said = _said(own, window=rng.randint(2, 10), over=rng.choice((0.05, 0.05, 0.3, 0.5)), **at_once, **_stale(rng))
    own |= {"of": f"s/{series}", "limit": LIMIT}
    return f'conformance: {{series: s/{series}, rule: "value <= {LIMIT:.0f}", confidence: 1e-9, {said}'


def _drift(rng: random.Random, own: dict[str, Any], series: str) -> str:
    said = _said(own, **_stale(rng))
    own["of"] = f"s/{series}"
    if rng.random() < 0.3:
        own["adopt_ms"] = rng.choice((3_000, 10_000))
        said += f"{', ' if said else ''}adopt: after {format_ms(own['adopt_ms'])}"
    return f"drift: {{series: s/{series}, detector: level{', ' if said else ''}{said}"


def _beats(rng: random.Random, own: dict[str, Any], series: str) -> str:
    own["of"] = "a"
    said = _said(own, instances=rng.choice((1, 1, 2)), grace_ms=rng.choice((1_000, 3_000)))
    return f"heartbeat: {{source: a, every: 100ms, {said}"


def _values(rng: random.Random, own: dict[str, Any], series: str) -> str:
    own |= {"of": "s/x", "instances": 1}
    return f"heartbeat: {{series: s/x, every: 100ms, {_said(own, grace_ms=rng.choice((1_000, 3_000)))}"


def _lag(rng: random.Random, own: dict[str, Any], series: str) -> str:
    own["of"] = "w"
    said = _said(own, allowed=ALLOWED, behind_ms=rng.choice((1_000, 5_000)), stale_ms=rng.choice((2_000, 10_000)))
    return f"lag: {{group: w, topic: r, {said}"


def _failures(rng: random.Random, own: dict[str, Any], series: str) -> str:
    own["of"] = "executions"
    said = _said(own, window_ms=rng.choice((3_000, 10_000)), at_least=rng.choice((2, 4, 8)), over=rng.choice((0.0, 0.3, 0.5)))
    said += ", " + _said(own, interrupted=rng.choice(("failed", "ignored")), lost=rng.choice(("failed", "ignored")))
    said += ", " + _said(own, quiet=rng.choice(("holds", "holds", "holds", "closes")))
    if rng.random() < 0.3:
        said += ", " + _said(own, lost_at_most=rng.randint(0, 3))
    return f"failure_rate: {{{said}"


def _unreadable(rng: random.Random, own: dict[str, Any], series: str) -> str:
    own["of"] = "unreadable"
    return f"unreadable: {{{_said(own, at_least=rng.randint(1, 4), window_ms=rng.choice((1_000, 10_000)))}"


_DRAW = {
    "rule": _rule,
    "drift": _drift,
    "beats": _beats,
    "values": _values,
    "lag": _lag,
    "failures": _failures,
    "unreadable": _unreadable,
}


class Story:
    """One stream of evidence, told to both. `step` and `order` return what each makes of it: mode, breaker, order taken."""

    def __init__(self, rng: random.Random, of: Drawn) -> None:
        self.rng, self.now_ms, self.evidence_ms, self.offset = rng, START_MS, START_MS, 0
        self.first, self.last, self.edits = of, of, 0
        self.reader, self.gate = Reader(of.told(), **of.gate), Gate("g")
        self._activate(of, Turn())
        sources = {own["of"] for own in of.settings.values()}
        self.modes = dict.fromkeys(sorted(sources | {"executions"}), "good")
        self.drifts = self._drifts()
        self.lag = {0: [100, 100], 1: [100, 100]}  # committed, end
        self.tokens: list[str] = []
        self.turns = 0  # every other normal value is above the mean

    # --- both are told ---

    def step(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Let something happen up to the next mark."""
        rng = self.rng
        for name in self.modes:
            if rng.random() < 0.15:
                self.modes[name] = rng.choice(MODES)
        sent_ms, self.now_ms = self.now_ms, self.now_ms + rng.choice((200, 200, 1_000, 1_000, 4_000))
        self.evidence_ms = self.evidence_ms if rng.random() < 0.05 else self.now_ms
        self.readings: list[Reading] = []
        self.events: list[Event] = []
        for name, mode in self.modes.items():
            tell = {"a": self._tell_beats, "w": self._tell_lag, "executions": self._tell_outcomes}
            teller = tell.get(name, self._tell_unreadable if name == "unreadable" else self._tell_values)
            teller(name, mode, sent_ms - (rng.choice((2_000, 60_000)) if mode == "old" else 0))
        step = self._step()
        step.read(self.readings, 0)
        step.tick(Place("telemetry", 0, self.offset, 0))
        self._conclude(step)
        return self._shown(), (self.reader.mark(self.events, self.evidence_ms, self.now_ms), self.reader.state, "")

    def edit(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Let an operator activate another policy, or return None where it says the same."""
        of = self.first.edited(self.rng)
        if of.policy == self.last.policy:
            return None
        step, self.last = self._step(), of
        self._activate(of, step.turn)
        self._conclude(step)
        mode = self.reader.edit(of.told(), **of.gate)
        self.drifts = self._drifts()
        return self._shown("edit"), (mode, self.reader.state, "edit")

    def _activate(self, of: Drawn, turn: Turn) -> None:
        entry = Entry("g", "p.yaml", f"sha256:{self.edits}", of.policy, "")
        self.gate.activate(entry, self.edits, Place("control", 0, self.edits, 0), "operator", turn)
        self.edits += 1

    def _drifts(self) -> dict[str, Drift]:
        return {one.settings["of"]: one for one in self.reader.conditions.values() if isinstance(one, Drift)}

    def order(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Let an operator order something, or return None."""
        rng, reader = self.rng, self.reader
        kind = rng.choice(ORDERS[reader.state])
        names = sorted(reader.conditions)
        chosen = {rng.choice(names)} if kind == "accept" else {name for name in names if rng.random() < 0.6} or {names[0]}
        if kind == "bypass" and rng.random() < 0.5:
            chosen |= reader.closed_by
        if kind == "accept" and reader.closed_by and rng.random() < 0.7:
            chosen = {rng.choice(sorted(reader.closed_by))}
        if kind == "accept" and not all(self._may_accept(reader.conditions.get(name)) for name in chosen):
            return None
        fresh, until_ms = rng.random() < 0.9, self.now_ms + rng.choice((-1, 1_000, 5_000, 20_000, 90_000_000))
        claims: dict[str, Any] = {"kind": kind, "gate": "g", "by": "eve", "why": "so", "installation": INSTALLATION}
        claims |= {"id": f"o{self.offset}", "signed_ms": self.now_ms}
        if kind not in ONLY_CLOSE:
            claims["epoch"] = self.gate.epoch - (not fresh)
        if kind == "bypass":
            claims |= {"conditions": sorted(chosen), "until_ms": until_ms}
        if kind == "accept":
            claims["condition"] = min(chosen)
        step = self._step()
        step.obey([Commanded(self.offset, self.now_ms, json.dumps(claims), "key")], 0)
        refused = any("refused" in note.words for note in step.turn.notes)
        self._conclude(step)
        taken, mode = reader.order(kind, fresh, chosen, until_ms)
        return self._shown(kind * (not refused)), (mode, reader.state, kind * taken)

    def _step(self) -> Step:
        record = Record(INSTALLATION, 1, 0, self.offset, "telemetry", 0)
        return Step(self.gate, Turn(), record, Moment(self.evidence_ms, self.now_ms))

    def _conclude(self, step: Step) -> None:
        self.offset += 1
        for decision in step.conclude():
            if decision.tokens:
                self.tokens = [f"{decision.probe_epoch}:{number}" for number in range(decision.tokens)]

    def _shown(self, taken: str = "") -> tuple[str, ...]:
        return self.gate.shown.mode, self.gate.breaker.state.value, taken

    @staticmethod
    def _may_accept(told: Told | None) -> bool:
        """Whether nobody could argue about what is normal from then on."""
        return not isinstance(told, Drift) or len({value > LIMIT for value in told.after}) == 1

    # --- what happens ---

    def _event(self, of: str, time_ms: int, what: Any, probe: str = "") -> tuple[int, int, int]:
        """Tell the other reader; return the place and time of a row."""
        self.events.append(Event(of, time_ms, what, probe))
        return self.offset, len(self.events), time_ms

    def _tell_beats(self, name: str, mode: str, time_ms: int) -> None:
        for instance in {"silent": [], "half": ["i1"], "bad": [], "unreadable": []}.get(mode, ["i1", "i2"]):
            self.readings.append(Beats("a", [self._event("a", time_ms, instance)], instance))

    def _tell_values(self, name: str, mode: str, time_ms: int) -> None:
        rng = self.rng
        if mode == "silent" or (mode == "slow" and rng.random() < 0.9):
            return
        drift = self.drifts.get(name)
        rows: list[tuple[int, int, int, float]] = []
        for _ in range(rng.choice((1, 3, 6, 12))):
            if mode == "unreadable" or (mode == "half" and drift is None and rng.random() < 0.6):
                self._flush(name, rows)
                self.readings.append(Faults(name, [FaultRow(*self._event(name, time_ms, None), "nan")]))
                continue
            bad = mode == "bad" or (mode == "some" and rng.random() < 0.2)
            value = (LIMIT + 1 if bad else 1.0) if drift is None else self._value_of(drift, mode, bad)
            rows.append((*self._event(name, time_ms, value), value))
        self._flush(name, rows)

    def _flush(self, name: str, rows: list[tuple[int, int, int, float]]) -> None:
        if rows:
            self.readings.append(Samples.of(name, rows))
            rows.clear()

    def _value_of(self, drift: Drift, mode: str, bad: bool) -> float:
        """A value about 10, or about 1,000; one side alone where a level is learnt or adopted."""
        self.turns += 1
        side = 1 if self.turns % 2 else -1
        if not drift.detector.ready:
            bad = any(value > LIMIT for value in [*drift.fed, *drift.after])
        elif drift.since_ms and "adopt_ms" in drift.settings:
            bad = drift.after[-1] > LIMIT if drift.after else mode == "bad"
        elif drift.since_ms and mode == "half":
            return fmean(drift.fed) + 45 * pstdev(drift.fed)  # no alarm, and not back either
        return 1_000.0 + 5 * side if bad else 10.0 + side

    def _tell_lag(self, name: str, mode: str, time_ms: int) -> None:
        rng = self.rng
        for at in self.lag.values():
            at[1] += rng.choice((40, 40, 1)) if mode == "bad" else 3
            if mode == "some":
                at[0] = min(at[1], at[0] + rng.choice((20, 20, 20, -10)))
            elif mode != "bad":
                at[0] = at[1] - rng.randint(0, ALLOWED)
        if mode == "silent" or (mode == "slow" and rng.random() < 0.5):
            return
        told = {0: (self.lag[0][0], self.lag[0][1]), 1: (self.lag[1][0], self.lag[1][1])}
        if mode == "slow":
            told = {}
        if mode == "half":
            del told[1]
        if mode == "unreadable":
            told[0] = -1, told[0][1]
        row = self._event("w", time_ms, told)
        offsets = {number: Offsets(*at) for number, at in told.items()}
        self.readings.append(Lags("w", "r", [LagRow(*row, offsets, "", "" if told else "no such topic")]))

    def _tell_outcomes(self, name: str, mode: str, time_ms: int) -> None:
        rng, shown = self.rng, self.gate.shown.mode
        if shown == "proving":
            tokens = ["1:0", *self.tokens] if rng.random() < 0.2 else self.tokens
            for token in tokens if mode not in ("silent", "slow") else ():
                self._tell_outcome(self._outcome(mode), time_ms, token)
        elif shown and mode != "silent":
            for _ in range(rng.randint(0, 1 if mode == "slow" else 5)):
                self._tell_outcome(self._outcome(mode), time_ms)

    def _outcome(self, mode: str) -> str:
        rng = self.rng
        if mode == "bad" or (mode == "some" and rng.random() < 0.3):
            return "failed"
        if mode == "half" and rng.random() < 0.6:
            return rng.choice(("interrupted", "cancelled"))
        return "lost" if mode == "unreadable" and rng.random() < 0.6 else "ok"

    def _tell_outcome(self, outcome: str, time_ms: int, token: str = "") -> None:
        row = self._event("executions", time_ms, outcome, token if token in self.tokens and outcome != "lost" else "")
        if outcome == "lost":
            self.readings.append(Sent([(*row, "", 0, 0, 1)]))
        else:
            self.readings.append(Outcomes([OutcomeRow(*row, 0, token, outcome, 1)]))

    def _tell_unreadable(self, name: str, mode: str, time_ms: int) -> None:
        for _ in range({"bad": 3, "some": 1, "old": 1}.get(mode, 0)):
            self.readings.append(UnreadableReading([FaultRow(*self._event("unreadable", time_ms, None), "no json")]))
