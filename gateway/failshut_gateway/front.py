"""What every request meets first, plain ASGI: which path it is, and what becomes of an exception.

The hot paths are answered here. Everything else needs a key as well, and is handed to what is documented, or to the site
beside it, which asks for keys itself. An exception is a 403: on a hot path any other status might let somebody through, and
elsewhere it might tell a stranger something. A request whose reply has begun when the exception comes is cut off.

Limit: what the server itself cannot parse never comes here. It answers 400 and closes the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from failshut_gateway.hot.authzen import EVALUATION, EVALUATIONS, AuthZen
from failshut_gateway.hot.forward_auth import ForwardAuth
from failshut_gateway.site import is_site
from failshut_gateway.wire.raw_path import FORWARD_AUTH
from failshut_gateway.wire.replies import CLOSE, Receive, Scope, Send, reply_empty

#: What answers a request.
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_FAULTS_SAID_MAX: Final = 100

logger = logging.getLogger(__name__)


class Front:
    """The ASGI application of the gateway."""

    def __init__(self, forward_auth: ForwardAuth, authzen: AuthZen, documented: App, site: App | None = None) -> None:
        self._forward_auth = forward_auth
        self._authzen = authzen
        self._documented = documented
        self._site = site
        self.faults = 0
        """Exceptions that nobody foresaw. Each was a 403."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        began = False

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._route(scope, receive, noted)
        except Exception as error:
            self._note(error)
            if began:
                raise
            await reply_empty(send, 403, [CLOSE])
        else:
            if not began:
                await reply_empty(send, 403, [CLOSE])

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope["raw_path"]
        if raw_path.startswith(FORWARD_AUTH):
            await self._forward_auth(scope, send)
        elif raw_path in (EVALUATION, EVALUATIONS):
            await self._authzen(scope, receive, send)
        elif self._site is not None and is_site(raw_path):
            await self._site(scope, receive, send)
        else:
            await self._documented(scope, receive, send)

    def _note(self, error: Exception) -> None:
        self.faults += 1
        if self.faults <= _FAULTS_SAID_MAX:
            logger.error("a request failed and was refused: %s", type(error).__name__, exc_info=error)
