"""What decisions say happened, and how much of them is read and kept. Nothing here talks to Kafka."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from console.decisions import ADA, BYPASS, DRIFT, IN_BYPASS, KEY_ID, START_MS, WHY, changed, control, decision, encoded, refused
from hypothesis import given
from hypothesis import strategies as st

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Answer, Breaker, Decision, Kind, Result
from failshut_console.monitor import log_entries
from failshut_console.monitor.log_bounds import Newest, cut_words, shares
from failshut_console.monitor.log_entries import Digest, Entry, who_of

OPEN, RENEW, CLOSE, NOTE = Kind.OPEN, Kind.RENEW, Kind.CLOSE, Kind.NOTE
OVER = {"breaker": Breaker.TRIPPED, "cause": Cause.BYPASS_ENDED, "because": "bypass ended; mean 48 to 97", "by": WHY}


def told(*decisions: Decision) -> list[Entry]:
    digest = Digest()
    taken = [digest.take(START_MS + number, data) for number, data in enumerate(encoded(*decisions))]
    return [entry for entry in taken if entry is not None]


@pytest.mark.parametrize(
    ("decisions", "what"),
    [
        ([decision(OPEN, 1)], ["opened"]),
        ([decision(OPEN, 1), decision(CLOSE, 2, **DRIFT)], ["opened", "closed"]),
        ([decision(CLOSE, 2, **DRIFT), decision(CLOSE, 3, **DRIFT)], ["closed", "still closed"]),
        ([decision(CLOSE, 2, **DRIFT), decision(OPEN, 3, mode="proving", breaker=Breaker.PROVING)], ["closed", "probing"]),
        ([decision(CLOSE, 2, breaker=Breaker.LOCKED, cause=Cause.LOCK, by=WHY)], ["locked"]),
        ([decision(CLOSE, 2, breaker=Breaker.LOCKED, cause=Cause.TERM)], ["locked"]),
        ([decision(OPEN, 2, by=WHY, **IN_BYPASS), decision(CLOSE, 3, **OVER)], ["bypassed", "bypass ended"]),
        ([decision(OPEN, 2, by=WHY, **IN_BYPASS), decision(OPEN, 3, by=WHY)], ["bypassed", "bypass ended"]),
        ([decision(CLOSE, 3, **OVER), decision(CLOSE, 4, **OVER)], ["bypass ended", "still closed"]),
        ([decision(OPEN, 1), decision(OPEN, 2, by=KEY_ID, origin=control(7))], ["opened", "policy activated"]),
        ([decision(CLOSE, 2, cause=Cause.BAD_POLICY, by=KEY_ID, origin=control(7))], ["policy activated"]),
        ([decision(OPEN, 2, by=KEY_ID)], ["opened"]),  # nothing of control led to it: whatever its words look like
        ([refused(2)], ["refused"]),
        ([decision(NOTE, 2, because="reset refused: the breaker is ARMED", by=ADA)], ["refused"]),  # before 0.2
        ([decision(NOTE, 2, answer=Answer("accept", Result.DONE, "x"), by=ADA)], ["accepted"]),
        ([decision(NOTE, 2, answer=Answer("confirm", Result.DONE, "x"), by=ADA)], ["confirmed"]),
        ([decision(NOTE, 2, because="a reset waits for news")], ["waits"]),
    ],
)
def test_what_happened_has_a_word(decisions: list[Decision], what: list[str]) -> None:
    """The same decision may say something else after another one."""
    assert [entry.what for entry in told(*decisions)] == what


def test_renewals_are_no_news_and_are_remembered() -> None:
    """A thousand renewals are nothing; but a gate whose bypass was renewed was bypassed, and that it ended is news."""
    renewals = [decision(RENEW, number, **IN_BYPASS) for number in range(1_000)]
    assert told(*renewals) == []
    assert [entry.what for entry in told(renewals[-1], decision(OPEN, 2_000))] == ["bypass ended"]


def test_what_two_governors_say_is_said_once() -> None:
    """A standby's copy, a worker that judges the log again: the same record, the same decision. Another kind is another one."""
    closing = decision(CLOSE, 2, **DRIFT)
    assert [entry.what for entry in told(closing, closing, decision(OPEN, 1), closing)] == ["closed", "opened"]
    digest = Digest()
    for data in encoded(closing, closing):
        digest.take(START_MS, data)
    assert digest.again == 1
    assert len(told(closing, changed(closing, kind=NOTE))) == 2


