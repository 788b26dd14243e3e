"""What became of a command is read from the decision's fields, whatever its words are."""

from __future__ import annotations

import msgspec
import pytest

from failshut_breakers.command import Reset
from failshut_breakers.decisions.decision import Answer, Breaker, Decision, Kind, Result, encode_decision
from failshut_breakers.evidence.records import Place
from failshut_console.monitor import send_command

KID = "k" * 43
ORDER = Reset(installation="a" * 16, by="ada", why="mended", id="one", signed_ms=1, gate="pay", epoch=7)
NOTE = Decision(
    schema=2,
    kind=Kind.NOTE,
    installation="a" * 16,
    gate="pay",
    epoch="0" * 16,
    partition=0,
    offset=9,
    breaker=Breaker.TRIPPED,
    cause=None,
    because="confirmed: as text",
    evidence_ms=5,
    policy="",
    mode="",
    exp_ms=0,
    ttl_ms=3_000,
    in_flight="cancel",
    origin=Place("control", 0, 41, 0),
    readings=[],
    subjects=[],
    operations=[],
    context={},
    tokens=0,
    probe_epoch="",
    by=f"ada ({KID[:12]})",
)


def decided(decision: Decision) -> send_command.Answer | None:
    return send_command._decided(encode_decision(decision), ORDER, 41, KID)


@pytest.mark.parametrize("result", list(Result))
def test_a_note_says_by_a_field_whether_the_command_was_refused(result: Result) -> None:
    """Its words may begin as they like: here they begin as those of a confirmed trip do."""
    answer = decided(msgspec.structs.replace(NOTE, answer=Answer("reset", result, "the reason")))
    assert answer is not None
    assert (answer.result, answer.because) == (result.value, "the reason")


def test_a_note_without_an_answer_answers_nothing() -> None:
    """A gate that waits says so in a note, which is nobody's answer: the command line goes on waiting."""
    assert decided(NOTE) is None


def test_a_decision_that_a_command_led_to_answers_it() -> None:
    """The gate's new state is the answer to a command that was carried out."""
    opens = msgspec.structs.replace(NOTE, kind=Kind.OPEN, because="2 conditions hold")
    answer = decided(opens)
    assert answer is not None
    assert (answer.result, answer.state, answer.because) == ("done", "OPEN", "2 conditions hold")
