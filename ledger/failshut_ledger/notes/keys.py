"""Keys that sign notes, as C2SP signed-note writes them, each in one line of text.

A verifier is `NAME+ID+BASE64(type, public key)`, and may be given to anybody. A signer is `PRIVATE+KEY+NAME+ID+BASE64(type,
seed)`, as golang.org/x/mod/sumdb/note has it, and is secret. The id says which key signed; the signature says whether it did.
Two types of signature are known: Ed25519 over a note (a log's), and Ed25519 cosignatures with a time (a witness's).

Limits: ML-DSA-44 (type 6) is refused by name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from failshut_ledger.errors import Malformed
from failshut_ledger.notes.strict import from_base64, to_base64

NOTE: Final = 1
COSIGNATURE: Final = 4
_ML_DSA: Final = 6
_PRIVATE: Final = "PRIVATE+KEY+"
LINE_CHARS_MAX: Final = 1000
NAME_CHARS_MAX: Final = 255
SIGNATURE_BYTES: Final = 64

_ID = re.compile(r"[0-9a-f]{8}")


def check_name(name: str) -> str:
    """Return a key's name: not empty, no Unicode space, no plus, all of it printable. Raises Malformed."""
    if not 0 < len(name) <= NAME_CHARS_MAX or "+" in name or not name.isprintable() or any(one.isspace() for one in name):
        raise Malformed(f"not the name of a key: {name[:80]!a}")
    return name


def key_id(name: str, kind: int, public: bytes) -> int:
    """Return the id that C2SP recommends for a key: the first four bytes of a hash."""
    return int.from_bytes(hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4], "big")


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that is trusted, under a name. `kind` is NOTE or COSIGNATURE."""

    name: str
    kind: int
    public: bytes
    id: int = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in (NOTE, COSIGNATURE):
            raise Malformed(f"a key of type {self.kind} cannot be used here" + (" (ML-DSA-44)" if self.kind == _ML_DSA else ""))
        try:
            Ed25519PublicKey.from_public_bytes(self.public)
        except ValueError as error:
            raise Malformed("not an Ed25519 public key") from error
        object.__setattr__(self, "id", key_id(self.name, self.kind, self.public))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a verifier key (vkey). Raises Malformed."""
        name, number, data = _parts(line, "a verifier key")
        if not data:
            raise Malformed("a verifier key without a key")
        verifier = cls(name, data[0], data[1:])
        if verifier.id != number:
            raise Malformed(f"the id of the key {name!r} is not the one of its bytes")
        return verifier

    def __str__(self) -> str:
        return f"{self.name}+{self.id:08x}+{to_base64(bytes([self.kind]) + self.public)}"

    @property
    def label(self) -> str:
        """Name and id, which say which key it is to a person."""
        return f"{self.name}+{self.id:08x}"

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Return whether this key made an Ed25519 signature of a message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A private key with the name under which it signs."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey, kind: int = NOTE) -> None:
        self._private = private
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.verifier = Verifier(name, kind, public)

    @classmethod
    def generate(cls, name: str, kind: int = NOTE) -> Self:
        """Return a new key from the system's source of randomness. Raises Malformed for what is no name."""
        return cls(name, Ed25519PrivateKey.generate(), kind)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a signer key. Raises Malformed, which quotes nothing of it."""
        if not line.startswith(_PRIVATE):
            raise Malformed("not a signer key: it begins with PRIVATE+KEY+")
        name, number, data = _parts(line.removeprefix(_PRIVATE), "a signer key")
        if len(data) != 33:
            raise Malformed("a signer key holds its type and 32 bytes")
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(data[1:]), data[0])
        if signer.verifier.id != number:
            raise Malformed("the id of a signer key is not the one of its bytes")
        return signer

    def secret(self) -> str:
        """Return the line that `parse` reads: the private key."""
        seed = self._private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        verifier = self.verifier
        return f"{_PRIVATE}{verifier.name}+{verifier.id:08x}+{to_base64(bytes([verifier.kind]) + seed)}"

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Signer({self.verifier.label})"


def _parts(line: str, what: str) -> tuple[str, int, bytes]:
    """Return name, id and bytes of a key's line. A name has no plus, and base64 may have some."""
    if len(line) > LINE_CHARS_MAX:
        raise Malformed(f"{what} has at most {LINE_CHARS_MAX} characters")
    name, first, rest = line.partition("+")
    number, second, data = rest.partition("+")
    if not first or not second or not _ID.fullmatch(number):
        raise Malformed(f"{what} is NAME+ID+BASE64")
    return check_name(name), int(number, 16), from_base64(data, what)
