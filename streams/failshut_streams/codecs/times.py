"""The time that a producer claims, in whole milliseconds and never later than the broker's append time.

A claim is RFC 3339 text with a zone, or a number: below 1e11 seconds since 1970, from there to 1e13 milliseconds. OTLP
counts nanoseconds. A number of another unit is refused rather than guessed. Bounded by append time it would silently
mean "now", or it would count as a time in 1970.

No telemetry is older than Kafka. So a time before 2000 is a fault. It is from a clock since boot, from another unit
(milliseconds sent as nanoseconds), or from a date without separators (20260302).
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec

Zoned: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
Claim: TypeAlias = int | float | Zoned

EARLIEST_MS = 946_684_800_000
"""2000-01-01T00:00:00Z: no claim before it is believed."""
EARLIEST_SECONDS = EARLIEST_MS // 1000
SECONDS_BELOW = 1e11
MILLISECONDS_BELOW = 10_000_000_000_000
"""The year 2286. Beyond it lie dates without separators (20260302090000)."""
NANOSECONDS_A_MILLISECOND = 1_000_000
EARLIEST_NANO = EARLIEST_MS * NANOSECONDS_A_MILLISECOND
NANO_BELOW = 1 << 64
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NO_UNIX_NANO = "time is not nanoseconds since 1970: before 2000, or beyond 64 bits"


class BadTime(ValueError):
    """A claimed time that cannot be read as one."""


def bounded(claim: int | float | datetime, append_ms: int) -> int:
    """Return the claim in milliseconds, at most `append_ms`. Raises `BadTime`.

    >>> bounded(1700000000.5, 1800000000000), bounded(1700000000500, 1600000000000)
    (1700000000500, 1600000000000)
    """
    if type(claim) is int and EARLIEST_MS <= claim <= append_ms:
        return claim
    time_ms = claimed_ms(claim)
    return time_ms if time_ms < append_ms else append_ms


def claimed_ms(claim: int | float | datetime) -> int:
    """Return the claim in milliseconds, as late as it says. Raises `BadTime`.

    >>> claimed_ms(20260302)
    Traceback (most recent call last):
    ...
    failshut_streams.codecs.times.BadTime: time is before 2000: from a clock since boot, in another unit, or no time
    """
    if isinstance(claim, datetime):
        time_ms = (claim - EPOCH) // MILLISECOND
    elif not 0 <= claim < MILLISECONDS_BELOW:  # a NaN fails both comparisons
        raise BadTime("time is neither seconds nor milliseconds since 1970")
    else:
        time_ms = int(claim if claim >= SECONDS_BELOW else claim * 1000 + 0.5)
    if time_ms < EARLIEST_MS:
        raise BadTime("time is before 2000: from a clock since boot, in another unit, or no time")
    return time_ms


def nano_ms(nanoseconds: int) -> int:
    """Return OTLP's nanoseconds in milliseconds. Raises `BadTime`.

    >>> nano_ms(1700000000123456789)
    1700000000123
    """
    if not EARLIEST_NANO <= nanoseconds < NANO_BELOW:
        raise BadTime(NO_UNIX_NANO)
    return nanoseconds // NANOSECONDS_A_MILLISECOND
