"""Forward auth: 200 with an epoch, or an empty 403, whatever is sent and whatever fails."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from gateway.gateway_support import FORWARD, Reply, Running
from guard.standin import SUBJECT, Monitor, eventually

from failshut_gateway.access import access_file
from failshut_gateway.wire.raw_path import gate_of
from failshut_servers import Valkey


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    return monitor.gate


def refused(reply: Reply) -> bool:
    """An empty 403 that says nothing."""
    said = set(reply.headers) - {"content-length", "cache-control", "connection"}
    return (reply.status, reply.body, said) == (403, b"", set())


def test_an_open_gate_is_200_with_its_epoch(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """Every 200 carries the epoch of the permit, and no body."""
    reply = running.asked(gate, key)
    assert (reply.status, reply.body, reply.headers["x-failshut-epoch"]) == (200, b"", monitor.epoch)


def test_a_closing_is_403(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """Soon after the monitor closes the gate, callers are refused, and after it opens again they see a later epoch."""
    assert running.asked(gate, key).status == 200
    before = monitor.epoch
    monitor.close()
    eventually(lambda: refused(running.asked(gate, key)))
    monitor.reopen()
    reply = eventually(lambda: (found := running.asked(gate, key)).status == 200 and found)
    assert reply.headers["x-failshut-epoch"] == monitor.epoch > before


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_any_method_and_any_path_below_is_a_question(running: Running, gate: str, key: str, method: str) -> None:
    """Envoy asks with its client's method and path."""
    reply = running.call(method, f"{FORWARD}{gate}/orders/7?next=%2F..", key, X_Failshut_Subject=SUBJECT)
    assert (reply.status, "x-failshut-epoch" in reply.headers) == (200, True)
    assert refused(running.call(method, f"{FORWARD}{gate}/orders/7", X_Failshut_Subject=SUBJECT))


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/.", "/..", "//", "/GATE//", "/GATE/../other.gate", "/other.gate/../GATE", "//GATE", "/GATE/./x"),
        *("/GATE/%2e%2e/x", "/GATE%2fx", "/GATE/%2Fx", "/GATE%00", "/GATE/a%00", "/GATE/%5c..%5c", "/GATE\\x", "/GATE/a%0d%0a"),
        *("/GATE/%252e%252e/x", "/GATE/%2", "/GATE;x", "/GATE/..;/x", "/%47ATE", "/GATE/" + "a" * 5_000, "x/GATE", "/GATE/%7f"),
    ],
)
def test_tricks_with_the_path_are_refused(running: Running, gate: str, key: str, path: str) -> None:
    """Whatever another reader might take for another path is a 403, although the gate in it is open."""
    assert running.asked(gate, key).status == 200
    head = f"GET /v1/forward-auth{path.replace('GATE', gate)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    reply = running.raw((head + f"x-failshut-key: {key}\r\nx-failshut-subject: {SUBJECT}\r\n\r\n").encode())
    assert reply.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), reply
    assert b"epoch" not in reply


@pytest.mark.parametrize("path", [b"/v1/forward-auth/g\xc3\xa4te", b"/v1/forward-auth/a b", b"/v1/forward-auth/a/\x00", b""])
def test_bytes_that_are_no_path_name_no_gate(path: bytes) -> None:
    """What no server should hand on is refused here as well."""
    assert gate_of(path) is None


