"""`failshut hold` is `failshut lock`, and says so on stderr."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from console.console_support import Failshut

from failshut_breakers.command import Lock, Reset, Unlock
from failshut_console.app import COMMANDS
from failshut_console.commands.orders import answering, lock, reset, unlock

SENT = ("a.b", "--why", "x", "--broker", "kafka://127.0.0.1:1", "--key", "none.pem", "--installation", "i" * 32)
HIDDEN = {command.name: command.hidden for command in COMMANDS}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands that would have been sent."""
    found: list[Any] = []

    def take(at: object, order: Any, *rest: object) -> None:
        found.append(order)

    monkeypatch.setattr(lock, "send", take)
    monkeypatch.setattr(answering, "send", take)
    return found


@pytest.mark.parametrize(("word", "said"), [("lock", ""), ("hold", "failshut hold is called failshut lock")])
def test_the_old_word_locks_and_says_what_it_is_called_now(word: str, said: str, failshut: Failshut, sent: list[Any]) -> None:
    """Scripts go on closing gates, and whoever reads their errors learns the word; stdout stays what it was."""
    ended = failshut(word, *SENT)
    assert (ended.status, ended.out) == (0, "")
    assert ended.err.startswith(said)
    assert bool(ended.err) is bool(said)
    (order,) = sent
    assert isinstance(order, Lock)
    assert (order.gate, order.why, order.kind) == ("a.b", "x", "lock")


def test_unlock_names_the_closing_that_it_answers(failshut: Failshut, sent: list[Any]) -> None:
    """The epoch that was given is the one that is answered."""
    assert failshut("unlock", *SENT, "--epoch", "7").status == 0
    (order,) = sent
    assert isinstance(order, Unlock)
    assert (order.gate, order.epoch) == ("a.b", 7)


def test_the_old_word_is_explained_and_not_listed(failshut: Failshut) -> None:
    """--help speaks of lock and unlock alone; who asks about the old word is answered."""
    assert (HIDDEN["lock"], HIDDEN["unlock"], HIDDEN["hold"]) == (False, False, True)
    assert "Exit status:" in failshut("hold", "--help").out


def test_reset_and_unlock_take_the_same_options(failshut: Failshut, sent: list[Any]) -> None:
    """They are typed alike and answer one closing; they differ in which breakers they are for."""
    assert inspect.signature(reset.reset) == inspect.signature(unlock.unlock)
    for name in ("reset", "unlock"):
        assert failshut(name, *SENT, "--epoch", "3").status == 0
    assert [(type(order), order.epoch) for order in sent] == [(Reset, 3), (Unlock, 3)]
