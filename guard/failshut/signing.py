"""Signing and verifying tokens: Ed25519 keys, JWKS, and a JWT whose bytes depend on claims and key alone.

Permits, closings and operators' commands are JWTs with one pinned algorithm and one pinned `typ` each. Two
governors that decide the same must write the same bytes. So this module serialises the claims in the order
given, and Ed25519 signs without randomness. A key's `kid` is its RFC 7638 thumbprint, so that a key set needs
no naming and a rotation is a second entry. Limits: no expiry is checked here (PyJWT knows whole seconds only;
the guard compares milliseconds), and there is no fetching of keys from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from failshut.cause import Cause
from failshut.network.address import holds_key, redact
from failshut.store.names import check_installation
from failshut.whole_file import write_whole

ALGORITHM: Final = "EdDSA"
TYP_PERMIT: Final = "failshut-permit+jwt"
#: A permit that lives by seals. Versions that know no seals refuse it.
TYP_SEALED_PERMIT: Final = "failshut-sealed-permit+jwt"
TYP_SEAL: Final = "failshut-seal+jwt"
TYP_CLOSING: Final = "failshut-closing+jwt"
TYP_COMMAND: Final = "failshut-command+jwt"
#: The member of a monitor's JWKS document that names its installation.
INSTALLATION: Final = "failshut_installation"
#: Longer tokens are refused unread: a permit has one or two kilobytes.
TOKEN_BYTES_MAX: Final = 64 * 1024

_jws = jwt.PyJWS(algorithms=[ALGORITHM])


class TokenError(Exception):
    """A token that proves nothing. `cause` is what a guard says when it finds one."""

    cause: Cause = Cause.UNVERIFIED


class UnreadableToken(TokenError):
    """Not a JWT, or claims that are missing, of a wrong type or against each other."""


class WrongType(TokenError):
    """Another `typ` or `alg` than the pinned ones, or a header with more than `alg`, `kid`, `typ`."""


class UnknownKey(TokenError):
    """Signed with a key that the key set does not hold (after a rotation: reload it)."""


class BadSignature(TokenError):
    """The signature does not fit: forged or damaged."""


class UnusableKey(ValueError):
    """A key or key set that cannot be used."""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def thumbprint(key: Ed25519PublicKey) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of a public key: its `kid`."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(_raw(key))}
    return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def jwk_of(key: Ed25519PublicKey) -> dict[str, str]:
    """Return a public key as a JSON Web Key (RFC 8037)."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _base64url(_raw(key)),
        "kid": thumbprint(key),
        "use": "sig",
        "alg": ALGORITHM,
    }


