"""Times as people and files write them: always with a zone, since an incident that is an hour off is another incident.

A number is seconds or milliseconds since 1970, as it is live, and is in this century. Before 2000 it is a date without
separators, another unit or a clock since boot. Beyond 2100 it is another unit, or a date and time without separators.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TypeAlias

from failshut_streams.codecs.times import EARLIEST_MS, BadTime, claimed_ms

LATEST_MS = 4_102_444_800_000
"""2100-01-01T00:00:00Z, not included."""
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
DATE_AND_HOUR = re.compile(r"(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([01][0-9]|2[0-3])")
DATE_ALONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EXAMPLE = "write 2026-03-01T12:00:00Z, or Unix time in seconds or milliseconds"
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Moment: TypeAlias = int | datetime | date
"""Milliseconds; a time that names no zone; or a day, of which nobody said where."""


class LocalTime(ValueError):
    """A local time that a zone had twice, or not at all."""


def read_time_ms(value: object, zone: tzinfo | None = None) -> int:
    """Return a time in milliseconds since 1970. `zone` is that of times that name none.

    Raises:
        ValueError: not a time, without a zone where none was given, or a local time that there was not once.

    >>> read_time_ms("2026-03-01T12:00:00+01:00"), read_time_ms(1772362800), read_time_ms("1772362800000")
    (1772362800000, 1772362800000, 1772362800000)
    """
    at = parse_time(value)
    if isinstance(at, int):
        return at
    first_ms, second_ms = passings(at, zone)
    if first_ms != second_ms:
        raise LocalTime(f"{at.isoformat()} came twice in {zone} that day: write an offset, such as +01:00")
    return first_ms


def parse_time(value: object) -> Moment:
    """Return what a value says of a time, which may need a zone.

    Raises:
        ValueError: it says none.
    """
    if isinstance(value, str):
        text = value.strip()
        if not NUMBER.fullmatch(text):
            value = _parse(text)
        elif len(text) <= 30:
            value = float(text) if not text.isdigit() else int(text)
    if isinstance(value, Decimal):
        value = float(value) if value.is_finite() else None
    if isinstance(value, datetime):
        return check_ms((value - EPOCH) // MILLISECOND) if value.tzinfo is not None else _in_century(value)
    if isinstance(value, date):
        return _in_century(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_ms(value)
    raise ValueError(f"{value!r:.60} is not a time: {EXAMPLE}")


def _number_ms(value: int | float) -> int:
    if value == value // 1 and DATE_AND_HOUR.fullmatch(f"{value:.0f}"):
        raise ValueError(f"{value:.0f} is not a time: it reads like a date and an hour without separators; {EXAMPLE}")
    try:
        time_ms = claimed_ms(value)
    except (BadTime, OverflowError):
        time_ms = LATEST_MS
    if time_ms >= LATEST_MS:
        hint = "as a date it needs separators; " if len(f"{value:.0f}") in (8, 12, 14) else ""
        raise ValueError(f"{value!r:.60} is not a time of this century: {hint}{EXAMPLE}")
    return time_ms


def check_ms(time_ms: int) -> int:
    """Return the time itself.

    Raises:
        ValueError: it is not of this century: whoever wrote it meant another unit, or had another clock.
    """
    if not EARLIEST_MS <= time_ms < LATEST_MS:
        raise ValueError(f"{time_ms} ms since the epoch is not a time of this century: another unit, or a clock since boot")
    return time_ms


def _in_century(at: Moment) -> Moment:
    if isinstance(at, date) and not 2000 <= at.year < 2100:
        raise ValueError(f"{at.isoformat()} is not a time of this century")
    return at


def _parse(text: str) -> datetime | date:
    try:
        return date.fromisoformat(text) if DATE_ALONE.fullmatch(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:60]!r} is not a time: {EXAMPLE}") from None


def naive(time_ms: int) -> datetime:
    """Return a time that names no zone, of one that counts as if it were UTC."""
    return datetime(1970, 1, 1) + timedelta(milliseconds=time_ms)  # it has no zone, that is the point


def passings(at: datetime | date, zone: tzinfo | None) -> tuple[int, int]:
    """Return when a local time was, in milliseconds: twice the same, but for the hour that a zone had twice.

    A day alone is its first instant.

    Raises:
        ValueError: no zone was given.
        LocalTime: there was no such time: the clock was put forward over it.
    """
    if zone is None:
        raise ValueError(f"{at.isoformat()} names no zone: write one (Z, +01:00), or say which it is")
    day = not isinstance(at, datetime)
    local = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day)  # the zone comes next
    first_ms, second_ms = (_ms(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if day or first_ms == second_ms:
        return first_ms, first_ms
    if first_ms > second_ms:  # before the change it would have been later than behind it: it was skipped
        raise LocalTime(f"{at.isoformat()} did not happen in {zone}: the clock was put forward that day")
    return first_ms, second_ms


def _ms(at: datetime) -> int:
    return (at - EPOCH) // MILLISECOND


def iso(time_ms: int) -> str:
    """Return a time for a person.

    >>> iso(1772362800500)
    '2026-03-01T11:00:00.500Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