def test_a_clients_own_epoch_is_never_echoed(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """Neither in a 200 nor in a 403."""
    forged = "0009999999999999"
    reply = running.asked(gate, key, X_Failshut_Epoch=forged)
    assert reply.headers["x-failshut-epoch"] == monitor.epoch
    assert refused(running.asked("other.gate", key, X_Failshut_Epoch=forged))


def test_without_a_key_nothing_is_learnt(running: Running, gate: str, key: str) -> None:
    """No key, another's, a mistyped one, and a gate that is not there all look alike."""
    broken = key[:-1] + ("a" if key[-1] != "a" else "b")
    replies = [running.asked(gate, ""), running.asked(gate, broken), running.asked("no.such", ""), running.get("/nothing")]
    replies += [running.asked(gate, key + key), running.get("/v1/gates"), running.get("/openapi.json", "fsk_")]
    assert all(refused(reply) for reply in replies)
    assert len({tuple(sorted(reply.headers.items())) for reply in replies}) == 1


def test_a_key_is_for_its_subjects_and_gates(running: Running, gate: str, monitor: Monitor) -> None:
    """Another subject, another gate or another role is a 403, whatever the permit says."""
    monitor.issue(subjects=("*",))
    assert running.asked(gate, running.key(), "agent:x").status == 200
    assert refused(running.asked(gate, running.key(), "user:eve"))
    assert refused(running.asked(gate, running.key(gates=["other.*"])))
    assert refused(running.asked(gate, running.key(role="viewer")))


def test_the_subject_is_the_keys_own_where_it_has_one(running: Running, gate: str) -> None:
    """A key with one subject needs no header; one with a pattern does."""
    assert running.get(FORWARD + gate, running.key(subjects=[SUBJECT])).status == 200
    assert refused(running.get(FORWARD + gate, running.key()))
    assert refused(running.get(FORWARD + gate, running.key(subjects=[SUBJECT]), X_Failshut_Subject="agent:refund-8"))


@pytest.mark.parametrize("name", ["x-failshut-subject", "x-failshut-key", "authorization", "x-failshut-operation"])
def test_a_header_that_stands_twice_is_refused(running: Running, gate: str, key: str, name: str) -> None:
    """A proxy that adds its header behind its client's leaves two, and nobody knows which one counts."""
    given = {
        "x-failshut-subject": SUBJECT,
        "x-failshut-key": key,
        "authorization": "Bearer x",
        "x-failshut-operation": "refund",
    }
    head = "".join(f"{header}: {value}\r\n" for header, value in given.items())
    begin = f"GET {FORWARD}{gate} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    assert running.raw(f"{begin}{head}\r\n".encode()).startswith(b"HTTP/1.1 200")
    assert running.raw(f"{begin}{head}{name}: {given[name]}\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")


def test_a_bearer_is_as_good_as_the_header(running: Running, gate: str, key: str) -> None:
    """A service sends its key as a bearer's. Beside a proxy's own key, the client's bearer is somebody else's business."""
    assert running.asked(gate, "", Authorization=f"bearer {key}").status == 200
    assert running.asked(gate, key, Authorization="Bearer whatever").status == 200
    assert refused(running.asked(gate, "", Authorization=f"Basic {key}"))


def test_a_revoked_key_is_refused(running: Running, gate: str, key: str) -> None:
    """Soon after `failshut access revoke`, and also while a connection stays open."""
    assert running.asked(gate, key).status == 200
    access_file.revoke(running.access, 1, key[4:12])
    eventually(lambda: refused(running.asked(gate, key)))


def test_a_torn_file_of_keys_lets_nobody_in(running: Running, gate: str, key: str) -> None:
    """Until the file is whole again."""
    content = running.access.read_bytes()
    running.access.write_bytes(content[:-9])
    eventually(lambda: refused(running.asked(gate, key)))
    running.access.write_bytes(content)
    eventually(lambda: running.asked(gate, key).status == 200)


def test_a_store_that_is_gone_is_403(running: Running, monitor: Monitor, key: str, store: Valkey) -> None:
    """Without its store the gateway refuses, and does not hang."""
    monitor.ttl_ms = 2_000
    monitor.issue()
    assert running.asked(monitor.gate, key).status == 200
    store.kill()
    eventually(lambda: refused(running.asked(monitor.gate, key)))


def test_a_flushed_store_is_403(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """A lost permit denies."""
    assert running.asked(gate, key).status == 200
    monitor.client.flushall()
    eventually(lambda: refused(running.asked(gate, key)))


@pytest.mark.parametrize("place", ["ask", "covers"])
def test_an_exception_is_403(running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A fault in the gateway's own code never answers 200, and never 500."""
    assert running.asked(gate, key).status == 200

    def broken(*given: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(running.gateway._forward_auth._asker, place, broken)
    assert refused(running.asked(gate, key))
    assert running.gateway.front.faults == 1


def test_a_reply_that_is_never_sent_is_403(running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that returns without a word refuses."""

    async def silent(*given: Any) -> None:
        return None

    monkeypatch.setattr(running.gateway.front, "_forward_auth", silent)
    assert refused(running.asked(gate, key))


def test_a_body_is_never_read(running: Running, gate: str, key: str) -> None:
    """A question with a body is answered before the body comes, and the connection ends with it."""
    head = f"POST {FORWARD}{gate} HTTP/1.1\r\nhost: x\r\nx-failshut-key: {key}\r\nx-failshut-subject: {SUBJECT}\r\n"
    reply = running.raw(f"{head}content-length: 1000000000\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in reply.lower()


def test_proving_admits_nobody_here(running: Running, monitor: Monitor, key: str) -> None:
    """Only an execution takes a probe token, and a question is none."""
    monitor.ttl_ms = 600_000
    monitor.prove(3)
    assert refused(running.asked(monitor.gate, key))
    assert monitor.client.llen(monitor.names.probes(monitor.gate)) == 3


def test_an_operation_must_be_permitted(running: Running, monitor: Monitor, key: str) -> None:
    """It comes in a header of its own; without one only a permit for all operations admits."""
    monitor.ttl_ms = 600_000
    monitor.issue(operations=("refund",))
    assert running.asked(monitor.gate, key, X_Failshut_Operation="refund").status == 200
    assert refused(running.asked(monitor.gate, key, X_Failshut_Operation="scale"))
    assert refused(running.asked(monitor.gate, key))


def test_more_gates_than_a_key_may_bring_in_are_denied(
    running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with a wide pattern cannot fill the guard's table; gates that are known already are answered."""
    from failshut_gateway.asking import asker

    monkeypatch.setattr(asker, "GATES_OF_KEY_MAX", 3)
    assert running.asked(gate, key).status == 200
    for number in range(5):
        assert refused(running.asked(f"no.such-{number}", key))
    assert len(running.gateway._forward_auth._asker._gates) == 3
    assert running.asked(gate, key).status == 200


def test_a_gate_that_a_key_names_is_answered_though_others_filled_the_table(
    running: Running, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody pays for the names that somebody else asks for."""
    from failshut_gateway.asking import asker

    monkeypatch.setattr(asker, "GATES_MAX", 0)
    assert refused(running.asked(gate, running.key()))
    assert running.asked(gate, running.key(gates=[gate])).status == 200


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_a_question_like_any_other(running: Running, gate: str, key: str, upgrade: str) -> None:
    """A proxy may send its client's headers on. The answer is 200 or 403, and no other protocol is spoken."""
    wanted = {"Connection": "Upgrade", "Upgrade": upgrade, "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert running.asked(gate, key, **wanted).status == 200
    assert refused(running.asked(gate, "", **wanted))


def test_refusals_are_audited_within_bounds(running: Running, gate: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each refusal is a line of JSON with its reason and without the key; a flood is counted and not written."""
    with caplog.at_level(logging.WARNING, "failshut_gateway.asking.audit"):
        running.asked(gate, "")
        running.asked(gate, key, "user:eve")
        for _ in range(3):
            running.asked(gate, "fsk_nothing")
        eventually(lambda: len(caplog.records) >= 5)
    lines = [record.getMessage() for record in caplog.records]
    assert '"why": "no_key"' in lines[0]
    assert '"why": "not_covered"' in lines[1]
    assert f'"key": "{key[4:12]}"' in lines[1]
    assert '"why": "malformed_key"' in lines[2]
    assert key not in "".join(lines)
    audit = running.gateway._audit
    for _ in range(500):
        audit.refuse({"raw_path": b"/\xff", "method": "GET", "client": ("192.0.2.1", 1)}, "flood")
    assert audit.refused["flood"] == 500
    assert audit.unsaid >= 300


def test_a_key_that_asks_too_often_is_403(running: Running, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward auth has no other refusal; another key is not concerned."""
    one, other = running.key(), running.key()
    rates = running.gateway._forward_auth._doorkeeper._rates
    monkeypatch.setattr(rates, "_monotonic", lambda: 0.0)
    monkeypatch.setattr(rates, "_per_second", 2)
    assert [running.asked(gate, one).status for _ in range(3)] == [200, 200, 403]
    assert running.asked(gate, other).status == 200
