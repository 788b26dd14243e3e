"""What each kind of receiver is sent: the form that it reads, and nothing in it that it would obey."""

from __future__ import annotations

import json
from dataclasses import replace

from failshut_console.notify import words
from failshut_console.notify.news import News

CLOSED = News(
    id="pay@0001/closed",
    installation="i" * 32,
    gate="pay",
    event="closed",
    epoch="0001",
    time_ms=1_772_362_800_000,
    cause="drift",
    meaning="a series has drifted",
    because="mean 48 to 97",
    who="ada",
    why="a <!channel> & more",
)
OPENED = replace(
    CLOSED, id="pay@0002/opened", event="opened", epoch="0002", time_ms=1_772_362_975_000, closed_ms=CLOSED.time_ms
)


def test_a_cloud_event_has_what_one_must_have() -> None:
    """Id, source, type, subject and time; the id is the news's own."""
    event = json.loads(words.cloud_event(CLOSED))
    assert {name: event[name] for name in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "pay@0001/closed",
        "source": f"/failshut/{'i' * 32}",
        "type": "failshut.gate.closed",
        "subject": "pay",
        "time": "2026-03-01T11:00:00.000Z",
    }
    assert event["data"]["because"] == "mean 48 to 97"


def test_slack_reads_lines_and_obeys_nothing_in_them() -> None:
    """A reason of somebody's calls no channel."""
    text = json.loads(words.slack([CLOSED, OPENED]))["text"]
    assert "<" not in text
    assert "&lt;!channel&gt; &amp; more" in text
    first, second = text.splitlines()
    assert "pay is CLOSED: a series has drifted" in first
    assert "failshut log pay (epoch 0001)" in first
    assert "pay is OPEN after 3 min" in second or "pay is OPEN after 2 min 55 s" in second


def test_pagerduty_has_one_incident_for_each_gate() -> None:
    """The opening resolves what the closing triggered, by the same key."""
    trigger, resolve = (json.loads(words.pagerduty(one, "key", "error")) for one in (CLOSED, OPENED))
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert (trigger["payload"]["severity"], trigger["payload"]["source"]) == ("error", f"failshut {'i' * 32}")
    assert "payload" not in resolve
    long = replace(CLOSED, gate="g" * 500)
    assert len(json.loads(words.pagerduty(long, "key", "error"))["dedup_key"]) == 255


def test_an_alert_ends_with_the_opening() -> None:
    """Both have the same labels and the same beginning; without an opening it does not end soon."""
    now_ms = CLOSED.time_ms + 1_000
    closed, opened = json.loads(words.alerts([CLOSED, OPENED], "critical", now_ms))
    assert closed["labels"] == opened["labels"]
    assert closed["startsAt"] == opened["startsAt"]
    assert closed["endsAt"] > "2026-03-08"
    assert opened["endsAt"] == "2026-03-01T11:02:55.000Z"


def test_a_mail_says_what_it_is_about() -> None:
    """One piece of news by itself, or how many."""
    assert words.heading([CLOSED]) == "pay is CLOSED: a series has drifted"
    assert words.heading([CLOSED, OPENED, OPENED]) == "Failshut: 1 gates closed, 2 opened"
