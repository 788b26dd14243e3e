"""What the demonstration concludes from the guards' answers."""

from __future__ import annotations

from failshut_console.demo.answers import Answer, GateAnswers, closed_at, closed_for_good, slipped, steady_since


def admitted(at: float, mode: str = "armed", evidence_ms: int = 0) -> Answer:
    return Answer(at, "", mode, evidence_ms)


def test_a_gate_closed_at_its_first_denial_for_the_expected_cause() -> None:
    """A denial for another cause is not the closing that was expected."""
    answers = [admitted(1.0), Answer(2.0, "lapsed"), Answer(3.0, "drift"), Answer(4.0, "drift")]
    found = closed_at(answers, frozenset({"drift"}))
    assert found is not None
    assert found.at == 3.0
    assert closed_at(answers, frozenset({"lag"})) is None


def test_a_permit_that_is_read_after_a_lapse_puts_the_closing_off() -> None:
    """Closed for good is the first denial after the last execution, and a gate that admits last never closed."""
    answers = [
        admitted(1.0),
        Answer(2.0, "lapsed"),
        admitted(2.2),
        Answer(2.3, "drift"),
        Answer(2.4, "lapsed"),
        Answer(2.5, "lapsed"),
    ]
    found = closed_for_good(answers, frozenset({"lapsed"}))
    assert found is not None
    assert found.at == 2.4
    assert closed_for_good([*answers, admitted(2.6)], frozenset({"lapsed"})) is None


def test_whatever_is_admitted_between_bound_and_end_slipped_through() -> None:
    """Admissions before the bound and after the trouble do not count, and denials never do."""
    answers = [admitted(1.0), admitted(2.5), Answer(2.6, "drift"), admitted(2.7, "proving"), admitted(9.0)]
    assert slipped(answers, after=2.0, before=5.0) == 2


def test_what_was_proved_anew_is_no_slip() -> None:
    """After a flush only a permit from before it slips through; a new one is the monitor's word."""
    answers = [admitted(3.0, evidence_ms=90), admitted(3.1, evidence_ms=110)]
    assert slipped(answers, after=2.0, before=5.0, stale_ms=100) == 1


def test_a_gate_is_steady_since_its_last_denial_or_probe() -> None:
    """Probes of a PROVING do not make a gate steady, and one denial starts the count again."""
    answers = [admitted(1.0), Answer(2.0, "drift"), admitted(3.0, "proving"), admitted(4.0), admitted(5.0)]
    assert steady_since(answers) == 4.0
    assert steady_since([*answers, Answer(6.0, "lapsed")]) is None
    assert steady_since([]) is None


def test_answers_are_counted_and_found_by_time() -> None:
    """A report's answers stand in the order of their times, and are counted once."""
    gate = GateAnswers("a")
    gate.take([Answer(2.0, "drift"), admitted(1.0)], "why", 2.1)
    gate.take([admitted(3.0)], "", 3.1)
    assert (gate.admitted, gate.withheld) == (2, 1)
    assert [answer.at for answer in gate.since(2.0)] == [2.0, 3.0]
    assert gate.last == admitted(3.0)
