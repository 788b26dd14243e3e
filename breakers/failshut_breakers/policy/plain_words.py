"""What is wrong with a policy's field, in words for whoever writes it: what it must be, and what was probably meant.

Pydantic says it for programmers ("Extra inputs are not permitted"). The log keeps pydantic's words (`parse_policy`), because a
decision quotes them and must stay the same. Only people read these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from typing import Any

from pydantic import BaseModel

VALUE_CHARS_MAX = 60
"""So much of a wrong value is quoted."""

_MUST_BE = {
    "missing": "it is missing, and must be given",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def plain_words(fault: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    """Return what one of pydantic's faults means. `model` is what the faulty mapping was read as, if that is known."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _no_such(str(fault["loc"][-1]), _fields(_inner(model, fault["loc"][:-1])))
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{_quoted(fault.get('input'))} is none of {', '.join(known)}" + did_you_mean(fault.get("input"), known)
    if kind in _MUST_BE:
        words = _MUST_BE[kind].format(**context)
        return words if kind == "missing" else f"{words}, and is {_quoted(fault.get('input'))}"
    return str(fault["msg"]).replace("Value error, ", "")


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return a question with the nearest of the known names, or nothing if none is near.

    >>> did_you_mean("heartbeet", ["heartbeat", "lag"])
    "; did you mean 'heartbeat'?"
    """
    near = get_close_matches(str(given)[:VALUE_CHARS_MAX], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _no_such(name: str, known: Sequence[str]) -> str:
    if not known:
        return "there is no such setting"
    return f"there is no such setting: known are {', '.join(known)}{did_you_mean(name, known)}"


def _fields(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else sorted(field.alias or name for name, field in model.model_fields.items())


def _inner(model: type[BaseModel] | None, path: Iterable[object]) -> type[BaseModel] | None:
    for part in path:
        field = None if model is None else model.model_fields.get(str(part))
        kind = None if field is None else field.annotation
        model = kind if isclass(kind) and issubclass(kind, BaseModel) else None
    return model


def _quoted(value: object) -> str:
    text = ascii(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 3] + ".."
