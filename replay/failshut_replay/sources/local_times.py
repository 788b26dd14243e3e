"""Local times of a file, where clocks are put back and forward.

When summer time ends a zone has an hour twice. A file of local times passes through it twice, and goes back once between: the
times behind that step are in the second passing. So times of such a stretch wait until the file has left it. Where it goes back
more than once, or never, nobody can say which passing is meant, and the file is refused with that reason. A time that the clock
skipped when summer time began is refused, too.

Limits: a stretch is held in memory, up to `STRETCH_ROWS_MAX` rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event
from failshut_replay.sources.notes import Placed
from failshut_replay.sources.tables import Row
from failshut_replay.times import passings

STRETCH_ROWS_MAX = 1_000_000


class _Twice(NamedTuple):
    """A row whose local time came twice."""

    where: str
    local: datetime
    times_ms: tuple[int, int]
    item: tuple[Any, ...]


def in_zone(path: Path, rows: Iterator[Row], zone: tzinfo | None) -> Iterator[Placed]:
    """Yield the rows as events, local times as those of a zone.

    Raises:
        ImportFault: a time that names no zone, or a local time of which nobody can say when it was.
    """
    stretch: list[_Twice] = []
    for where, at, item in rows:
        if isinstance(at, int):
            first_ms = second_ms = at
        else:
            try:
                first_ms, second_ms = passings(at, zone)
            except ValueError as error:
                raise ImportFault(f"{path}, {where}: {error}") from error
            if isinstance(at, datetime) and first_ms != second_ms:
                stretch.append(_Twice(where, at, (first_ms, second_ms), item))
                if len(stretch) > STRETCH_ROWS_MAX:
                    raise ImportFault(f"{path}, {where}: {_twice(stretch, zone)}, and it has too many rows there")
                continue
        if stretch:
            yield from _left(path, stretch, zone)
            stretch = []
        yield Placed(where, Event(first_ms, item))
    yield from _left(path, stretch, zone)


def _left(path: Path, stretch: list[_Twice], zone: tzinfo | None) -> Iterator[Placed]:
    """Yield the rows of a stretch that a file has left."""
    if not stretch:
        return
    back = [number for number in range(1, len(stretch)) if stretch[number].local < stretch[number - 1].local]
    if not back:
        back = _repeated(stretch)
    if len(back) != 1:
        raise ImportFault(
            f"{path}, {stretch[0].where}: {_twice(stretch, zone)}, and the file goes back in it {len(back)} times: nobody can "
            "say which passing is meant. Write offsets (such as +01:00), or times in UTC"
        )
    for number, (where, _, times_ms, item) in enumerate(stretch):
        yield Placed(where, Event(times_ms[number >= back[0]], item))


def _repeated(stretch: list[_Twice]) -> list[int]:
    """Return where a stretch of one local time alone begins anew: hourly values of it stand there once for each passing."""
    if len({row.local for row in stretch}) > 1:
        return []
    counts = Counter(row.item[1] for row in stretch)
    if set(counts.values()) != {2}:
        return []
    half = len(counts)
    return [half] if len({row.item[1] for row in stretch[:half]}) == half else []


def _twice(stretch: list[_Twice], zone: tzinfo | None) -> str:
    first = min(row.local for row in stretch).isoformat(" ", "minutes")
    last = max(row.local for row in stretch).isoformat(" ", "minutes")
    return f"{first} to {last} came twice in {zone} that day"
