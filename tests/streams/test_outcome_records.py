"""An entry of a gate's stream becomes the record that the decoder reads, or is refused: nothing in between."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py
from streams.entries import EPOCH, GATE, INSTALLATION, NAMES, OTHER, PROBES, STREAM, decoded, fields, record

from failshut.background.outcomes import OutcomeQueue
from failshut.signing import SigningKey
from failshut.store.client import Store as GuardStore
from failshut_breakers.conditions import Moment, build
from failshut_breakers.conditions.sent import GRACE_MS
from failshut_breakers.decisions.probe_tokens import ProbeKey
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes
from failshut_servers import Valkey
from failshut_streams.codecs import InternalDecoder, Outcome
from failshut_streams.router.run_builder import RunBuilder
from failshut_streams.sources.outcome_records import BadOutcome


def test_an_entry_becomes_what_the_decoder_reads() -> None:
    """What the mover writes, the decoder reads as the same outcome, keyed by its gate."""
    token = PROBES.token(INSTALLATION, GATE, EPOCH, 4)
    key, value = record("17-0", fields(token=token, outcome="failed", lost="2"))
    assert key == b"payments.refund"
    assert decoded(key, value) == Outcome(GATE, EPOCH, f"{EPOCH}:4", "failed", 3, "17-0", 2)
    assert token.rpartition(":")[2].encode() not in value  # evidence holds no secret


@pytest.mark.parametrize(
    "token",
    [
        f"{EPOCH}:4",
        f"{EPOCH}:4:",
        f"{EPOCH}:4:{'A' * 22}",
        ProbeKey(SigningKey.generate()).token(INSTALLATION, GATE, EPOCH, 4),
        PROBES.token(INSTALLATION, OTHER, EPOCH, 4),
        PROBES.token("anotherinstallation", GATE, EPOCH, 4),
        PROBES.token(INSTALLATION, GATE, EPOCH, 4).replace(":4:", ":5:"),
        PROBES.token(INSTALLATION, GATE, EPOCH, 4).replace(":4:", ":04:"),
        PROBES.token(INSTALLATION, GATE, EPOCH, 4) + "\n",
        PROBES.token(INSTALLATION, GATE, EPOCH, 4).replace("1099511627776", "1099511627777"),
    ],
    ids=range(10),
)
def test_a_token_that_this_monitor_has_not_made_for_this_gate_is_no_outcome(token: str) -> None:
    """Computed from what everybody may read, made with another key, or another gate's: it says nothing of any probe."""
    with pytest.raises(BadOutcome, match="probe token"):
        record("1-0", fields(token=token))


def test_what_an_entry_says_of_its_gate_counts_for_nothing() -> None:
    """It is of the gate in whose stream it stands: that is what the store's users are held to."""
    key, value = record("1-0", fields(gate=OTHER))
    assert (key, decoded(key, value).gate) == (GATE.encode(), GATE)


def test_a_guards_total_and_losses_come_along() -> None:
    """What the governor needs to find a hole is in the record."""
    key, value = record("17-0", fields(outcome="interrupted", lost="2", guard="a1", total="9007199254740992"))
    assert decoded(key, value) == Outcome(GATE, EPOCH, "", "interrupted", 3, "17-0", 2, "a1", 2**53)


def test_what_the_stores_cap_removed_is_a_hole_that_the_gate_counts(store: Valkey) -> None:
    """A real guard's queue and a real stream: the oldest entries are gone, and the condition finds how many outcomes it was."""
    queue = OutcomeQueue(1_000)
    guard = GuardStore(store.url, 5_000)
    for size in (1, 40, 2):
        for _ in range(size):
            queue.put(("payments.refund", EPOCH, "", "ok"))
        assert guard.append(NAMES, queue.take(), "pod-1", queue.name) == []
    guard.close()
    book = PolicyBook()
    text = "gate: payments.refund\npermit: {ttl: 3s}\nconditions:\n  - failure_rate: {window: 120s, at_least: 20, over: 0.5}\n"
    book.apply(1, 1, {"p": text}, "")
    table = RunBuilder(Routes.of(book), lambda gate: 0, InternalDecoder().names)
    policy = book.entries["payments.refund"].policy
    assert policy is not None
    condition = build(policy.conditions[0])
    with redis_py.Redis.from_url(store.url) as client:
        entries: Any = client.xrange(STREAM)
    now_ms = 1_800_000_000_000
    for offset, (entry_id, found) in enumerate(entries):
        if offset != 1:  # what the cap removes
            table.take(offset, now_ms, InternalDecoder().decode(*record(entry_id.decode(), found), (), now_ms))
    for reading in table.end()[0]["payments.refund"]:
        condition.feed(reading, 0, Moment(now_ms, now_ms))
    assert not condition.tick(Moment(now_ms + GRACE_MS - 1, now_ms + GRACE_MS - 1))
    assert condition.tick(Moment(now_ms + GRACE_MS, now_ms + GRACE_MS))
    assert condition.text == "40 of 43 executions failed in 120 s, 40 outcomes lost (counted as failed)"


def test_what_may_be_missing_may_be_missing() -> None:
    """No instance, no token and no losses are an outcome still."""
    key, value = record("1-0", fields(instance=None, token=None, lost=None))
    assert decoded(key, value) == Outcome(GATE, EPOCH, "", "ok", 3, "1-0", 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "12"},
        {"outcome": "maybe"},
        {"count": "-1"},
        {"count": "1e3"},
        {"count": "٣"},
        {"count": "9" * 5_000},
        {"lost": "x"},
        {"token": "t" * 513},
        {"epoch": None},
        {"count": None},
    ],
    ids=str,
)
def test_what_is_no_outcome_is_refused(changes: dict[str, str | None]) -> None:
    """An entry that the decoder would not take is not sent to it."""
    with pytest.raises(BadOutcome):
        record("1-0", fields(**changes))


def test_bytes_that_are_no_text_are_refused() -> None:
    """Invalid UTF-8 is a bad outcome, not a crash."""
    with pytest.raises(BadOutcome):
        record("1-0", fields() | {b"token": b"\xff"})
