"""Times as people and files write them: always with a zone, since an incident that is an hour off is another incident."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

SECONDS_MAX = 1e11
"""Numbers below it are seconds since 1970, above it milliseconds."""


def read_time_ms(value: object, zone: tzinfo | None = None) -> int:
    """Return a time in milliseconds since 1970. `zone` is that of times that name none.

    Raises:
        ValueError: not a time, or without a zone where none was given.

    >>> read_time_ms("2026-03-01T12:00:00+01:00"), read_time_ms(1772362800), read_time_ms("1772362800000")
    (1772362800000, 1772362800000, 1772362800000)
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            value = _parse(text)
    if isinstance(value, datetime):
        if value.tzinfo is None and zone is None:
            raise ValueError(f"{value.isoformat()} names no zone: write one (Z, +01:00), or say which it is")
        at = value if value.tzinfo is not None else value.replace(tzinfo=zone)
        return round(at.timestamp() * 1000)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e14:
        return round(value * 1000) if value < SECONDS_MAX else round(value)
    raise ValueError(f"{value!r} is not a time: write 2026-03-01T12:00:00Z, or seconds since 1970")


def _parse(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not a time: write 2026-03-01T12:00:00Z, or seconds since 1970") from None


def iso(time_ms: int) -> str:
    """Return a time for a person.

    >>> iso(1772362800500)
    '2026-03-01T11:00:00.500Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
