"""What one access key allows: a role, subjects, gates, and an end.

A role is a fixed list of acts, and an act that no role lists is nobody's. Subjects and gates are patterns as in a permit
(`failshut.admission.subjects`). An empty list names nobody and nothing.

Limit: a key may allow more than a permit does. The gate decides all the same, for each execution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final

from failshut.admission.subjects import NAME_CHARS_MAX, matches
from failshut_gateway.access.key_text import ID_CHARS

PATTERNS_MAX: Final = 100
NOTE_CHARS_MAX: Final = 200
#: The longest life of a key: a year and a day.
LIFE_MS_MAX: Final = 366 * 24 * 3_600_000
#: The year 2286: times of the file are below it.
TIME_MS_MAX: Final = 10**13


@unique
class Act(StrEnum):
    """What somebody may want of the gateway."""

    ASK = "ask"
    """May an execution start: forward auth, AuthZEN."""
    READ = "read"
    """What each gate does, and how the gateway is."""
    PROOF = "proof"
    """The permit of one gate."""
    ORDER = "order"
    """Command gates in the console, where the gateway has a key that signs commands."""


ROLES: Final[Mapping[str, frozenset[Act]]] = {
    "viewer": frozenset({Act.READ, Act.PROOF}),
    "operator": frozenset({Act.READ, Act.PROOF, Act.ORDER}),
    "service": frozenset({Act.ASK, Act.PROOF}),
}


class BadGrant(ValueError):
    """What cannot be granted, or an entry of the file that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One entry of the file of keys. Times in whole milliseconds since 1970. Raises BadGrant for what cannot be meant."""

    id: str
    digest: bytes
    """SHA-256 of the key."""
    role: str
    subjects: tuple[str, ...]
    """For whom its owner may ask."""
    gates: tuple[str, ...]
    created_ms: int
    expires_ms: int
    revoked_ms: int = 0
    """0: it is not revoked."""
    note: str = ""
    once: bool = False
    """It begins one session of the console, and counts nowhere else."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise BadGrant(f"an id has {ID_CHARS} letters and digits")
        if len(self.digest) != 32:
            raise BadGrant("sha256 is not 64 hexadecimal digits")
        if self.role not in ROLES:
            raise BadGrant(f"the role {str(self.role)[:40]!r} is none of {', '.join(ROLES)}")
        _check_patterns("subjects", self.subjects)
        _check_patterns("gates", self.gates)
        if not self.gates:
            raise BadGrant("a key without gates allows nothing: name gates, or '*'")
        if Act.ASK in ROLES[self.role] and not self.subjects:
            raise BadGrant(f"a key of the role {self.role} asks for subjects: name them")
        for what, time_ms in (
            ("created_ms", self.created_ms),
            ("expires_ms", self.expires_ms),
            ("revoked_ms", self.revoked_ms),
        ):
            if type(time_ms) is not int or not 0 <= time_ms < TIME_MS_MAX:
                raise BadGrant(f"{what} is not a time in milliseconds")
        if not 0 < self.expires_ms - self.created_ms <= LIFE_MS_MAX:
            raise BadGrant("a key lives for at least a millisecond, and for at most 366 days")
        if type(self.once) is not bool or (self.once and not self.allows(Act.READ)):
            raise BadGrant("a key for one sign-in is a person's: of the role viewer or operator")
        if not isinstance(self.note, str) or len(self.note) > NOTE_CHARS_MAX or not self.note.isprintable():
            raise BadGrant(f"a note has at most {NOTE_CHARS_MAX} printable characters")

    def lives(self, now_ms: float) -> bool:
        """Return whether it is neither revoked nor expired, and has begun."""
        return not self.revoked_ms and self.created_ms - CLOCKS_DIFFER_MS <= now_ms < self.expires_ms

    def allows(self, act: Act) -> bool:
        """Return whether its role lists this act."""
        return act in ROLES[self.role]

    def covers_gate(self, gate: str) -> bool:
        """Return whether it is for this gate."""
        return matches(self.gates, gate)

    def covers_subject(self, subject: str) -> bool:
        """Return whether its owner may ask for this subject."""
        return matches(self.subjects, subject)

    @property
    def payer(self) -> str:
        """Whose bound it counts towards where names are brought in."""
        return self.id

    @property
    def only_subject(self) -> str:
        """The one subject that it names without a pattern; empty if there are others."""
        if len(self.subjects) != 1 or "*" in self.subjects[0] or "?" in self.subjects[0]:
            return ""
        return self.subjects[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as the file holds it."""
        return {
            "id": self.id,
            "sha256": self.digest.hex(),
            "role": self.role,
            "subjects": list(self.subjects),
            "gates": list(self.gates),
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
            "revoked_ms": self.revoked_ms,
            "note": self.note,
            **({"once": True} if self.once else {}),  # so that former versions read a file without such keys
        }

    @classmethod
    def from_dict(cls, entry: object) -> Grant:
        """Read an entry. Raises BadGrant.

        A member that this version does not know is refused: it may limit what the key allows.
        """
        if not isinstance(entry, dict) or set(entry) - {"once"} != _MEMBERS:
            raise BadGrant(f"an entry has the members {', '.join(sorted(_MEMBERS))}, and no others")
        if not isinstance(entry["id"], str) or len(entry["id"]) != ID_CHARS:
            raise BadGrant(f"an id has {ID_CHARS} letters and digits")
        digest = entry["sha256"]
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise BadGrant("sha256 is not 64 hexadecimal digits")
        return cls(
            id=entry["id"],
            digest=bytes.fromhex(digest),
            role=_text(entry["role"]),
            subjects=_texts(entry["subjects"]),
            gates=_texts(entry["gates"]),
            created_ms=entry["created_ms"],
            expires_ms=entry["expires_ms"],
            revoked_ms=entry["revoked_ms"],
            note=entry["note"],
            once=entry.get("once", False),
        )


#: A key that was made on a host whose clock is ahead counts at once on one whose clock is behind by no more than this.
CLOCKS_DIFFER_MS: Final = 300_000
#: The id of an access key; or that of an identity that was proven otherwise, which is never in the file.
_ID: Final = re.compile(rf"[0-9A-Za-z]{{{ID_CHARS}}}|(?:jwt|tls):[0-9a-f]{{32}}")
_MEMBERS: Final = frozenset(
    {"id", "sha256", "role", "subjects", "gates", "created_ms", "expires_ms", "revoked_ms", "note"},
)


def _check_patterns(what: str, patterns: tuple[str, ...]) -> None:
    if len(patterns) > PATTERNS_MAX:
        raise BadGrant(f"{what}: at most {PATTERNS_MAX} patterns")
    for pattern in patterns:
        if not 0 < len(pattern) <= NAME_CHARS_MAX or not pattern.isprintable():
            raise BadGrant(f"{what}: a pattern has 1 to {NAME_CHARS_MAX} printable characters")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadGrant("a text is expected")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadGrant("a list of texts is expected")
    return tuple(value)
