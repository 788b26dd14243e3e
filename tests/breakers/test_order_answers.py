"""The answer to an operator's command is a field of the decision that answers it: nobody reads it out of words."""

from __future__ import annotations

import msgspec
from log import World, policy

from failshut_breakers.decisions.decision import (
    Answer,
    Decision,
    Kind,
    Result,
    as_on_record,
    decode_decision,
    encode_decision,
)
from failshut_breakers.decisions.decision import (
    Breaker as State,
)

X = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05}'
BUDGETED = "drift: {series: s/x, detector: cusum, false_trips: 1 per 1h, learn: 100}"


def opened(condition: str = X) -> World:
    world = World(policy(condition))
    for value in range(240):
        world.samples([48.0 + value % 5])
        world.mark()
    assert world.is_open()
    return world


def note(decisions: list[Decision]) -> Decision:
    (one,) = [one for one in decisions if one.kind is Kind.NOTE]
    return one


def test_a_refused_command_is_answered_with_its_reason_alone() -> None:
    """The words for a person name the command; the field has command, result and reason apart."""
    said = note(opened().command("reset", epoch=1))
    assert said.because == "reset refused: the breaker is ARMED"
    assert said.answer == Answer("reset", Result.REFUSED, "the breaker is ARMED")


def test_a_command_of_another_installation_is_answered() -> None:
    """What is refused before anybody looks at the gate is refused in the field as well."""
    said = note(opened().command("lock", installation="anotherinstallation"))
    assert said.answer == Answer("lock", Result.REFUSED, "it is of another installation")


def test_claims_that_cannot_be_read_are_answered() -> None:
    """An answer to what is no command names none."""
    said = note(opened().command("lock", gate="g", surplus=1))
    assert said.answer is not None
    assert (said.answer.command, said.answer.result, said.answer.because) == ("", Result.REFUSED, said.because)


def test_what_an_answer_says_can_be_printed() -> None:
    """A command that names a terminal's control characters does not get them back raw."""
    world = opened()
    said = note(world.command("accept", epoch=world.gate().epoch, condition="a\x1b[2J"))
    assert said.answer is not None
    assert said.answer.because.isprintable()


def test_a_confirmed_trip_is_done() -> None:
    """A note is no refusal where the command was carried out."""
    world = opened(BUDGETED)
    world.samples([90.0] * 20)
    world.mark()
    assert world.gate().breaker.state is State.TRIPPED
    epoch = world.gate().epoch
    said = note(world.command("confirm", epoch=epoch, why="a bad release"))
    assert said.answer is not None
    assert (said.answer.command, said.answer.result) == ("confirm", Result.DONE)
    again = note(world.command("confirm", epoch=epoch)).answer
    assert again is not None
    assert again.result is Result.REFUSED


def test_a_decision_without_an_answer_has_no_field_for_it() -> None:
    """Decisions on record keep their bytes; one with an answer is read as it was written."""
    world = opened()
    said = note(world.command("reset", epoch=1))
    assert all(b'"answer"' not in encode_decision(one) for one in world.said if one.kind is not Kind.NOTE)
    assert decode_decision(encode_decision(said)) == said


def test_decisions_of_before_answers_are_compared_without() -> None:
    """Where nothing on record has an answer, none is asked for; where something has, each must be the same."""
    said = note(opened().command("reset", epoch=1))
    old = msgspec.structs.replace(said, answer=None)
    assert as_on_record([said], [encode_decision(old)]) == [old]
    assert as_on_record([said], [encode_decision(said)]) == [said]
    quoting = msgspec.structs.replace(old, because='it says "answer": no')
    assert as_on_record([said], [encode_decision(quoting)]) == [old]
