"""Whether a JWT proves who asks, as pure functions: every header and claim that counts is named, and anything else fails.

An issuer is configured with its algorithms, its audience and its types. Algorithms are those of public keys alone, so that no
public key is ever taken for a secret (RFC 8725). The key is looked up by its exact `kid` among the issuer's own keys. Nothing
in the token leads to another one: `jku`, `jwk`, `x5u`, `x5c` and `crit` are refused. So is a token that is bound to a key
(`cnf`), because nobody here would check that.

Limits: a token counts until its `exp`, whatever its issuer withdraws before that, unless its key is withdrawn.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from failshut_gateway.access.grant import ROLES
from failshut_gateway.identity.proven import LIFE_MS_MAX, BadIdentity
from failshut_gateway.wire.strict_json import strict

TOKEN_BYTES_MAX: Final = 8 * 1024
KID_CHARS_MAX: Final = 256
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
TYPES: Final = ("at+jwt", "jwt")
RSA_BITS_MIN: Final = 2_048
#: How far an issuer's clock may be ahead, for `nbf` and `iat`. An end is an end: `exp` has no tolerance.
CLOCK_SECONDS: Final = 5
_LEADS_ELSEWHERE: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "zip", "enc", "b64"})
_KTY: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CRV: Final = {"ES256": ("P-256",), "ES384": ("P-384",), "ES512": ("P-521",), "EdDSA": ("Ed25519",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An issuer whose tokens count. Raises ValueError for what cannot be meant."""

    issuer: str
    audience: str
    jwks: str
    """Where its keys are: a path, or https://."""
    subject: str
    """A template with `{name}`, which is the token's `sub`."""
    subjects: tuple[str, ...]
    gates: tuple[str, ...]
    role: str = "service"
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    types: tuple[str, ...] = TYPES

    def __post_init__(self) -> None:
        if not all((self.issuer, self.audience, self.jwks, self.subjects, self.gates)):
            raise ValueError("an issuer has issuer, audience, jwks, subjects and gates")
        if self.subject.count("{name}") != 1:
            raise ValueError("subject holds {name} once, for example agent:{name}")
        if self.role not in ROLES:
            raise ValueError(f"the role is none of {', '.join(ROLES)}")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(f"algorithms are some of {', '.join(ALGORITHMS)}")
        if not self.types or not all(self.types):
            raise ValueError("types are some texts, for example at+jwt")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of an issuer, and what it may be used for."""

    kid: str
    kty: str
    crv: str
    alg: str
    """The one algorithm that it is for; empty: any that fits it."""
    public: Any


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token proves: who, until when, and by which key."""

    name: str
    begins_ms: int
    ends_ms: int
    kid: str


def looks_like_token(text: bytes) -> bool:
    """Return whether it is in the form of a JWT. Says nothing of whose it is."""
    return text.count(b".") == 2 and text[:2] == b"ey"


def issuer_claimed(token: bytes) -> str:
    """Return the issuer that a token names, unverified: to find whose keys to look among. Raises BadIdentity."""
    if len(token) > TOKEN_BYTES_MAX:
        raise BadIdentity("a token that is too long")
    found = _object(token.split(b".")[1], "claims").get("iss")
    if not isinstance(found, str):
        raise BadIdentity("a token without an issuer")
    return found


def check(token: bytes, issuer: Issuer, keys: Mapping[str, Key], now_ms: float) -> Claims:
    """Return what a token proves. Raises BadIdentity, and nothing else whatever the bytes."""
    if len(token) > TOKEN_BYTES_MAX or token.count(b".") != 2:
        raise BadIdentity("no token")
    alg, key = _key(_object(token.split(b".")[0], "header"), issuer, keys)
    try:
        payload = jwt.PyJWS(algorithms=[alg]).decode(token, key.public, algorithms=[alg])
    except jwt.InvalidSignatureError as error:
        raise BadIdentity("a signature that does not fit") from error
    except Exception as error:  # whatever a library makes of bytes that a stranger chose
        raise BadIdentity("a token that cannot be read") from error
    return _claims(_parsed(payload, "claims"), issuer, key.kid, now_ms)


