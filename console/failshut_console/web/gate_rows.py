"""What a screen shows of a gate, as JSON: the row of a list, one gate in full, and the workers behind them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from failshut.cause import Cause
from failshut_console.monitor.gate_views import CLOSED, OPEN, UNKNOWN, Look, View

#: What a gate does, first those that a person on call looks for.
ORDER: Final = (CLOSED, UNKNOWN, OPEN)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the store, as streams send it. Without a look (`blind` says why) nothing is known now."""

    number: int = 0
    now_ms: int = 0
    look: Look | None = None
    blind: str = "the store was not asked yet"
    rows: dict[str, str] = field(default_factory=dict)
    """By gate: its row in JSON. The same text object as before where nothing has changed."""
    keys: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """By gate: what its row was made of."""
    lives: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By gate: until when its permit lives (0: it has none), and up to when its evidence is known."""

    def after(self, look: Look) -> Seen:
        """Return what is seen in the next look."""
        keys = {view.gate: _key(view) for view in look.gates}
        rows = {
            view.gate: self.rows[view.gate]
            if self.keys.get(view.gate) == keys[view.gate]
            else json.dumps(row_of(view), separators=(",", ":"))
            for view in look.gates
        }
        evidence_ms = look.evidence_ms  # once: it is reckoned from all gates
        lives = {view.gate: life_of(view, look.now_ms, evidence_ms) for view in look.gates}
        return Seen(self.number + 1, look.now_ms, look, "", rows, keys, lives)

    def without_sight(self, why: str, now_ms: int) -> Seen:
        """Return what is known where the next look failed: nothing but why."""
        return Seen(self.number + 1, now_ms, None, why, self.rows, self.keys)


def means(cause: str) -> str:
    """Return a cause in words; empty where there is none, or it is none of ours."""
    try:
        return Cause(cause).meaning if cause else ""
    except ValueError:
        return ""


def _key(view: View) -> tuple[Any, ...]:
    """Return all that `row_of` makes a row of."""
    return (
        *(view.state, view.breaker, view.cause, view.because, view.mode, view.epoch, view.ttl_ms),
        view.bypass.until_ms if view.bypass is not None else 0,
    )


def row_of(view: View) -> dict[str, Any]:
    """Return what a list shows of a gate, but for what time changes."""
    return {
        "gate": view.gate,
        "state": view.state,
        "breaker": view.breaker,
        "cause": view.cause,
        "means": means(view.cause),
        "because": view.because,
        "mode": view.mode,
        "epoch": view.epoch,
        "ttl_ms": view.ttl_ms,
        "bypass_until_ms": view.bypass.until_ms if view.bypass is not None else 0,
    }


def life_of(view: View, now_ms: int, evidence_ms: int) -> tuple[int, int]:
    """Return until when a gate's permit lives, 0 without one, and up to when evidence about it is known.

    `evidence_ms` is what is known of every gate: a closed gate has no permit that would say more.
    """
    until_ms = now_ms + view.life_ms if view.life_ms is not None and view.life_ms > 0 else 0
    return until_ms, view.evidence_ms if view.state == OPEN else max(view.evidence_ms, evidence_ms)


def gate_of(view: View, look: Look) -> dict[str, Any]:
    """Return one gate in full."""
    until_ms, evidence_ms = life_of(view, look.now_ms, look.evidence_ms)
    bypass = view.bypass
    return {
        **row_of(view),
        "until_ms": until_ms,
        "evidence_ms": evidence_ms,
        "policy": view.policy,
        "refused": view.refused,
        "readings": [list(reading) for reading in view.readings],
        "bypass": None
        if bypass is None
        else {"by": bypass.by, "why": bypass.why, "conditions": list(bypass.conditions), "until_ms": bypass.until_ms},
    }


def workers_of(look: Look) -> dict[str, Any]:
    """Return what workers say of themselves, and of the partitions that they read."""
    newest: dict[str, int] = {}
    for worker in look.workers:
        for place, mark_ms in worker.evidence.items():
            newest[place] = max(mark_ms, newest.get(place, 0))
    waits = {place: list(found) for worker in look.workers for place, found in worker.transactions.items()}
    return {
        "now_ms": look.now_ms,
        "store": look.store,
        "evidence_age_ms": look.evidence_age_ms,
        "waits": look.waits,
        "partitions": [
            {"place": place, "mark_ms": mark_ms, "waits_since_ms": waits.get(place, [0, 0])[1]}
            for place, mark_ms in sorted(newest.items())
        ],
        "workers": [
            {"id": worker.id, "group": worker.group, "gaps": list(worker.gaps), "troubles": list(worker.troubles)}
            for worker in look.workers
        ],
    }


def in_order(look: Look) -> list[View]:
    """Return the gates, closed ones first, then by name."""
    return sorted(look.gates, key=lambda view: (ORDER.index(view.state) if view.state in ORDER else 0, view.gate))
