"""Forward auth: a proxy asks before it lets a request through. 200 or 403, nothing else, and no body.

Some proxies let a request pass on a 5xx, so there is none: whatever goes wrong is a 403. Every 200 carries the epoch, because
Envoy hands its client's own header on where the authorizer sends none. Any method is a question; a body is never read.
"""

from __future__ import annotations

from failshut_gateway.access.grant import Act
from failshut_gateway.asking.asker import Asker
from failshut_gateway.asking.doorkeeper import Doorkeeper, TooOften
from failshut_gateway.wire.raw_path import gate_of
from failshut_gateway.wire.replies import CLOSE, Header, Scope, Send, reply_empty


class ForwardAuth:
    """Answers below `/v1/forward-auth/`."""

    def __init__(self, doorkeeper: Doorkeeper, asker: Asker) -> None:
        self._doorkeeper = doorkeeper
        self._asker = asker
        self.admitted = 0
        self.withheld = 0

    async def __call__(self, scope: Scope, send: Send) -> None:
        """Answer one request. An exception is the caller's to turn into a 403."""
        epoch, unread = await self._epoch(scope)
        more: list[Header] = [CLOSE] if unread else []
        if not epoch:
            self.withheld += 1
            await reply_empty(send, 403, more)
            return
        self.admitted += 1
        await reply_empty(send, 200, [(b"x-failshut-epoch", epoch.encode("ascii")), *more])

    async def _epoch(self, scope: Scope) -> tuple[str, bool]:
        """Return the epoch under which the request is admitted, or an empty text; and whether a body is left unread."""
        audit = self._doorkeeper.audit
        try:
            let_in = self._doorkeeper.let_in(scope, Act.ASK)
        except TooOften:
            return "", True
        if let_in is None:
            return "", True
        grant, heard = let_in
        gate = gate_of(scope["raw_path"])
        if gate is None:
            audit.refuse(scope, "path", grant.id)
            return "", heard.has_body
        try:
            subject = heard.text(b"x-failshut-subject") or grant.only_subject
            operation = heard.text(b"x-failshut-operation")
        except ValueError:
            subject = ""
        if not subject:
            audit.refuse(scope, "no_subject", grant.id)
            return "", heard.has_body
        if not self._asker.covers(grant, gate, subject):
            audit.refuse(scope, "not_covered", grant.id, gate=gate, subject=subject)
            return "", heard.has_body
        verdict = await self._asker.ask(grant, gate, subject, operation)
        return verdict.epoch, heard.has_body