def _key(header: dict[str, Any], issuer: Issuer, keys: Mapping[str, Key]) -> tuple[str, Key]:
    """Return the algorithm and the key that a header names, if they fit each other and the issuer. Raises BadIdentity."""
    if _LEADS_ELSEWHERE & header.keys():
        raise BadIdentity("a header that leads elsewhere")
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(alg, str) or alg not in issuer.algorithms:
        raise BadIdentity("another algorithm than the issuer's")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in issuer.types:
        raise BadIdentity("another type of token")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX:
        raise BadIdentity("a token without a kid")
    key = keys.get(kid)
    if key is None:
        raise UnknownKid("a key that the issuer does not have")
    if key.kty != _KTY[alg[:2]] or key.crv not in _CRV.get(alg, (key.crv,)) or key.alg not in ("", alg):
        raise BadIdentity("an algorithm that the key is not for")
    return alg, key


class UnknownKid(BadIdentity):
    """Signed with a key that is not among the issuer's: perhaps they have changed."""


def _claims(claims: dict[str, Any], issuer: Issuer, kid: str, now_ms: float) -> Claims:
    """Return what verified claims prove now. Raises BadIdentity."""
    if claims.get("iss") != issuer.issuer:
        raise BadIdentity("another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if issuer.audience not in audiences or not all(isinstance(one, str) for one in audiences):
        raise BadIdentity("for another audience")
    if "cnf" in claims:
        raise BadIdentity("bound to a key, which is not checked here")
    name = claims.get("sub")
    if not isinstance(name, str):
        raise BadIdentity("no subject")
    ends_ms = _time_ms(claims, "exp")
    if ends_ms is None or ends_ms <= now_ms:
        raise BadIdentity("expired, or without an end")
    if ends_ms - now_ms > LIFE_MS_MAX:
        raise BadIdentity("a token that lives for more than a day")
    begins_ms = [_time_ms(claims, claim) for claim in ("nbf", "iat")]
    if any(begin is not None and begin > now_ms + CLOCK_SECONDS * 1000 for begin in begins_ms):
        raise BadIdentity("not yet valid")
    return Claims(name, min(int(now_ms), ends_ms - 1), ends_ms, kid)


def _time_ms(claims: dict[str, Any], claim: str) -> int | None:
    """Return a claim's time; None where it is not there. Raises BadIdentity where it is no time."""
    if claim not in claims:
        return None
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**10:
        raise BadIdentity(f"{claim} is no time")
    return int(value * 1000)


# --- keys ---


def read_keys(content: bytes, keys_max: int = 100) -> dict[str, Key]:
    """Return the public keys of a JWKS document by kid. Raises ValueError where it is none, or where a kid stands twice.

    Keys that are no use here are left out: secrets, keys for encryption, of unknown kinds, without a kid.
    """
    try:
        document = _parsed(content, "JWKS")
    except BadIdentity as error:
        raise ValueError(str(error)) from error
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > keys_max:
        raise ValueError(f"a JWKS has a list of at most {keys_max} keys")
    found: dict[str, Key] = {}
    for entry in entries:
        key = _usable(entry)
        if key is not None:
            if key.kid in found:
                raise ValueError("two keys have one kid")
            found[key.kid] = key
    if not found:
        raise ValueError("no key that can be used")
    return found


def _usable(entry: Any) -> Key | None:
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
        return None
    kid, alg, operations = entry.get("kid"), entry.get("alg", ""), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX or not isinstance(alg, str):
        return None
    if not isinstance(operations, list) or "verify" not in operations or "d" in entry:
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[entry["kty"]]
    try:
        public = jwt.algorithms.get_default_algorithms()[algorithm].from_jwk(entry)
    except Exception:  # noqa: BLE001 - a key that cannot be read is no key
        return None
    if entry["kty"] == "RSA" and public.key_size < RSA_BITS_MIN:
        return None
    return Key(kid, entry["kty"], str(entry.get("crv", "")), alg, public)


def _object(part: bytes, what: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    except ValueError as error:
        raise BadIdentity(f"{what} cannot be read") from error
    return _parsed(data, what)


def _parsed(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = strict(data)
    except (ValueError, RecursionError) as error:
        raise BadIdentity(f"{what} cannot be read") from error
    if not isinstance(found, dict):
        raise BadIdentity(f"{what}: not an object")
    return found
