"""ASGI, FastAPI and Flask: a request that is withheld executes nothing, and neither does one whose hook fails."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hooks.conftest import broken

from failshut import Cause, Execution
from failshut.testing import GateControl

SUBJECT = "service:refunds"


def asgi_client(control: GateControl, executed: list[str], **options: Any) -> Any:
    starlette = pytest.importorskip("starlette.applications")
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.testclient import TestClient

    from failshut.hooks.asgi import GateMiddleware

    async def refund(request: Any) -> Any:
        executed.append(request.url.path)
        if request.url.path == "/fails":
            raise RuntimeError("no")
        return PlainTextResponse("paid")

    async def stream(request: Any) -> Any:
        async def parts() -> Any:
            import asyncio

            for number in range(3):
                yield f"{number}"
                executed.append(f"part {number}")
                control.close(Cause.DRIFT)
                await asyncio.sleep(0.01)

        return StreamingResponse(parts())

    async def socket(websocket: Any) -> None:
        executed.append("socket")
        await websocket.accept()
        await websocket.close()

    app = starlette.Starlette(
        routes=[Route("/refund", refund), Route("/fails", refund), Route("/stream", stream), WebSocketRoute("/socket", socket)]
    )
    app.add_middleware(GateMiddleware, gate=control.gate, **{"subject": SUBJECT, **options})
    return TestClient(app, raise_server_exceptions=False)


def test_asgi_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """503 with the cause while it is closed; the application is called while it is open, and its errors count."""
    client = asgi_client(control, executed)
    control.close(Cause.LOCK)
    answer = client.get("/refund")
    assert (answer.status_code, answer.json()["cause"], executed) == (503, "lock", [])
    control.open()
    assert (client.get("/refund").text, executed) == ("paid", ["/refund"])
    assert client.get("/fails").status_code == 500
    assert control.outcomes() == {"ok": 1, "failed": 1}


def test_asgi_closes_a_websocket_before_it_is_accepted(control: GateControl, executed: list[str]) -> None:
    """Nobody talks to a closed gate."""
    client = asgi_client(control, executed)
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/socket"):
        pass
    assert (closed.value.code, executed) == (1013, [])


def test_asgi_ends_an_answer_that_has_begun(control: GateControl, executed: list[str]) -> None:
    """A gate that closes in the middle stops the rest: it is cancelled at its next await."""
    control.open()
    client = asgi_client(control, executed)
    client.get("/stream")
    assert executed == ["part 0"]


def test_asgi_that_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """A hook that cannot name the subject, or cannot say whether it is meant, admits nobody."""
    control.open()
    assert asgi_client(control, executed, subject=broken).get("/refund").status_code == 500
    assert asgi_client(control, executed, when=broken).get("/refund").status_code == 500
    assert asgi_client(control, executed, subject=lambda scope: 7).get("/refund").status_code == 503
    assert executed == []
    control.close()
    assert asgi_client(control, executed, when=lambda scope: scope["path"] == "/other").get("/refund").text == "paid"


def fastapi_client(control: GateControl, executed: list[str], subject: Any = SUBJECT) -> Any:
    fastapi = pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from failshut.hooks.fastapi import admitted

    app = fastapi.FastAPI()

    async def refund(execution: Any) -> str:
        executed.append(str(execution.fencing_token))
        if control.epoch == "":
            raise RuntimeError
        return "paid"

    refund.__annotations__ = {
        "execution": Annotated[Execution, fastapi.Depends(admitted(control.gate, subject=subject))],
        "return": str,
    }
    app.post("/refund")(refund)
    return TestClient(app, raise_server_exceptions=False)


def test_fastapi_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """The route gets the execution, with its fencing token, and is not called without one."""
    client = fastapi_client(control, executed)
    control.close(Cause.DRIFT)
    answer = client.post("/refund")
    assert (answer.status_code, answer.json()["detail"]["cause"], executed) == (503, "drift", [])
    control.open()
    assert client.post("/refund").json() == "paid"
    assert executed == [str(int(control.epoch))]
    assert control.outcomes() == {"ok": 1}


def test_fastapi_that_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """A dependency that raises keeps the route from being called."""
    control.open()
    assert fastapi_client(control, executed, broken).post("/refund").status_code == 500
    assert executed == []


def flask_client(control: GateControl, executed: list[str], **options: Any) -> Any:
    flask = pytest.importorskip("flask")
    from failshut.hooks.flask import guard_requests

    app = flask.Flask("shop")

    @app.get("/refund")
    def refund() -> str:
        executed.append(str(flask.g.failshut.fencing_token) if "failshut" in flask.g else "unguarded")
        if flask.request.args.get("close"):
            control.close(Cause.LAG)
            flask.g.failshut.check()
        if flask.request.args.get("fail"):
            raise RuntimeError("no")
        return "paid"

    guard_requests(app, control.gate, **{"subject": SUBJECT, **options})
    return app.test_client()


def test_flask_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """503 with the cause while it is closed, also if it closes while a view runs that asks again."""
    client = flask_client(control, executed)
    control.close(Cause.LOCK)
    answer = client.get("/refund")
    assert (answer.status_code, answer.json["cause"], executed) == (503, "lock", [])
    control.open()
    assert client.get("/refund").text == "paid"
    assert client.get("/refund?fail=1").status_code == 500
    assert control.outcomes() == {"ok": 1, "failed": 1}
    answer = client.get("/refund?close=1")
    assert (answer.status_code, answer.json["cause"]) == (503, "lag")
    assert control.outcomes()["ok"] == 1
    assert len(executed) == 3


def test_flask_that_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """As for the others; a request that is not meant passes."""
    control.open()
    assert flask_client(control, executed, subject=broken).get("/refund").status_code == 500
    assert flask_client(control, executed, when=broken).get("/refund").status_code == 500
    assert executed == []
    assert flask_client(control, executed, when=lambda request: False).get("/refund").text == "paid"
    assert executed == ["unguarded"]
