"""The public keys of one issuer: from a file or an address, followed by a thread, bounded, and failing closed.

A file is read every second, and one that cannot be read leaves no key. An address is asked every five minutes, and sooner when
a token names an unknown key, but no more often than every ten seconds. While it does not answer, the former keys count for
fifteen minutes; then none does. An answer that is late, long, moved, compressed or no key set is no answer.

Limit: a key that an issuer withdraws at its address counts here until the next look.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from failshut_gateway.access.access_file import BadFile, read_bytes
from failshut_gateway.identity.token_check import Key, read_keys

BYTES_MAX: Final = 256 * 1024
FILE_SECONDS: Final = 1.0
ADDRESS_SECONDS: Final = 300.0
SOONER_SECONDS: Final = 10.0
STALE_SECONDS: Final = 900.0
ANSWER_SECONDS_MAX: Final = 10.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_NONE: Final[Mapping[str, Key]] = {}


def is_address(where: str) -> bool:
    """Return whether keys come from an address. Raises ValueError for one that anybody on the way could answer for."""
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https"):
        return False
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("keys are fetched over https alone")
    if not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("an address is https://HOST/PATH, without a login")
    return True


class IssuerKeys:
    """One issuer's keys. `keys` and `miss` are called from any thread.

    Args:
        where: a path, or an address.
        seconds: overrides how often it looks, for tests.
        authority: a PEM file with the authority of the address; by default the system's.
    """

    def __init__(
        self,
        where: str,
        *,
        seconds: float = 0.0,
        stale_seconds: float = STALE_SECONDS,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        authority: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where = where
        self.remote = is_address(where)
        self.why = "the issuer's keys were not read yet"
        """Why there is no key, or no newer one; empty if the last look was good."""
        self._seconds = seconds or (ADDRESS_SECONDS if self.remote else FILE_SECONDS)
        self._stale_seconds = stale_seconds if self.remote else max(10.0, 10 * self._seconds)
        self._answer_seconds_max = answer_seconds_max
        self._context = ssl.create_default_context(cafile=authority) if where.startswith("https:") else None
        self._monotonic = monotonic
        self._keys: Mapping[str, Key] = _NONE
        self._good_mono = self._looked_mono = float("-inf")
        self._sooner, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def keys(self) -> Mapping[str, Key]:
        """Return the keys that count now: none where the last good look is too long ago."""
        return self._keys if self._monotonic() - self._good_mono <= self._stale_seconds else _NONE

    def holds(self, kid: str) -> bool:
        """Return whether a key counts now."""
        return kid in self.keys()

    def miss(self) -> None:
        """Note that a token names an unknown key: look sooner."""
        self._sooner.set()

    def look(self) -> None:
        """Read the keys once. Never raises."""
        began_mono = self._looked_mono = self._monotonic()
        try:
            self._keys = read_keys(self._fetch() if self.remote else _read(self.where))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no key set
            said = str(error) if isinstance(error, ValueError) else type(error).__name__
            self.why = f"the issuer's keys cannot be read: {said}"[:200]
            if not self.remote:
                self._keys = _NONE
        else:
            self._good_mono, self.why = began_mono, ""

    def start(self) -> None:
        """Follow the keys from now on. Raises RuntimeError where no thread can be started."""
        self._thread = threading.Thread(target=self._follow, name="failshut-issuer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, soon."""
        self._stop.set()
        self._sooner.set()

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.look()
            pause = min(self._seconds, SOONER_SECONDS)
            self._stop.wait(pause)
            self._sooner.wait(max(0.0, self._seconds - pause) if not self.why else 0.0)
            self._sooner.clear()

    def _fetch(self) -> bytes:
        """Return what the address answers. Raises OSError, HTTPException or ValueError.

        A timer cuts the connection, so that an answer which trickles does not hold the thread.
        """
        parts = urlsplit(self.where)
        host, seconds = parts.hostname or "", self._answer_seconds_max
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        held: list[socket.socket] = []  # the connection forgets its own, once the answer says that it ends with it
        cut = threading.Timer(seconds, _cut, (connection, held))
        cut.daemon = True
        cut.start()
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.connect()
            held.append(connection.sock)
            connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
            reply = connection.getresponse()
            if reply.status != 200 or reply.headers.get("content-encoding", "identity") != "identity":
                raise BadFile(f"status {reply.status}, or compressed")
            content = reply.read(BYTES_MAX + 1)
            if len(content) > BYTES_MAX or reply.length:
                raise BadFile(f"more than {BYTES_MAX} bytes, or fewer than it says")
            return content
        finally:
            cut.cancel()
            connection.close()


def _cut(connection: http.client.HTTPConnection, held: list[socket.socket]) -> None:
    for sock in held or [connection.sock]:
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, which would go on in the clear
            except OSError:
                pass  # it has ended by itself


def _read(path: str) -> bytes:
    content = read_bytes(path)
    if len(content) > BYTES_MAX:
        raise BadFile(f"more than {BYTES_MAX} bytes")
    return content
