"""Times as operators write and read them: always with a zone, because an incident that is an hour off is another incident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from failshut_breakers.policy.units import parse_duration_ms

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
CALENDAR_MS = 253_402_300_800_000
"""The year 10000: no calendar here goes so far."""


def utc(time_ms: int, digits: str = "seconds") -> str:
    """Return a time in UTC, for a person and for `--since`; `digits` is `seconds` or `milliseconds`.

    What no calendar has is shown as the number that it is.

    >>> utc(1772362800500), utc(1772362800500, "milliseconds"), utc(-5), utc(1 << 60)
    ('2026-03-01T11:00:00Z', '2026-03-01T11:00:00.500Z', '-5 ms', '1152921504606846976 ms')
    """
    if not 0 <= time_ms < CALENDAR_MS:
        return f"{time_ms} ms"
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return at.isoformat(timespec=digits).replace("+00:00", "Z")


def read_end_ms(text: str, now_ms: int) -> int:
    """Return the end (ms) that somebody wrote: a duration from now, or a time. Raises ValueError.

    >>> read_end_ms("1h", 1_000), read_end_ms("2026-03-01T12:00:00Z", 0)
    (3601000, 1772366400000)
    """
    try:
        return now_ms + parse_duration_ms(text)
    except ValueError:
        return read_when_ms(text, now_ms)


def read_when_ms(text: str, now_ms: int) -> int:
    """Return a time in milliseconds since 1970: written with its zone, or as a duration before now.

    Raises:
        ValueError: it is neither.

    >>> read_when_ms("2026-03-01T12:00:00+01:00", 0), read_when_ms("1h", 7_200_000)
    (1772362800000, 3600000)
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return max(0, now_ms - parse_duration_ms(text))
        except ValueError:
            raise ValueError(f"{text[:60]!r} is no time: write 90s, 1h or 7d (ago), or 2026-03-01T12:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError(f"{text[:60]!r} names no zone: write Z behind it, or an offset such as +01:00")
    return max(0, (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def short(ms: int) -> str:
    """Return a length of time for a person, in its two largest units.

    >>> short(500_000), short(7_260_000), short(900)
    ('8m 20s', '2h 1m', '0s')
    """
    if ms >= HOUR_MS:
        return f"{ms // HOUR_MS}h {ms % HOUR_MS // MINUTE_MS}m"
    if ms >= MINUTE_MS:
        return f"{ms // MINUTE_MS}m {ms % MINUTE_MS // 1000}s"
    return f"{max(0, ms) // 1000}s"
