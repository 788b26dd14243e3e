"""An issuer of tokens and an authority of certificates, as tests have them."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from failshut_gateway.identity.token_check import Issuer

ISSUER = "https://login.example"
SETTINGS: dict[str, Any] = {
    "issuer": ISSUER,
    "audience": "failshut",
    "jwks": "jwks.json",
    "subject": "agent:{name}",
    "subjects": ("agent:refund-*", "agent:long-*"),
    "gates": ("*",),
}
CONFIGURED = Issuer(**SETTINGS)
PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65_537, 2_048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
    "small": rsa.generate_private_key(65_537, 1_024),
}
_ALGORITHMS: dict[str, Any] = jwt.algorithms.get_default_algorithms()


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    """The public half of one of the keys."""
    algorithm = {"rsa": "RS256", "small": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
    return {**json.loads(_ALGORITHMS[algorithm].to_jwk(PRIVATE[kid].public_key())), "kid": kid, "use": "sig", **more}


def jwks(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk(kid) for kid in kids or ("rsa", "ec", "ed")]}).encode()


def claims(now_s: float | None = None, **changes: Any) -> dict[str, Any]:
    """Claims of now; None takes one away."""
    now = int(time.time() if now_s is None else now_s)
    usual = {"iss": ISSUER, "aud": "failshut", "sub": "refund-7", "iat": now, "exp": now + 600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def token(said: dict[str, Any], kid: str = "ec", alg: str = "", key: Any = None, **header: Any) -> bytes:
    """A signed token."""
    algorithm = alg or {"rsa": "RS256", "small": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
    headers = {name: value for name, value in {"kid": kid, "typ": "at+jwt", **header}.items() if value is not None}
    signer = jwt.PyJWS(algorithms=[algorithm])
    made = signer.encode(json.dumps(said).encode(), key or PRIVATE[kid], algorithm=algorithm, headers=headers)
    return made.encode()


class JwksServer:
    """An address that answers with what it is told: bytes, a status, headers, or a function that misbehaves."""

    def __init__(self) -> None:
        self.status, self.content = 200, jwks()
        self.misbehave: Any = None
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                if server.misbehave is not None:
                    server.misbehave(self.wfile)
                    return
                self.send_response(server.status)
                for name, value in {"content-type": "application/json", **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.content)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.headers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # the other side may hang up
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Authority:
    """An authority that signs certificates, each in files of its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name}.pem"
        made = self._builder(self.name, self._private, timedelta(days=1)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path.write_bytes(_pem(made.sign(self._private, hashes.SHA256())))

    def _builder(self, subject: x509.Name, private: Any, life: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(self.name, subject, private.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + life)
        )

    def certificate(self, name: str, *names: str, life: timedelta = timedelta(hours=1)) -> tuple[Path, Path]:
        """A certificate and its key, with these URIs or addresses as its alternative names."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, private, life)
        found: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(one) if "://" in one else x509.IPAddress(ip_address(one)) for one in names
        ]
        if found:
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        cert, key = self.folder / f"{name}.cert.pem", self.folder / f"{name}.key.pem"
        cert.write_bytes(_pem(builder.sign(self._private, hashes.SHA256())))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key.write_bytes(private.private_bytes(encoding, form, serialization.NoEncryption()))
        return cert, key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
