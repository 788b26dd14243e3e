"""Who is told, on this machine: a web server that behaves as a test says, a mail server, a decisions topic written by hand."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from console.decisions import DRIFT, decision, encoded
from patience import patient

from failshut_breakers.decisions.decision import Kind
from failshut_servers import Kafka, free_port


class Receiver:
    """A web server. Each request that it answers with 2xx counts as taken, and each that came as heard."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.slow_s = 0.0
        self.answer_headers: dict[str, str] = {}
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """Of the CloudEvents that were taken, in their order."""
        return [one["id"] for one in self.taken]

    def up(self) -> Receiver:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.heard.append(body)
                receiver.headers.append(dict(self.headers.items()))
                status = receiver.status
                if receiver.slow_s:
                    time.sleep(receiver.slow_s)
                # Before the answer: who has it sends the next one, which another thread would note first.
                if 200 <= status < 300:  # also where the answer comes too late: then it comes again
                    receiver.taken.append(body)
                self.send_response(status)
                for name, value in receiver.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # the other side may hang up
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def down(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class MailServer:
    """An SMTP server that takes every mail."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                def say(text: str) -> None:
                    self.wfile.write(f"{text}\r\n".encode())

                say("220 here")
                while line := self.rfile.readline():
                    word = line[:4].upper().strip()
                    if word == b"DATA":
                        say("354 go on")
                        mail = b""
                        while (part := self.rfile.readline()) not in (b".\r\n", b""):
                            mail += part
                        mails.append(mail.decode())
                    say("221 bye" if word == b"QUIT" else "250 ok")
                    if word == b"QUIT":
                        return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Decisions:
    """A decisions topic of two partitions. Gates of even numbers are told of in one, of odd numbers in the other."""

    def __init__(self, kafka: Kafka, suffix: str) -> None:
        self.kafka, self.prefix = kafka, f"notify-{suffix}."
        self.name = f"{self.prefix}decisions"
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0})
        self.expected: list[str] = []
        self._offset = 0
        self._open: dict[str, bool] = {}
        self.make()

    def make(self) -> None:
        self.admin.create_topics([NewTopic(self.name, 2, 1)])[self.name].result(patient(30))

    def change(self, *gates: str, copies: int = 1) -> None:
        """Close each gate that is open, open each that is closed; each decision may be said more than once."""
        for gate in gates:
            self._offset += 1
            opens = not self._open.get(gate, True)
            self._open[gate] = opens
            made = decision(Kind.OPEN if opens else Kind.CLOSE, self._offset, gate=gate, **({} if opens else DRIFT))
            self.expected.append(f"{gate}@{made.epoch}/{'opened' if opens else 'closed'}")
            self.write(encoded(made)[0], gate, copies)
        self.flush()

    def write(self, value: bytes, gate: str = "g0", copies: int = 1) -> None:
        for _ in range(copies):
            self.producer.produce(self.name, value, partition=int(gate[1:]) % 2 if gate[1:].isdigit() else 0)

    def renew(self, gate: str, count: int) -> None:
        """Say so many renewals of a gate, which are no news."""
        for _ in range(count):
            self._offset += 1
            self.write(encoded(decision(Kind.RENEW, self._offset, gate=gate))[0], gate)
        self.flush()

    def flush(self) -> None:
        assert self.producer.flush(patient(30)) == 0

    def expected_of(self, gate: str) -> list[str]:
        return [one for one in self.expected if one.startswith(f"{gate}@")]


def target(name: str, kind: str, **settings: str | list[str]) -> str:
    """A table of a file of targets."""
    lines = [f"{setting} = {json.dumps(value)}" for setting, value in settings.items()]
    return "\n".join(["[[target]]", f'name = "{name}"', f'kind = "{kind}"', *lines, ""])


def written(path: Path, *tables: str) -> Path:
    path.write_text("\n".join(tables), encoding="utf-8")
    return path
