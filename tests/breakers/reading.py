"""docs/policy.md, read a second time: a slow, plain evaluator, written from the page and sharing no code with the project.

It keeps what it was told and decides anew at each mark. Of conditions it knows rules with a limit and heartbeats: what
detectors hear cannot be said in a few lines, and is shown by tests of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

LIMIT = 100.0


@dataclass
class Told:
    """One condition and all its evidence: (own time, value or None where it could not be read)."""

    kind: str
    settings: dict[str, Any]
    read: list[tuple[int, float | None]] = field(default_factory=list)
    beats: dict[str, int] = field(default_factory=dict)
    since_ms: int = 0  # of the demand that stands
    held: bool = False
    judged: list[int] = field(default_factory=list)  # own times of the readings that counted
    newest_ms: int = 0
    intervals: list[int] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    paced: tuple[int, int] = (0, 0)  # of so many intervals, their median
    began: bool = False  # a demand began at a reading since the last mark
    beaten: bool = False

    def stale_ms(self) -> int:
        """How old the newest reading may be."""
        if "stale_ms" in self.settings:
            return int(self.settings["stale_ms"])
        if not self.intervals:
            return 60_000
        if self.paced[0] != len(self.intervals):
            self.paced = len(self.intervals), int(median(self.intervals[-64:]))
        pace = self.paced[1]
        return min(max(10 * pace, 30_000), min(max(3_600_000, 3 * pace), 86_400_000))

    def take(self, time_ms: int, value: float | None, evidence_ms: int, newest_ms: int) -> None:
        """Take one reading, `newest_ms` being the newest mark."""
        known = "stale_ms" in self.settings or bool(self.intervals)
        too_old = value is not None and known and time_ms < evidence_ms - self.stale_ms()
        if value is not None:
            if self.newest_ms and time_ms > self.newest_ms:
                self.intervals.append(time_ms - self.newest_ms)
            self.newest_ms = max(self.newest_ms, time_ms)
        if too_old:
            return
        unreadable = self.unreadable()
        self.read.append((time_ms, value))
        self.began = self.began or (self.unreadable() and not unreadable)
        if value is not None:
            self.judged.append(time_ms)
        if self.kind == "conformance":
            self._event(time_ms, 1.0 if value is not None and value <= LIMIT else 0.0, newest_ms)

    def _event(self, time_ms: int, conforms: float, newest_ms: int) -> None:
        self.window = [*self.window, conforms][-self.settings["window"] :]
        allowed = self.settings["over"] * self.settings["window"]
        if "at_once" in self.settings:
            allowed = min(allowed, self.settings["at_once"] - 1)
        size = min(60, self.settings["window"])
        if self.since_ms:
            if time_ms > self.since_ms:
                self.after = [*self.after, conforms][-size:]
                if len(self.after) == size and self.after.count(0.0) <= allowed * size / self.settings["window"]:
                    self.since_ms, self.window, self.after = 0, self.after, []
        elif self.window.count(0.0) > allowed:
            self.since_ms, self.began = max(1, newest_ms), True

    def unreadable(self) -> bool:
        """Ten in a row, or more than half of the last forty."""
        last = [value is None for _, value in self.read[-40:]]
        return last[-10:] == [True] * 10 or sum(last) > 20

    def says(self, evidence_ms: int) -> tuple[str, bool]:
        """holds, demands or insufficient; and whether it demands for want of evidence."""
        if self.kind == "heartbeat":
            ages = sorted(evidence_ms - last for last in self.beats.values())
            if len(ages) < self.settings["instances"]:
                return "insufficient", False
            missing = ages[self.settings["instances"] - 1] > self.settings["grace_ms"]
            return ("demands", True) if missing else ("holds", False)
        old = bool(self.newest_ms) and evidence_ms - self.newest_ms > self.stale_ms()
        if self.unreadable():
            return "demands", True
        if self.since_ms:
            return "demands", old
        if old or len(self.window) < self.settings["window"]:
            return "insufficient", False
        return "holds", False

    def news(self, since_ms: int) -> bool:
        """Whether it has judged enough from after a closing."""
        if self.kind == "heartbeat":
            return sum(last > since_ms for last in self.beats.values()) >= self.settings["instances"]
        return sum(time_ms > since_ms for time_ms in self.judged[-10:]) == 10


@dataclass
class Reader:
    """A gate: conditions by name, how many votes trip, and after how long it resets itself (0: an operator). No probes."""

    conditions: dict[str, Told]
    wanted: int
    after_ms: int
    demanded: set[str] = field(default_factory=set)  # at the last mark
    voted: set[str] = field(default_factory=set)
    tripped_ms: int = 0  # the newest mark at the closing; 0 while armed
    closed_by: set[str] = field(default_factory=set)

    def interlocks(self, name: str, evidence_ms: int) -> bool:
        """Whether a condition closes the gate by itself."""
        one = self.conditions[name]
        status, absent = one.says(evidence_ms)
        lapses = one.settings["action"] == "lapse"
        return status == "insufficient" or (status == "demands" and (absent or lapses or not one.held))

    def votes(self, evidence_ms: int) -> set[str]:
        """Whose demands count."""
        return {
            name
            for name, one in self.conditions.items()
            if one.settings["action"] == "trip"
            and one.says(evidence_ms)[0] == "demands"
            and (self.wanted == 1 or not self.interlocks(name, evidence_ms))
        }

    def counted(self, names: set[str], evidence_ms: int) -> set[str]:
        """Those of them whose demand is a vote, whether it still stands or not."""
        return {
            name
            for name in names
            if self.conditions[name].settings["action"] == "trip"
            and (self.wanted == 1 or not self.interlocks(name, evidence_ms))
        }

    def mark(self, evidence_ms: int, newest_ms: int) -> bool:
        """Return whether the gate is open after a mark of every partition."""
        votes = self.votes(evidence_ms)
        demanded = len(votes) >= self.wanted
        demanding = {name for name, one in self.conditions.items() if one.says(evidence_ms)[0] == "demands"}
        for name in demanding - self.demanded:  # an old beat is a reading
            one = self.conditions[name]
            one.began = one.began or (one.beaten and one.settings["instances"] == 1)
        # At a reading it meets those that stood before the record; at the mark those that stand then.
        at_readings = self.counted({name for name, one in self.conditions.items() if one.began}, evidence_ms)
        at_mark = self.counted({name for name in demanding - self.demanded if not self.conditions[name].began}, evidence_ms)
        met: set[str] = set()
        for begun, standing in ((at_readings, self.voted), (at_mark, votes)):
            if begun and len(begun | standing) >= self.wanted:
                met |= begun | standing
        self.demanded, self.voted = demanding, votes
        lacks = any(self.interlocks(name, evidence_ms) for name in self.conditions)
        cooled = self.after_ms and evidence_ms >= self.tripped_ms + self.after_ms
        news = all(self.conditions[name].news(self.tripped_ms) for name in self.closed_by)
        if met:
            self.tripped_ms, self.closed_by = newest_ms, met
        elif self.tripped_ms:
            if cooled and not demanded and not lacks and news:
                self.tripped_ms, self.closed_by = 0, set()
        elif demanded:
            self.tripped_ms, self.closed_by = newest_ms, votes
        for one in self.conditions.values():
            one.began = one.beaten = False
            one.held = one.held or one.says(evidence_ms)[0] == "holds"
        return not self.tripped_ms and not lacks
