"""Stands before the documented routes: nobody without a key comes in, and no body is read."""

from __future__ import annotations

from fastapi import FastAPI

from failshut_gateway.asking.doorkeeper import Doorkeeper, TooOften
from failshut_gateway.documented.granted import GRANT, HEARD
from failshut_gateway.documented.routes import OPEN
from failshut_gateway.wire.replies import CLOSE, Receive, Scope, Send, reply_empty


class Closed:
    """The documented routes, behind the doorkeeper."""

    def __init__(self, doorkeeper: Doorkeeper, app: FastAPI) -> None:
        self._doorkeeper = doorkeeper
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. An exception is the caller's to turn into a 403."""
        if scope["raw_path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            let_in = self._doorkeeper.let_in(scope, None)
        except TooOften:
            await reply_empty(send, 429, [(b"retry-after", b"1"), CLOSE])
            return
        if let_in is None:
            await reply_empty(send, 403, [CLOSE])
            return
        grant, heard = let_in
        if heard.has_body:
            await reply_empty(send, 413, [CLOSE])
            return
        scope[GRANT], scope[HEARD] = grant, heard
        await self._app(scope, receive, send)
