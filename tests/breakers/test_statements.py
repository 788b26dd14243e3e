"""Decisions become statements: the same bytes twice, and never for longer than their evidence."""

from __future__ import annotations

import msgspec
import pytest
from log import INSTALLATION, World, policy

from failshut.permit import Closing, Permit, verify
from failshut.signing import SigningKey
from failshut_breakers.decision import Decision, Kind, decode_decision, encode_decision
from failshut_breakers.permits import MAX_BECAUSE, FutureEvidence, statement_of

KEY = SigningKey.generate()
KEYS = KEY.key_set().of(INSTALLATION)


@pytest.fixture
def story() -> World:
    """A gate that opens, is renewed and trips."""
    world = World(
        policy(
            'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}',
            subjects="['agent:*']",
            context="{environment: production}",
        )
    )
    world.samples([48.0] * 10)
    world.marks(2_000)
    world.samples([500.0])
    return world


def said(world: World, kind: Kind) -> Decision:
    return next(one for one in reversed(world.said) if one.kind is kind)


def test_the_same_decision_and_key_write_the_same_bytes(story: World) -> None:
    """I2, I3: two governors with clocks of their own sign the same token."""
    for kind in (Kind.OPEN, Kind.RENEW, Kind.CLOSE):
        decision = said(story, kind)
        again = decode_decision(encode_decision(decision))
        assert again == decision
        assert statement_of(decision, KEY, decision.evidence_ms) == statement_of(again, KEY, decision.evidence_ms + 10**9)


def test_a_permit_says_what_was_decided(story: World) -> None:
    """What a guard verifies is the decision's, and ends ttl after its evidence."""
    decision = said(story, Kind.RENEW)
    statement = statement_of(decision, KEY, decision.evidence_ms)
    permit = verify(statement.token, KEYS, "g")
    assert isinstance(permit, Permit)
    assert (permit.epoch, permit.offset, permit.policy, permit.mode) == (
        decision.epoch,
        decision.offset,
        decision.policy,
        "armed",
    )
    assert (permit.nbf_ms, permit.exp_ms) == (decision.evidence_ms, decision.evidence_ms + 3_000)
    assert (permit.subjects, permit.context) == (("agent:*",), {"environment": "production"})
    assert (statement.kind, statement.exp_ms) == ("permit", permit.exp_ms)


def test_a_closing_says_why(story: World) -> None:
    """A closing does not expire and names cause, words and breaker; what is too long is cut."""
    decision = msgspec.structs.replace(said(story, Kind.CLOSE), because="x" * 10_000)
    statement = statement_of(decision, KEY, 0)
    closing = verify(statement.token, KEYS, "g")
    assert isinstance(closing, Closing)
    assert (closing.cause, closing.breaker, closing.because) == ("conformance", "TRIPPED", "x" * MAX_BECAUSE)
    assert (statement.kind, statement.exp_ms, statement.tokens) == ("closing", 0, ())


def test_evidence_of_the_future_is_not_signed(story: World) -> None:
    """I2: a governor whose own clock is behind evidence time signs no permit; a closing it signs."""
    decision = said(story, Kind.RENEW)
    with pytest.raises(FutureEvidence, match="1 ms ahead"):
        statement_of(decision, KEY, decision.evidence_ms - 1)
    assert statement_of(said(story, Kind.CLOSE), KEY, 0).kind == "closing"


def test_no_permit_outlives_its_evidence(story: World) -> None:
    """I2: a decision that says so is not signed, whoever made it."""
    decision = said(story, Kind.RENEW)
    late = msgspec.structs.replace(decision, exp_ms=decision.evidence_ms + decision.ttl_ms + 1)
    with pytest.raises(ValueError, match="outlive"):
        statement_of(late, KEY, decision.evidence_ms)


def test_a_note_is_written_nowhere(story: World) -> None:
    """A refused command leaves the store as it is."""
    note = story.command("reset", epoch=1)[0]
    assert note.kind is Kind.NOTE
    with pytest.raises(ValueError, match="a note"):
        statement_of(note, KEY, 2**52)
