"""Durations as people write them."""

from __future__ import annotations

import pytest

from failshut_breakers.policy.units import format_ms, parse_duration_ms, parse_frequency_ms


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("3s", 3000),
        ("500ms", 500),
        ("1.5s", 1500),
        (" 10 m ", 600_000),
        ("2h", 7_200_000),
        ("30d", 2_592_000_000),
        ("1w", 604_800_000),
    ],
)
def test_a_number_with_a_unit_is_a_duration(text: str, duration_ms: int) -> None:
    """Every unit means what it says."""
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    "text",
    [
        "3",
        3,
        3.0,
        None,
        True,
        "",
        "s",
        "-3s",
        "+3s",
        "3 seconds",
        "3S",
        "0s",
        "0.0001ms",
        "1e3s",
        "infs",
        "nans",
        "3s 2ms",
        "٣s",
        [],
        {},
        "9" * 400 + "d",
        "9" * 10_000 + "s",
        "99999999w",
        ["x"] * 10_000,
    ],
    ids=lambda text: repr(text)[:20],
)
def test_anything_else_is_refused(text: object) -> None:
    """A duration without a unit, not above zero, or beyond a hundred years is a ValueError with a message of bounded length."""
    with pytest.raises(ValueError, match="is not a duration") as caught:
        parse_duration_ms(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("duration_ms", "text"), [(0, "0ms"), (999, "999ms"), (1000, "1s"), (2500, "2.5s"), (90_000, "90s"), (120_000, "2m")]
)
def test_a_duration_is_shown_to_a_person(duration_ms: int, text: str) -> None:
    """Milliseconds are shown in the unit that a person would take."""
    assert format_ms(duration_ms) == text


@pytest.mark.parametrize(
    ("text", "apart_ms"),
    [
        ("1 per 30d", 2_592_000_000),
        ("2 per 7d", 302_400_000),
        ("0.5 per 1w", 1_209_600_000),
        (" 60  per 1h ", 60_000),
        ("0.01 per 365d", 3_153_600_000_000),
    ],
)
def test_so_many_per_duration_is_a_frequency(text: str, apart_ms: float) -> None:
    """Whole numbers and decimals, per any duration, are the time between two."""
    assert parse_frequency_ms(text) == apart_ms


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", 1, None, True, [], "per 30d", "1 per", "one per 30d", "1per30d", "-1 per 30d", "1e3 per 30d", "1/30d"),
        *("nan per 30d", "inf per 1d", "0 per 30d", "0.0 per 1d", "61 per 1h", "1 per 59s", "0.001 per 365d", "1 per month"),
        *("1 per 0s", "9" * 400 + " per 1d", "1 per " + "9" * 400 + "d", "\u0661 per 30d"),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_frequency_is_refused(text: object) -> None:
    """None, more often than once a minute, or less than once in a hundred years, in words of bounded length."""
    with pytest.raises(ValueError, match=r"is not a (frequency|duration)") as caught:
        parse_frequency_ms(text)
    assert len(str(caught.value)) < 300
