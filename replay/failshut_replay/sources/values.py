"""Values and names of tables and of Prometheus, as the front door has them.

A number is a number in a typed column, or text such as 48.5, 1e6, NaN or +Inf. Python's own spellings (1_000, digits of other
scripts) are none, and neither is a comma: 1,234 is a thousand to some and one to others. A boolean is no number, as it is live.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from failshut_streams.codecs import BadName, series_id, split_series

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
WITH_COMMA = re.compile(r"[+-]?[0-9]*,?[0-9]+(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"nan|[+-]?inf(inity)?", re.IGNORECASE)
BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
NUMBER_CHARS_MAX = 400


class Misread(Exception):
    """A value of which nobody can say what it means."""


def item_of(series: str, value: Any, decimal_comma: bool = False) -> tuple[Any, ...]:
    """Return a value as the item of an event. What says that it is no number is evidence: a fault of its series.

    Raises:
        Misread: it says something else.
    """
    if value is None:
        return ("fault", series, "missing")
    if isinstance(value, bool):
        return ("fault", series, "a boolean")
    if isinstance(value, int | float | Decimal):
        try:
            return ("sample", series, float(value))
        except (ValueError, OverflowError):  # a signalling NaN, or more than a double holds
            return ("fault", series, "not a number")
    if not isinstance(value, str):
        raise Misread
    return _of_text(series, value.strip(), decimal_comma)


def _of_text(series: str, text: str, decimal_comma: bool) -> tuple[Any, ...]:
    if not text:
        return ("fault", series, "missing")
    if BOOLEAN.fullmatch(text):
        return ("fault", series, "a boolean")
    if len(text) > NUMBER_CHARS_MAX:
        raise Misread
    if NOT_FINITE.fullmatch(text) or (WITH_COMMA if decimal_comma else NUMBER).fullmatch(text):
        return ("sample", series, float(text.replace(",", ".")))
    raise Misread


def canonical(name: str) -> str:
    """Return a series id as the codecs write it.

    Raises:
        BadName: it is none: the message says why.

    >>> canonical("50%/m")
    '50%25/m'
    """
    if "/" not in name:
        raise BadName("write SERVICE/METRIC")
    return series_id(*split_series(name))
