"""Proves who asks without an access key: by a token of a configured issuer, or by the certificate of its connection.

A token is verified once and remembered, up to `REMEMBERED_MAX` of them. Each time it is shown again, its end and its key are
looked at: a key that its issuer has withdrawn proves nothing any more. A certificate was verified by TLS when the connection
began. Only in the event loop, but for the threads that follow the issuers' keys.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from failshut_gateway.access.grant import LIFE_MS_MAX as KEY_LIFE_MS_MAX
from failshut_gateway.access.grant import BadGrant
from failshut_gateway.identity.identity_file import NAMES, Certificates, Sources
from failshut_gateway.identity.issuer_keys import IssuerKeys
from failshut_gateway.identity.proven import BadIdentity, Proven, id_of, subject_of
from failshut_gateway.identity.token_check import Issuer, UnknownKid, check, issuer_claimed

REMEMBERED_MAX: Final = 10_000
#: Where the server leaves the certificate of a connection.
PEER: Final = "failshut.peer"


class Identities:
    """The identities of one gateway's callers."""

    def __init__(self, sources: Sources, wall: Callable[[], float] = time.time) -> None:
        self._issuers = {issuer.issuer: (issuer, IssuerKeys(issuer.jwks)) for issuer in sources.issuers}
        self.certificates = sources.certificates
        self._wall = wall
        self._remembered: OrderedDict[bytes, Proven] = OrderedDict()

    def start(self) -> None:
        """Begin to follow the issuers' keys."""
        for _, keys in self._issuers.values():
            keys.start()

    def stop(self) -> None:
        """End what `start` began."""
        for _, keys in self._issuers.values():
            keys.stop()

    def why(self) -> dict[str, str]:
        """Return what is wrong with each issuer's keys; an empty text where nothing is."""
        return {name: keys.why for name, (_, keys) in self._issuers.items()}

    def counts(self, proven: Proven) -> bool:
        """Return whether what was proven before still is."""
        if not proven.lives(self._wall() * 1000):
            return False
        if not proven.kid:
            return self.certificates is not None
        found = self._issuers.get(proven.source)
        return found is not None and found[1].holds(proven.kid)

    def by_token(self, token: bytes) -> Proven:
        """Return whom a token proves. Raises BadIdentity."""
        digest = hashlib.sha256(token).digest()
        known = self._remembered.get(digest)
        if known is not None and self.counts(known):
            return known
        self._remembered.pop(digest, None)
        found = self._issuers.get(issuer_claimed(token))
        if found is None:
            raise BadIdentity("an issuer that is not configured")
        proven = self._proven(token, digest, *found)
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        self._remembered[digest] = proven
        return proven

    def _proven(self, token: bytes, digest: bytes, issuer: Issuer, keys: IssuerKeys) -> Proven:
        try:
            claims = check(token, issuer, keys.keys(), self._wall() * 1000)
        except UnknownKid:
            keys.miss()
            raise
        subject = subject_of(issuer.subject, claims.name, issuer.subjects)
        return _made(
            id=id_of("jwt", issuer.issuer, claims.name),
            digest=digest,
            role=issuer.role,
            subjects=(subject,),
            gates=issuer.gates,
            created_ms=claims.begins_ms,
            expires_ms=claims.ends_ms,
            source=issuer.issuer,
            kid=claims.kid,
        )

    def by_certificate(self, peer: Mapping[str, Any]) -> Proven:
        """Return whom a verified certificate names. Raises BadIdentity."""
        wanted = self.certificates
        if wanted is None:
            raise BadIdentity("no certificate counts here")
        name = _only_name(peer, wanted)
        try:
            begins_ms = int(ssl.cert_time_to_seconds(peer["notBefore"]) * 1000)
            ends_ms = int(ssl.cert_time_to_seconds(peer["notAfter"]) * 1000)
        except (KeyError, ValueError) as error:
            raise BadIdentity("a certificate without its times") from error
        proven = _made(
            id=id_of("tls", wanted.authority, name),
            digest=hashlib.sha256(repr(sorted(peer.items())).encode()).digest(),
            role=wanted.role,
            subjects=(subject_of(wanted.subject, name, wanted.subjects),),
            gates=wanted.gates,
            created_ms=max(begins_ms, ends_ms - KEY_LIFE_MS_MAX),
            expires_ms=ends_ms,
            source=wanted.authority,
        )
        if not proven.lives(self._wall() * 1000):
            raise BadIdentity("a certificate that has expired")
        return proven


def _only_name(peer: Mapping[str, Any], wanted: Certificates) -> str:
    """Return the one name of the wanted kind. Raises BadIdentity where there is none, or several."""
    names = [value for kind, value in peer.get("subjectAltName", ()) if kind == NAMES[wanted.name]]
    if len(names) != 1:
        raise BadIdentity("a certificate with no name of this kind, or several")
    return str(names[0])


def _made(**values: Any) -> Proven:
    try:
        return Proven(**values)
    except BadGrant as error:
        raise BadIdentity("an identity that cannot be granted anything") from error
