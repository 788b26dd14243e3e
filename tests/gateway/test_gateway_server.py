"""The server: what a stranger can occupy, a blocked event loop, signals, TLS."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway.gateway_support import FORWARD, Running
from guard.standin import SUBJECT, Monitor, eventually
from patience import patient

from failshut import Configuration
from failshut_gateway.access import access_file
from failshut_gateway.gateway import Gateway, Settings, is_loopback
from failshut_gateway.server.watchdog import Watchdog


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    return monitor.gate


def connected(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=patient(20))


def is_cut(connection: socket.socket) -> bool:
    """Whether the other side has closed; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


# --- what a stranger can occupy ---


def test_a_head_that_is_too_long_is_refused(running: Running, gate: str, key: str) -> None:
    """Too many headers, too long ones, a target without an end: 400 or nothing, and the gateway goes on."""
    begin = f"GET {FORWARD}{gate} HTTP/1.1\r\nconnection: close\r\nx-failshut-key: {key}\r\n".encode()
    begin += f"x-failshut-subject: {SUBJECT}\r\n".encode()
    assert running.raw(begin + b"\r\n").startswith(b"HTTP/1.1 200")
    heads = [
        begin + b"".join(b"a%d: b\r\n" % number for number in range(200)) + b"\r\n",
        begin + b"a: " + b"b" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        begin + b"a: " + b"b" * 500_000,
    ]
    for head in heads:
        assert running.raw(head).partition(b"\r\n")[0] in (b"HTTP/1.1 400 Bad Request", b"")
    assert running.asked(gate, key).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/live HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"GET /v1/live HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/live HTTP/1.1\r\nx: a\nb: c\r\n\r\n",
        b"GET /v1/live\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_request(running: Running, data: bytes) -> None:
    """Smuggling, bare line feeds, another protocol: 400, or no answer, never a second request."""
    with connected(running) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        try:
            while part := connection.recv(65536):
                found += part
        except ConnectionError:
            pass
    assert not found.startswith(b"HTTP/1.1 200")
    assert found.count(b"HTTP/1.1") <= 1


def test_a_slow_sender_and_a_silent_one_are_dropped(monitor: Monitor, tmp_path: Path) -> None:
    """A head that does not end in time ends the connection, also where bytes come all the while."""
    with Running(monitor, tmp_path / "access.json", head_seconds_max=0.3) as running:
        with connected(running) as silent:
            assert is_cut(silent)
        with connected(running) as slow:
            try:
                for _ in range(int(patient(20) / 0.05)):
                    slow.sendall(b"\r\n")
                    time.sleep(0.05)
            except ConnectionError:
                return
    pytest.fail("a connection without a request stayed open")


