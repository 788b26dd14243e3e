"""Durations and rates as people write them: `3s`, `500ms`, `10m`, `1 per 30d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"^\s*(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d|w)\s*$", re.ASCII)
_FREQUENCY = re.compile(r"^\s*(\d{1,9}(?:\.\d{1,9})?)\s+per\s+(.{1,40})$", re.ASCII | re.DOTALL)
DURATION_MS_MAX = 36_525 * _UNITS_MS["d"]
"""A hundred years: whatever is longer was not meant."""


def parse_duration_ms(text: object) -> int:
    """Return a duration in whole milliseconds.

    Raises:
        ValueError: not a positive number with one of the units ms, s, m, h, d, w, or longer than a hundred years.

    >>> parse_duration_ms("1.5s")
    1500
    """
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None:
        shown = repr(text)[:100]
        raise ValueError(f"{shown} is not a duration: write a number with a unit (ms, s, m, h, d, w), such as 3s")
    duration_ms = round(float(match[1]) * _UNITS_MS[match[2]])
    if duration_ms <= 0:
        raise ValueError(f"{text!r} is not a duration: it must be at least 1ms")
    if duration_ms > DURATION_MS_MAX:
        raise ValueError(f"{text!r} is not a duration: it is longer than a hundred years")
    return duration_ms


APART_MS_MIN = 60_000
"""What happens more often than once a minute is no exception, and needs no budget."""


def parse_frequency_ms(text: object) -> float:
    """Return the milliseconds between two of what may happen so often: `1 per 30d`, `0.5 per 1w`, `2 per 7d`.

    Raises:
        ValueError: not a positive number per duration, or more often than once a minute, or less than once in a hundred years.

    >>> parse_frequency_ms("2 per 7d") / 3_600_000
    84.0
    """
    match = _FREQUENCY.match(text) if isinstance(text, str) else None
    shown = repr(text)[:100]
    if match is None:
        raise ValueError(f"{shown} is not a frequency: write so many per duration, such as 1 per 30d")
    duration_ms, count = parse_duration_ms(match[2]), float(match[1])
    if not APART_MS_MIN * count <= duration_ms <= DURATION_MS_MAX * count:
        raise ValueError(f"{shown} is not a frequency: at most one a minute, at least one in a hundred years")
    return duration_ms / count


def format_ms(duration_ms: int) -> str:
    """Return a duration for a person.

    >>> format_ms(90_000)
    '90s'
    >>> format_ms(2500)
    '2.5s'
    """
    for unit in ("w", "d", "h", "m"):
        if duration_ms and duration_ms % _UNITS_MS[unit] == 0 and duration_ms >= 2 * _UNITS_MS[unit]:
            return f"{duration_ms // _UNITS_MS[unit]}{unit}"
    return f"{duration_ms / 1000:g}s" if duration_ms >= 1000 else f"{duration_ms}ms"


DurationMs = Annotated[
    int,
    BeforeValidator(parse_duration_ms),
    PlainSerializer(lambda duration_ms: f"{duration_ms}ms", return_type=str),
]
"""A duration in a policy: text with a unit outside, whole milliseconds inside."""
