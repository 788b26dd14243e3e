"""The breaker: what may follow what, and nothing else."""

from __future__ import annotations

import itertools
import pickle

import pytest

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import epoch_text
from failshut_breakers.gate.breaker import LEGAL, Breaker, Closing, IllegalMove, Proving

PAIRS = list(itertools.product(State, State))


def arguments(to: State) -> dict[str, object]:
    if to is State.PROVING:
        return {"proving": Proving(1, 3, 100)}
    return {"closing": Closing(Cause.DRIFT, "x", None)} if to is not State.ARMED else {}


@pytest.mark.parametrize(("before", "to"), PAIRS, ids=lambda state: str(state.value))
def test_only_legal_moves_are_made(before: State, to: State) -> None:
    """Every pair of states that is not listed raises and leaves the state as it was; every listed one is made."""
    breaker = Breaker(before, Closing(Cause.DRIFT, "old", None), Proving(1, 3, 100) if before is State.PROVING else None)
    if (before, to) in LEGAL:
        breaker.move(to, **arguments(to))  # type: ignore[arg-type]
        assert breaker.state is to
        assert (breaker.proving is not None) is (to is State.PROVING)
        assert (breaker.closing is None) is (to is State.ARMED)
    else:
        with pytest.raises(IllegalMove):
            breaker.move(to, **arguments(to))  # type: ignore[arg-type]
        assert breaker.state is before


def test_nothing_leads_from_locked_but_an_operators_reset() -> None:
    """No demand leads from LOCKED to TRIPPED, where a cooldown would end it; ARMED proves only after a closing."""
    assert (State.LOCKED, State.TRIPPED) not in LEGAL
    assert (State.ARMED, State.PROVING) not in LEGAL
    assert (State.ARMED, State.ARMED) not in LEGAL


@pytest.mark.parametrize("to", [State.TRIPPED, State.LOCKED])
def test_no_closing_without_a_reason(to: State) -> None:
    """TRIPPED and LOCKED need a closing, PROVING needs probes, and nothing else takes them."""
    with pytest.raises(IllegalMove, match="without a closing"):
        Breaker().move(to)
    with pytest.raises(IllegalMove, match="do not go together"):
        Breaker(State.TRIPPED).move(State.PROVING)
    with pytest.raises(IllegalMove, match="do not go together"):
        Breaker(State.TRIPPED).move(State.ARMED, proving=Proving(1, 1, 1))


@pytest.mark.parametrize(
    "token",
    [
        *("", ":", "0", "{e}", "{e}:", "{e}:3", "{e}:-1", "{e}:00", "{e}:01", "{e}: 1", "{e}:1 ", "{e}:\u00b2", "{e}:\u0661"),
        *("{f}:1", "7:1", "{e}:1:1", "{e}:" + "9" * 5000),
    ],
    ids=lambda token: ascii(token)[:12],
)
def test_a_token_that_was_not_handed_out_is_not_known(token: str) -> None:
    """Another epoch's token, a number beyond the budget, or another spelling of a number proves nothing and raises nothing."""
    proving = Proving(7, 3, 100)
    assert not proving.knows(token.format(e=epoch_text(7), f=epoch_text(6)))


def test_a_token_proves_once() -> None:
    """A token that passed is not known any more."""
    proving = Proving(7, 3, 100)
    token = f"{epoch_text(7)}:2"
    assert proving.knows(token)
    assert not proving.passed_by(token).knows(token)
    assert proving.knows(token), "it is a value: the other one is another"


class TestAmending:
    """What is known of a closing or of PROVING changes in the same state, through one function."""

    def test_it_replaces_what_it_is_given_and_nothing_else(self) -> None:
        """A closing that is amended leaves the state and PROVING as they are, and the other way round."""
        old, new, proving = Closing(Cause.DRIFT, "old", None), Closing(Cause.DRIFT, "new", None), Proving(1, 3, 100)
        breaker = Breaker(State.PROVING, old, proving)
        breaker.amend(closing=new)
        assert (breaker.state, breaker.closing, breaker.proving) == (State.PROVING, new, proving)
        breaker.amend(proving=proving.handed_out(7))
        assert (breaker.state, breaker.closing, breaker.proving) == (State.PROVING, new, Proving(7, 3, 100, announced=True))

    def test_what_is_not_there_is_not_amended(self) -> None:
        """An ARMED breaker gets no closing and no probes this way."""
        with pytest.raises(IllegalMove, match="nothing of this kind"):
            Breaker().amend(closing=Closing(Cause.DRIFT, "x", None))
        with pytest.raises(IllegalMove, match="nothing of this kind"):
            Breaker(State.TRIPPED, Closing(Cause.DRIFT, "x", None)).amend(proving=Proving(1, 3, 100))

    @pytest.mark.parametrize(("part", "name"), [("", "state"), ("", "closing"), ("", "proving"), ("closing", "because")])
    def test_nothing_else_writes_a_breaker(self, part: str, name: str) -> None:
        """Its parts are read-only, and so is what they hold."""
        breaker = Breaker(State.TRIPPED, Closing(Cause.DRIFT, "x", None))
        with pytest.raises(AttributeError):
            setattr(getattr(breaker, part) if part else breaker, name, None)

    def test_it_survives_a_snapshot(self) -> None:
        """A breaker that was pickled is what it was."""
        breaker = Breaker(State.PROVING, Closing(Cause.DRIFT, "x", None), Proving(1, 3, 100).passed_by("t"))
        again = pickle.loads(pickle.dumps(breaker, protocol=5))
        assert (again.state, again.closing, again.proving) == (breaker.state, breaker.closing, breaker.proving)
