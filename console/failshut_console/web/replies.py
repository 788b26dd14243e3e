"""What the console answers: pages, JSON, a way elsewhere, nothing. Every reply has the same headers.

A page runs the one script and the one style sheet that this host serves, talks to this host alone, stands in no frame, and is
kept nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Final

from failshut_gateway.wire.replies import CLOSE, NO_STORE, Header, Send

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def csp_with_style(style: str) -> str:
    """Return the policy of a page that loads nothing and has one style element, named by its hash."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


async def reply(
    send: Send, status: int, kind: str, body: bytes, more: Sequence[Header] = (), *, csp: str = CSP, kept: bool = False
) -> None:
    """Send a reply whole. What is `kept` never changes under its path."""
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", csp.encode()),
        (b"cache-control", b"private, max-age=31536000, immutable") if kept else NO_STORE,
        *_ALWAYS,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def reply_page(send: Send, page: str, status: int = 200, more: Sequence[Header] = (), *, csp: str = CSP) -> None:
    """Send a page."""
    await reply(send, status, "text/html; charset=utf-8", page.encode(), more, csp=csp)


async def reply_json(send: Send, document: object, status: int = 200) -> None:
    """Send a document for the script of a page."""
    await reply(send, status, "application/json", json.dumps(document, separators=(",", ":")).encode())


async def reply_elsewhere(send: Send, path: str, more: Sequence[Header] = ()) -> None:
    """Send a browser to another page of the console, after a form."""
    await reply(send, 303, "text/plain", b"", [(b"location", path.encode("ascii")), *more])


async def refuse(send: Send, status: int = 403, more: Sequence[Header] = ()) -> None:
    """Send a status and nothing else."""
    await reply(send, status, "text/plain", b"", [CLOSE, *more])
