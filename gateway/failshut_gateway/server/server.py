"""Runs the gateway on uvicorn: listens, ends with status 0 when it is told to, and listens again after a blocked loop.

uvicorn raises the signal that ended it once more, so that its process dies of it; a service that was told to stop has done
nothing wrong, so this one ends with 0. It beats for the watchdog at each of uvicorn's ticks, ten times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import uvicorn

from failshut_gateway.server.bounded_protocol import bounded
from failshut_gateway.server.watchdog import Watchdog

BACKLOG: Final = 1_024
#: A caller whose machine acknowledges nothing for so long is gone, also where it never said so.
UNHEARD_MS_MAX: Final = 10_000
SHUTDOWN_SECONDS_MAX: Final = 5
#: Ticks of a tenth of a second between two looks at the certificate's files, and between two turns of housekeeping.
_TLS_TICKS: Final = 50
_HOUSE_TICKS: Final = 100

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS_MAX)
    return listener


class GatewayServer(uvicorn.Server):
    """One server. `housekeeping` is called in a thread every ten seconds, `at_end` before connections are closed."""

    # Long: one argument for each bound and file.
    def __init__(
        self,
        app: Any,
        *,
        connections_max: int,
        stall_ms: int,
        head_seconds_max: float,
        cert: str = "",
        key: str = "",
        client_authority: str = "",
        housekeeping: Callable[[], None] = lambda: None,
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(connections_max, head_seconds_max),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # strangers cause what uvicorn says below that
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
                ssl_certfile=cert or None,
                ssl_keyfile=key or None,
                ssl_ca_certs=client_authority or None,
                ssl_cert_reqs=ssl.CERT_OPTIONAL if client_authority else ssl.CERT_NONE,
            )
        )
        self.watchdog = Watchdog(self._cut, stall_ms)
        self.failed = False
        """Whether it ended because it could not listen again."""
        self._housekeeping = housekeeping
        self._at_end = at_end
        self._tls_files = [path for path in (cert, key) if path]
        self._tls_content: list[bytes] = []
        self._listening: list[socket.socket] = []
        self._places: list[tuple[str, int]] = []
        self._house: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets."""
        self._tls_content = _contents(self._tls_files)
        await super().startup(sockets=sockets)
        self._listening = list(sockets or [])
        self._places = [listener.getsockname()[:2] for listener in self._listening]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End. What runs for long is told first: uvicorn waits for replies that have begun."""
        try:
            if self._at_end is not None:
                await self._at_end()
        except Exception as error:  # noqa: BLE001 - connections are closed all the same
            logger.error("what runs could not be ended: %s", type(error).__name__)
        await super().shutdown(sockets=sockets)

    async def main_loop(self) -> None:
        """Serve until it is told to stop, under the watchdog."""
        self.watchdog.start()
        try:
            await super().main_loop()
        finally:
            self.watchdog.stop()

    async def on_tick(self, counter: int) -> bool:
        """Beat, and do what is due. Return whether to stop."""
        self.watchdog.beat()
        if self.watchdog.tripped:
            await self._listen_again()
        if self._tls_files and counter % _TLS_TICKS == 0:
            await self._renew_certificate()
        if counter % _HOUSE_TICKS == 0 and (self._house is None or self._house.done()):
            self._house = asyncio.get_running_loop().create_task(asyncio.to_thread(self._housekeeping))
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT, and do not die of them. Without effect outside of the main thread."""
        signals = (signal.SIGTERM, signal.SIGINT)
        try:
            former = {number: signal.signal(number, self.handle_exit) for number in signals}
        except ValueError:  # not the main thread
            yield
            return
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _cut(self) -> None:
        """Shut listeners and connections down. In the watchdog's thread, while the loop is blocked.

        uvicorn's own set of connections lacks those that were accepted just before. So every descriptor is looked at.
        """
        logger.error("the event loop is blocked: callers are refused until it runs again")
        for listener in self._listening:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        ports = {place[1] for place in self._places}
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError, ValueError):
                _shut_down_at(int(name), ports)

    async def _listen_again(self) -> None:
        """Listen on the former addresses. Where that fails, the process ends: who started it can start it anew."""
        for server in self.servers:
            server.close()
        for listener in self._listening:
            listener.close()
        try:
            self._listening = [listen(*place) for place in self._places]
            loop = asyncio.get_running_loop()
            self.servers = [
                await loop.create_server(self._protocol, sock=listener, ssl=self.config.ssl, backlog=BACKLOG)
                for listener in self._listening
            ]
        except OSError as error:
            logger.error("the gateway cannot listen again: %s", error)
            self.failed = self.should_exit = True
            return
        self.watchdog.clear()
        logger.error("the event loop runs again, and the gateway listens")

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def _renew_certificate(self) -> None:
        """Take up a new certificate and key, for connections from now on. What cannot be read changes nothing."""
        try:
            content = await asyncio.to_thread(_contents, self._tls_files)
            if content != self._tls_content and self.config.ssl is not None:
                self.config.ssl.load_cert_chain(*self._tls_files)
                self._tls_content = content
                logger.warning("the gateway has taken up a new certificate")
        except (OSError, ValueError) as error:
            logger.error("the certificate's files cannot be taken up: %s", type(error).__name__)


def _shut_down_at(descriptor: int, ports: set[int]) -> None:
    """Shut a descriptor down if it is a connection to one of our ports. Raises OSError where it is none, or gone."""
    handle = os.dup(descriptor)
    try:
        twin = socket.socket(fileno=handle)
    except OSError:
        os.close(handle)
        raise
    with twin:
        if twin.family in (socket.AF_INET, socket.AF_INET6) and twin.getsockname()[1] in ports:
            twin.shutdown(socket.SHUT_RDWR)


def _contents(paths: list[str]) -> list[bytes]:
    found = []
    for path in paths:
        with open(path, "rb") as file:
            found.append(file.read(1024 * 1024))
    return found
