"""Replies, each sent at once: a status, headers, and all of the body.

Nothing is cached on the way, because what was true of a gate is not true for long.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

NO_STORE: Final[Header] = (b"cache-control", b"no-store")
CLOSE: Final[Header] = (b"connection", b"close")
_EMPTY: Final[Header] = (b"content-length", b"0")


async def reply_empty(send: Send, status: int, more: Sequence[Header] = ()) -> None:
    """Send a status without a body."""
    await send({"type": "http.response.start", "status": status, "headers": [_EMPTY, NO_STORE, *more]})
    await send({"type": "http.response.body", "body": b""})


async def reply_json(send: Send, status: int, document: object, more: Sequence[Header] = ()) -> None:
    """Send a JSON document."""
    body = json.dumps(document, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), NO_STORE, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
