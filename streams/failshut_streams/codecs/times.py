"""The time that a producer claims, in whole milliseconds and never later than the broker's append time.

A claim is RFC 3339 text with a zone, or a number: below 1e11 seconds since 1970, from there to 1e14 milliseconds.
Microseconds and nanoseconds are refused rather than guessed: bounded by append time they would silently read "now".
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec

Zoned: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
Claim: TypeAlias = int | float | Zoned

MILLISECONDS_FROM = 100_000_000_000
MILLISECONDS_BELOW = 100_000_000_000_000
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadTime(ValueError):
    """A claimed time that cannot be read as one."""


def bounded(claim: int | float | datetime, append_ms: int) -> int:
    """The claim in milliseconds, at most `append_ms`. Raises `BadTime`.

    >>> bounded(1700000000.5, 1800000000000), bounded(1700000000500, 1600000000000)
    (1700000000500, 1600000000000)
    """
    if type(claim) is int and MILLISECONDS_FROM <= claim <= append_ms:
        return claim
    if type(claim) is float and 0.0 <= claim < 1e11:
        time_ms = int(claim * 1000.0 + 0.5)
    elif isinstance(claim, datetime):
        time_ms = (claim - EPOCH) // MILLISECOND
        if time_ms < 0:
            raise BadTime("time is before 1970")
    elif not 0 <= claim < MILLISECONDS_BELOW:  # a NaN fails both comparisons
        raise BadTime("time is neither seconds nor milliseconds since 1970")
    else:
        time_ms = int(claim if claim >= MILLISECONDS_FROM else claim * 1000 + 0.5)
    return time_ms if time_ms < append_ms else append_ms
