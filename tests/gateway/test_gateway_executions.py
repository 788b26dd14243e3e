"""Executions over HTTP: admitted, stopped by a closing, ended once, and interrupted when their caller is lost."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gateway.gateway_support import Reply, Running
from guard.standin import SUBJECT, Monitor, eventually
from patience import patient

from failshut import Cause
from failshut_gateway.access import access_file
from failshut_servers import Valkey


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    return monitor.gate


def begin(running: Running, gate: str, key: str, subject: str = SUBJECT, **headers: str) -> Reply:
    return running.call("POST", f"/v1/gates/{gate}/executions", key, b"", X_Failshut_Subject=subject, **headers)


def begun(running: Running, gate: str, key: str, **headers: str) -> str:
    """The path of an execution that was admitted."""
    reply = begin(running, gate, key, **headers)
    assert reply.status == 201, reply
    return f"/v1/executions/{reply.json['execution']}"


class Stream:
    """A caller's open stream."""

    def __init__(self, running: Running, path: str, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=patient(30))
        self._connection.request("GET", path + "/stream", headers={"X-Failshut-Key": key})
        self.reply = self._connection.getresponse()
        self.status = self.reply.status

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Events until the stream ends, signs of life left out."""
        name = ""
        while line := self.reply.readline():
            kind, _, text = line.decode().strip().partition(": ")
            if kind == "event":
                name = text
            elif kind == "data":
                yield name, json.loads(text)

    def close(self) -> None:
        self.reply.close()
        self._connection.close()


def counted(monitor: Monitor, outcome: str, number: int = 1) -> bool:
    """Whether the store holds so many outcomes of this kind."""
    return sum(int(entry["count"]) for entry in monitor.outcomes() if entry["outcome"] == outcome) == number


def test_an_execution_begins_with_an_epoch_and_ends_with_an_outcome(
    running: Running, gate: str, key: str, monitor: Monitor
) -> None:
    """Each outcome is counted where those of Python services are; the last word is the first that was said."""
    for outcome in ("ok", "failed", "cancelled"):
        reply = begin(running, gate, key)
        assert (reply.status, reply.json["epoch"], reply.headers["x-failshut-epoch"]) == (201, monitor.epoch, monitor.epoch)
        assert reply.json["lost_after_ms"] == 10_000
        path = f"/v1/executions/{reply.json['execution']}"
        assert running.get(path, key).json["state"] == "running"
        first = running.call("POST", f"{path}/{outcome}", key, b"")
        assert (first.status, first.json) == (200, {"outcome": outcome})
        assert running.call("POST", f"{path}/{outcome}", key, b"").status == 200
        other = "failed" if outcome == "ok" else "ok"
        again = running.call("POST", f"{path}/{other}", key, b"")
        assert (again.status, again.json["outcome"]) == (410, outcome)
        assert running.get(path, key).status == 410
        eventually(partial(counted, monitor, outcome))
    assert len(running.gateway._executions) == 0


def test_a_closed_gate_begins_nothing_and_says_why(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """403 with the cause, for a key that is for the gate; nothing runs afterwards."""
    monitor.close()
    reply = eventually(lambda: (found := begin(running, gate, key)).status == 403 and found)
    assert (reply.json["cause"], reply.json["failed"]) == ("drift", "proof")
    assert len(running.gateway._executions) == 0


def test_a_key_begins_for_its_subjects_and_gates_alone(running: Running, gate: str, key: str) -> None:
    """Another subject, gate or role, none at all, and a name that is no gate: empty, or a cause; never 201."""
    assert begin(running, gate, key, "user:eve")[::2] == (403, b"")
    assert begin(running, gate, running.key(gates=["other.*"]))[::2] == (403, b"")
    assert begin(running, gate, running.key(role="viewer"))[::2] == (403, b"")
    assert begin(running, gate, "")[::2] == (403, b"")
    assert begin(running, gate, key, "")[::2] == (403, b"")
    assert begin(running, "no%20gate", key).json["cause"] == "unknown_gate"
    assert begin(running, gate, key, "agent:other").json["failed"] == "identity"
    assert begin(running, gate, running.key(subjects=[SUBJECT]), SUBJECT).status == 201


def test_a_stream_ends_with_the_closing(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """Its last event says why, the outcome that comes too late is refused, and the guard counts that it cancelled."""
    path = begun(running, gate, key)
    stream = Stream(running, path, key)
    events = stream.events()
    assert next(events)[1]["epoch"] == monitor.epoch
    monitor.close()
    assert [(name, data["outcome"], data["cause"]) for name, data in events] == [("end", "stopped", "drift")]
    late = running.call("POST", f"{path}/ok", key, b"")
    assert (late.status, late.json["cause"]) == (410, "drift")
    assert running.get(path, key).json["outcome"] == "stopped"
    eventually(lambda: counted(monitor, "cancelled"))
    stream.close()


def test_a_closing_lets_finish_where_the_policy_says_so(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """`in_flight: finish` holds over HTTP as well."""
    monitor.issue(in_flight="finish")
    path = eventually(lambda: begun(running, gate, key))
    monitor.close(in_flight="finish")
    eventually(lambda: begin(running, gate, key).status == 403)
    assert running.get(path, key).status == 200
    assert running.call("POST", f"{path}/ok", key, b"").status == 200


def test_a_stream_ends_when_proof_is_lost(running: Running, monitor: Monitor, key: str, store: Valkey) -> None:
    """Without its store the lease lapses, and what runs is stopped."""
    monitor.ttl_ms = 2_000
    monitor.issue()
    stream = Stream(running, begun(running, monitor.gate, key), key)
    store.kill()
    assert [data["outcome"] for name, data in stream.events() if name == "end"] == ["stopped"]
    stream.close()


def test_a_revoked_key_stops_what_runs(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """Whose access ends executes no further: the stream says identity."""
    path = begun(running, gate, key)
    stream = Stream(running, path, key)
    access_file.revoke(running.access, 1, key[4:12])
    assert [data["failed"] for name, data in stream.events() if name == "end"] == ["identity"]
    assert running.get(path, key).status == 403
    eventually(lambda: counted(monitor, "cancelled"))
    stream.close()


def test_a_lost_caller_is_interrupted(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """One that never says more, and one whose connection ended; not one that asks, nor one that streams."""
    with Running(monitor, tmp_path / "access.json", lost_seconds=patient(1.0)) as running:
        key = running.key()
        begun(running, gate, key)
        eventually(lambda: counted(monitor, "interrupted"))
        streams, asks = begun(running, gate, key), begun(running, gate, key)
        stream = Stream(running, streams, key)
        ended = begun(running, gate, key)

        def asked_and_ended() -> bool:
            assert running.get(asks, key).status == 200
            return counted(monitor, "interrupted", 2)

        eventually(asked_and_ended)
        assert running.get(ended, key).json["because"] == "its caller was lost"
        assert running.get(streams, key).status == 200
        stream.close()
        eventually(lambda: counted(monitor, "interrupted", 4))


def test_a_probe_runs_with_its_token(running: Running, monitor: Monitor, key: str) -> None:
    """While the gate is PROVING an execution takes a token, its outcome carries it, and without one nobody begins."""
    monitor.ttl_ms = 600_000
    monitor.prove(1)
    path = eventually(lambda: begun(running, monitor.gate, key))
    spent = begin(running, monitor.gate, key)
    assert (spent.status, spent.json["cause"]) == (403, "probes_spent")
    assert running.call("POST", f"{path}/ok", key, b"").status == 200
    entry = eventually(lambda: [entry for entry in monitor.outcomes() if entry["outcome"] == "ok"])[0]
    assert entry["token"] == monitor.probe_token(0)


def test_nobody_finds_anothers_execution(running: Running, gate: str, key: str) -> None:
    """Another key gets what it gets for one that is not there."""
    path, other = begun(running, gate, key), running.key()
    for method, below in (("GET", ""), ("GET", "/stream"), ("POST", "/ok")):
        theirs = running.call(method, path + below, other, b"")
        nothing = running.call(method, "/v1/executions/" + "0" * 32 + below, key, b"")
        assert (theirs.status, theirs.body) == (nothing.status, nothing.body) == (404, nothing.body)
    assert running.get(path, key).status == 200
    assert running.call("POST", path + "/won", key, b"").status == 422
    assert running.call("POST", path + "/ok", key, b"x").status == 413


def test_executions_and_streams_are_bounded(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """Beyond the bound nobody begins, one key leaves room for others, and room comes back."""
    with Running(monitor, tmp_path / "access.json", executions_max=4, connections_max=3) as running:
        one, other = running.key(), running.key()
        paths = [begun(running, gate, one) for _ in range(2)]
        assert begin(running, gate, one)[::2] == (429, b"")
        theirs = [begun(running, gate, other) for _ in range(2)]
        assert begin(running, gate, running.key()).status == 429
        stream = Stream(running, paths[0], one)
        assert stream.status == 200
        assert Stream(running, paths[1], one).status == 429
        newer = Stream(running, paths[0], one)  # of the same execution: the former one ends
        assert [name for name, _ in stream.events()] == ["begun"]
        assert running.gateway._executions.streams == 1
        assert running.call("POST", theirs[0] + "/ok", other, b"").status == 200
        assert begin(running, gate, other).status == 201
        newer.close()
        eventually(lambda: running.gateway._executions.streams == 0)


def test_a_gateway_that_ends_interrupts_what_runs(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """Its streams end with a word, and their outcomes are written before it is gone."""
    with Running(monitor, tmp_path / "access.json") as running:
        key = running.key()
        stream = Stream(running, begun(running, gate, key), key)
        begun(running, gate, key)
    assert [data["outcome"] for name, data in stream.events() if name == "end"] == ["interrupted"]
    assert counted(monitor, "interrupted", 2)
    stream.close()


def test_a_fault_while_it_runs_is_no_success(running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the gateway's own code ends the execution, and begins none."""
    from failshut_gateway.executions.live import Live

    def broken(self: Live, word: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Live, "_leave", broken)
    path = begun(running, gate, key)
    reply = running.call("POST", path + "/ok", key, b"")
    assert (reply.status, reply.json["outcome"], reply.json["cause"]) == (410, "interrupted", Cause.FAULT.value)
    monkeypatch.setattr("failshut.Gate.execution", broken)
    assert begin(running, gate, key).status == 403


def test_a_silent_machine_is_noticed(running: Running) -> None:
    """Connections inherit the bound on what is not acknowledged."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    with socket.create_server(("127.0.0.1", 0)) as plain:
        assert plain.getsockopt(socket.IPPROTO_TCP, option) == 0
    assert running.gateway.socket.getsockopt(socket.IPPROTO_TCP, option) == 10_000


def test_executions_are_documented(running: Running, key: str) -> None:
    """Each route and each of its statuses stands in the OpenAPI document."""
    paths = running.get("/openapi.json", key).json["paths"]
    assert set(paths["/v1/gates/{gate}/executions"]["post"]["responses"]) == {"201", "403", "413", "422", "429"}
    for path, method in (("", "get"), ("/stream", "get"), ("/{outcome}", "post")):
        found = paths["/v1/executions/{execution}" + path][method]["responses"]
        assert set(found) == {"200", "403", "404", "410", "413", "422", "429"}
