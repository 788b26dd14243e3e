"""ASGI: a gate before every request of Starlette, FastAPI, Quart, Litestar or Django, or of those that you choose.

    app.add_middleware(GateMiddleware, gate=Gate("payments.refund"), subject="service:refunds", when=lambda scope: ...)

A request that is withheld gets 503 with its cause, a websocket is closed with 1013, and the application is not called. If the
gate closes while it runs, it is cancelled at its next await. Whatever fails in `subject` or `when` is raised, and nothing is
executed. Limits: an answer that has begun cannot become a 503; its connection breaks. An application that answers 500 by itself
has not raised, so its execution counts as `ok`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class GateMiddleware:
    """Runs each request inside an execution of the gate. `when` says which, by default all."""

    def __init__(self, app: App, *, gate: Gate, subject: Naming, when: Callable[[Scope], bool] = lambda scope: True) -> None:
        self._app, self._gate, self._subject, self._when = app, gate, subject, when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._when(scope):
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with self._gate.execution(named(self._subject, scope)):
                await self._app(scope, receive, sending)
        except Withheld as denial:
            if begun:
                raise
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013, "reason": str(denial.cause)})
                return
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(told(denial)).encode()})
