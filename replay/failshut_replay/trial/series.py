"""The series that is tried: its readings in the order of time, and its own pace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median, quantiles

from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event

READINGS_MAX = 2_000_000
SERIES_MAX = 1_000
SHOWN = 8
READINGS_MIN = 20
"""Fewer than this say nothing about a pace."""


@dataclass(slots=True)
class Series:
    """A series. A value is None where a reading could not be read. Times are in milliseconds since 1970, and never go back."""

    name: str
    times_ms: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times_ms)

    def take(self, time_ms: int, value: float | None) -> None:
        """Add the next reading.

        Raises:
            ImportFault: there are more than `READINGS_MAX`.
        """
        if len(self.times_ms) >= READINGS_MAX:
            raise ImportFault(f"{self.name} has more than {READINGS_MAX} readings: try a shorter part of it")
        self.times_ms.append(time_ms)
        self.values.append(value)

    @property
    def span_ms(self) -> int:
        return self.times_ms[-1] - self.times_ms[0]

    @property
    def pace_ms(self) -> int:
        """The median time between two readings: at least 1."""
        return max(1, int(median(self._intervals())))

    @property
    def longest_usual_ms(self) -> int:
        """The time between two readings that one of a thousand exceeds."""
        return int(quantiles(self._intervals(), n=1000)[-1])

    def read(self) -> list[float]:
        """Return the values that could be read."""
        return [value for value in self.values if value is not None]

    def _intervals(self) -> list[int]:
        return [after - before for before, after in zip(self.times_ms, self.times_ms[1:], strict=False)]


def series_of(events: Iterable[Event], name: str = "") -> Series:
    """Return one series of events: the one of that name, or the only one.

    Raises:
        ImportFault: there is no such series, there are several to choose from, or it has too few readings.
    """
    found: dict[str, Series] = {}
    for event in events:
        what, *more = event.item
        if what not in ("sample", "fault") or (name and more[0] != name):
            continue
        one = found.get(more[0])
        if one is None:
            if len(found) >= SERIES_MAX:
                raise ImportFault(f"there are more than {SERIES_MAX} series: name one (--series)")
            one = found[more[0]] = Series(more[0])
        one.take(event.time_ms, more[1] if what == "sample" else None)
    if not found:
        raise ImportFault(f"there are no readings{f' of {name}' if name else ''}")
    if len(found) > 1:
        names = sorted(found)
        more_there = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ImportFault(f"there are {len(found)} series: name one (--series) of {', '.join(names[:SHOWN])}{more_there}")
    (one,) = found.values()
    if len(one) < READINGS_MIN or not one.span_ms:
        raise ImportFault(f"{one.name} has {len(one)} readings over {one.span_ms} ms: at least {READINGS_MIN} are needed")
    return one
