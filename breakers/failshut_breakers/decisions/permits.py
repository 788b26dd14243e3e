"""Decisions become statements: permits that open a gate, closings that stay.

A permit is a function of the decision and the key, so two governors over the same log write the same bytes. Only one check here
reads a wall clock, and it can only refuse: a governor does not sign for evidence from its own future.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from failshut.cause import Cause
from failshut.permit import Closing, InFlight, Mode, Permit, claimed_installation
from failshut.signing import SigningKey
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.decisions.probe_tokens import probe_tokens

LIFE_MS = 600_000
"""The life of a permit that seals renew. It is signed again at about half of it."""
BECAUSE_MAX = 300
BRIEF_MAX = 120
"""Bytes of a reading's text in a permit, as JSON writes it: a letter that is not ASCII takes six or twelve."""
OTHER_BYTES = 2_048
"""More than the claims take that no policy makes longer: times, epochs, digests, the gate's name twice."""
ENVELOPE_BYTES = 512
"""More than header, signature and dots of a token take."""


class Statement(NamedTuple):
    """What is written to the store for a decision. `tokens` are the probe tokens that a permit brings."""

    gate: str
    kind: str  # "permit" or "closing"
    epoch: str
    offset: int
    token: str
    exp_ms: int  # 0: does not expire
    tokens: tuple[str, ...]
    probe_epoch: str

    @property
    def installation(self) -> str:
        """Under whose names it is written: the claim that guards compare, so that the two can never differ."""
        return claimed_installation(self.token)


class FutureEvidence(Exception):
    """Evidence time is ahead of this governor's wall clock: it does not sign. The gate lapses unless that passes."""


def lives_by_seals(mode: str) -> bool:
    """Return whether a permit of this mode is renewed by seals: a bypass ends by itself, and PROVING brings probe tokens."""
    return mode == "armed"


def ends_ms(decision: Decision) -> int:
    """Return when the permit of a decision that opens ends for good (ms of evidence time)."""
    return decision.evidence_ms + LIFE_MS if lives_by_seals(decision.mode) else decision.exp_ms


def longest_permit(
    subjects: Iterable[str], operations: Iterable[str], context: Mapping[str, str], conditions: Iterable[str]
) -> int:
    """Return how many bytes a permit of such a policy has at most, as a token; `conditions` are their names."""
    readings = [[name, "insufficient", "x" * BRIEF_MAX] for name in conditions]
    claims = [list(subjects), list(operations), dict(context), readings]
    payload = len(json.dumps(claims, separators=(",", ":"))) + OTHER_BYTES
    return payload * 4 // 3 + ENVELOPE_BYTES


def _brief(text: str) -> str:
    """Cut a reading's text to what a permit may hold of it."""
    text = text[:BRIEF_MAX]
    while len(json.dumps(text)) - 2 > BRIEF_MAX:
        text = text[:-1]
    return text


def statement_of(decision: Decision, key: SigningKey, wall_ms: int) -> Statement:
    """Return the signed statement of a decision that is not a note.

    Raises:
        FutureEvidence: a permit for evidence that lies after `wall_ms`.
        ValueError: a note, which is written nowhere.
    """
    if decision.kind is Kind.NOTE:
        raise ValueError("a note is not written to the store")
    if decision.kind is Kind.CLOSE:
        closing = Closing(
            installation=decision.installation,
            gate=decision.gate,
            epoch=decision.epoch,
            offset=decision.offset,
            partition=decision.partition,
            policy=decision.policy,
            cause=decision.cause or Cause.FAULT,
            because=decision.because[:BECAUSE_MAX],
            evidence_ms=decision.evidence_ms,
            breaker=decision.breaker.value,
            in_flight=cast(InFlight, decision.in_flight),
        )
        return Statement(decision.gate, "closing", decision.epoch, decision.offset, closing.sign(key), 0, (), "")
    if decision.evidence_ms > wall_ms:
        raise FutureEvidence(f"evidence of {decision.gate} is {decision.evidence_ms - wall_ms} ms ahead of this clock")
    exp_ms = ends_ms(decision)
    permit = Permit(
        installation=decision.installation,
        gate=decision.gate,
        epoch=decision.epoch,
        offset=decision.offset,
        partition=decision.partition,
        policy=decision.policy,
        mode=cast(Mode, decision.mode),
        evidence_ms=decision.evidence_ms,
        nbf_ms=decision.evidence_ms,
        exp_ms=exp_ms,
        ttl_ms=decision.ttl_ms,
        readings=tuple((brief.name, brief.status, _brief(brief.text)) for brief in decision.readings),
        subjects=tuple(decision.subjects),
        context=decision.context,
        operations=tuple(decision.operations),
        in_flight=cast(InFlight, decision.in_flight),
        sealed=lives_by_seals(decision.mode),
    )
    return Statement(
        decision.gate,
        "permit",
        decision.epoch,
        decision.offset,
        permit.sign(key),
        exp_ms,
        probe_tokens(decision, key),
        decision.probe_epoch,
    )
