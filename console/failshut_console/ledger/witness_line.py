"""One line to one witness over HTTP: a request with bounds in time, bytes and trust.

An answer that is late, long, moved or compressed is no answer. A timer cuts the connection, so that one which trickles does
not hold its thread. Limits: a name server that hangs is waited for as long as the system does; each witness has a thread of
its own. Each request has a connection of its own.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from failshut_ledger.notes.note import NOTE_BYTES_MAX

ANSWER_SECONDS_MAX: Final = 5.0


class Unheard(Exception):
    """No answer came within the bounds."""


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


class WitnessLine:
    """A line to the witness at an address.

    Args:
        address: its submission prefix, http:// or https://, without a login.
        authority: a PEM file with the authority of its certificate; by default the system's.

    Raises:
        ValueError: it is no such address.
    """

    def __init__(self, address: str, *, seconds_max: float = ANSWER_SECONDS_MAX, authority: str | None = None) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a witness's address is https://HOST/PREFIX, without a login")
        if not address.isascii() or not address.isprintable() or " " in address:
            raise ValueError("a witness's address is printable ASCII")
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._seconds_max = seconds_max
        self._context = ssl.create_default_context(cafile=authority) if parts.scheme == "https" else None

    def ask(self, method: str, path: str, body: bytes | None = None, bytes_max: int = NOTE_BYTES_MAX) -> Answer:
        """Return what the witness answers. Raises Unheard."""
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds_max, context=self._context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._seconds_max)
        held: list[socket.socket] = []  # the connection forgets its own, once the answer says that it ends with it
        late = threading.Event()
        cut = threading.Timer(self._seconds_max, _cut, (connection, held, late))
        cut.daemon = True
        cut.start()
        try:
            headers = {"Connection": "close", "Accept-Encoding": "identity"}
            connection.connect()
            held.append(connection.sock)
            connection.request(method, self._prefix + path, body, headers)
            reply = connection.getresponse()
            if 300 <= reply.status < 400:
                raise Unheard(f"it says that it has moved (status {reply.status}), and nobody follows")
            content = reply.read(bytes_max + 1)
            if len(content) > bytes_max:
                raise Unheard(f"its answer has more than {bytes_max} bytes")
            if reply.length or late.is_set():  # a cut connection looks like the end of an answer
                raise Unheard("its answer was cut off")
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise Unheard(f"no answer within {self._seconds_max:g} s: {said}"[:200]) from error
        finally:
            cut.cancel()
            connection.close()
        return Answer(reply.status, content)


def _cut(connection: http.client.HTTPConnection, held: list[socket.socket], late: threading.Event) -> None:
    late.set()
    for sock in held or [connection.sock]:
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, which would go on in the clear
            except OSError:
                pass  # it has ended by itself
