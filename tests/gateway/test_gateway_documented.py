"""The documented routes: nobody without a key comes in, roles are kept, and what is said of gates is what the guard says."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.gateway_support import FORWARD, Running
from guard.standin import Monitor, eventually

from failshut_gateway.documented import routes
from failshut_servers import Valkey

READS = ("/v1/gates", "/v1/health", "/metrics")


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    monitor.client.sadd(monitor.names.gates, monitor.gate)
    return monitor.gate


@pytest.fixture
def viewer(running: Running) -> str:
    return running.key(role="viewer", subjects=[])


def test_no_route_answers_without_a_key(running: Running, gate: str) -> None:
    """Every route of the application but the three that are open, and every path that is none, is an empty 403."""
    app: Any = running.gateway.front._documented
    paths = {route.path.replace("{gate}", gate) for route in app._app.routes if hasattr(route, "path")}
    assert len(paths) >= 8
    for path in sorted(paths | {"/", "/docs", "/redoc", "/v1/nothing", "/v1/live/", "//v1/live", "/v1/live%00", "/V1/LIVE"}):
        for method in ("GET", "POST", "OPTIONS"):
            if path.encode() in routes.OPEN and method == "GET":
                continue
            reply = running.call(method, path)
            assert (reply.status, reply.body) == (403, b""), (method, path)


def test_roles_are_kept(running: Running, gate: str, viewer: str) -> None:
    """A viewer reads and asks for nothing; a service asks and reads no list; both may see the permit of a gate."""
    service = running.key()
    for path in READS:
        assert running.get(path, viewer).status == 200, path
        reply = running.get(path, service)
        assert (reply.status, reply.body) == (403, b""), path
    assert running.asked(gate, viewer).status == 403
    assert running.get(f"/v1/permits/{gate}", service).status == 200


def test_four_routes_need_no_key_and_tell_nothing(running: Running, monitor: Monitor) -> None:
    """Liveness is empty, and public keys are public."""
    live = running.get("/v1/live")
    assert (live.status, live.body) == (204, b"")
    assert running.get("/.well-known/jwks.json").json == monitor.jwks
    assert running.get("/.well-known/authzen-configuration").status == 200
    assert len(routes.OPEN) == 4


def test_gates_are_listed_with_what_they_do(running: Running, gate: str, viewer: str, monitor: Monitor) -> None:
    """As the guard has it: open with its epoch, closed with its cause."""
    found = running.get("/v1/gates", viewer).json["gates"]
    assert [(one["gate"], one["state"], one["epoch"]) for one in found] == [(gate, "open", monitor.epoch)]
    monitor.close()
    # On a slow machine the lease ends before the closing arrives.
    found = eventually(lambda: (one := running.get("/v1/gates", viewer).json["gates"][0]).get("cause") == "drift" and one)
    assert (found["state"], found["failed"]) == ("closed", "proof")


def test_a_key_lists_its_own_gates_page_by_page(running: Running, gate: str, monitor: Monitor) -> None:
    """Gates that a key is not for are not there, and a page says where the next one begins."""
    monitor.client.sadd(monitor.names.gates, *(f"fleet.{number:03}" for number in range(7)), "not a gate", "\x00")
    viewer = running.key(role="viewer", subjects=[], gates=["fleet.*"])
    first = eventually(lambda: (page := running.get("/v1/gates?limit=4", viewer).json)["gates"] and page)
    second = running.get(f"/v1/gates?limit=4&after={first['next']}", viewer).json
    names = [one["gate"] for page in (first, second) for one in page["gates"]]
    assert names == [f"fleet.{number:03}" for number in range(7)]
    assert (first["next"], second["next"]) == ("fleet.003", "")
    assert running.get("/v1/gates?limit=0", viewer).status == 422


def test_a_permit_is_shown_to_whom_it_concerns(running: Running, gate: str, monitor: Monitor) -> None:
    """With its claims; another gate is closed to the key whatever it does."""
    shown = running.get(f"/v1/permits/{gate}", running.key(gates=[gate])).json
    assert (shown["state"], shown["claims"]["epoch"]) == ("open", monitor.epoch)
    other = running.get(f"/v1/permits/{gate}", running.key(gates=["other"])).json
    assert (other["state"], other["failed"], other["claims"]) == ("closed", "identity", None)


def test_proving_is_not_open(running: Running, viewer: str, monitor: Monitor) -> None:
    """Probes alone are admitted, so a screen says closed."""
    monitor.ttl_ms = 600_000
    monitor.prove(1)
    shown = running.get(f"/v1/permits/{monitor.gate}", viewer).json
    assert (shown["state"], shown["mode"]) == ("closed", "proving")


def test_without_its_store_nothing_is_said_of_gates(running: Running, viewer: str, store: Valkey) -> None:
    """The list says that it does not know, and is no 5xx."""
    store.kill()
    reply = running.get("/v1/gates", viewer)
    assert (reply.status, reply.json["gates"], bool(reply.json["unknown"])) == (200, [], True)


def test_health_and_metrics_say_what_was_counted(running: Running, gate: str, viewer: str) -> None:
    """Refusals by reason, answers, faults; no label comes from a caller."""
    running.get(FORWARD + gate)
    running.asked(gate, running.key())
    text = running.get("/metrics", viewer).body.decode()
    assert 'failshut_gateway_refused_total{why="no_key"} 1\n' in text
    assert 'failshut_gateway_answers_total{why="forward_auth_admitted"} 1\n' in text
    assert gate not in text
    health = running.get("/v1/health", viewer).json
    assert (health["access"], health["faults"], health["stalls"]) == ("ok", 0, 0)


def test_an_exception_in_a_route_is_an_empty_403(
    running: Running, gate: str, viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No 5xx, and no word of what happened."""

    async def broken(*given: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(running.gateway._forward_auth._asker, "look", broken)
    reply = running.get(f"/v1/permits/{gate}", viewer)
    assert (reply.status, reply.body) == (403, b"")


def test_a_request_with_a_body_is_refused(running: Running, viewer: str) -> None:
    """Nothing here reads one."""
    assert running.call("POST", "/v1/gates", viewer, b"x").status == 413
    assert running.call("GET", "/v1/gates", viewer, b"x").status == 413


def test_openapi_names_every_path(running: Running, viewer: str) -> None:
    """Also those that are answered before FastAPI, and for each the refusal."""
    document = running.get("/openapi.json", viewer).json
    assert {"/v1/gates", "/v1/permits/{gate}", "/v1/health", "/metrics", "/v1/live", "/.well-known/jwks.json"} <= set(
        document["paths"]
    )
    assert {"/v1/forward-auth/{gate}", "/access/v1/evaluation", "/access/v1/evaluations"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        if path.encode() not in routes.OPEN:
            assert all("403" in operation["responses"] for operation in methods.values()), path
