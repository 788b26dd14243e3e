"""Servers as people run them: with certificates, with Sentinels, as replicas, as a cluster, and behind a switch."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import redis as redis_py
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from failshut_servers import Redis, Valkey, free_port

StoreT = TypeVar("StoreT", bound=Redis | Valkey)


@dataclass(frozen=True)
class Certified:
    """A certificate and its key, as files and as objects."""

    cert: Path
    key: Path
    issued: x509.Certificate
    private: rsa.RSAPrivateKey

    def pem(self) -> str:
        """Certificate and key in one text, as Kafka's keystores want them."""
        return self.key.read_text() + self.cert.read_text()


class Authority:
    """A private authority; makes certificates for 127.0.0.1, or for a name."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._root = self._make(name, None, [])
        self.ca = self._root.cert

    def certify(self, name: str, *, hosts: Sequence[str] = ("127.0.0.1", "localhost"), password: str = "") -> Certified:
        """A certificate for a server or a client."""
        return self._make(name, self._root, hosts, password)

    def _make(self, name: str, by: Certified | None, hosts: Sequence[str], password: str = "") -> Certified:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.issued.subject if by else subject)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        issued = builder.sign(by.private if by else private, hashes.SHA256())
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
        lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
        return Certified(cert, key, issued, private)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def started(kind: type[StoreT], folder: Path, *options: object) -> StoreT:
    """A store started with more options than the embedded one has."""

    class Special(kind):  # type: ignore[valid-type, misc]
        def command(self) -> list[str]:
            return [*super().command(), *map(str, options)]

    store: StoreT = Special(folder).start()
    return store


class Sentinel(Redis):
    """A Sentinel of Debian's Redis: the same program, told to watch."""

    def __init__(self, folder: Path, service: str, primary_port: int, *lines: str) -> None:
        super().__init__(folder)
        self._lines = [
            f"sentinel monitor {service} 127.0.0.1 {primary_port} 1",
            f"sentinel down-after-milliseconds {service} 500",
            f"sentinel failover-timeout {service} 5000",
            *lines,
        ]

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", *self._lines]
        config.write_text("\n".join(lines) + "\n")
        return [str(self.binary()), str(config), "--sentinel"]

    def ready(self) -> bool:
        """It answers, be it that it wants a password. (It knows no QUIT, which ends a store's answer.)"""
        try:
            with redis_py.Redis(port=self.port, socket_timeout=5) as asked:
                asked.ping()
        except redis_py.AuthenticationError:
            return self.running
        except redis_py.RedisError:
            return False
        return self.running


class Switch:
    """A port that leads to another one, and from some moment on to a third; what is connected stays connected."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for pair in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def another_port() -> int:
    """A free port."""
    return int(free_port())
