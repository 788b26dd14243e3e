"""JSON of which everybody makes the same: UTF-8, no member twice, no NaN and no infinity."""

from __future__ import annotations

import json
from typing import Any


def strict(data: bytes) -> Any:
    """Return what a document says. Raises ValueError, or RecursionError where it is nested too deeply."""
    return json.loads(data.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
