"""The operators file as people keep it: public keys, and beside each a name and when it came.

Workers read the keys alone (failshut_streams.control.operators), and write them to control. The names are for people: they
stand in the same file, under a member of their own, so that a copy of the file on another host has them too. A key that came
without one has none.

Limits: nothing here is signed. Who may write the file names operators. Whoever edits it on two hosts at once has the one that
was changed last, as workers do.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from failshut.signing import KeySet, SigningKey
from failshut.whole_file import write_whole
from failshut_streams.control.operators import BYTES_MAX, KEYS_MAX, kids_of

NOTES: Final = "failshut_operators"
"""The member of the file that holds names: by key id."""
NAME_MAX: Final = 100


class BookError(ValueError):
    """What was asked cannot be done to this file."""


class Operator(NamedTuple):
    """One key that may command."""

    kid: str
    name: str
    added_ms: int


@dataclass(frozen=True, slots=True)
class OperatorBook:
    """An operators file. Immutable: a change makes another one, which `write` puts in its place."""

    keys: KeySet | None = None
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> OperatorBook:
        """Read a file; an empty book where there is none.

        Raises:
            OSError, ValueError: it cannot be read, or is no operators file.
        """
        if not path.exists():
            return cls()
        content = path.read_bytes()
        if len(content) > BYTES_MAX:
            raise BookError(f"{path} has more than {BYTES_MAX} bytes")
        keys = KeySet.from_json(content, path)
        said = json.loads(content).get(NOTES)
        notes = {kid: note for kid, note in said.items() if isinstance(note, dict)} if isinstance(said, dict) else {}
        return cls(keys, notes)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Workers take it up within a second. Raises OSError."""
        if self.keys is None:
            raise BookError("an operators file without a key would let nobody command")
        document = {**self.keys.to_dict(), NOTES: {kid: note for kid, note in self.notes.items() if kid in self.keys}}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(document, indent=1).encode() + b"\n", 0o644)

    @property
    def operators(self) -> list[Operator]:
        """Who may command, by name and key id."""
        found = []
        for kid in kids_of(self.keys) if self.keys is not None else ():
            note = self.notes.get(kid, {})
            name, added_ms = note.get("name"), note.get("added_ms")
            printable = name if isinstance(name, str) and name.isprintable() else ""
            found.append(Operator(kid, printable[:NAME_MAX], added_ms if type(added_ms) is int else 0))
        return sorted(found, key=lambda one: (one.name, one.kid))

    def find(self, who: str) -> Operator:
        """Return the operator of that name, or whose key id begins so. Raises BookError where it is none, or not one alone."""
        found = [one for one in self.operators if one.name == who] or [one for one in self.operators if one.kid.startswith(who)]
        if len(found) != 1:
            raise BookError(f"{who!r} is {'no operator' if not found else f'the name of {len(found)} keys: give a key id'}")
        return found[0]

    def added(self, keys: KeySet, name: str) -> OperatorBook:
        """Return the book with these keys, under one name. Raises BookError."""
        if len(name) > NAME_MAX or not name.isprintable():
            raise BookError(f"a name has at most {NAME_MAX} printable characters")
        new = [kid for kid in kids_of(keys) if self.keys is None or kid not in self.keys]
        if not new:
            raise BookError("the key is there already")
        held = keys if self.keys is None else self.keys.joined(keys)
        if len(held) > KEYS_MAX:
            raise BookError(f"an operators file has at most {KEYS_MAX} keys")
        note = {"name": name, "added_ms": time.time_ns() // 1_000_000}
        return OperatorBook(held, {**self.notes, **dict.fromkeys(new, note)})

    def removed(self, kid: str) -> OperatorBook:
        """Return the book without a key. Raises BookError for the last one."""
        if self.keys is None or kid not in self.keys:
            raise BookError(f"{kid!r} is no operator")
        left = [self.keys.get(other) for other in kids_of(self.keys) if other != kid]
        if not left:
            raise BookError("it is the last key: nobody could command any more, and no gate could be unlocked")
        return OperatorBook(KeySet(left, self.keys.installation), self.notes)


def public_keys(path: Path) -> KeySet:
    """Return the public keys of a file: a JWKS, a public key in PEM, or the public half of a private one in PEM.

    Raises:
        OSError, ValueError: it cannot be read, or is neither.
    """
    content = path.read_bytes()
    if b"PRIVATE KEY-----" in content:
        return SigningKey.from_pem(content).key_set()
    if b"PUBLIC KEY-----" not in content:
        return KeySet.from_json(content, path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BookError(f"{path} is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BookError(f"{path} is no Ed25519 key")
    return KeySet([key])
