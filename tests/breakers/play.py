"""A gate in virtual time: producers that send at every step, guards that probe and execute, and for how long it was open.

`Play(policy).run(120, values("s/x", 48.0))` lets two minutes pass and counts open and closed time in them. `World` of log.py is
below it, so everything goes through router, evidence in its wire form, and governor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from log import START_MS, TELEMETRY, Entry, Router, World

from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.evidence.records import Reading, Samples

Item = tuple[Any, ...]
Producer = Callable[[float], Iterable[Item]]
STEP_MS = 500


class _Router(Router):
    """Samples may bear a time of their own, bounded by append time as a decoder bounds it."""

    def _readings(self, offset: int, index: int, entry: Entry, item: Item) -> list[tuple[str, Reading]]:
        if item[0] == "sample" and len(item) == 4:
            row = (offset, index, min(item[3], entry.append_ms), float(item[2]))
            return [(gate, Samples.of(item[1], [row])) for gate in self.routes.series.get(item[1], ())]
        return super()._readings(offset, index, entry, item)


class Play:
    """One gate, `g`. Probes succeed unless told otherwise: a service that answers, only wrongly, is the normal case."""

    def __init__(self, text: str, probes: bool | None = True, step_ms: int = STEP_MS) -> None:
        self.world = World()
        self.world.router = _Router(self.world.door, self.world.log)
        self.world.log.records[0].clear()
        self.world.governors, self.world.fed = [self.world.log.governor(0)], [0]
        self.world.flush()
        self.world.activate(text)
        self.probes, self.step_ms = probes, step_ms
        self.execute: Callable[[float], tuple[int, int]] = lambda t: (0, 0)  # (ok, failed) in each step while open
        self.open_ms = self.closed_ms = 0
        self._seen = 0

    @property
    def t(self) -> float:
        """Seconds since the beginning."""
        return (self.world.now_ms - START_MS) / 1000

    @property
    def is_open(self) -> bool:
        """Whether a guard with a good clock admits."""
        said = [one for one in self.world.said if one.kind is not Kind.NOTE]
        return bool(said) and self.world.is_open()

    def run(self, seconds: float, *producers: Producer) -> Play:
        """Let time pass; what was counted of open and closed time before is forgotten."""
        self.open_ms = self.closed_ms = 0
        world = self.world
        for _ in range(round(seconds * 1000 / self.step_ms)):
            items = [item for producer in producers for item in producer(self.t)]
            if items:
                world.door.append(TELEMETRY, world.now_ms, *items)
            self._guards()
            world.mark(self.step_ms)
            self.open_ms += self.step_ms * self.is_open
            self.closed_ms += self.step_ms * (not self.is_open)
        return self

    def _guards(self) -> None:
        world, fresh = self.world, self.world.said[self._seen :]
        self._seen = len(world.said)
        for decision in fresh:
            for number in range(decision.tokens if self.probes is not None else 0):
                token = f"{decision.epoch}:{number}"
                world.door.append(TELEMETRY, world.now_ms, ("outcome", "g", 0, token, self.probes, 1))
        if self.is_open and world.last().mode != "proving":
            for ok, count in zip((True, False), self.execute(self.t), strict=True):
                if count:
                    world.door.append(TELEMETRY, world.now_ms, ("outcome", "g", 0, "", ok, count))

    def order(self, kind: str, **claims: Any) -> list[Decision]:
        """An operator's command, for the gate's present epoch."""
        if kind not in ("lock", "end_bypass"):
            claims = {"epoch": int(self.world.last().epoch)} | claims
        if kind == "bypass":
            claims = {"until_ms": self.world.now_ms + 600_000} | claims
        return self.world.command(kind, **claims)

    @property
    def open_share(self) -> float:
        """The share of the last run for which the gate was open."""
        return self.open_ms / (self.open_ms + self.closed_ms)

    @property
    def statuses(self) -> dict[str, str]:
        """What each condition says now."""
        return {one.name: one.status.value for one in self.world.gate().conditions}


def values(series: str, mean: float, deviation: float = 8.0, count: int = 8, seed: int = 1) -> Producer:
    """So many normal values at each step."""
    rng = random.Random(seed)
    return lambda t: [("sample", series, rng.gauss(mean, deviation)) for _ in range(count)]


def once_in(seconds: float, mean: float, series: str = "s/x", seed: int = 1) -> Producer:
    """One value in so many seconds."""
    rng, last = random.Random(seed), [-1]

    def produce(t: float) -> list[Item]:
        if int(t // seconds) == last[0]:
            return []
        last[0] = int(t // seconds)
        return [("sample", series, rng.gauss(mean, 8.0))]

    return produce


def share(bad: float, series: str = "s/x", count: int = 8, seed: int = 3) -> Producer:
    """Values of which such a share is far too large."""
    rng = random.Random(seed)
    return lambda t: [("sample", series, 900.0 if rng.random() < bad else 48.0) for _ in range(count)]


def beats(source: str = "a", *instances: str) -> Producer:
    """A heartbeat at every step."""
    return lambda t: [("beat", source, None, *((one,) if one else ())) for one in instances or ("",)]


def lags(committed: Callable[[float], int], end: Callable[[float], int]) -> Producer:
    """A sample of the offsets of w on r at every step."""
    return lambda t: [("lag", "w", "r", {0: (committed(t), end(t))})]
