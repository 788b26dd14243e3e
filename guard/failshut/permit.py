"""What a permit and a closing say, and when they are believed.

A permit is a function of the evidence log and the key: two governors that decide the same write the same bytes.
So the claims have one order, every time in it is evidence time, and nothing here asks a clock. Times are whole
milliseconds in claims of our own. The standard `iat`, `nbf` and `exp` are there as well, for readers that know
only JWT. `exp` is rounded up, so such a reader never sees too short a life. All claims of a token are checked
when it is read. If one is missing, has a wrong type or contradicts another, the token is unreadable, and never
half a permit.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

from failshut.cause import Cause
from failshut.epoch import digits, is_epoch
from failshut.signing import (
    TYP_CLOSING,
    TYP_PERMIT,
    TYP_SEALED_PERMIT,
    KeySet,
    SigningKey,
    TokenError,
    UnreadableToken,
    read_token,
)
from failshut.store.names import check_gate, check_installation

ISSUER: Final = "failshut"
Mode = Literal["armed", "proving", "bypass"]
InFlight = Literal["cancel", "finish"]
#: A reading in brief: name, status, text.
Reading = tuple[str, str, str]

MODES: Final = frozenset({"armed", "proving", "bypass"})
IN_FLIGHT: Final = frozenset({"cancel", "finish"})
TTL_MS_MAX: Final = 24 * 3600 * 1000


class ForeignGate(TokenError):
    """A valid token of another gate, which opens nothing here."""

    cause = Cause.FOREIGN


class ForeignInstallation(TokenError):
    """A valid token of another installation, or there is none that it could be of: it says nothing here."""

    cause = Cause.FOREIGN


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statement:
    """What a permit and a closing have in common. Each adds what it alone says, behind the common claims."""

    _typ: ClassVar[str]
    """Of its token."""
    _noun: ClassVar[str]

    installation: str
    """Whose statement it is: 16 to 64 letters and digits."""
    gate: str
    epoch: str
    """The fencing number, 16 digits."""
    offset: int
    """Where in the evidence log the decision stands."""
    partition: int
    policy: str
    """Digest of the gate's policy document, `sha256:...`. A closing's is empty where the gate has no policy."""

    def __post_init__(self) -> None:
        check_installation(self.installation)
        check_gate(self.gate)
        if not is_epoch(self.epoch):
            raise ValueError("epoch is not 16 digits below 2**53")
        if self.offset < 0 or self.partition < 0:
            raise ValueError("offset and partition count from 0")
        digits(self.offset)
        self._check()

    def _check(self) -> None:
        """Check what this kind of statement alone says. Raises ValueError."""
        raise NotImplementedError

    @property
    def jti(self) -> str:
        """The statement's id: `GATE:EPOCH:OFFSET`."""
        return f"{self.gate}:{self.epoch}:{digits(self.offset)}"

    def claims(self) -> dict[str, Any]:
        """Return the claims, in the order in which they are signed."""
        return {
            "iss": ISSUER,
            "installation": self.installation,
            "jti": self.jti,
            "gate": self.gate,
            "epoch": self.epoch,
            "offset": self.offset,
            "partition": self.partition,
            "policy": self.policy,
            **self._own_claims(),
        }

    def _own_claims(self) -> dict[str, Any]:
        """Return the claims that this kind of statement alone has."""
        raise NotImplementedError

    @classmethod
    def from_claims(cls, claims: dict[str, Any], **told: Any) -> Self:
        """Read verified claims; `told` is what the token's type says. Raises UnreadableToken unless `claims()` writes them."""
        try:
            statement = cls(
                installation=_text(claims, "installation"),
                gate=_text(claims, "gate"),
                epoch=_text(claims, "epoch"),
                offset=_int(claims, "offset"),
                partition=_int(claims, "partition"),
                policy=_text(claims, "policy"),
                **cls._own_fields(claims),
                **told,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableToken(f"not a {cls._noun}'s claims: {error}") from error
        if statement.claims() != claims:
            raise UnreadableToken(f"a {cls._noun}'s claims do not agree with each other")
        return statement

    @classmethod
    def _own_fields(cls, claims: dict[str, Any]) -> dict[str, Any]:
        """Return what claims say for the fields that this kind of statement alone has. Raises what a wrong type does."""
        raise NotImplementedError

    def sign(self, key: SigningKey) -> str:
        """Return the statement as a token."""
        return key.sign(self.claims(), self._signed_as())

    def _signed_as(self) -> str:
        """Return the token's type."""
        return self._typ


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit(_Statement):
    """The signed, expiring statement that opens a gate. Times in whole milliseconds since 1970."""

    _typ = TYP_PERMIT
    _noun = "permit"

    mode: Mode
    evidence_ms: int
    """Evidence time: also the time of issue."""
    nbf_ms: int
    exp_ms: int
    """End: at most `evidence_ms + ttl_ms`, earlier where a bypass ends; of a permit that lives by seals, its last end."""
    ttl_ms: int
    readings: tuple[Reading, ...] = ()
    subjects: tuple[str, ...] = ()
    """Patterns of who may execute; empty: nobody."""
    context: dict[str, str] = field(default_factory=dict)
    """What a guard must be configured with, each entry."""
    operations: tuple[str, ...] = ("*",)
    in_flight: InFlight = "cancel"
    sealed: bool = False
    """Whether it lives by seals (failshut.seal): it counts for `ttl_ms` from the evidence time of each seal that names it."""

    def _check(self) -> None:
        if not self.policy.startswith("sha256:"):
            raise ValueError("policy is not a sha256: digest")
        if self.mode not in MODES or self.in_flight not in IN_FLIGHT:
            raise ValueError("mode or in_flight is none of the known ones")
        if not 0 < self.ttl_ms <= TTL_MS_MAX:
            raise ValueError(f"ttl_ms {self.ttl_ms} is not between 1 and {TTL_MS_MAX}")
        if not 0 < self.nbf_ms < self.exp_ms:
            raise ValueError("a permit begins before it ends")
        if self.exp_ms > self.evidence_ms + (TTL_MS_MAX if self.sealed else self.ttl_ms):
            raise ValueError("a permit may not outlive its evidence")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its conditions say that do not hold, each as `NAME: WORDS`. An enforced gate that is open has none."""
        if self.mode != "armed":
            return ()
        return tuple(f"{name}: {words}" for name, status, words in self.readings if status != "holds")

    def _own_claims(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "evidence_ms": self.evidence_ms,
            "iat_ms": self.evidence_ms,
            "nbf_ms": self.nbf_ms,
            "exp_ms": self.exp_ms,
            "iat": self.evidence_ms // 1000,
            "nbf": self.nbf_ms // 1000,
            "exp": -(-self.exp_ms // 1000),
            "readings": [list(reading) for reading in self.readings],
            "subjects": list(self.subjects),
            "context": dict(sorted(self.context.items())),
            "operations": list(self.operations),
            "in_flight": self.in_flight,
            "ttl_ms": self.ttl_ms,
        }

    @classmethod
    def _own_fields(cls, claims: dict[str, Any]) -> dict[str, Any]:
        return {
            "mode": _text(claims, "mode"),
            "evidence_ms": _int(claims, "evidence_ms"),
            "nbf_ms": _int(claims, "nbf_ms"),
            "exp_ms": _int(claims, "exp_ms"),
            "ttl_ms": _int(claims, "ttl_ms"),
            "readings": _readings(claims),
            "subjects": _texts(claims, "subjects"),
            "context": _context(claims),
            "operations": _texts(claims, "operations"),
            "in_flight": _text(claims, "in_flight"),
        }

    def _signed_as(self) -> str:
        return TYP_SEALED_PERMIT if self.sealed else TYP_PERMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing(_Statement):
    """The signed statement that a gate is closed. It does not expire."""

    _typ = TYP_CLOSING
    _noun = "closing"

    cause: Cause
    because: str
    evidence_ms: int
    breaker: str
    """The breaker's state, such as `TRIPPED`."""
    in_flight: InFlight = "cancel"

    def _check(self) -> None:
        if not isinstance(self.cause, Cause) or self.in_flight not in IN_FLIGHT:
            raise ValueError("cause or in_flight is none of the known ones")

    def _own_claims(self) -> dict[str, Any]:
        return {
            "cause": self.cause.value,
            "because": self.because,
            "evidence_ms": self.evidence_ms,
            "breaker": self.breaker,
            "in_flight": self.in_flight,
        }

    @classmethod
    def _own_fields(cls, claims: dict[str, Any]) -> dict[str, Any]:
        return {
            "cause": Cause(_text(claims, "cause")),
            "because": _text(claims, "because"),
            "evidence_ms": _int(claims, "evidence_ms"),
            "breaker": _text(claims, "breaker"),
            "in_flight": _text(claims, "in_flight"),
        }


def verify(token: str | bytes, keys: KeySet, gate: str) -> Permit | Closing:
    """Return the permit or closing in `token`, if a known key signed it for `gate` of the key set's installation.

    No time is compared.

    Raises:
        UnreadableToken, WrongType, UnknownKey, BadSignature, ForeignInstallation, ForeignGate: all are TokenErrors.
    """
    typ, claims = read_token(token, keys, TYP_PERMIT, TYP_SEALED_PERMIT, TYP_CLOSING)
    statement: Permit | Closing
    if typ == TYP_CLOSING:
        statement = Closing.from_claims(claims)
    else:
        statement = Permit.from_claims(claims, sealed=typ == TYP_SEALED_PERMIT)
    if statement.installation != keys.installation:
        trusted = f"installation {keys.installation}" if keys.installation else "no installation: the key set names none"
        raise ForeignInstallation(f"a token of installation {statement.installation}; trusted is {trusted}")
    if statement.gate != gate:
        raise ForeignGate(f"a token of gate {statement.gate}")
    return statement


def claimed_installation(token: str) -> str:
    """Return the installation that a token of ours names, unverified: for its writer, who signed it, and for no reader.

    Raises ValueError where it names none in the place in which `claims()` puts it.
    """
    payload = token.partition(".")[2].partition(".")[0][:_HEAD_CHARS]
    try:
        head = base64.urlsafe_b64decode(payload[: len(payload) // 4 * 4]).decode("utf-8", "replace")
    except ValueError as error:
        raise ValueError("not a token") from error
    found = _HEAD.match(head)
    if found is None:
        raise ValueError("a token that does not begin with its installation")
    return found[1]


#: What claims begin with, and how much of a token holds it.
_HEAD: Final = re.compile(r'\{"iss":"failshut","installation":"([A-Za-z0-9]{16,64})"')
_HEAD_CHARS: Final = 160


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return value


def _int(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int:  # a bool is an int, and no time
        raise TypeError(f"{name} is not a whole number")
    return value


def _texts(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    value = claims[name]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{name} is not a list of texts")
    return tuple(value)


def _readings(claims: dict[str, Any]) -> tuple[Reading, ...]:
    value = claims["readings"]
    if not isinstance(value, list):
        raise TypeError("readings is not a list")
    for item in value:
        if not isinstance(item, list) or len(item) != 3 or not all(isinstance(part, str) for part in item):
            raise TypeError("a reading is not three texts")
    return tuple((name, status, text) for name, status, text in value)


def _context(claims: dict[str, Any]) -> dict[str, str]:
    value = claims["context"]
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise TypeError("context is not an object of texts")
    return dict(value)
