"""Conditions, read a second time from docs/policy.md: what each says, until when, and what is news for a reset.

Nothing is shared with the project but detectors, which the page takes as they are: they are fed, and raise an alarm.
Each keeps what it was told, oldest first, and answers `says` anew. Where a time is asked for, it is evidence time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import ceil, log
from statistics import fmean, median, pstdev
from typing import Any

Said = tuple[str, bool]
"""holds, demands or insufficient; and whether it demands for want of evidence."""
HOLDS, INSUFFICIENT = ("holds", False), ("insufficient", False)


class Told:
    """One condition."""

    by_probes = False  # only probes, or an operator's word, are news
    at_marks = False  # its demand begins at a mark, never at a piece of evidence

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings  # `of` is what it watches
        self.trips = settings["action"] == "trip"
        self.held = False
        self.again = 0  # how often executions failed again before enough of them showed better

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        """Take a piece of evidence with its own time; `now_ms` is evidence time and `newest_ms` the newest mark."""
        raise NotImplementedError

    def says(self, now_ms: int) -> Said:
        raise NotImplementedError

    def causes(self, now_ms: int) -> set[str]:
        """Why it demands: a demand begins with each."""
        return {"it"} if self.says(now_ms)[0] == "demands" else set()

    def tick(self, now_ms: int) -> None:
        """Evidence time has come to this."""

    def news(self, closing_ms: int, now_ms: int) -> bool:
        """Whether enough was judged whose own time is after the closing."""
        return now_ms > closing_ms

    def accept(self) -> bool:
        """Take what is read now for normal; whether there was anything to accept."""
        return False

    def inherit(self, before: Any, now_ms: int) -> None:
        """Go on from a condition of the same kind and name, which watched the same under other settings."""

    def goes_on(self, before: Any) -> bool:
        """Whether what it inherited is evidence to it."""
        return True

    def alone(self, now_ms: int) -> bool:
        """Whether it closes the gate by itself."""
        status, absent = self.says(now_ms)
        return status == "insufficient" or (status == "demands" and (absent or not self.trips or not self.held))


class Series(Told):
    """What drift and conformance share: readings with a time of their own, some of which nobody can read."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.read: list[bool] = []  # whether each could be read
        self.judged: list[int] = []  # own times of those that were judged
        self.intervals: list[int] = []
        self.newest_ms = 0
        self.since_ms = 0  # the newest mark when its demand began; 0 while none stands
        self.news_of = 0  # readings that are news

    def stale_ms(self) -> int:
        if "stale_ms" in self.settings:
            return int(self.settings["stale_ms"])
        if not self.intervals:
            return 60_000
        pace = int(median(self.intervals[-64:]))
        return min(max(10 * pace, 30_000), min(max(3_600_000, 3 * pace), 86_400_000))

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        value: float | None = what
        if value is not None:
            known = "stale_ms" in self.settings or len(self.intervals) > 0
            late = known and time_ms < now_ms - self.stale_ms()
            if self.newest_ms and time_ms > self.newest_ms:
                self.intervals.append(time_ms - self.newest_ms)
            self.newest_ms = max(self.newest_ms, time_ms)
            if late:
                return
            self.judged.append(time_ms)
        self.read.append(value is not None)
        self.judge(time_ms, value, now_ms, newest_ms)

    def judge(self, time_ms: int, value: float | None, now_ms: int, newest_ms: int) -> None:
        raise NotImplementedError

    def enough(self) -> bool:
        raise NotImplementedError

    def causes(self, now_ms: int) -> set[str]:
        found = {"unreadable": self.unreadable(), "change": self.since_ms > 0}
        return {cause for cause, there in found.items() if there}

    def unreadable(self) -> bool:
        """Ten in a row, or more than half of the last forty."""
        return (len(self.read) >= 10 and not any(self.read[-10:])) or self.read[-40:].count(False) > 20

    def says(self, now_ms: int) -> Said:
        old = bool(self.newest_ms) and now_ms - self.newest_ms > self.stale_ms()
        if self.unreadable():
            return "demands", True
        if self.since_ms:
            return "demands", old
        return INSUFFICIENT if old or not self.enough() else HOLDS

    def inherit(self, before: Any, now_ms: int) -> None:
        self.read, self.intervals = before.read, before.intervals
        self.newest_ms, self.since_ms = before.newest_ms, before.since_ms

    def news(self, closing_ms: int, now_ms: int) -> bool:
        last = self.judged[-self.news_of :]
        return len(last) == self.news_of and min(last) > closing_ms


