"""The list of gates and the page of one: what the stream says, to whom, and what it says when nothing can be known."""

from __future__ import annotations

import json
import time

import pytest
from guard.standin import Monitor, eventually
from web.web_support import Browser, Event, Served, awaited, list_gate

from failshut import Cause
from failshut_console.web.sessions import STREAMS_OF_SESSION_MAX
from failshut_servers import Valkey


def row(event: Event, gate: str) -> dict[str, object] | None:
    found = [one for one in event.data["rows"] if one["gate"] == gate] if event.name == "seen" else []
    return found[0] if found else None


def test_a_closing_and_an_opening_are_told_as_they_come(served: Served, monitor: Monitor) -> None:
    """A row comes with the state, its cause in words, and the breaker; and a life while a permit lives."""
    monitor.keep_renewing()
    with served.signed_in().stream() as events:
        opened = awaited(events, lambda event: (found := row(event, monitor.gate)) and found["state"] == "OPEN")
        until_ms, evidence_ms = opened.data["lives"][monitor.gate]
        assert until_ms > opened.data["now_ms"] > evidence_ms > 0
        monitor.close(Cause.DRIFT, because="mean 48 to 97")
        closed = awaited(events, lambda event: (found := row(event, monitor.gate)) and found["state"] == "CLOSED")
        said = row(closed, monitor.gate)
    assert said is not None
    assert (said["cause"], said["because"], said["means"]) == ("drift", "mean 48 to 97", Cause.DRIFT.meaning)
    assert closed.data["lives"][monitor.gate][0] == 0


def test_the_first_event_is_whole_and_later_ones_are_changes(served: Served, monitor: Monitor) -> None:
    """Nothing is said twice, and something is said every second, so that silence means a loss."""
    list_gate(monitor, "other.gate")
    with served.signed_in().stream() as events:
        first = next(events)
        assert first.data["full"]
        assert [one["gate"] for one in first.data["rows"]] == sorted(["other.gate", monitor.gate])
        later = next(events)
        assert (later.name, later.data["rows"], later.data["full"]) == ("seen", [], False)
        monitor.client.srem(monitor.names.gates, "other.gate")
        assert awaited(events, lambda event: event.data["gone"] == ["other.gate"])


def test_a_key_sees_its_gates_alone(served: Served, monitor: Monitor) -> None:
    """Gates that the key does not cover are in no page, no stream and no reply: they do not exist."""
    list_gate(monitor, "secret.gate")
    browser = served.signed_in(gates=[monitor.gate])
    assert "secret" not in browser.page("/console")
    with browser.stream() as events:
        assert [one["gate"] for one in next(events).data["rows"]] == [monitor.gate]
    for path in ("", "/decisions", "/policy"):
        assert browser.get(f"/console/gates/secret.gate{path}").status == 404
        assert browser.get(f"/console/gates/no.gate{path}").status == 404
    assert browser.get("/console/stream?gate=secret.gate").status == 404


@pytest.mark.parametrize(
    "path", ["/console/gates/no%20gate", "/console/gates/..%2fx", "/console/gates/a.b/else", "/console/gates/"]
)
def test_what_names_no_gate_is_not_there(served: Served, path: str) -> None:
    """Somebody with a session gets an empty 404."""
    reply = served.signed_in().get(path)
    assert (reply.status, reply.body) == (404, b"")


def test_a_store_that_is_away_is_said_and_not_guessed(served: Served, monitor: Monitor, store: Valkey) -> None:
    """While the store does not answer the stream says that nothing can be known, and why; then it goes on."""
    browser = served.signed_in()
    with browser.stream() as events:
        next(events)
        store.pause()
        blind = awaited(events, lambda event: event.name == "blind")
        page = browser.page("/console")
        store.resume()
        assert awaited(events, lambda event: event.name == "seen")
    assert "does not answer" in blind.data["why"]
    assert "Nothing can be said about any gate" in page


