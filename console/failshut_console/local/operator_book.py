"""The operators file as people keep it: operators' and policy keys, and beside each a name and when it came.

Workers read the keys alone (failshut_streams.control.operators), and write them to control. The names are for people: they
stand in the same file, under a member of their own, so that a copy of the file on another host has them too. A key that came
without one has none.

Limits: nothing here is signed. Who may write the file names operators. Whoever edits it on two hosts at once has the one that
was changed last, as workers do.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from failshut.signing import KeySet, SigningKey, UnusableKey
from failshut.whole_file import write_whole
from failshut_breakers.policy.authority import POLICY_KEYS_MAX, Authority, authority_of
from failshut_streams.control.operators import BYTES_MAX, KEYS_MAX, kids_of

NOTES: Final = "failshut_operators"
"""The member of the file that holds names: by key id."""
NAME_MAX: Final = 100


class BookError(ValueError):
    """What was asked cannot be done to this file."""


class Holder(NamedTuple):
    """Whose a key is: one that may command, or one that may sign policies."""

    kid: str
    name: str
    added_ms: int


@dataclass(frozen=True, slots=True)
class OperatorBook:
    """An operators file. Immutable: a change makes another one, which `write` puts in its place."""

    keys: KeySet | None = None
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    authority: Authority | None = None

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
        document = json.loads(content)
        said = document.get(NOTES)
        notes = {kid: note for kid, note in said.items() if isinstance(note, dict)} if isinstance(said, dict) else {}
        return cls(keys, notes, authority_of(document))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Workers take it up within a second. Raises OSError."""
        if self.keys is None:
            raise BookError("an operators file without a key would let nobody command")
        kids = {*kids_of(self.keys), *(self.authority.kids if self.authority else ())}
        document = self.keys.to_dict() | {NOTES: {kid: note for kid, note in self.notes.items() if kid in kids}}
        if self.authority is not None:
            document |= self.authority.members()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(document, indent=1).encode() + b"\n", 0o644)

    @property
    def operators(self) -> list[Holder]:
        """Who may command, by name and key id."""
        return self._holders(self.keys)

    @property
    def policy_keys(self) -> list[Holder]:
        """Who may sign policies, by name and key id."""
        return self._holders(self.authority.keys if self.authority else None)

    def _holders(self, keys: KeySet | None) -> list[Holder]:
        found = []
        for kid in kids_of(keys) if keys is not None else ():
            note = self.notes.get(kid, {})
            name, added_ms = note.get("name"), note.get("added_ms")
            printable = name if isinstance(name, str) and name.isprintable() else ""
            found.append(Holder(kid, printable[:NAME_MAX], added_ms if type(added_ms) is int else 0))
        return sorted(found, key=lambda one: (one.name, one.kid))

    def find(self, who: str) -> Holder:
        """Return the operator of that name, or whose key id begins so. Raises BookError where it is none, or not one alone."""
        return _one_of(self.operators, who, "operator")

    def added(self, keys: KeySet, name: str) -> OperatorBook:
        """Return the book with these keys, under one name. Raises BookError."""
        held, notes = self._joined(self.keys, keys, name)
        if self.authority is not None and any(kid in held for kid in self.authority.kids):
            raise BookError("it is a policy key: who signs policies does not put them in force")
        if len(held) > KEYS_MAX:
            raise BookError(f"an operators file has at most {KEYS_MAX} keys")
        return replace(self, keys=held, notes=notes)

    def removed(self, kid: str) -> OperatorBook:
        """Return the book without a key. Raises BookError for the last one."""
        if self.keys is None or kid not in self.keys:
            raise BookError(f"{kid!r} is no operator")
        left = [self.keys.get(other) for other in kids_of(self.keys) if other != kid]
        if not left:
            raise BookError("it is the last key: nobody could command any more, and no gate could be unlocked")
        return replace(self, keys=KeySet(left, self.keys.installation))

    # --- the policy authority ---

    def with_policy_keys(self, keys: KeySet, name: str) -> OperatorBook:
        """Return the book with these policy keys, under one name. Raises BookError."""
        if self.keys is None:
            raise BookError("no operator is named: nobody could put what is signed in force")
        if any(kid in self.keys for kid in kids_of(keys)):
            raise BookError("it is an operator's key: who puts policies in force does not sign them")
        held, notes = self._joined(self.authority.keys if self.authority else None, keys, name)
        if len(held) > POLICY_KEYS_MAX:
            raise BookError(f"an authority has at most {POLICY_KEYS_MAX} keys")
        return replace(self, authority=Authority(held, self.authority.needed if self.authority else 1), notes=notes)

    def without_policy_key(self, who: str) -> OperatorBook:
        """Return the book without the policy key of that name or id. Raises BookError where too few would be left."""
        kid = _one_of(self.policy_keys, who, "policy key").kid
        authority = self._named()
        left = [authority.keys.get(other) for other in authority.kids if other != kid]
        if len(left) < authority.needed:
            raise BookError(f"{len(left)} policy keys would be left, and {authority.needed} must sign: no policy could come in")
        return replace(self, authority=Authority(KeySet(left), authority.needed))

    def requiring(self, needed: int) -> OperatorBook:
        """Return the book where a bundle needs so many signatures. Raises BookError."""
        try:
            return replace(self, authority=Authority(self._named().keys, needed))
        except UnusableKey as error:
            raise BookError(str(error)) from error

    def without_authority(self) -> OperatorBook:
        """Return the book where an operator's command is enough. Raises BookError where it is already."""
        self._named()
        return replace(self, authority=None)

    def _named(self) -> Authority:
        if self.authority is None:
            raise BookError("no authority is named")
        return self.authority

    def _joined(self, held: KeySet | None, keys: KeySet, name: str) -> tuple[KeySet, dict[str, dict[str, Any]]]:
        """Return keys with others beside them, and the notes with one for each new key. Raises BookError."""
        if len(name) > NAME_MAX or not name.isprintable():
            raise BookError(f"a name has at most {NAME_MAX} printable characters")
        new = [kid for kid in kids_of(keys) if held is None or kid not in held]
        if not new:
            raise BookError("the key is there already")
        note = {"name": name, "added_ms": time.time_ns() // 1_000_000}
        return keys if held is None else held.joined(keys), {**self.notes, **dict.fromkeys(new, note)}


def _one_of(holders: list[Holder], who: str, what: str) -> Holder:
    found = [one for one in holders if one.name == who] or [one for one in holders if one.kid.startswith(who)]
    if len(found) != 1:
        raise BookError(f"{who!r} is {f'no {what}' if not found else f'the name of {len(found)} keys: give a key id'}")
    return found[0]


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