class Rule(Series):
    """`conformance` with a limit on the value; its detector is set so that it notices nothing."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.events: list[bool] = []
        self.after: list[bool] = []
        self.size = min(60, settings["window"])
        self.news_of = max(10, self.size)
        self.count = 0
        self.allowed = min(settings["over"] * settings["window"], settings.get("at_once", 1e9) - 1)

    def enough(self) -> bool:
        return self.count >= self.settings["window"]

    def inherit(self, before: Any, now_ms: int) -> None:
        super().inherit(before, now_ms)
        self.count = before.count
        self.events = before.events[-self.settings["window"] :]

    def judge(self, time_ms: int, value: float | None, now_ms: int, newest_ms: int) -> None:
        conforms = value is not None and value <= self.settings["limit"]
        self.events = [*self.events, conforms][-self.settings["window"] :]
        self.count += 1
        if not self.since_ms:
            if self.events.count(False) > self.allowed:
                self.since_ms = newest_ms
        elif time_ms > self.since_ms:
            self.after = [*self.after, conforms][-self.size :]
            if len(self.after) == self.size and self.after.count(False) <= self.allowed * self.size / self.settings["window"]:
                self.since_ms, self.events, self.after = 0, self.after, []


class Drift(Series):
    """`drift`: a detector, which is fed what is normal and raises an alarm at what is not."""

    def __init__(self, settings: dict[str, Any], detector: Callable[[], Any]) -> None:
        super().__init__(settings)
        self.make, self.detector, self.fed = detector, detector(), []
        self.after: list[float] = []
        self.began_ms = self.change = 0.0
        self.news_of = 20

    def enough(self) -> bool:
        return bool(self.detector.ready)

    def inherit(self, before: Any, now_ms: int) -> None:
        super().inherit(before, now_ms)
        self.detector, self.fed, self.after = before.detector, before.fed, before.after
        self.began_ms, self.change = before.began_ms, before.change

    def judge(self, time_ms: int, value: float | None, now_ms: int, newest_ms: int) -> None:
        if value is None:
            return
        if not self.since_ms:
            self.fed.append(value)
            if self.detector.feed([value]):
                # Streams are such that the change begins at the reading which raises the alarm: nobody can argue about it.
                self.fed.pop()
                self.since_ms, self.began_ms, self.after = newest_ms, now_ms, []
                self.change = abs(value - fmean(self.fed))
                self._restore([])
        elif time_ms > self.since_ms:
            self.after.append(value)
            window = self.after[-20:]
            if len(window) == 20 and self._is_back(window):
                self.since_ms = 0
                self._restore(window)

    def _is_back(self, window: list[float]) -> bool:
        away = abs(fmean(window) - fmean(self.fed))
        return away < min(self.change / 2, 2 * pstdev(self.fed)) and not self._restore(window, try_it=True)

    def _restore(self, more: list[float], try_it: bool = False) -> bool:
        """Restore the detector to where the change began and feed it; return whether it raises an alarm."""
        detector = self.make()
        detector.feed(self.fed)
        alarms = bool(more and detector.feed(more))
        if not try_it:
            self.detector, self.fed = detector, self.fed + more
        return alarms

    def tick(self, now_ms: int) -> None:
        if self.since_ms and "adopt_ms" in self.settings and now_ms >= self.began_ms + self.settings["adopt_ms"]:
            self._adopt()

    def _adopt(self) -> None:
        self.since_ms, self.fed = 0, []
        self._restore(self.after)

    def accept(self) -> bool:
        if self.unreadable() or not self.since_ms:
            return False
        self._adopt()
        return True


class Heartbeat(Told):
    """`heartbeat` of a source, or of a series: the times of its signs of life, by instance."""

    at_marks = True

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.beats: dict[str, int] = {}

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        if what is None:
            return  # a value that cannot be read
        who = str(what) if self.settings["instances"] > 1 else ""
        self.beats[who] = max(self.beats.get(who, 0), time_ms)

    def inherit(self, before: Any, now_ms: int) -> None:
        self.beats = before.beats if self.goes_on(before) else {}

    def goes_on(self, before: Any) -> bool:
        return bool((before.settings["instances"] > 1) == (self.settings["instances"] > 1))

    def says(self, now_ms: int) -> Said:
        if len(self.beats) < self.settings["instances"]:
            return INSUFFICIENT
        living = sum(now_ms - time_ms <= self.settings["grace_ms"] for time_ms in self.beats.values())
        return HOLDS if living >= self.settings["instances"] else ("demands", True)

    def news(self, closing_ms: int, now_ms: int) -> bool:
        return sum(time_ms > closing_ms for time_ms in self.beats.values()) >= self.settings["instances"]


class Lag(Told):
    """`lag`: samples of what a group has committed of each partition, and where that ends."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.samples: dict[int, list[tuple[int, int, int]]] = {}  # by partition: time, committed, end
        self.last_ms = self.not_well_ms = 0
        self.unknown, self.demanding = True, False

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        partitions: dict[int, tuple[int, int]] = what
        if time_ms < self.last_ms or not partitions:  # without partitions the sampler said why there is no sample
            return
        gap_ms = time_ms - self.last_ms if self.last_ms else 0
        if gap_ms > self.settings["stale_ms"] and self.not_well_ms and not self.demanding:
            self.not_well_ms += gap_ms
        self.last_ms = time_ms
        self.unknown = bool(self.samples.keys() - partitions.keys())
        for number, last in [(number, samples[-1]) for number, samples in self.samples.items()]:
            if number not in partitions and time_ms - last[0] > self.settings["behind_ms"] + self.settings["stale_ms"]:
                del self.samples[number]
        well = not self.unknown
        for number, (committed, end) in partitions.items():
            self.samples[number] = [*self.samples.get(number, []), (time_ms, committed, end)][-10:]
            if committed < 0 or committed > end:
                self.unknown, well = True, False
            elif end - committed > self.settings["allowed"]:
                well = well and self._catches_up(self.samples[number])
        if well:
            self.not_well_ms = 0
        elif not self.unknown:
            self.not_well_ms = self.not_well_ms or time_ms
        self._judge(time_ms)

    def inherit(self, before: Any, now_ms: int) -> None:
        self.not_well_ms = before.not_well_ms

    def goes_on(self, before: Any) -> bool:
        return False

    def _judge(self, now_ms: int) -> None:
        self.demanding = self.not_well_ms > 0 and now_ms - self.not_well_ms >= self.settings["behind_ms"]

    def _catches_up(self, samples: list[tuple[int, int, int]]) -> bool:
        first, last = samples[0], samples[-1]
        moved = [time_ms for (_, before, _), (time_ms, after, _) in pairwise(samples) if before != after]
        moved_ms = moved[-1] if moved else first[0]
        if last[1] < max(sample[1] for sample in samples) or last[0] - moved_ms > moved_ms - first[0]:
            return False
        known = max(0, first[1]), max(0, last[1])
        return last[2] - known[1] < first[2] - known[0]

    def tick(self, now_ms: int) -> None:
        if self.last_ms and now_ms - self.last_ms > self.settings["stale_ms"]:
            self.unknown = True  # whatever it demanded before, it demands now
        else:
            self._judge(max(now_ms, self.last_ms))

    def says(self, now_ms: int) -> Said:
        if not self.last_ms:
            return INSUFFICIENT
        if self.demanding:
            return "demands", False
        return INSUFFICIENT if self.unknown else HOLDS

    def news(self, closing_ms: int, now_ms: int) -> bool:
        return self.last_ms > closing_ms and not self.unknown


