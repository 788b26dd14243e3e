"""Seals: one signed statement that renews the permits of many gates.

A permit that lives by seals is signed once for an epoch. A seal says for one offset of the evidence log which permits are open
and up to which evidence time each was judged. Set and times are of one offset, so a seal is true by itself, whatever
delivers it and in whatever order: a permit that it names may be acted on until that evidence time plus the permit's `ttl_ms`. A
gate that closes is in no later seal.

A permit's name in a seal is a digest of its gate, epoch, policy and mode: whatever changes what it permits changes the name.
The first 96 bits of a SHA-256 are kept; who would find two gates with one name must sign both.

Limits: a seal compares no time and reads no clock. It says nothing of why a gate is not in it; the gate's record does.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from failshut.epoch import OFFSET_MAX, TERM_MAX, epoch_of
from failshut.permit import ISSUER, ForeignInstallation, Permit
from failshut.signing import TYP_SEAL, KeySet, SigningKey, UnreadableToken, read_token
from failshut.store.names import check_installation

#: Bytes of a permit's name in a seal.
NAME_BYTES: Final = 12
#: Permits that one seal names at most.
NAMES_MAX: Final = 12_000
#: Evidence times in one seal at most.
TIMES_MAX: Final = 256
#: Longer seals are refused unread.
SEAL_BYTES_MAX: Final = 320 * 1024
#: So much of a token tells one seal from the next: its position is among the first claims.
HEAD_BYTES: Final = 512


def name_of(gate: str, epoch: str, policy: str, mode: str) -> bytes:
    """Return what a permit is called in a seal: 12 bytes."""
    return hashlib.sha256("\n".join((gate, epoch, policy, mode)).encode()).digest()[:NAME_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Which permits of an evidence partition are open at an offset of its log. Times in whole milliseconds since 1970."""

    installation: str
    """Whose statement it is: 16 to 64 letters and digits."""
    partition: int
    term: int
    offset: int
    kept_ms: int
    """When the store lets go of it: no earlier than the last permit that it renews ends."""
    open: tuple[tuple[int, bytes], ...]
    """By evidence time, ascending: the names of the permits judged up to then, sorted and joined."""

    def __post_init__(self) -> None:
        check_installation(self.installation)
        if self.partition < 0 or not 0 <= self.term <= TERM_MAX or not 0 <= self.offset <= OFFSET_MAX or self.kept_ms <= 0:
            raise ValueError("partition, term, offset or time out of range")
        times = [evidence_ms for evidence_ms, _ in self.open]
        if len(times) > TIMES_MAX or any(late <= early for early, late in zip([0, *times], times, strict=False)):
            raise ValueError(f"evidence times ascend, and are at most {TIMES_MAX}")
        if any(not names or len(names) % NAME_BYTES for _, names in self.open):
            raise ValueError(f"names have {NAME_BYTES} bytes each")
        if self.count > NAMES_MAX:
            raise ValueError(f"{self.count} permits; a seal names at most {NAMES_MAX}")

    @classmethod
    def of(
        cls, installation: str, partition: int, term: int, offset: int, kept_ms: int, open_: Iterable[tuple[int, bytes]]
    ) -> Seal:
        """Return the seal of permits given as evidence time and name, in any order. Raises ValueError beyond its bounds."""
        by_time: dict[int, list[bytes]] = {}
        for evidence_ms, name in open_:
            by_time.setdefault(evidence_ms, []).append(name)
        packed = tuple((evidence_ms, b"".join(sorted(by_time[evidence_ms]))) for evidence_ms in sorted(by_time))
        return cls(installation=installation, partition=partition, term=term, offset=offset, kept_ms=kept_ms, open=packed)

    @property
    def position(self) -> str:
        """Where it stands among the seals of its partition: 16 digits, the later the greater."""
        return epoch_of(self.term, self.offset)

    @property
    def count(self) -> int:
        """How many permits it names."""
        return sum(len(names) for _, names in self.open) // NAME_BYTES

    def time_of(self, name: bytes) -> int:
        """Up to which evidence time (ms) the permit of this name was judged; 0: it is not open."""
        for evidence_ms, names in reversed(self.open):
            at = bisect_left(range(len(names) // NAME_BYTES), name, key=lambda n: names[n * NAME_BYTES : (n + 1) * NAME_BYTES])
            if names[at * NAME_BYTES : (at + 1) * NAME_BYTES] == name:
                return evidence_ms
        return 0

    def claims(self) -> dict[str, Any]:
        """Return the claims, in the order in which they are signed."""
        return {
            "iss": ISSUER,
            "installation": self.installation,
            "partition": self.partition,
            "term": self.term,
            "offset": self.offset,
            "kept_ms": self.kept_ms,
            "open": [[evidence_ms, base64.b64encode(names).decode("ascii")] for evidence_ms, names in self.open],
        }

    @classmethod
    def from_claims(cls, claims: dict[str, Any]) -> Seal:
        """Read verified claims. Raises UnreadableToken unless they are exactly what `claims()` writes."""
        try:
            numbers = [claims[name] for name in ("partition", "term", "offset", "kept_ms")]
            times = [(evidence_ms, base64.b64decode(names, validate=True)) for evidence_ms, names in claims["open"]]
            if any(type(number) is not int for number in (*numbers, *(evidence_ms for evidence_ms, _ in times))):
                raise TypeError("a time or a place that is no whole number")
            partition, term, offset, kept_ms = numbers
            seal = cls(
                installation=claims["installation"],
                partition=partition,
                term=term,
                offset=offset,
                kept_ms=kept_ms,
                open=tuple(times),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableToken(f"not a seal's claims: {error}") from error
        if seal.claims() != claims:
            raise UnreadableToken("a seal's claims do not agree with each other")
        return seal

    def sign(self, key: SigningKey) -> str:
        """Return the seal as a token."""
        return key.sign(self.claims(), TYP_SEAL)


def seal_name(permit: Permit) -> bytes:
    """Return what a permit is called in seals."""
    return name_of(permit.gate, permit.epoch, permit.policy, permit.mode)


def verify_seal(token: str | bytes, keys: KeySet) -> Seal:
    """Return the seal in `token`, if a known key signed it for the key set's installation. Compares no time.

    Raises:
        UnreadableToken, WrongType, UnknownKey, BadSignature, ForeignInstallation: all are TokenErrors.
    """
    _, claims = read_token(token, keys, TYP_SEAL, bytes_max=SEAL_BYTES_MAX)
    seal = Seal.from_claims(claims)
    if seal.installation != keys.installation:
        trusted = f"installation {keys.installation}" if keys.installation else "no installation: the key set names none"
        raise ForeignInstallation(f"a seal of installation {seal.installation}; trusted is {trusted}")
    return seal