def test_more_connections_than_the_bound_are_dropped(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """Idle strangers beyond the bound are not kept, none of them is answered with a 5xx, and room comes back."""
    with Running(monitor, tmp_path / "access.json", connections_max=5, head_seconds_max=600.0) as running:
        key = running.key()
        idle = [connected(running) for _ in range(5)]
        eventually(lambda: len(running.gateway.server.server_state.connections) == 5)
        with connected(running) as beyond:
            assert is_cut(beyond)
        for connection in idle:
            connection.close()
        eventually(lambda: not running.gateway.server.server_state.connections)
        assert running.asked(gate, key).status == 200


# --- a blocked event loop ---


def test_a_blocked_loop_refuses_at_once_and_comes_back(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """While the loop is blocked, open connections are cut and new ones refused; afterwards the gateway answers again."""
    with Running(monitor, tmp_path / "access.json", stall_ms=300) as running:
        key = running.key()
        assert running.asked(gate, key).status == 200
        open_ones = [connected(running)]
        eventually(lambda: len(running.gateway.server.server_state.connections) == 1)
        open_ones += [connected(running) for _ in range(5)]  # some are accepted, and some are not yet
        loop = running.gateway.server.servers[0].get_loop()
        until = time.monotonic() + patient(3)
        loop.call_soon_threadsafe(lambda: time.sleep(max(0.0, until - time.monotonic())))
        assert all(is_cut(connection) for connection in open_ones)
        assert time.monotonic() < until, "it was cut only when the loop ran again"
        with pytest.raises(ConnectionError):
            connected(running).sendall(b"GET / HTTP/1.1\r\n")
        for connection in open_ones:
            connection.close()

        def answers() -> bool:
            try:
                return running.asked(gate, key).status == 200
            except OSError:
                return False

        eventually(answers)
        assert running.gateway.server.watchdog.trips == 1
        assert not running.gateway.server.watchdog.tripped


def test_a_watchdog_whose_cut_fails_goes_on() -> None:
    """It trips once for a silence, says so, and trips again for the next."""
    cuts: list[int] = []

    def cut() -> None:
        cuts.append(1)
        raise OSError("no")

    dog = Watchdog(cut, 100)
    dog.start()
    try:
        eventually(lambda: dog.tripped)
        dog.beat()
        dog.clear()
        eventually(lambda: len(cuts) == 2)
        assert dog.trips == 2
    finally:
        dog.stop()


# --- where it listens ---


def _settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(guard=Configuration(), access=tmp_path / "a.json", **changes)


@pytest.mark.parametrize(
    "changes",
    [
        *({"host": "0.0.0.0"}, {"host": "::"}, {"host": "gateway.example"}, {"cert": "x"}, {"key": "x"}, {"port": -1}),
        *(
            {"rate": 0},
            {"connections_max": 0},
            {"stall_ms": 1},
            {"url": "gateway.example"},
            {"url": "https://a:b@gateway.example"},
        ),
        *({"url": "https://gateway.example?x=1"}, {"url": "ftp://gateway.example"}),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Above all an address that others reach, without TLS."""
    with pytest.raises(ValueError):  # noqa: PT011 - the settings differ in what they say
        _settings(tmp_path, **changes)


def test_this_machine_alone_needs_no_tls(tmp_path: Path) -> None:
    """Loopback is the default; elsewhere somebody must say that TLS ends before."""
    assert _settings(tmp_path).host == "127.0.0.1"
    assert _settings(tmp_path, host="0.0.0.0", plain=True).plain
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "10.0.0.1", "localhost.example")] == [
        *(True, True, True, False, False),
    ]


def test_an_address_that_is_taken_is_an_error(running: Running, tmp_path: Path) -> None:
    """Two gateways never share a port unnoticed."""
    with pytest.raises(OSError, match=r"[Aa]ddress"):
        Gateway(_settings(tmp_path, port=running.port))


# --- TLS ---


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority, for this machine."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, key


def shown_name(port: int) -> str:
    """The name in the certificate that the gateway shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=patient(20))
    name = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name)


def test_tls_is_by_files_that_are_taken_up_anew(monitor: Monitor, tmp_path: Path, gate: str) -> None:
    """It answers over TLS, and shows a new certificate without a restart; a torn file changes nothing."""
    cert, key = certificate(tmp_path, "first")
    with Running(monitor, tmp_path / "access.json", cert=str(cert), key=str(key)) as running:
        token = running.key()
        context = ssl.create_default_context(cafile=str(cert))
        asked = urllib.request.Request(
            f"https://127.0.0.1:{running.port}{FORWARD}{gate}",
            headers={"X-Failshut-Key": token, "X-Failshut-Subject": SUBJECT},
        )
        with urllib.request.urlopen(asked, timeout=patient(20), context=context) as reply:
            assert reply.status == 200
        assert shown_name(running.port) == "first"
        certificate(tmp_path, "second")
        eventually(lambda: shown_name(running.port) == "second")
        cert.write_bytes(b"torn")
        time.sleep(0.2)
        assert shown_name(running.port) == "second"


def test_a_certificate_that_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    """Before anything is served, and as an OSError: the command line says it in a sentence."""
    cert, key = certificate(tmp_path, "first")
    cert.write_bytes(b"torn")
    for path in (cert, tmp_path / "gone.pem"):
        with pytest.raises(OSError, match=r"."):
            Gateway(_settings(tmp_path, port=0, cert=str(path), key=str(key)))


# --- as a process ---


@pytest.fixture
def process(monitor: Monitor, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`failshut serve` as somebody starts it."""
    monitor.write_jwks(tmp_path / "jwks.json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
    command = [sys.executable, "-m", "failshut_console", "serve", "--bind", "127.0.0.1:0", "--store", monitor.url]
    started = subprocess.Popen(
        [*command, "--jwks", "jwks.json", "--access", "access.json"],
        cwd=tmp_path,
        env={**environment, "FAILSHUT_DEADLINE_MS": "2000"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    said = started.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
    assert found, said
    yield started, int(found[1])
    started.kill()
    started.wait(patient(20))
    started.stderr.close()


def test_sigterm_ends_it_with_0(process: tuple[subprocess.Popen[str], int], tmp_path: Path, gate: str) -> None:
    """It answers, and ends as told with status 0; the last use of the key stands in its file."""
    started, port = process
    now_ms = int(time.time() * 1000)
    grant, key = access_file.create(
        tmp_path / "access.json", now_ms, role="service", subjects=[SUBJECT], gates=["*"], expires_ms=now_ms + 60_000
    )

    def answers() -> bool:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{FORWARD}{gate}", headers={"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(asked, timeout=patient(20)) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    eventually(answers)
    started.send_signal(signal.SIGTERM)
    assert started.wait(patient(30)) == 0
    assert grant.id in (tmp_path / "access.json.uses").read_text()