class KeySet:
    """Public keys by `kid`, as a JWKS holds them. Immutable; a rotation makes a new one.

    A monitor's document also names its installation (`failshut_installation`): two installations may have the same keys,
    and a statement of one is nothing to the other. `installation` is empty where the document names none.
    """

    __slots__ = ("_keys", "installation")

    def __init__(self, keys: Iterable[Ed25519PublicKey], installation: str = "") -> None:
        self._keys = {thumbprint(key): key for key in keys}
        self.installation = check_installation(installation) if installation else ""
        if not self._keys:
            raise UnusableKey("a key set needs at least one key")

    @classmethod
    def from_dict(cls, jwks: Mapping[str, Any]) -> KeySet:
        """Read a JWKS document: `{"keys": [...]}`. Raises ValueError for anything but Ed25519 public keys."""
        entries = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(entries, list):
            raise UnusableKey('a JWKS is an object with a list "keys"')
        installation = jwks.get(INSTALLATION, "")
        try:
            return cls([_public_key(entry) for entry in entries], installation)
        except ValueError as error:
            raise UnusableKey(f"{INSTALLATION}: {error}" if not isinstance(error, UnusableKey) else str(error)) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeySet:
        """Read a JWKS file. Raises OSError, or ValueError where it is not one."""
        if holds_key(os.fspath(path)):
            raise UnusableKey("a private key stands where the path of a JWKS file is expected")
        return cls.from_json(Path(path).read_bytes(), path)

    @classmethod
    def from_json(cls, content: bytes, path: str | os.PathLike[str]) -> KeySet:
        """Read the content of a JWKS file; `path` is for the reason. Raises ValueError where it is not one."""
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UnusableKey(redact(f"{path} is not JSON")) from error
        return cls.from_dict(document)

    def to_dict(self) -> dict[str, Any]:
        """Return the key set as a JWKS document."""
        document: dict[str, Any] = {"keys": [jwk_of(key) for key in self._keys.values()]}
        return document | ({INSTALLATION: self.installation} if self.installation else {})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JWKS file (mode 0644), whole or not at all."""
        _write(Path(path), json.dumps(self.to_dict(), indent=1).encode() + b"\n", 0o644)

    def joined(self, other: KeySet) -> KeySet:
        """Return both key sets as one, for the time of a rotation; of this one's installation."""
        return KeySet([*self._keys.values(), *other._keys.values()], self.installation)

    def shared(self, other: KeySet) -> KeySet | None:
        """Return the keys that both hold for the same installation; None where there is none."""
        both = [key for kid, key in self._keys.items() if kid in other]
        return KeySet(both, self.installation) if both and self.installation == other.installation else None

    def of(self, installation: str) -> KeySet:
        """Return the same keys, trusted for this installation. Raises ValueError for what is no installation's id."""
        return KeySet(self._keys.values(), check_installation(installation))

    def get(self, kid: str) -> Ed25519PublicKey:
        """Return the key named `kid`. Raises UnknownKey."""
        key = self._keys.get(kid)
        if key is None:
            raise UnknownKey(f"no key {kid[:64]!r} among the {len(self._keys)} known")
        return key

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, kid: object) -> bool:
        return kid in self._keys


def _public_key(entry: Any) -> Ed25519PublicKey:
    if not isinstance(entry, Mapping) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        raise UnusableKey("only Ed25519 keys (kty OKP, crv Ed25519) are read")
    if "d" in entry:
        raise UnusableKey("a private key in a public key set: withdraw it")
    x = entry.get("x")
    if not isinstance(x, str):
        raise UnusableKey("a key without x")
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    except ValueError as error:
        raise UnusableKey("x is not an Ed25519 public key") from error
    if entry.get("kid", thumbprint(key)) != thumbprint(key):
        raise UnusableKey("a kid that is not its key's RFC 7638 thumbprint")
    return key


