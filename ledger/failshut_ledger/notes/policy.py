"""Trust policies (C2SP tlog-policy): whose checkpoints count, and which witnesses must have cosigned them.

    log ledger.example/payments+0f4b7d6c+AZ...
    witness W1 witness.example/one+5c1b3e77+BK...
    witness W2 witness.example/two+98aa3c01+BG...
    group both all W1 W2
    quorum both

Every line of it must be understood: a policy that cannot be read trusts nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from failshut_ledger.errors import Malformed, TooLong
from failshut_ledger.notes.keys import COSIGNATURE, NOTE, Verifier

POLICY_BYTES_MAX: Final = 256 * 1024
NONE: Final = "none"
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these names must have cosigned."""

    at_least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy. Groups stand in the order of their lines, so that each speaks of earlier ones alone.

    `addresses` holds the URLs of witnesses that have one, as they were written.
    """

    logs: tuple[Verifier, ...]
    witnesses: Mapping[str, Verifier]
    groups: Mapping[str, Group]
    quorum: str
    addresses: Mapping[str, str] = field(default_factory=dict)

    def met_by(self, cosigners: Iterable[Verifier]) -> bool:
        """Return whether these witnesses are enough."""
        signed = set(cosigners)
        met = {name: verifier in signed for name, verifier in self.witnesses.items()}
        for name, group in self.groups.items():
            met[name] = sum(met[member] for member in group.members) >= group.at_least
        return self.quorum == NONE or met[self.quorum]


def parse_policy(data: bytes) -> Policy:
    """Read a policy file. Raises Malformed, which names the line; TooLong."""
    if len(data) > POLICY_BYTES_MAX:
        raise TooLong(f"a trust policy has at most {POLICY_BYTES_MAX} bytes")
    if _CONTROL.search(data):
        raise Malformed("a trust policy holds no control characters but tab and newline")
    reading = _Reading()
    for count, line in enumerate(data.split(b"\n"), 1):
        words = [word.decode("utf-8", "surrogateescape") for word in re.split(rb"[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            try:
                reading.take(words)
            except Malformed as error:
                raise Malformed(f"line {count} of the trust policy: {error}") from error
    return reading.done()


class _Reading:
    """What was read of a policy so far."""

    def __init__(self) -> None:
        self.logs: list[Verifier] = []
        self.witnesses: dict[str, Verifier] = {}
        self.addresses: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                self.logs.append(self._key(key, NOTE, self.logs))
            case ["witness", name, key, *address] if len(address) <= 1:
                self._new(name)
                if address:
                    self.addresses[name] = address[0]
                self.witnesses[name] = self._key(key, COSIGNATURE, self.witnesses.values())
            case ["group", name, count, *members] if members:
                self._group(name, count, members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise Malformed("a second quorum")
                if name != NONE and not self._defined(name):
                    raise Malformed(f"no witness or group is called {name[:80]!a}")
                self.quorum = name
            case _:
                raise Malformed(f"not understood: {' '.join(words)[:120]!a}")

    def done(self) -> Policy:
        if self.quorum is None:
            raise Malformed("a trust policy says which quorum it asks for: `quorum none` for no witness")
        return Policy(tuple(self.logs), self.witnesses, self.groups, self.quorum, self.addresses)

    def _group(self, name: str, count: str, members: list[str]) -> None:
        self._new(name)
        for member in members:
            if not self._defined(member):
                raise Malformed(f"no witness or group above is called {member[:80]!a}")
            if member in self.members:
                raise Malformed(f"{member[:80]!a} is a member twice")
            self.members.add(member)
        if count not in ("all", "any") and not _COUNT.fullmatch(count):
            raise Malformed("a group asks for all, any or a number of its members")
        at_least = {"all": len(members), "any": 1}.get(count) or int(count)
        if at_least > len(members):
            raise Malformed(f"{count} of {len(members)} members")
        self.groups[name] = Group(at_least, tuple(members))

    def _new(self, name: str) -> None:
        if name == NONE or self._defined(name):
            raise Malformed(f"the name {name[:80]!a} is taken")

    def _defined(self, name: str) -> bool:
        return name in self.witnesses or name in self.groups

    @staticmethod
    def _key(line: str, kind: int, others: Iterable[Verifier]) -> Verifier:
        key = Verifier.parse(line)
        if key.kind != kind:
            raise Malformed(f"{key.label} is no {'log' if kind == NOTE else 'witness'}'s key: its type is {key.kind}")
        if any(key.public == other.public for other in others):
            raise Malformed(f"{key.label} stands there twice")
        return key
