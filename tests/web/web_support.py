"""A gateway with its console, and a browser of few words: it keeps cookies, and sends what a page of the console would."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from gateway.gateway_support import Reply, Running
from guard.standin import Monitor, eventually
from patience import patient

from failshut_console.monitor.gate_views import Looker
from failshut_console.web.ledger_look import LedgerLook
from failshut_console.web.ordering import Signing
from failshut_console.web.site import Console, Sources
from failshut_gateway.site import Inside


class Served(Running):
    """A gateway that serves the console of a monitor."""

    def __init__(self, monitor: Monitor, access: Path, *, broker: str = "", prefix: str = "", **settings: Any) -> None:
        jwks = access.with_name("jwks.json")
        monitor.write_jwks(jwks)
        signing: Signing | None = settings.pop("signing", None)
        ledger: LedgerLook | None = settings.pop("ledger", None)
        self.consoles: list[Console] = []

        def site(inside: Inside) -> Console:
            sources = Sources(lambda: Looker(monitor.url, str(jwks)), broker, prefix, str(jwks), signing, ledger)
            self.consoles.append(Console(inside, sources))
            return self.consoles[-1]

        super().__init__(monitor, access, site=site, **settings)

    @property
    def console(self) -> Console:
        return self.consoles[0]

    def person(self, role: str = "viewer", **changes: Any) -> tuple[str, str]:
        """A new key for a person; return its id as well."""
        key = self.key(**{"role": role, "subjects": [], "note": "Ada", **changes})
        return key[4:12], key

    def signed_in(self, role: str = "viewer", **changes: Any) -> Browser:
        """A browser with a session."""
        _, key = self.person(role, **changes)
        browser = Browser(self)
        reply = browser.tried(key)
        assert reply.status == 303, reply
        return browser


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: Any


class Browser:
    """Cookies, and headers as a browser sets them."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Reply:
        return self._taken(self.served.get(path, **{**self._cookie(), "Sec_Fetch_Site": "same-origin", **headers}))

    def page(self, path: str) -> str:
        """A page that must be there, as text."""
        reply = self.get(path)
        assert reply.status == 200, reply
        return reply.body.decode()

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        said = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Sec_Fetch_Site": "same-origin",
            **self._cookie(),
            **headers,
        }
        return self._taken(self.served.call("POST", path, "", urlencode(fields).encode(), **said))

    def sign_in(self, key: str, where: str = "/console", **headers: str) -> Reply:
        return self.post("/console/sign-in", {"key": key, "next": where}, **headers)

    def tried(self, key: str) -> Reply:
        """Sign in, again and again while there were too many tries."""

        def counted() -> Reply | None:
            reply = self.sign_in(key)
            return None if reply.status == 429 else reply

        reply: Reply = eventually(counted)
        return reply

    @property
    def csrf(self) -> str:
        """The session's token, as a page has it."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.page("/console/proofs"))
        assert found is not None
        return found[1]

    def order(self, document: Any, csrf: str | None = None, **headers: str) -> Reply:
        """Send an order as a page's script does."""
        said = {"X_Failshut_CSRF": self.csrf if csrf is None else csrf, "Sec_Fetch_Site": "same-origin"}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.served.call("POST", "/console/orders", "", body, **{**said, **self._cookie(), **headers})

    @contextmanager
    def stream(self, query: str = "") -> Iterator[Iterator[Event]]:
        """The events of a stream; they end when it does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=patient(20))
        try:
            headers = {name.replace("_", "-"): value for name, value in self._cookie().items()}
            connection.request("GET", f"/console/stream{query}", headers=headers)
            reply = connection.getresponse()
            if reply.status != 200:
                raise RuntimeError(f"the stream was refused: {reply.status}")
            yield _events(reply)
        finally:
            connection.close()

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _taken(self, reply: Reply) -> Reply:
        said = reply.headers.get("set-cookie", "")
        if said:
            name, _, value = said.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in said:
                del self.cookies[name]
        return reply


def _events(reply: http.client.HTTPResponse) -> Iterator[Event]:
    name = ""
    while line := reply.readline():
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield Event(name, json.loads(text.removeprefix("data: ")))


def awaited(events: Iterator[Event], fits: Any, seconds: float = 20.0) -> Event:
    """The first event that fits."""
    end = time.monotonic() + patient(seconds)
    for event in events:
        if fits(event):
            return event
        assert time.monotonic() < end, "did not come"
    raise AssertionError("the stream ended before it came")


def list_gate(monitor: Monitor, gate: str = "", **status: Any) -> None:
    """Name a gate in the store as a monitor does, with the status of its last decision."""
    gate = gate or monitor.gate
    monitor.client.sadd(monitor.names.gates, gate)
    if status:
        monitor.client.set(monitor.names.status(gate), json.dumps(status))
