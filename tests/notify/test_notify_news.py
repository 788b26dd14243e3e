"""What is news: each closing and each opening once, in whatever order and however often it is said."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from console.decisions import ADA, DRIFT, IN_BYPASS, START_MS, WHY, decision, encoded, refused

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_console.monitor.decision_log import Said
from failshut_console.notify import news as news_module
from failshut_console.notify.news import Book, News


def said(value: Decision | bytes | None, number: int = 0, partition: int = 0) -> Said:
    content = encoded(value)[0] if isinstance(value, Decision) else value
    return Said(partition, number, START_MS + number, content)


def told(*decisions: Decision | bytes | None, book: Book | None = None) -> list[tuple[str, str]]:
    """Gate and event of the news in these records."""
    book = book or Book()
    found = [book.take(said(one, number)) for number, one in enumerate(decisions)]
    return [(one.gate, one.event) for one in found if one is not None]


CLOSE, OPEN, RENEW = (
    lambda offset, **more: decision(Kind.CLOSE, offset, **{**DRIFT, **more}),
    lambda offset, **more: decision(Kind.OPEN, offset, **more),
    lambda offset, **more: decision(Kind.RENEW, offset, **more),
)


def test_a_closing_and_an_opening_are_news_once() -> None:
    """Renewals, notes, copies of a standby, a further cause and what is no decision are none."""
    assert told(
        RENEW(1), CLOSE(2), CLOSE(2), CLOSE(3, cause=Cause.LOCK, breaker=Breaker.LOCKED), refused(4), b"\xff", None,
        OPEN(5), OPEN(5), RENEW(6), OPEN(7),
    ) == [("pay", "closed"), ("pay", "opened")]  # fmt: skip


def test_what_was_told_is_not_told_again_in_any_order() -> None:
    """Of copies of three decisions, in any order and mixed, no event is told twice, and the last one that counts is right."""
    three = [CLOSE(2), OPEN(3), CLOSE(4)]
    for order in itertools.permutations([*three, *three]):
        book = Book()
        found = [one for number, record in enumerate(order) if (one := book.take(said(record, number))) is not None]
        assert len({one.id for one in found}) == len(found)
        assert [one.epoch for one in found] == sorted(one.epoch for one in found)
        assert book.gates["pay"].closing is not None


def test_a_gate_that_proves_itself_is_still_closed() -> None:
    """Neither the attempt nor its failure is news; the opening that follows is, and says when the gate closed."""
    book = Book()
    assert told(CLOSE(1), OPEN(2, mode="proving", breaker=Breaker.PROVING), CLOSE(3), book=book) == [("pay", "closed")]
    opened = book.take(said(OPEN(4), 9))
    assert opened is not None
    assert (opened.event, opened.closed_ms, opened.time_ms) == ("opened", START_MS, START_MS + 9)
    assert told(OPEN(2, mode="proving")) == []


def test_an_operators_word_is_told() -> None:
    """Who, and why; a bypass opens, and its end closes."""
    book = Book()
    locked = book.take(said(CLOSE(1, cause=Cause.LOCK, breaker=Breaker.LOCKED, by=WHY)))
    assert locked is not None
    assert (locked.who, locked.why, locked.cause, locked.breaker) == ("ada", "looking into it", "lock", "LOCKED")
    assert told(OPEN(2, **IN_BYPASS), CLOSE(3, cause=Cause.BYPASS_ENDED), book=book) == [("pay", "opened"), ("pay", "closed")]
    assert ADA.startswith("ada")


def test_gates_and_partitions_are_apart() -> None:
    """What one gate did says nothing of another, and each partition has a place of its own."""
    book = Book()
    assert told(CLOSE(1), CLOSE(1, gate="route"), OPEN(2), book=book) == [
        ("pay", "closed"),
        ("route", "closed"),
        ("pay", "opened"),
    ]
    book.take(said(RENEW(3), 41, partition=2))
    assert (book.offsets, [one.gate for one in book.closed()]) == ({0: 3, 2: 42}, ["route"])


def test_what_others_wrote_is_bounded_and_printable() -> None:
    """A text of another's cannot fill a message, or hold what a terminal obeys."""
    taken = Book().take(said(CLOSE(1, because="\x1b[2J" + "x" * 10_000, by="y" * 10_000)))
    assert taken is not None
    assert (len(taken.because), len(taken.who)) == (1_000, 1_000)
    assert taken.because.isprintable()


def test_a_book_forgets_what_is_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever names gates come, a book has a bound; a gate that was forgotten is news again."""
    monkeypatch.setattr(news_module, "GATES_MAX", 3)
    book = Book()
    told(*(CLOSE(1, gate=f"g{number}") for number in range(5)), book=book)
    assert list(book.gates) == ["g2", "g3", "g4"]
    assert told(CLOSE(1, gate="g0"), CLOSE(1, gate="g4"), book=book) == [("g0", "closed")]


def test_news_come_back_from_a_book_as_they_were() -> None:
    """And what is none is refused."""
    taken = Book().take(said(CLOSE(1)))
    assert taken is not None
    assert News.of_json(taken.as_json()) == taken
    for wrong in ({}, {**taken.as_json(), "gate": 7}, {**taken.as_json(), "time_ms": "now"}):
        bad: Any = wrong
        with pytest.raises((KeyError, TypeError)):
            News.of_json(bad)
