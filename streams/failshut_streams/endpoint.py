"""What a worker answers over HTTP: /metrics for Prometheus, /healthz and /ready for whatever runs workers.

The two answer different questions. /healthz asks whether the process should be killed. It should not while its event loop goes
round. It says nothing about servers, because a restart repairs none of them. /ready asks whether a gate that this
worker governs can open now; if it cannot, the answer says why. A rolling update waits for it, and a person reads it.

Both answer from a thread of their own, out of what the worker said last. So a worker that is stuck answers too, and says so.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

SILENT_SECONDS_MAX: Final = 15.0
"""A worker that has not reported for so long is stuck: it reports once a second."""
BEGIN_SECONDS_MAX: Final = 120.0
"""How long the first report may take: a governor that restores a large snapshot reports after it."""
WHY_MAX: Final = 20

NOT_YET: Final = "it has not begun: control is not read, or no partition was assigned"


class Vitals:
    """What a worker said of itself last. One thread says, others read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = clock() + BEGIN_SECONDS_MAX - SILENT_SECONDS_MAX
        self._why: tuple[str, ...] = (NOT_YET,)

    def say(self, why_not: Sequence[str]) -> None:
        """Say that the event loop goes round, and what keeps gates closed; nothing if they can open."""
        self._why, self._said = tuple(why_not[:WHY_MAX]), self._clock()

    @property
    def stuck(self) -> str:
        """Why the process should be killed; empty if it should not."""
        silent = self._clock() - self._said
        return f"the event loop has not gone round for {silent:.0f} s" if silent > SILENT_SECONDS_MAX else ""

    @property
    def why_not(self) -> tuple[str, ...]:
        """Why no gate of this worker can open; empty if they can."""
        return (self.stuck,) if self.stuck else self._why


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: one that asks slowly delays nobody else."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Logs no requests, and waits for no slow one without end."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        pass


class Endpoint:
    """Serves the three paths from a thread.

    Raises:
        OSError, OverflowError: the port is taken or not allowed.
    """

    def __init__(self, registry: CollectorRegistry, vitals: Vitals, port: int, address: str) -> None:
        self._metrics: Any = make_wsgi_app(registry)
        self._vitals = vitals

        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        server: type[WSGIServer] = type("_ServerOfFamily", (_Server,), {"address_family": family})
        self._server: WSGIServer = make_server(address, port, self._answer, server, _Handler)
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="failshut-endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and let go of the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _answer(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/healthz":
            return _told(start, "alive", [self._vitals.stuck] if self._vitals.stuck else [])
        if path == "/ready":
            return _told(start, "ready", self._vitals.why_not)
        if path in ("/metrics", "/"):
            found: Iterable[bytes] = self._metrics(environment, start)
            return found
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/metrics, /healthz or /ready\n"]


def _told(start: Callable[..., Any], what: str, why_not: Sequence[str]) -> list[bytes]:
    start(
        "503 Service Unavailable" if why_not else "200 OK",
        [("Content-Type", "application/json"), ("Cache-Control", "no-store")],
    )
    return [json.dumps({what: not why_not, "why": list(why_not)}).encode() + b"\n"]
