"""Whose identity counts, as an operator says it in a file of TOML: issuers of tokens, and an authority of client certificates.

    [[issuer]]
    issuer = "https://login.example"
    audience = "failshut"
    jwks = "https://login.example/jwks.json"
    subject = "agent:{name}"
    subjects = ["agent:*"]
    gates = ["payments.*"]

    [certificates]
    authority = "clients.pem"
    name = "uri"
    subject = "{name}"
    subjects = ["spiffe://example/agents/*"]
    gates = ["payments.*"]

What is not known is refused: it may be a limit that somebody meant.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from failshut_gateway.access.grant import ROLES
from failshut_gateway.identity.issuer_keys import is_address
from failshut_gateway.identity.token_check import Issuer

FILE_BYTES_MAX: Final = 256 * 1024
ISSUERS_MAX: Final = 16
#: Where a certificate says who shows it: in its alternative names.
NAMES: Final = {"uri": "URI", "dns": "DNS"}


class BadIdentityFile(ValueError):
    """No file of identities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The authority whose client certificates count. Raises ValueError for what cannot be meant."""

    authority: str
    """A PEM file."""
    name: str
    """Which alternative name says who it is: `uri` or `dns`."""
    subject: str
    subjects: tuple[str, ...]
    gates: tuple[str, ...]
    role: str = "service"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"name is one of {', '.join(NAMES)}")
        if self.subject.count("{name}") != 1:
            raise ValueError("subject holds {name} once")
        if self.role not in ROLES:
            raise ValueError(f"the role is none of {', '.join(ROLES)}")
        if not all((self.authority, self.subjects, self.gates)):
            raise ValueError("certificates have authority, subjects and gates")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a file says. By default nobody is known but by an access key."""

    issuers: tuple[Issuer, ...] = ()
    certificates: Certificates | None = None


def read_sources(content: bytes, folder: Path = Path()) -> Sources:
    """Return what a file says; its paths are relative to `folder`. Raises BadIdentityFile."""
    if len(content) > FILE_BYTES_MAX:
        raise BadIdentityFile(f"more than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadIdentityFile(f"not TOML: {error}") from error
    issuers, certificates = document.pop("issuer", []), document.pop("certificates", None)
    if document or not isinstance(issuers, list) or len(issuers) > ISSUERS_MAX or not (issuers or certificates):
        raise BadIdentityFile(f"it has 1 to {ISSUERS_MAX} tables [[issuer]], or [certificates], and nothing else")
    found = []
    for number, entry in enumerate(issuers, 1):
        issuer = _made(Issuer, entry, f"issuer {number}")
        try:
            where = issuer.jwks if is_address(issuer.jwks) else str(folder / issuer.jwks)
        except ValueError as error:
            raise BadIdentityFile(f"issuer {number}: {error}") from error
        found.append(_made(Issuer, {**entry, "jwks": where}, f"issuer {number}"))
    if len({issuer.issuer for issuer in found}) != len(found):
        raise BadIdentityFile("two issuers have one name")
    if certificates is None:
        return Sources(tuple(found))
    made = _made(Certificates, certificates, "certificates")
    return Sources(tuple(found), _made(Certificates, {**certificates, "authority": str(folder / made.authority)}, ""))


def _made(kind: Any, entry: Any, what: str) -> Any:
    """Return a table as what it is. Raises BadIdentityFile."""
    known = {field.name for field in fields(kind)}
    if not isinstance(entry, dict) or not set(entry) <= known:
        raise BadIdentityFile(f"{what} has some of {', '.join(sorted(known))}, and no others")
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, list) and all(isinstance(one, str) for one in value) and len(value) <= 100:
            values[name] = tuple(value)
        elif isinstance(value, str):
            values[name] = value
        else:
            raise BadIdentityFile(f"{what}: {name} is a text, or a list of texts")
    lists = {"subjects", "gates", "algorithms", "types"}
    for name, value in values.items():
        if isinstance(value, tuple) != (name in lists):
            raise BadIdentityFile(f"{what}: {name} is {'a list of texts' if name in lists else 'a text'}")
    if "types" in values:
        values["types"] = tuple(one.lower() for one in values["types"])
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise BadIdentityFile(f"{what}: {error}") from error
