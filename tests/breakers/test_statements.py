"""Decisions become statements: the same bytes twice, and never for longer than their evidence."""

from __future__ import annotations

import json

import msgspec
import pytest
from log import INSTALLATION, World, policy

from failshut.permit import Closing, Permit, verify
from failshut.signing import TOKEN_BYTES_MAX, SigningKey
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Brief, Decision, Kind, decode_decision, encode_decision
from failshut_breakers.decisions.permits import BECAUSE_MAX, LIFE_MS, FutureEvidence, statement_of
from failshut_breakers.policy.policy import PolicyError, parse_policy

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


def _said_of(text: str) -> Decision:
    """A decision that opens under this policy, with readings as long and as costly as they come."""
    found = parse_policy(text)
    readings = [Brief(one.name, "insufficient", "\U0001f600" * 400) for one in found.conditions]
    return Decision(
        schema=1,
        kind=Kind.OPEN,
        gate=found.gate,
        epoch="9007199254740991",
        partition=2**31,
        offset=2**53 - 1,
        breaker=State.ARMED,
        cause=None,
        because="",
        installation="i" * 64,
        evidence_ms=10**13,
        policy="sha256:" + "f" * 64,
        mode="proving",
        exp_ms=10**13 + 1,
        ttl_ms=3_600_000,
        in_flight="finish",
        origin=None,
        readings=readings,
        subjects=list(found.subjects),
        operations=list(found.operations),
        context=dict(found.context),
        tokens=0,
        probe_epoch="",
        by="",
    )


def _with_names(where: str, letter: str, many: int) -> str:
    """A policy with so many long names in one of its parts."""
    names = [json.dumps(letter * 190 + f"{number:03d}", ensure_ascii=False) for number in range(many)]
    conditions = [f"heartbeat: {{name: {name}, source: s, grace: 3s}}" for name in names[:64]]
    parts = {
        "subjects": {"subjects": f"[{', '.join(names)}]"},
        "context": {"context": "{" + ", ".join(f"{name}: {name}" for name in names[:50]) + "}"},
        "names": {},
    }
    return policy(*(conditions if where == "names" else conditions[:1]), gate="g" * 128, **parts[where])


@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600", '"'], ids=["ascii", "two", "four", "quote"])
@pytest.mark.parametrize("where", ["subjects", "context", "names"])
def test_every_policy_that_is_taken_has_permits_that_guards_read(letter: str, where: str) -> None:
    """As long as the policy is taken, its longest permit verifies; what is longer is a fault that says so."""
    taken, fault = 0, ""
    for many in (1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 50, 64, 100):
        try:
            decision = _said_of(_with_names(where, letter, many))
        except PolicyError as error:
            fault = str(error)
            break
        taken += 1
        token = statement_of(decision, KEY, 2 * 10**13).token
        assert len(token) <= TOKEN_BYTES_MAX
        assert isinstance(verify(token, KEYS.of("i" * 64), "g" * 128), Permit)
    assert taken
    assert fault == "" or "guards read 65536" in fault or "characters; at most" in fault
    if letter == "\U0001f600":
        assert "so the gate would never open" in fault


def test_the_same_decision_and_key_write_the_same_bytes(story: World) -> None:
    """I2, I3: two governors with clocks of their own sign the same token."""
    for kind in (Kind.OPEN, Kind.CLOSE):
        decision = said(story, kind)
        again = decode_decision(encode_decision(decision))
        assert again == decision
        assert statement_of(decision, KEY, decision.evidence_ms) == statement_of(again, KEY, decision.evidence_ms + 10**9)


def test_a_permit_says_what_was_decided(story: World) -> None:
    """What a guard verifies is the decision's. Seals renew it, for ttl after their evidence, and its last end is far away."""
    decision = said(story, Kind.OPEN)
    statement = statement_of(decision, KEY, decision.evidence_ms)
    permit = verify(statement.token, KEYS, "g")
    assert isinstance(permit, Permit)
    assert (permit.epoch, permit.offset, permit.policy, permit.mode) == (
        decision.epoch,
        decision.offset,
        decision.policy,
        "armed",
    )
    assert (permit.sealed, permit.ttl_ms) == (True, 3_000)
    assert (permit.nbf_ms, permit.exp_ms) == (decision.evidence_ms, decision.evidence_ms + LIFE_MS)
    proving = msgspec.structs.replace(decision, mode="proving")
    unsealed = verify(statement_of(proving, KEY, decision.evidence_ms).token, KEYS, "g")
    assert isinstance(unsealed, Permit)
    assert (unsealed.sealed, unsealed.exp_ms) == (False, decision.evidence_ms + 3_000)
    assert (permit.subjects, permit.context) == (("agent:*",), {"environment": "production"})
    assert (statement.kind, statement.exp_ms) == ("permit", permit.exp_ms)


def test_a_closing_says_why(story: World) -> None:
    """A closing does not expire and names cause, words and breaker; what is too long is cut."""
    decision = msgspec.structs.replace(said(story, Kind.CLOSE), because="x" * 10_000)
    statement = statement_of(decision, KEY, 0)
    closing = verify(statement.token, KEYS, "g")
    assert isinstance(closing, Closing)
    assert (closing.cause, closing.breaker, closing.because) == ("conformance", "TRIPPED", "x" * BECAUSE_MAX)
    assert (statement.kind, statement.exp_ms, statement.tokens) == ("closing", 0, ())


def test_evidence_of_the_future_is_not_signed(story: World) -> None:
    """I2: a governor whose own clock is behind evidence time signs no permit; a closing it signs."""
    decision = said(story, Kind.OPEN)
    with pytest.raises(FutureEvidence, match="1 ms ahead"):
        statement_of(decision, KEY, decision.evidence_ms - 1)
    assert statement_of(said(story, Kind.CLOSE), KEY, 0).kind == "closing"


def test_no_permit_outlives_its_evidence(story: World) -> None:
    """I2: a decision that says so is not signed, whoever made it."""
    decision = msgspec.structs.replace(said(story, Kind.OPEN), mode="bypass")
    late = msgspec.structs.replace(decision, exp_ms=decision.evidence_ms + decision.ttl_ms + 1)
    with pytest.raises(ValueError, match="outlive"):
        statement_of(late, KEY, decision.evidence_ms)


def test_a_note_is_written_nowhere(story: World) -> None:
    """A refused command leaves the store as it is."""
    note = story.command("reset", epoch=1)[0]
    assert note.kind is Kind.NOTE
    with pytest.raises(ValueError, match="a note"):
        statement_of(note, KEY, 2**52)
