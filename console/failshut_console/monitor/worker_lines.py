"""What workers say of themselves in the store, for screens: their evidence, their gaps, their troubles.

Whoever can write the store can write such a line. What cannot be read of one says nothing, and nothing is decided by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from failshut_breakers.words import printable

TEXT_MAX = 500


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker says of itself; a worker that is silent for its key's life is not listed."""

    id: str
    group: str
    evidence: dict[str, int] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    """Where it reads control differently from others, or others from it: a line each."""
    transactions: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # by gate
    gap_places: dict[str, tuple[int, int]] = field(default_factory=dict)  # covered up to, and where a run began beyond


def read_worker(answer: bytes | None) -> Worker | None:
    """Return what a worker says of itself; None where nothing can be read."""
    said = read_hints(answer)
    if not said:
        return None
    try:
        evidence = {str(name): int(ms) for name, ms in said.get("evidence", {}).items()}
        gaps = tuple(str(gap) for gap in said.get("gaps", ()))
        troubles = _troubles(said)
        waits = {str(name): (int(at), int(since_ms)) for name, (at, since_ms) in said.get("transactions", {}).items()}
        refused = {str(gate): printable(str(words)[:TEXT_MAX]) for gate, words in said.get("refused", {}).items()}
        places = {str(place): (int(at), int(beyond)) for place, (at, beyond) in said.get("gap_places", {}).items()}
    except (TypeError, ValueError, AttributeError):
        evidence, gaps, troubles, waits, refused, places = {}, (), (), {}, {}, {}
    worker, group = printable(str(said.get("id", "?"))), printable(str(said.get("group", "?")))
    return Worker(worker, group, evidence, gaps, troubles, waits, refused, places)


def _troubles(said: dict[str, Any]) -> tuple[str, ...]:
    """Return what a worker says of readings that differ: its own first."""
    operators = str(said.get("operators", ""))
    lines = [operators] if operators else []
    lines += [f"cannot use the policy of {one}" for one in said.get("unread", ())]
    lines += [f"counts no evidence for {one}" for one in said.get("disputes", ())]
    return tuple(printable(" ".join(line.split()))[:400] for line in lines[:50])


def read_hints(answer: bytes | None) -> dict[str, Any]:
    """Return the hints for a screen; what cannot be read says nothing."""
    try:
        said = json.loads(answer or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
