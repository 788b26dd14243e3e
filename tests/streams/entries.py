"""Entries of the streams of outcomes, as guards append them, and the records that they become."""

from __future__ import annotations

from typing import Any

from failshut.signing import SigningKey
from failshut.store.names import Names
from failshut_breakers.decisions.probe_tokens import ProbeKey
from failshut_streams.codecs import InternalDecoder, Outcome
from failshut_streams.sources.outcome_records import Entry, record_of

EPOCH = "0001099511627776"
GATE, OTHER = "payments.refund", "fleet.scale"
INSTALLATION = "installationoftests"
NAMES = Names(INSTALLATION)
PROBES = ProbeKey(SigningKey.generate())
STREAM = NAMES.outcomes(GATE)
GOOD = {"epoch": EPOCH, "token": "", "outcome": "ok", "count": "3", "instance": "pod-1", "lost": "0"}


def fields(**changes: str | None) -> dict[Any, Any]:
    merged = GOOD | changes
    return {name.encode(): value.encode() for name, value in merged.items() if value is not None}


def decoded(key: bytes, value: bytes) -> Outcome:
    (item,) = InternalDecoder().decode(key, value, (), 2_000_000_000_000)
    assert isinstance(item, Outcome)
    return item


def record(entry_id: str, said: dict[bytes, bytes], gate: str = GATE) -> tuple[bytes, bytes]:
    """The record of an entry that stands in this gate's stream."""
    return record_of(Entry(gate, entry_id.encode(), said), INSTALLATION, PROBES)
