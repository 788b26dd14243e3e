"""uvicorn's HTTP protocol, with bounds on what a stranger can occupy: connections, the head of a request, and its time.

uvicorn counts no headers, waits for a head for ever, and answers 503 when it is full. A 5xx lets requests pass at some proxies.
So a connection beyond the bound is dropped, and so is one whose head does not come in time. A head that is too long is a 400.

Limits: it depends on names inside uvicorn (`connections`, `cycle`, `on_header` and the like), which tests hold in place. The
bound on connections is for all peers together.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from failshut_gateway.identity.identities import PEER

HEADERS_MAX: Final = 100
HEAD_BYTES_MAX: Final = 32 * 1024
HEAD_SECONDS_MAX: Final = 10.0
CONNECTIONS_MAX: Final = 1_024


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded` makes a class with other bounds."""

    connections_max = CONNECTIONS_MAX
    head_seconds_max = HEAD_SECONDS_MAX
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _peer: Any = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or drop it."""
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peercert")
        if len(self.connections) > self.connections_max:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came. Whatever it is, a head must follow in time."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > 2 * HEAD_BYTES_MAX and not self.transport.is_closing():
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        super().on_message_begin()
        if self._peer:
            self.scope[PEER] = self._peer  # type: ignore[typeddict-unknown-key] # ours
        self._in_head, self._head_bytes, self._counted = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """Read a part of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header."""
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= HEADERS_MAX:
            raise httptools.HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._stop_waiting()
        self._in_head = False
        super().on_headers_complete()

    def _count(self, length: int) -> None:
        self._counted += length
        if self._counted > HEAD_BYTES_MAX:
            raise httptools.HttpParserError("the head is too long")

    def _await_head(self) -> None:
        self._stop_waiting()
        self._in_head, self._head_bytes, self._counted = True, 0, 0
        self._timer = self.loop.call_later(self.head_seconds_max, self._drop)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


def bounded(connections_max: int, head_seconds_max: float = HEAD_SECONDS_MAX) -> type[BoundedProtocol]:
    """Return the protocol with these bounds."""
    bounds = {"connections_max": connections_max, "head_seconds_max": head_seconds_max}
    return type("BoundedProtocol", (BoundedProtocol,), bounds)