def test_one_gate_is_told_in_full(served: Served, monitor: Monitor) -> None:
    """Its stream has the readings in words, and again whenever something changes."""
    readings = [["drift:agent/fee", "demands", "mean 48 to 97"], ["heartbeat:agent", "holds", "0.2 s ago"]]
    list_gate(monitor, breaker="TRIPPED", readings=readings, policy="sha256:aa", evidence_ms=int(time.time() * 1000))
    monitor.close(Cause.DRIFT, because="mean 48 to 97", push=False)
    browser = served.signed_in()
    with browser.stream(f"?gate={monitor.gate}") as events:
        said = next(events).data["gate"]
        assert (said["state"], said["readings"]) == ("CLOSED", readings)
        monitor.keep_renewing()
        assert awaited(events, lambda event: event.data["gate"]["state"] == "OPEN")
    page = browser.page(f"/console/gates/{monitor.gate}")
    assert "drift:agent/fee" in page


def test_what_the_store_says_is_text(served: Served, monitor: Monitor) -> None:
    """Whoever can write the store writes words into a page, and no markup."""
    list_gate(monitor, breaker="<script>alert(1)</script>", readings=[["<b>", "<i>", '"onload=x']], policy="", evidence_ms=1)
    browser = served.signed_in()
    for path in ("/console", f"/console/gates/{monitor.gate}"):
        page = browser.page(path)
        assert "<script>alert" not in page
        assert "<b><i>" not in page


def test_streams_are_bounded(served: Served) -> None:
    """A session has so many streams and no more; one that ended makes room."""
    browser = served.signed_in()
    held = [browser.stream() for _ in range(STREAMS_OF_SESSION_MAX)]
    for one in held:
        next(one.__enter__())
    assert browser.get("/console/stream").status == 429
    for one in held:
        one.__exit__(None, None, None)
    assert eventually(lambda: streams(browser))


def streams(browser: Browser) -> bool:
    """Whether a stream can be had, and says something."""
    try:
        with browser.stream() as events:
            return next(events).name == "seen"
    except RuntimeError:
        return False


def test_health_tells_of_workers_and_of_the_gateway(served: Served, monitor: Monitor) -> None:
    """Partitions with their newest mark, gaps, disagreements, and how the gateway is."""
    evidence = {"telemetry:0": 1000, "control:0": 2000}
    line = json.dumps({"id": "w1", "group": "g", "evidence": evidence, "gaps": ["telemetry 0"], "unread": ["x"]})
    monitor.client.set(monitor.names.workers.replace("*", "w1"), line)
    with served.signed_in().stream("?health=1") as events:
        said = next(events).data
    assert said["partitions"] == [
        {"place": "control:0", "mark_ms": 2000, "waits_since_ms": 0},
        {"place": "telemetry:0", "mark_ms": 1000, "waits_since_ms": 0},
    ]
    assert said["workers"][0]["gaps"] == ["telemetry 0"]
    assert said["workers"][0]["troubles"] == ["cannot use the policy of x"]
    assert said["gateway"]["access"] == "ok"


def test_a_stopped_gateway_ends_its_streams(monitor: Monitor, served: Served) -> None:
    """A gateway that is told to stop says so to its pages, and waits for none of them."""
    with served.signed_in().stream() as events:
        next(events)
        served.gateway.server.should_exit = True
        assert [event.name for event in events][-1] == "over"
    assert eventually(lambda: served.status == 0)


def test_without_a_broker_the_log_is_said_to_be_unknown(served: Served, monitor: Monitor) -> None:
    """Decisions and policy are empty, and say why."""
    browser = served.signed_in()
    for part in ("decisions", "policy"):
        assert "knows no broker" in browser.get(f"/console/gates/{monitor.gate}/{part}").json["trouble"]
    assert browser.get(f"/console/gates/{monitor.gate}/decisions?hours=999999").status == 403