class SigningKey:
    """An Ed25519 private key that signs tokens."""

    __slots__ = ("_private", "kid", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.kid = thumbprint(self.public)

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key from the system's source of randomness. Its id does not begin as an option of a command does."""
        while True:
            key = cls(Ed25519PrivateKey.generate())
            if not key.kid.startswith("-"):
                return key

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Read a PKCS#8 PEM without a password. Raises ValueError."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableKey("not an unencrypted PKCS#8 private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UnusableKey("not an Ed25519 key")
        return cls(key)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SigningKey:
        """Read a PEM file. Raises OSError, or ValueError where it is not an Ed25519 key."""
        if holds_key(os.fspath(path)):  # no error may quote it as a path
            raise UnusableKey("a private key stands where the path of its file is expected")
        return cls.from_pem(Path(path).read_bytes())

    def to_pem(self) -> bytes:
        """Return the private key as PKCS#8 PEM, not encrypted."""
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the PEM file (mode 0600), whole or not at all."""
        _write(Path(path), self.to_pem(), 0o600)

    def key_set(self) -> KeySet:
        """Return the key set that holds this key's public half alone."""
        return KeySet([self.public])

    def write_jwks(self, path: str | os.PathLike[str]) -> None:
        """Write the public half as a JWKS file (mode 0644)."""
        self.key_set().write(path)

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """Return the JWT of `claims`, in their order. Same claims and same key give the same bytes.

        Raises ValueError for claims that JSON cannot say, NaN and infinity included.
        """
        payload = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
        headers = {"typ": typ, "kid": self.kid}
        return _jws.encode(payload, self._private, algorithm=ALGORITHM, headers=headers, sort_headers=True)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


def read_token(token: str | bytes, keys: KeySet, *typs: str, bytes_max: int = TOKEN_BYTES_MAX) -> tuple[str, dict[str, Any]]:
    """Verify a JWT and return its `typ`, one of `typs`, and its claims.

    The algorithm is pinned, and the header holds `alg`, `kid` and `typ`, nothing else. No time is compared.
    An operator's command, which may carry policies, is longer than a permit: `bytes_max` is the reader's to say.

    Raises:
        TokenError: one of its subclasses; no other exception, whatever the bytes.
    """
    raw = token.encode("utf-8", "replace") if isinstance(token, str) else token
    if len(raw) > bytes_max:
        raise UnreadableToken(f"{len(raw)} bytes; a token has at most {bytes_max}")
    header = _header(raw)
    typ, kid = header["typ"], header["kid"]
    if typ not in typs:
        raise WrongType(f"typ {str(typ)[:64]!r} where {' or '.join(typs)} is expected")
    if not isinstance(kid, str):
        raise WrongType("kid is not text")
    key = keys.get(kid)
    if len(raw) > TOKEN_BYTES_MAX:
        _check_signature(raw, key)  # PyJWT looks at each byte of a token in Python: of a long one only if it is signed
    try:
        payload = _jws.decode(raw, key, algorithms=[ALGORITHM])
        claims = json.loads(payload, parse_constant=_no_constant)
    except jwt.InvalidSignatureError as error:
        raise BadSignature("the signature does not fit") from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise UnreadableToken("not a readable token") from error
    if not isinstance(claims, dict):
        raise UnreadableToken("claims are not an object")
    return typ, claims


def claims_unverified(token: bytes) -> dict[str, Any]:
    """Return what a token says, whoever wrote it: to say whom it concerns, never to believe it. Raises UnreadableToken."""
    parts = token.split(b".", 3)
    try:
        claims = json.loads(_bytes_of(parts[1])) if len(parts) == 3 else None
    except (ValueError, RecursionError) as error:
        raise UnreadableToken("not a token") from error
    if not isinstance(claims, dict):
        raise UnreadableToken("claims are not an object")
    return claims


def kid_of(token: bytes) -> str:
    """Return the name of the key that a token says it is signed with, unverified; an empty text where it says none."""
    try:
        kid = _header(token[:TOKEN_BYTES_MAX])["kid"]
    except TokenError:
        return ""
    return kid if isinstance(kid, str) else ""


def _header(raw: bytes) -> dict[str, Any]:
    """Return the header of a token, before anything is verified. Raises UnreadableToken, WrongType."""
    try:
        first, _, _ = raw.partition(b".")
        header = json.loads(_bytes_of(first))
    except (ValueError, RecursionError) as error:
        raise UnreadableToken("not a token") from error
    if not isinstance(header, dict) or set(header) != {"alg", "kid", "typ"}:
        raise WrongType("a header holds alg, kid and typ, nothing else")
    if header["alg"] != ALGORITHM:
        raise WrongType(f"alg {str(header['alg'])[:64]!r} where {ALGORITHM} is pinned")
    return header


def _check_signature(raw: bytes, key: Ed25519PublicKey) -> None:
    """Raise BadSignature unless what stands before the last dot is signed with this key."""
    said, _, signature = raw.rpartition(b".")
    try:
        key.verify(_bytes_of(signature), said)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("the signature does not fit") from error


def _bytes_of(part: bytes) -> bytes:
    """Return what a part of a token holds. Raises ValueError."""
    return base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a key file, whole or not at all, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, mode)