def test_the_memory_of_what_was_said_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a log is followed; what was forgotten is news once more."""
    monkeypatch.setattr(log_entries, "SEEN_MAX", 10)
    digest = Digest()
    for number in range(100):
        for data in encoded(decision(OPEN, number, gate=f"g{number}")):
            assert digest.take(START_MS, data) is not None
    assert (len(digest._seen), len(digest._before)) == (10, 10)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff", b'{"more":' + b"[" * 100_000])
def test_what_is_no_decision_is_counted_and_stops_nothing(value: bytes | None) -> None:
    """I8: one bad record blinds nothing."""
    digest = Digest()
    assert digest.take(START_MS, value) is None
    assert digest.unreadable == 1
    assert digest.take(START_MS, *encoded(decision(OPEN, 1))) is not None


@pytest.mark.parametrize(
    ("by", "who"),
    [
        ("", ("", "", "")),
        (ADA, ("ada", "k" * 12, "")),
        (WHY, ("ada", "k" * 12, "looking into it")),
        (f"{ADA}: see (it): now", ("ada", "k" * 12, "see (it): now")),
        (KEY_ID, ("", "k" * 12, "")),
        (f"boss (aaaaaaaaaaaa): no, {ADA}: so", (f"boss (aaaaaaaaaaaa): no, {ADA}: so", "", "")),
        (f"{ADA}: as boss (aaaaaaaaaaaa): said", (f"{ADA}: as boss (aaaaaaaaaaaa): said", "", "")),
        ("operator", ("operator", "", "")),
    ],
)
def test_whose_word_it_was(by: str, who: tuple[str, str, str]) -> None:
    """Name, key and reason apart; where a name pretends to be another's, nobody can tell, and all of it is the name."""
    assert tuple(who_of(by)) == who


def test_a_renewed_bypass_that_opens_again_names_its_operator() -> None:
    """A gate that lapsed under a bypass comes back by evidence alone; whose bypass it is stands in the decision."""
    (entry,) = told(decision(OPEN, 2, **IN_BYPASS))
    assert (entry.who, entry.why) == ("ada", "a known change")


def test_an_entry_for_a_machine_says_everything() -> None:
    """Times, place of the evidence, origin at the front door, readings, and the bypass with its fields' names."""
    (entry,) = told(decision(OPEN, 2, by=WHY, **IN_BYPASS))
    said: dict[str, Any] = json.loads(json.dumps(entry.as_json()))
    assert said["time"] == "2026-03-01T11:00:00.000Z"
    assert (said["gate"], said["what"], said["state"], said["breaker"], said["mode"]) == (
        *("pay", "bypassed", "OPEN"),
        *("TRIPPED", "bypass"),
    )
    assert (said["evidence_partition"], said["evidence_offset"], said["evidence_ms"]) == (0, 2, START_MS)
    assert said["origin"] == {"topic": "telemetry", "partition": 0, "offset": 2, "index": 0}
    assert said["readings"] == [["drift:agent/amount", "holds", "mean 48"]]
    assert said["bypass"] == {"by": ADA, "why": "a known change", "conditions": BYPASS.conditions, "until_ms": BYPASS.until_ms}


def test_nothing_in_an_entry_commands_a_terminal() -> None:
    """Whoever can write the topic can write what screens show."""
    bad = "\x1b[2J"
    one = decision(OPEN, 2, gate=bad, because=bad, by=bad, epoch=bad, policy=bad, mode=bad, origin=control(1))
    (entry,) = told(one)
    texts = (entry.gate, entry.what, entry.because, entry.who, entry.epoch, entry.policy, entry.mode)
    assert all(text.isprintable() for text in texts)


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 1_000), max_size=8), st.integers(0, 5_000))
def test_shares_use_what_may_be_read_and_no_more(sizes: dict[int, int], most: int) -> None:
    """All of it where there is enough; nobody gets more than there is; and no partition is cut below another one's share."""
    shared = shares(sizes, most)
    assert shared.keys() == sizes.keys()
    assert all(0 <= shared[place] <= sizes[place] for place in sizes)
    assert sum(shared.values()) == min(most, sum(sizes.values()))
    for place in sizes:
        if shared[place] < sizes[place]:
            assert shared[place] >= max(shared.values()) - 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=60), st.integers(1, 20))
def test_entries_are_merged_by_time_and_the_newest_are_kept(records: list[tuple[int, int]], most: int) -> None:
    """Whatever order partitions come in, the answer is sorted by time, and what is missing is older than what is there."""
    (entry,) = told(decision(OPEN, 1))
    newest = Newest(most)
    times = []
    for offset, (time_ms, partition) in enumerate(records):
        newest.add(partition, offset, replace(entry, time_ms=time_ms))
        times.append(time_ms)
    kept = [one.time_ms for one in newest.taken()]
    assert kept == sorted(times)[len(times) - len(kept) :]
    assert (len(kept), newest.dropped) == (min(most, len(times)), max(0, len(times) - most))
    assert [one.time_ms for one in newest.taken(25)] == [time_ms for time_ms in kept if time_ms >= 25]


def test_what_was_cut_is_said_and_nothing_else_is() -> None:
    """Each bound has words of its own, with what to do."""
    assert cut_words(0, 0, 0, 10) == []
    unread, dropped = cut_words(7, START_MS, 3, 10)
    assert unread.startswith("cut: 7 older decisions")
    assert "before 2026-03-01T11:00:00Z" in unread
    assert dropped.startswith("cut: 3 older entries are not shown, 10 are")
    assert "--last" in dropped
