"""A caller whose identity was proven without an access key: what it may do, and until when.

It is a grant like that of a key, for one subject alone, which stands there without a pattern. A name with `*` or `?` in it is
refused: it would cover others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from failshut.admission.subjects import matches, why_no_name
from failshut_gateway.access.grant import Grant

#: The longest life of a proof: a day. A certificate's own end may be later; it is proven anew with each connection.
LIFE_MS_MAX: Final = 24 * 3_600_000


class BadIdentity(Exception):
    """No proof of who asks. The text is for the audit, and quotes nothing that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven(Grant):
    """A proven identity. `source` is the issuer or the authority, `kid` the key that signed; both are configured, not sent."""

    source: str
    kid: str = ""

    @property
    def payer(self) -> str:
        """Whose bound it counts towards where names are brought in: the source's, however many subjects it names."""
        return self.source


def subject_of(template: str, name: str, patterns: tuple[str, ...]) -> str:
    """Return the subject that a proven name stands for. Raises BadIdentity where it may not be said.

    >>> subject_of("agent:{name}", "refund-7", ("agent:*",))
    'agent:refund-7'
    """
    if "*" in name or "?" in name:
        raise BadIdentity("a name with the sign of a pattern")
    subject = template.replace("{name}", name)
    if why_no_name("the subject", name) or why_no_name("the subject", subject):
        raise BadIdentity("a name that is none")
    if not matches(patterns, subject):
        raise BadIdentity("a subject that its issuer may not name")
    return subject


def id_of(kind: str, source: str, name: str) -> str:
    """Return the id of a proven identity: the same for the same name of the same source, and never that of an access key."""
    digest = hashlib.sha256(b"\x00".join(part.encode() for part in (kind, source, name))).hexdigest()
    return f"{kind}:{digest[:32]}"
