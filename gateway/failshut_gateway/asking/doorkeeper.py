"""One question before every other: whose key is this, does it count, may it do that, and does it ask too often?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from failshut_gateway.access.access_book import AccessBook, Refusal
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.access.last_uses import LastUses
from failshut_gateway.asking.audit import Audit
from failshut_gateway.asking.rates import Rates
from failshut_gateway.identity.identities import PEER, Identities
from failshut_gateway.identity.proven import BadIdentity, Proven
from failshut_gateway.identity.token_check import looks_like_token
from failshut_gateway.wire.heard import Heard, hear


class TooOften(Exception):
    """The key asks more often than it may. Its owner may know it."""


class Doorkeeper:
    """Lets requests in. Every refusal is audited."""

    def __init__(
        self,
        book: AccessBook,
        identities: Identities,
        rates: Rates,
        uses: LastUses,
        audit: Audit,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._identities = identities
        self._rates = rates
        self._uses = uses
        self._wall = wall
        self.audit = audit

    def let_in(self, scope: Mapping[str, Any], act: Act | None) -> tuple[Grant, Heard] | None:
        """Return whose request it is and what its headers say; None if it must be refused, without a word.

        `act` is what it wants; None: anybody with a key may have it. Raises TooOften.
        """
        heard = hear(scope["headers"])
        if heard is None:
            self.audit.refuse(scope, "ambiguous_headers")
            return None
        grant = self._who(scope, heard)
        if grant is None:
            return None
        if act is not None and not grant.allows(act):
            self.audit.refuse(scope, "role", grant.id)
            return None
        self.charge(scope, grant, 1)
        if not isinstance(grant, Proven):
            self._uses.note(grant.id, int(self._wall() * 1000))
        return grant, heard

    def counts(self, grant: Grant) -> bool:
        """Return whether a grant that was found before still counts, for what goes on for a while."""
        return self._identities.counts(grant) if isinstance(grant, Proven) else self._book.counts(grant)

    def _who(self, scope: Mapping[str, Any], heard: Heard) -> Grant | None:
        """Return who asks: by its key or token, or else by its connection's certificate. What is shown must count."""
        presented = heard.key
        try:
            if presented is None:
                peer = scope.get(PEER)
                if not peer:
                    self.audit.refuse(scope, "no_key")
                    return None
                return self._identities.by_certificate(peer)
            if looks_like_token(presented):
                return self._identities.by_token(presented)
        except BadIdentity as error:
            self.audit.refuse(scope, "identity", because=str(error))
            return None
        grant = self._book.find(presented)
        if isinstance(grant, Refusal):
            self.audit.refuse(scope, grant.value)
            return None
        return grant

    def charge(self, scope: Mapping[str, Any], grant: Grant, questions: int) -> None:
        """Count further questions of a request. Raises TooOften."""
        if not self._rates.take(grant.id, questions):
            self.audit.refuse(scope, "rate", grant.id)
            raise TooOften
