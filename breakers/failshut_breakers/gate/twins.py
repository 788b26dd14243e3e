"""Twins: conditions that learn from history, until they take the place of those that a new policy began without evidence.

A condition that a policy brings goes on as it is: it reads what is live, and its gate is closed until it has enough. Beside it,
a twin reads what its series sent before (evidence/history.py), and demands nothing over that. Meanwhile the gate keeps what its
conditions are fed. Once history is whole, the twin reads that too, and takes the place. So a gate opens as soon as its history
was read, and not a moment later than it would have without any.

A condition that demands by then stays: no history ends a demand. A twin that cannot be fed is dropped, and its condition stays.
What was sent while the gate was tripped or locked teaches nothing.

Limits: conditions on one series that is one stream. Of a gate that reads more than `LIVE_ROWS_MAX` rows meanwhile, twins are
dropped: that many teach any detector.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.conditions.on_series import OnSeries
from failshut_breakers.evidence.records import Reading, Samples
from failshut_breakers.policy.policy import ConditionPolicy

LIVE_ROWS_MAX = 20_000
"""Rows of live readings that are kept for the twins of a gate."""

SPANS_MAX = 64
"""Spans in which a gate was tripped or locked that are remembered. Beyond it the two oldest become one."""

ONGOING_MS = 1 << 62
"""The end of a span that has not ended."""

UNKNOWN = Moment(0, 0)
"""When history is read: nothing of it is old on arrival."""


class Fed(NamedTuple):
    """A block of live readings, as a condition was fed it."""

    name: str
    reading: Reading
    lo: int
    moment: Moment


class Twins:
    """The twins of one gate's conditions, by name, with the activation whose history each reads. Picklable."""

    def __init__(self) -> None:
        self.by_name: dict[str, tuple[int, OnSeries]] = {}
        self._live: list[Fed] = []
        self._rows = 0

    def begin(self, version: int, policies: Iterable[ConditionPolicy]) -> None:
        """Let these conditions have twins that read the history of an activation."""
        for policy in policies:
            twin = build(policy)
            if isinstance(twin, OnSeries):
                twin.only_learn(True)
                self.by_name[policy.name] = version, twin

    def keep(self, names: frozenset[str]) -> None:
        """Drop the twins of all conditions but these."""
        for name in [name for name in self.by_name if name not in names]:
            self._drop(name)

    def drop(self, version: int) -> None:
        """Drop the twins that read an activation's history."""
        for name in [name for name, (of, _) in self.by_name.items() if of == version]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self.by_name[name]
        self._live = [fed for fed in self._live if fed.name != name]
        self._rows = sum(_rows(fed.reading) for fed in self._live)

    def see(self, fed: Fed) -> None:
        """Keep what a condition was fed, if it has a twin."""
        if fed.name not in self.by_name:
            return
        self._live.append(fed)
        self._rows += _rows(fed.reading)
        if self._rows > LIVE_ROWS_MAX:
            self.by_name, self._live, self._rows = {}, [], 0

    def learn(self, version: int, reading: Samples, lo: int, hi: int, spans: list[tuple[int, int]]) -> None:
        """Feed a block of history: its rows from one offset on and below another, without those of these spans of time (ms)."""
        for name, (of, twin) in list(self.by_name.items()):
            if of != version or twin.series != reading.series:
                continue
            rows = [row for row in reading.rows[reading.before(lo) : reading.before(hi)] if not _within(row[2], spans)]
            try:
                if rows:
                    twin.feed(Samples.of(reading.series, rows), 0, UNKNOWN)
            except Exception:  # noqa: BLE001 - whatever fails in a twin, its condition goes on without it
                self._drop(name)

    def grown(self, version: int, moment: Moment) -> list[OnSeries]:
        """Return the twins that read an activation's history, after they read what is live since. They are twins no more."""
        found: list[OnSeries] = []
        for name, twin in [(name, twin) for name, (of, twin) in self.by_name.items() if of == version]:
            with suppress(Exception):  # as above
                twin.only_learn(False)
                for fed in [fed for fed in self._live if fed.name == name]:
                    twin.feed(fed.reading, fed.lo, fed.moment)
                twin.tick(moment)
                found.append(twin)
            self._drop(name)
        return found


def takes_the_place(twin: Condition, of: Condition) -> bool:
    """Return whether a twin may take a condition's place: no history ends a demand."""
    return type(twin) is type(of) and of.status is not Status.DEMANDS


class Spans:
    """When a gate was tripped or locked, in times of marks (ms): what was sent then is no example."""

    def __init__(self) -> None:
        self._ended: list[tuple[int, int]] = []
        self._since_ms = 0

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> Spans:
        """Return those that `all` returned."""
        found = cls()
        for first, last in spans:
            if last == ONGOING_MS:
                found._since_ms = first
            else:
                found._ended.append((first, last))
        return found

    def note(self, shut_since_ms: int, newest_ms: int) -> None:
        """Take note whether the gate is tripped or locked, since when if so; else 0."""
        if shut_since_ms and not self._since_ms:
            self._since_ms = shut_since_ms
        elif not shut_since_ms and self._since_ms:
            self._ended.append((self._since_ms, newest_ms))
            self._since_ms = 0
            if len(self._ended) > SPANS_MAX:
                first, second, *rest = self._ended
                self._ended = [(first[0], second[1]), *rest]

    def all(self) -> list[tuple[int, int]]:
        """Return them, the oldest first."""
        return [*self._ended, *([(self._since_ms, ONGOING_MS)] if self._since_ms else [])]


def _within(time_ms: int, spans: list[tuple[int, int]]) -> bool:
    return any(first <= time_ms <= last for first, last in spans)


def _rows(reading: Reading) -> int:
    return reading.count if isinstance(reading, Samples) else len(getattr(reading, "rows", ()))
