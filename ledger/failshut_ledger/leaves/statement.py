"""Statements of in-toto, version 1: what one leaf of the ledger says. docs/ledger.md describes the predicates.

A statement is a function of the record that it tells of: it asks no clock, and the same record gives the same bytes. Its
subject is the record itself, by digest, so that who has the record can compare it. A record that is no decision becomes a leaf
as well, by its digest: one bad record neither blocks the ledger nor vanishes.

Limits: a leaf has at most 65,535 bytes. A decision that would not fit is shortened, and says so; its digest is of the whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from failshut_breakers.decisions.decision import Decision, decode_decision, in_present_words
from failshut_ledger.errors import Malformed
from failshut_ledger.leaves.envelope import read_json, sign_envelope
from failshut_ledger.notes.keys import Signer, Verifier
from failshut_ledger.notes.position import Position

STATEMENT: Final = "https://in-toto.io/Statement/v1"
DECISION: Final = "urn:failshut:decision:1"
KEY: Final = "urn:failshut:ledger-key:1"
PAYLOAD_BYTES_MAX: Final = 44_000
"""With base64 and a few signatures it fits in a leaf."""
SHORTENED_CHARS_MAX: Final = 1000

_CONTROL: Final = "control"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the decisions topic: where it stood, when its writer says that it was written, and its bytes."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes

    @property
    def digest(self) -> str:
        """Its SHA-256, in hexadecimal digits."""
        return hashlib.sha256(self.value).hexdigest()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was read: of which type, what it says, and the digest of its subject."""

    predicate_type: str
    predicate: Mapping[str, Any]
    subject: str
    digest: str


def record_leaf(record: Record, signer: Signer) -> bytes:
    """Return the leaf for a record of the decisions topic, whatever it holds."""
    try:
        decision = decode_decision(in_present_words(record.value))
    except (ValueError, RecursionError):
        said: dict[str, Any] = {"kind": "unreadable", "bytes": len(record.value)}
        name = f"record/{record.topic}/{record.partition}/{record.offset}"
    else:
        said = _said(decision)
        name = f"decision/{decision.installation}/{decision.gate}/{decision.epoch}"[:SHORTENED_CHARS_MAX]
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "time_ms": record.time_ms}
    payload = _payload(DECISION, {**said, "record": place}, name, record.digest)
    if len(payload) > PAYLOAD_BYTES_MAX:
        payload = _payload(DECISION, {**_shortened(said), "record": place}, name, record.digest)
    return sign_envelope(payload, [signer])


def begin_leaf(signer: Signer, position: Position, time_ms: int) -> bytes:
    """Return the first leaf of a ledger: its key, and where in the topic it begins. What was decided before is not in it."""
    offsets = {str(partition): offset for partition, offset in sorted(position.offsets.items())}
    said = {"kind": "begin", "topic": position.topic, "topic_id": position.topic_id, "offsets": offsets}
    return _key_leaf(signer.verifier, said, time_ms, [signer])


def rotation_leaf(old: Signer, new: Signer, time_ms: int) -> bytes:
    """Return the leaf with which one key hands the ledger to another. Both sign it.

    Raises:
        Malformed: they are the same key, or have different names, which would be different logs.
    """
    if old.verifier.name != new.verifier.name or old.verifier == new.verifier:
        raise Malformed("a new key has the ledger's name, and is another key")
    return _key_leaf(new.verifier, {"kind": "rotate", "replaces": str(old.verifier)}, time_ms, [old, new])


def read_statement(payload: bytes) -> Statement:
    """Read the payload of an envelope of ours. Raises Malformed."""
    said = read_json(payload, "a statement")
    subjects, predicate, kind = said.get("subject"), said.get("predicate"), said.get("predicateType")
    if set(said) != {"_type", "subject", "predicateType", "predicate"} or said["_type"] != STATEMENT:
        raise Malformed(f"a statement is of type {STATEMENT}")
    if kind not in (DECISION, KEY) or not isinstance(predicate, dict) or not isinstance(predicate.get("kind"), str):
        raise Malformed(f"a statement of the ledger has the predicate type {DECISION} or {KEY}, and a kind")
    match subjects:
        case [{"name": str(name), "digest": {"sha256": str(digest)}}] if re.fullmatch(r"[0-9a-f]{64}", digest):
            return Statement(kind, predicate, name, digest)
    raise Malformed("a statement of the ledger has one subject, with its SHA-256")


def key_in(statement: Statement) -> Verifier | None:
    """Return the key that a statement begins a ledger with, or hands it over to; None where it speaks of none.

    Raises:
        Malformed: it speaks of a key, and that is none.
    """
    if statement.predicate_type != KEY:
        return None
    key = statement.predicate.get("key")
    if not isinstance(key, str):
        raise Malformed("a statement about a key names it")
    return Verifier.parse(key)


def _key_leaf(key: Verifier, said: Mapping[str, Any], time_ms: int, signers: Sequence[Signer]) -> bytes:
    predicate = {**said, "key": str(key), "time_ms": time_ms}
    payload = _payload(KEY, predicate, f"ledger-key/{key.label}", hashlib.sha256(key.public).hexdigest())
    return sign_envelope(payload, signers)


def _payload(kind: str, predicate: Mapping[str, Any], subject: str, digest: str) -> bytes:
    said = {
        "_type": STATEMENT,
        "subject": [{"name": subject, "digest": {"sha256": digest}}],
        "predicateType": kind,
        "predicate": predicate,
    }
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _said(decision: Decision) -> dict[str, Any]:
    """Return what a decision says, under names that do not change with the governor's own."""
    origin, bypass, answer = decision.origin, decision.bypass, decision.answer
    said: dict[str, Any] = {
        "kind": _kind(decision),
        "installation": decision.installation,
        "gate": decision.gate,
        "does": decision.kind.value,
        "epoch": decision.epoch,
        "state": decision.breaker.value,
        "cause": decision.cause.value if decision.cause is not None else None,
        "because": decision.because,
        "mode": decision.mode,
        "by": decision.by,
        "policy": decision.policy,
        "time_ms": decision.evidence_ms,
        "evidence": {"topic": "evidence", "partition": decision.partition, "offset": decision.offset},
        "origin": msgspec.structs.asdict(origin) if origin is not None else None,
        "readings": [msgspec.structs.asdict(one) for one in decision.readings],
        "permit": {"ttl_ms": decision.ttl_ms, "exp_ms": decision.exp_ms, "in_flight": decision.in_flight},
        "subjects": decision.subjects,
        "operations": decision.operations,
        "context": decision.context,
    }
    if answer is not None:
        said["answer"] = {"command": answer.command, "result": answer.result.value, "because": answer.because}
    if bypass is not None:
        said["bypass"] = msgspec.structs.asdict(bypass)
    return said


def _kind(decision: Decision) -> str:
    """Return what led to a decision: evidence, an activation of policies, or an operator's command."""
    if decision.origin is None or decision.origin.topic != _CONTROL or not decision.by:
        return "decision"
    return "activation" if _KEY_ID.fullmatch(decision.by) else "command"


def _shortened(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same without lists, and with the beginning of each long text."""
    kept: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, str):
            kept[name] = value[:SHORTENED_CHARS_MAX]
        elif name in ("readings", "subjects", "operations", "context"):
            kept[name] = {} if isinstance(value, dict) else []
        elif isinstance(value, dict):
            kept[name] = _shortened({key: one for key, one in value.items() if not isinstance(one, list)})
        else:
            kept[name] = value
    return {**kept, "shortened": True} if "kind" in said else kept
