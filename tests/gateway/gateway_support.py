"""A gateway as tests have it: in a thread of this process, on a free port, with its own file of keys."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from guard.standin import SUBJECT, Monitor
from patience import patient

from failshut import Configuration
from failshut_gateway.access import access_file
from failshut_gateway.gateway import Gateway, Settings

FORWARD = "/v1/forward-auth/"
EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A gateway that serves. Ends with `with`."""

    def __init__(self, monitor: Monitor, access: Path, **settings: Any) -> None:
        self.access = access
        guard = Configuration(
            **{"store_url": monitor.url, "jwks": monitor.jwks, "deadline_ms": 2000, **settings.pop("guard", {})}
        )
        site = settings.pop("site", None)
        self.gateway = Gateway(Settings(guard=guard, access=access, **{"port": 0, **settings}), site)
        self.port = self.gateway.port
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.status = self.gateway.run()

    def __enter__(self) -> Self:
        self._thread.start()
        end = time.monotonic() + patient(20)
        while not self.gateway.server.started:
            assert time.monotonic() < end, "did not start"
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gateway.server.should_exit = True
        self._thread.join(patient(30))
        assert not self._thread.is_alive()

    def key(self, **changes: Any) -> str:
        """A new key, for a service that may ask for every agent at every gate; it counts when this returns."""
        usual: dict[str, Any] = {"role": "service", "subjects": ["agent:*"], "gates": ["*"]}
        now_ms = int(time.time() * 1000)
        grant, key = access_file.create(self.access, now_ms, expires_ms=now_ms + 3_600_000, **{**usual, **changes})
        book = self.gateway._book
        end = time.monotonic() + patient(20)
        while grant.id not in book._grants:
            assert time.monotonic() < end, "the key is not known"
            time.sleep(0.01)
        return key

    def call(self, method: str, path: str, key: str = "", body: bytes | None = None, **headers: str) -> Reply:
        """One request over a connection of its own. The names of headers have `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patient(20))
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if key:
                connection.putheader("X-Failshut-Key", key)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None and "Content_Length" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, key: str = "", **headers: str) -> Reply:
        return self.call("GET", path, key, None, **headers)

    def post(self, path: str, key: str, document: Any, **headers: str) -> Reply:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.call("POST", path, key, body, **{"Content_Type": "application/json", **headers})

    def asked(self, gate: str, key: str, subject: str = SUBJECT, **headers: str) -> Reply:
        """Forward auth for a subject."""
        return self.get(FORWARD + gate, key, X_Failshut_Subject=subject, **headers)

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back until the gateway closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patient(20)) as connection:
            connection.sendall(data)
            found = b""
            try:
                while part := connection.recv(65536):
                    found += part
            except ConnectionError:
                pass
            return found


def question(gate: str, **changes: Any) -> dict[str, Any]:
    """An AuthZEN question about a gate, under the rule that needs no file."""
    return {
        "subject": {"type": "agent", "id": "refund-7"},
        "action": {"name": "refund"},
        "resource": {"type": "gate", "id": gate},
        **changes,
    }
