"""Real proxies, each with its file of docker/proxies, in front of a backend that notes what reached it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from patience import patient

from failshut_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "docker" / "proxies"
#: What the files say, and tests replace: nothing else of them is changed.
GATE, SUBJECT = "payments.refund", "agent:refund-7"
NAMES = ("nginx", "haproxy", "envoy", "traefik", "caddy")
_WHENCE = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    **dict.fromkeys(("envoy", "traefik", "caddy"), "make proxies"),
}


class Ports(NamedTuple):
    """Where everything listens."""

    front: int
    gateway: int
    inner: int
    backend: int


class Reply(NamedTuple):
    """What a proxy's client gets."""

    status: int
    body: bytes
    seconds: float


def program(name: str) -> str:
    """The path of a proxy; skips, and says so, where it is not installed."""
    sbin = os.pathsep.join([str(ROOT / ".venv-proxies" / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=sbin)
    if found is None:
        pytest.skip(f"{name} is not installed here ({_WHENCE[name]})")
    return found


class Backend:
    """What stands behind the proxy. It answers 200 with its own word, or what it is told, and notes each request."""

    WORD = b"the backend's own word"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.status = 200
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                backend.seen.append((self.command, self.path, list(self.headers.items())))
                self.send_response(backend.status)
                self.send_header("content-length", str(len(Backend.WORD)))
                self.end_headers()
                self.wfile.write(Backend.WORD)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # a proxy may hang up
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def epochs(self) -> list[str]:
        """What the last request says of the epoch, in any spelling that some backend would take for it."""
        return [value for name, value in self.seen[-1][2] if name.lower().replace("_", "-") == "x-failshut-epoch"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Proxy:
    """One proxy that runs with its file, which differs from docker/proxies in ports, gate, subject and key alone."""

    def __init__(self, name: str, folder: Path, ports: Ports, key: str) -> None:
        self.name, self.folder, self.ports, self.key = name, folder, ports, key
        for path in FILES.iterdir():
            (folder / path.name).write_text(self._placed(path.read_text(encoding="utf-8")), encoding="utf-8")
        (folder / "main.conf").write_text(_NGINX.replace("FOLDER", str(folder)), encoding="utf-8")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")},
            "FAILSHUT_KEY": key,
            "FAILSHUT_LUA": str(folder / "haproxy.lua"),
            "HOME": str(folder),
        }
        self._said = (folder / "said").open("wb")
        self.process = subprocess.Popen(
            _command(name, folder), cwd=folder, env=environment, stdout=self._said, stderr=subprocess.STDOUT
        )
        self._await()

    def _placed(self, text: str) -> str:
        ports = {8080: self.ports.front, 8181: self.ports.gateway, 8182: self.ports.inner, 9000: self.ports.backend}
        for stands, port in ports.items():
            text = re.sub(rf":( ?){stands}\b", rf":\g<1>{port}", text)
        return text.replace('"FAILSHUT_KEY"', f'"{self.key}"') if self.name in ("nginx", "envoy") else text

    def _await(self) -> None:
        """Wait until it answers as a proxy; the gateway is not there yet."""
        end = time.monotonic() + patient(30)
        while True:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            try:
                if self.get("/").status == 403:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)

    @property
    def said(self) -> str:
        """What it wrote."""
        return (self.folder / "said").read_text(encoding="utf-8", errors="replace")[-4_000:]

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        """One request of a client, over a connection of its own. The names of headers have `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(path, named, method, body)

    def ask(self, path: str, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None) -> Reply:
        """The same, with headers as they are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.front, timeout=patient(60))
        began = time.monotonic()
        try:
            connection.request(method, path, body, dict(headers))
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), time.monotonic() - began)
        finally:
            connection.close()

    def raw(self, path: str) -> bytes:
        """A request whose path is sent as it stands; the reply's bytes."""
        with socket.create_connection(("127.0.0.1", self.ports.front), timeout=patient(60)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode("latin-1"))
            found = b""
            try:
                while part := connection.recv(65536):
                    found += part
            except ConnectionError:
                pass
            return found

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(patient(10))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._said.close()


_NGINX = """daemon off; worker_processes 1; pid FOLDER/pid; error_log FOLDER/errors warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path FOLDER/t1; proxy_temp_path FOLDER/t2; fastcgi_temp_path FOLDER/t3;
  uwsgi_temp_path FOLDER/t4; scgi_temp_path FOLDER/t5;
  include FOLDER/nginx.conf;
}
"""


def _command(name: str, folder: Path) -> list[str]:
    commands: dict[str, list[str]] = {
        "nginx": ["-c", str(folder / "main.conf"), "-p", str(folder), "-e", str(folder / "errors")],
        "haproxy": ["-db", "-f", str(folder / "haproxy.cfg")],
        "envoy": [
            *("-c", str(folder / "envoy.yaml"), "--disable-hot-restart", "--concurrency", "1"),
            *("--base-id", str(os.getpid() % 30_000), "-l", "warn"),
        ],
        "traefik": ["--configFile=traefik.yml"],
        "caddy": ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")],
    }
    return [program(name), *commands[name]]


class GatewayProcess:
    """`failshut serve` as somebody starts it, on a given port."""

    def __init__(self, folder: Path, store: str, port: int, access: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
        command = [sys.executable, "-m", "failshut_console", "serve", "--bind", f"127.0.0.1:{port}", "--store", store]
        self.process = subprocess.Popen(
            [*command, "--jwks", "jwks.json", "--access", str(access)],
            cwd=folder,
            env={**environment, "FAILSHUT_DEADLINE_MS": "200"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        assert "gates are served" in said, said
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(patient(20))


class Pretender:
    """Something at the gateway's address that answers with these bytes, whatever it is asked, and closes."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.asked = 0

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    self.asked += 1
                    connection.sendall(self._answer)
                except OSError:
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(patient(10))


def all_ports(backend: int) -> Ports:
    """Free ports, and the backend's."""
    return Ports(free_port(), free_port(), free_port(), backend)
