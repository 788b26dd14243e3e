"""A lock and its unlock, and the words of before 0.2: hold and HELD are read, and never written."""

from __future__ import annotations

import json

import msgspec
import pytest
from log import World, command, policy

from failshut.cause import Cause
from failshut_breakers.command import CommandError, Lock, parse_command
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import (
    Decision,
    Kind,
    as_on_record,
    decode_decision,
    encode_decision,
    in_present_words,
)

X = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
PROBES = "{probes: 3, deadline: 10s}"


def opened() -> World:
    world = World(policy(X, reset=PROBES))
    world.samples([48.0] * 10)
    world.mark()
    assert world.is_open()
    return world


def locked(word: str = "lock") -> World:
    world = opened()
    world.command(word, why="deploy")
    world.marks(2_000)
    return world


def old_words(decision: Decision) -> bytes:
    """The decision as versions before 0.2 wrote it."""
    text = encode_decision(msgspec.structs.replace(decision, answer=None)).decode()
    for new, old in (("LOCKED", "HELD"), ('"lock"', '"hold"'), ("locked by", "held by"), ("lock refused", "hold refused")):
        text = text.replace(new, old)
    return text.replace("unlock the gate", "reset the gate").encode()


@pytest.mark.parametrize("word", ["lock", "hold"])
def test_the_old_word_closes_a_gate_as_a_lock(word: str) -> None:
    """A command that an older version signed is a lock: in state, cause and words."""
    last = locked(word).last()
    assert (last.kind, last.cause, last.breaker) == (Kind.CLOSE, Cause.LOCK, State.LOCKED)
    assert last.because == "locked by ada: deploy"
    assert not {b"HELD", b"hold"} & {*encode_decision(last).replace(b'"', b" ").split()}


def test_the_old_kind_is_read_and_the_new_one_written() -> None:
    """Claims of kind hold are those of a lock, and any other word is refused."""
    claims = {"installation": "a" * 16, "by": "x", "why": "y", "id": "z", "signed_ms": 1, "gate": "g"}
    old, new = (parse_command(json.dumps({**claims, "kind": kind})) for kind in ("hold", "lock"))
    assert isinstance(old, Lock)
    assert old == new
    assert old.model_dump(mode="json")["kind"] == "lock"
    with pytest.raises(CommandError):
        parse_command({**claims, "kind": "held"})


def test_old_causes_and_states_are_read_and_no_other_words() -> None:
    """A closing that an older monitor signed still says why; what nobody ever wrote is an error."""
    assert Cause("hold") is Cause.LOCK
    assert State("HELD") is State.LOCKED
    for enumeration, word in ((Cause, "HELD"), (Cause, "held"), (State, "hold"), (State, "held")):
        with pytest.raises(ValueError, match=word):
            enumeration(word)


def test_an_unlock_lets_a_locked_gate_prove_itself() -> None:
    """It answers the closing by its epoch, and probes decide."""
    world = locked()
    assert world.command("unlock", epoch=world.gate().epoch)[0].breaker is State.PROVING


def test_an_unlock_that_had_not_seen_a_later_lock_is_void() -> None:
    """Whoever answers the first lock does not lift the second."""
    world = locked()
    seen = world.gate().epoch
    world.command("lock", why="and this one")
    world.marks(2_000)
    (note,) = world.command("unlock", epoch=seen)
    assert note.because.startswith(f"unlock refused: it answers epoch {seen}")
    assert world.gate().breaker.state is State.LOCKED


def test_an_unlock_is_for_a_locked_breaker_alone() -> None:
    """A breaker that tripped is not unlocked: its reset is another act."""
    world = opened()
    world.samples([500.0])
    world.mark()
    world.samples([48.0] * 60)
    world.marks(2_000)
    assert world.gate().breaker.state is State.TRIPPED
    (note,) = world.command("unlock", epoch=world.gate().epoch)
    assert note.because == "unlock refused: the breaker is TRIPPED, and only a LOCKED one is unlocked"
    assert world.command("reset", epoch=world.gate().epoch)[0].breaker is State.PROVING


def test_a_reset_takes_a_locked_breaker_too() -> None:
    """What was done to a hold is still done to a lock."""
    world = locked()
    assert world.command("reset", epoch=world.gate().epoch)[0].breaker is State.PROVING


def test_decisions_on_record_are_read_in_present_words() -> None:
    """A decision of an older version is the one that is taken now, byte for byte; one without a lock stays as it is."""
    world = locked()
    world.control(command("bypass", epoch=world.gate().epoch, conditions=["conformance:s/x"], until_ms=world.now_ms + 1_000))
    said = [one for one in world.said if b"lock" in encode_decision(one).lower()]
    assert {one.kind for one in said} == {Kind.CLOSE, Kind.NOTE}
    for decision in said:
        old = old_words(decision).replace(b"a lock is unlocked", b"a hold is reset")
        assert b"HELD" in old
        assert decode_decision(old).breaker is State.LOCKED
        assert in_present_words(old) == encode_decision(*as_on_record([decision], [old]))
    untouched = encode_decision(next(one for one in world.said if one.kind is Kind.OPEN))
    assert b"conditions hold" in untouched
    assert in_present_words(untouched) == untouched
