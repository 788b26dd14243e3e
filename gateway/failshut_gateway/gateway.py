"""One gateway: settings in, a server out. It puts the parts together, and starts and ends their threads."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from failshut import Configuration, Guard
from failshut.signing import SigningKey
from failshut_gateway.access.access_book import AccessBook
from failshut_gateway.access.last_uses import LastUses, uses_path
from failshut_gateway.asking.asker import Asker
from failshut_gateway.asking.audit import Audit
from failshut_gateway.asking.doorkeeper import Doorkeeper
from failshut_gateway.asking.rates import RATE_DEFAULT, Rates
from failshut_gateway.documented.closed import Closed
from failshut_gateway.documented.metrics import Family
from failshut_gateway.documented.routes import make_app
from failshut_gateway.executions.execution_book import EXECUTIONS_MAX, LOST_SECONDS, Executions
from failshut_gateway.executions.execution_routes import execution_router
from failshut_gateway.front import Front
from failshut_gateway.hot.authzen import AuthZen
from failshut_gateway.hot.forward_auth import ForwardAuth
from failshut_gateway.hot.mapping import Rules
from failshut_gateway.identity.identities import Identities
from failshut_gateway.identity.identity_file import Sources
from failshut_gateway.server.bounded_protocol import CONNECTIONS_MAX, HEAD_SECONDS_MAX
from failshut_gateway.server.server import GatewayServer, listen
from failshut_gateway.server.watchdog import STALL_MS_DEFAULT
from failshut_gateway.site import Inside, MakeSite

HOST_DEFAULT: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8181


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a gateway is told. Raises ValueError for what cannot be meant."""

    guard: Configuration
    access: str | os.PathLike[str]
    """The file of access keys."""
    host: str = HOST_DEFAULT
    port: int = PORT_DEFAULT
    """0: any free one."""
    url: str = ""
    """Under which callers reach it, for discovery; by default its own address."""
    cert: str = ""
    key: str = ""
    """Certificate and private key in PEM files; both or neither."""
    plain: bool = False
    """Whether it may listen beyond this machine without TLS, behind something that has it."""
    rate: int = RATE_DEFAULT
    """Questions of one key in a second."""
    connections_max: int = CONNECTIONS_MAX
    head_seconds_max: float = HEAD_SECONDS_MAX
    executions_max: int = EXECUTIONS_MAX
    """Executions over HTTP that run at once."""
    lost_seconds: float = LOST_SECONDS
    """How long a caller whose execution runs may be silent."""
    stall_ms: int = STALL_MS_DEFAULT
    """How long the event loop may be silent before callers are cut off."""
    rules: Rules = field(default_factory=Rules)
    """How AuthZEN's resources lead to gates."""
    metadata_key: str = ""
    """A PEM file with the Ed25519 key that signs discovery, and nothing else; empty: it is not signed."""
    sources: Sources = field(default_factory=Sources)
    """Whose identity counts without an access key."""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("a certificate needs its private key, and a key its certificate")
        if not self.cert and not self.plain and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from elsewhere, and access keys would travel in the clear: give a certificate "
                "and its key, or say that TLS ends before the gateway"
            )
        if self.sources.certificates is not None and not self.cert:
            raise ValueError("client certificates need TLS that ends here: give a certificate and its key")
        for name, low, high in (
            ("port", 0, 65_535),
            ("rate", 1, 1_000_000),
            ("connections_max", 1, 100_000),
            ("executions_max", 1, 100_000),
            ("lost_seconds", 0.1, 3_600),
            ("stall_ms", 200, 60_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is between {low} and {high}")
        if self.url:
            _check_url(self.url)


class Gateway:
    """One gateway. `run` serves until it is told to stop."""

    def __init__(self, settings: Settings, site: MakeSite | None = None) -> None:
        """Make the parts, and listen. `site` makes an application beside the routes.

        Raises OSError where the address cannot be had, or a certificate cannot be read.
        """
        self._settings = settings
        self._socket = listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        scheme, shown = "https" if settings.cert else "http", f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = settings.url.rstrip("/") or f"{scheme}://{shown}:{self.port}"
        self._guard = Guard(settings.guard)
        self._book = AccessBook(settings.access)
        self._uses = LastUses(uses_path(settings.access))
        self._audit = Audit()
        self._identities = Identities(settings.sources)
        doorkeeper = Doorkeeper(self._book, self._identities, Rates(settings.rate), self._uses, self._audit)
        asker = Asker(self._guard)
        self._forward_auth = ForwardAuth(doorkeeper, asker)
        self._authzen = AuthZen(doorkeeper, asker, settings.rules)
        self._executions = Executions(
            doorkeeper.counts,
            executions_max=settings.executions_max,
            streams_max=max(1, settings.connections_max // 2),
            lost_seconds=settings.lost_seconds,
        )
        router = execution_router(self._executions, asker, self._audit)
        signer = SigningKey.load(settings.metadata_key) if settings.metadata_key else None
        app = make_app(self._guard, asker, self.url, signer, self._counters, self._health, router)
        documented = Closed(doorkeeper, app)
        self._site = None if site is None else site(self._inside(settings.connections_max))
        self.front = Front(self._forward_auth, self._authzen, documented, self._site)
        self.server = GatewayServer(
            self.front,
            connections_max=settings.connections_max,
            stall_ms=settings.stall_ms,
            head_seconds_max=settings.head_seconds_max,
            cert=settings.cert,
            key=settings.key,
            client_authority=settings.sources.certificates.authority if settings.sources.certificates is not None else "",
            housekeeping=self._uses.write,
            at_end=self._close,
        )
        self.server.config.load()  # reads the certificate: what is wrong with it is said before anything runs

    @property
    def socket(self) -> socket.socket:
        """What it listened on at its beginning."""
        return self._socket

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Return 0, or 1 if it had to stop."""
        self._book.start()
        self._identities.start()
        self._audit.start()
        try:
            self.server.run(sockets=[self._socket])
        finally:
            self._book.stop()
            self._identities.stop()
            self._uses.write()
            self._audit.stop()
            self._guard.close()
        return 1 if self.server.failed else 0

    def _inside(self, connections_max: int) -> Inside:
        return Inside(
            book=self._book,
            uses=self._uses,
            audit=self._audit,
            url=self.url,
            health=self._health,
            streams_max=max(1, connections_max // 4),
        )

    async def _close(self) -> None:
        """End what runs for long, the one whatever becomes of the other."""
        try:
            if self._site is not None:
                await self._site.close()
        finally:
            await self._executions.close()

    def _health(self) -> Mapping[str, Any]:
        return {
            "access": self._book.why or "ok",
            "issuers": {name: why or "ok" for name, why in self._identities.why().items()},
            "guard_faults": self._guard.faults,
            "last_fault": self._guard.last_fault,
            "faults": self.front.faults,
            "stalls": self.server.watchdog.trips,
        }

    def _counters(self) -> list[Family]:
        hot, authzen = self._forward_auth, self._authzen
        return [
            ("failshut_gateway_refused_total", "counter", "Requests refused before any gate.", dict(self._audit.refused)),
            (
                "failshut_gateway_answers_total",
                "counter",
                "Answers of gates.",
                {
                    "forward_auth_admitted": hot.admitted,
                    "forward_auth_withheld": hot.withheld,
                    "authzen_admitted": authzen.admitted,
                    "authzen_withheld": authzen.withheld,
                },
            ),
            ("failshut_gateway_executions", "gauge", "Executions that run.", {"": len(self._executions)}),
            (
                "failshut_gateway_executions_total",
                "counter",
                "Executions that ended, by outcome.",
                dict(self._executions.outcomes),
            ),
            ("failshut_gateway_faults_total", "counter", "Unforeseen exceptions, each a 403.", {"": self.front.faults}),
            ("failshut_gateway_stalls_total", "counter", "Times the event loop was blocked.", {"": self.server.watchdog.trips}),
            ("failshut_gateway_connections", "gauge", "Connections.", {"": len(self.server.server_state.connections)}),
            ("failshut_gateway_unsaid_total", "counter", "Lines of the audit that were not written.", {"": self._audit.unsaid}),
            ("failshut_gateway_access_readable", "gauge", "Whether the access file is.", {"": int(not self._book.why)}),
        ]


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own; a name is not looked up, but for `localhost`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("url is https://HOST[:PORT], without a login, query or fragment")
