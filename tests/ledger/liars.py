"""Witnesses that are not what they should be, each as a real server: they lie, dawdle, shout, move away or fall silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ledger.plain import mth, numbered

from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.note import Signature, split_note
from failshut_ledger.witness.request import Request

Lie = Callable[[Any, bytes], None]


def reply(handler: Any, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def line(signer: Signer, text: str, time_s: int | None = None) -> bytes:
    """The cosignature line of a text."""
    data = cosign(text, signer, int(time.time()) if time_s is None else time_s)
    return Signature(signer.verifier.name, signer.verifier.id, data).line.encode()


def text_of(body: bytes) -> str:
    return split_note(Request.parse(body).checkpoint)[0]


def another_root(signer: Signer) -> Lie:
    """It signs a tree of the same size with other leaves."""

    def lie(handler: Any, body: bytes) -> None:
        asked = Checkpoint.parse(text_of(body))
        other = Checkpoint(asked.origin, asked.size, mth([b"x", *numbered(asked.size)[1:]]), asked.extensions)
        reply(handler, 200, line(signer, other.text))

    return lie


def another_key(signer: Signer) -> Lie:
    """It signs with a key that nobody trusts, under the same name."""
    other = Signer.generate(signer.verifier.name, COSIGNATURE)
    return lambda handler, body: reply(handler, 200, line(other, text_of(body)))


def dated(signer: Signer, ahead_s: int) -> Lie:
    """It dates its cosignature so far ahead."""
    return lambda handler, body: reply(handler, 200, line(signer, text_of(body), max(0, int(time.time()) + ahead_s)))


def late(signer: Signer, seconds: float) -> Lie:
    """It cosigns whatever it is asked for, and takes so long."""

    def lie(handler: Any, body: bytes) -> None:
        time.sleep(seconds)
        reply(handler, 200, line(signer, text_of(body)))

    return lie


def trickles(handler: Any, body: bytes) -> None:
    """It sends a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def trickles_headers(handler: Any, body: bytes) -> None:
    """Its headers never end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"x-more: x\r\n")
        time.sleep(0.2)


def shouts(handler: Any, body: bytes) -> None:
    """Its answer is without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"\xe2\x80\x94 x" * 10_000)


@contextmanager
def lying(lie: Lie, shows: bytes | None = None) -> Iterator[str]:
    """A server that answers each add-checkpoint with a lie, and shows a checkpoint where it has one. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                lie(self, body)
            except OSError:
                pass  # whoever asked has hung up, as it should

        def do_GET(self) -> None:
            reply(self, 404 if shows is None else 200, shows or b"")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