class FailureRate(Told):
    """`failure_rate`: executions by the second of their end, failed or not, and outcomes that were lost."""

    by_probes = True

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.ended: list[tuple[int, bool, bool]] = []  # second, failed, lost
        self.carried_out: list[bool] = []  # failed or not, in a row: without lost ones
        self.open_ms = 0  # since when the gate is open
        self.ends_ms = 0  # where the window ends
        self.quiet = self.lapsed = self.wary = False
        at_least, over = settings["at_least"], settings["over"]
        self.row = min(at_least, max(3, ceil(log(1e-4) / log(over)) if over else 3))

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        outcome, second, demanded = str(what), time_ms // 1000, self.says(now_ms)[0] == "demands"
        if outcome == "cancelled" or (outcome == "interrupted" and self.settings["interrupted"] == "ignored"):
            return
        self.ends_ms = now_ms = max(time_ms, now_ms, self.ends_ms)
        self._forget(now_ms)
        if second > self._gone(now_ms):
            self.ended.append((second, outcome != "ok", outcome == "lost"))
            if outcome != "lost":
                self.carried_out.append(outcome != "ok")
        if self._demands():
            self.again += self.wary and not demanded
            self.wary = True
        elif self._total() >= self.settings["at_least"]:
            self.again, self.wary = 0, False

    def inherit(self, before: Any, now_ms: int) -> None:
        self.ended, self.carried_out, self.ends_ms, self.again = before.ended, before.carried_out, before.ends_ms, before.again
        self.quiet, self.lapsed, self.wary = before.quiet, before.lapsed, before.wary

    def _gone(self, now_ms: int) -> int:
        return (now_ms - int(self.settings["window_ms"])) // 1000

    def _forget(self, now_ms: int) -> None:
        self.ended = [one for one in self.ended if one[0] > self._gone(now_ms)]
        if not self._total():
            self.carried_out = []

    def _counted(self) -> list[bool]:
        return [failed for _, failed, lost in self.ended if not lost or self.settings["lost"] == "failed"]

    def _total(self) -> int:
        return len(self._counted())

    def _demands(self) -> bool:
        return self.lapsed or self._fails()

    def _fails(self) -> bool:
        settings, counted = self.settings, self._counted()
        last = self.carried_out[-min(settings["at_least"], 100) :]
        row = min(3, self.row) if self.wary else self.row
        fails = [
            len(counted) >= settings["at_least"] and sum(counted) > settings["over"] * len(counted),
            len(self.carried_out) >= row and all(self.carried_out[-row:]),
            len(last) >= min(settings["at_least"], 100) and sum(last) > (1 + settings["over"]) / 2 * len(last),
            "lost_at_most" in settings and sum(lost for _, _, lost in self.ended) > settings["lost_at_most"],
        ]
        self.lapsed = self.lapsed or (any(fails) and not self.trips)
        return any(fails)

    def tick(self, now_ms: int) -> None:
        self._forget(now_ms)
        self._demands()
        if self._total() >= self.settings["at_least"]:
            self.quiet = False
        elif self.settings["quiet"] == "closes" and self.open_ms and now_ms - self.open_ms >= self.settings["window_ms"]:
            self.quiet = True
            self.lapsed = self.lapsed or not self.trips

    def opened(self, is_open: bool, latched: bool, now_ms: int) -> None:
        """The gate is open or closed; or its breaker latched that it was quiet for too long, and probes will tell."""
        self.open_ms = (self.open_ms or now_ms) if is_open and not latched else 0
        self.quiet = self.quiet and not latched

    def says(self, now_ms: int) -> Said:
        if self._demands():
            return "demands", False
        return ("demands", True) if self.quiet else HOLDS

    def news(self, closing_ms: int, now_ms: int) -> bool:
        return True  # the probes are

    def accept(self) -> bool:
        self.ended, self.carried_out, self.lapsed, self.quiet = [], [], False, False
        return True


class Unreadable(Told):
    """`unreadable`: the times of records that nobody could read."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.times: list[int] = []

    def take(self, time_ms: int, what: Any, now_ms: int, newest_ms: int) -> None:
        self.times.append(time_ms)

    def inherit(self, before: Any, now_ms: int) -> None:
        self.times = [time_ms for time_ms in before.times if time_ms > now_ms - before.settings["window_ms"]]

    def says(self, now_ms: int) -> Said:
        window_ms, more = int(self.settings["window_ms"]), int(self.settings["at_least"]) - 1
        there = sorted(time_ms for time_ms in self.times if time_ms > now_ms - window_ms)
        close = any(last - first < window_ms for first, last in zip(there, there[more:], strict=False))
        return ("demands", False) if close else HOLDS
