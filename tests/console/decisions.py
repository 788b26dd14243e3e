"""Decisions as a governor writes them, made by hand: one gate, one record of evidence after the other."""

from __future__ import annotations

from typing import Any

import msgspec

from failshut.cause import Cause
from failshut.epoch import epoch_of
from failshut_breakers.decisions.decision import (
    Answer,
    Breaker,
    Brief,
    BypassInForce,
    Decision,
    Kind,
    Result,
    encode_decision,
)
from failshut_breakers.evidence.records import Place

START_MS = 1_772_362_800_000  # 2026-03-01T11:00:00Z
KEY_ID = "k" * 43
ADA = f"ada ({KEY_ID[:12]})"
WHY = f"{ADA}: looking into it"
BYPASS = BypassInForce(ADA, "a known change", ["drift:agent/amount"], START_MS + 600_000)
DRIFT = {"breaker": Breaker.TRIPPED, "cause": Cause.DRIFT, "because": "mean 48 to 97"}
IN_BYPASS = {"mode": "bypass", "breaker": Breaker.TRIPPED, "bypass": BYPASS}


def decision(kind: Kind, offset: int, **more: Any) -> Decision:
    """A decision over the evidence record at an offset."""
    opens = kind in (Kind.OPEN, Kind.RENEW)
    given = {
        "schema": 2,
        "kind": kind,
        "installation": "i" * 32,
        "gate": "pay",
        "epoch": epoch_of(1, offset),
        "partition": 0,
        "offset": offset,
        "breaker": Breaker.ARMED,
        "cause": None,
        "because": "1 of 1 conditions hold" if opens else "so",
        "evidence_ms": START_MS,
        "policy": "sha256:" + "0" * 64,
        "mode": "armed" if opens else "",
        "exp_ms": 0,
        "ttl_ms": 2_000,
        "in_flight": "cancel",
        "origin": Place("telemetry", 0, offset, 0),
        "readings": [Brief("drift:agent/amount", "holds", "mean 48")],
        "subjects": [],
        "operations": [],
        "context": {},
        "tokens": 0,
        "probe_epoch": "",
        "by": "",
    }
    return Decision(**{**given, **more})


def refused(offset: int, command: str = "reset") -> Decision:
    """A note that refuses an order."""
    answer = Answer(command, Result.REFUSED, "the cause persists")
    return decision(
        Kind.NOTE, offset, because=f"{command} refused: the cause persists", by=ADA, answer=answer, origin=control(offset)
    )


def control(offset: int) -> Place:
    """A place in control."""
    return Place("control", 0, offset, 0)


def encoded(*decisions: Decision) -> list[bytes]:
    """What stands in the topic."""
    return [encode_decision(one) for one in decisions]


def changed(before: Decision, **changes: Any) -> Decision:
    """The same decision with other fields."""
    return msgspec.structs.replace(before, **changes)
