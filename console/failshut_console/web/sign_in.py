"""The door: an access key is exchanged for a session, and whoever has none gets a field for one and nothing else.

Every path below the console answers a stranger's GET with the same page and status 403, whether there is something or not.
The page is whole in itself: its style stands in it, so that nothing else is served to strangers. Tries of one address are
counted. Limits: behind a proxy all callers have the proxy's address, and share its tries.

A browser that follows a link from elsewhere sends no `SameSite=Strict` cookie. Then the page loads itself once more, from
here, and the cookie comes with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from failshut_console.web.pages import Pages
from failshut_console.web.replies import csp_with_style, refuse, reply_elsewhere, reply_page
from failshut_console.web.request import Refused, Request, form_of
from failshut_console.web.sessions import Session, Sessions, TooMany
from failshut_gateway.access.access_book import Refusal
from failshut_gateway.access.grant import Act
from failshut_gateway.asking.rates import Rates
from failshut_gateway.site import Inside
from failshut_gateway.wire.replies import Header, Receive, Scope, Send

#: Tries of one address in a second, right ones included.
TRIES_PER_SECOND: Final = 3
SIGN_IN: Final = "/console/sign-in"
HOME: Final = "/console"
_OWN_PATH: Final = re.compile(r"/console(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
WRONG: Final = "That access key does not count here."
FULL: Final = "Too many people are signed in. Try again later."
TOO_OFTEN: Final = "Too many tries. Wait a second, then try again."


class Door:
    """Sign-in and sign-out."""

    def __init__(self, inside: Inside, sessions: Sessions, pages: Pages, wall: Callable[[], float] = time.time) -> None:
        self._inside, self._sessions, self._pages = inside, sessions, pages
        self._rates = Rates(TRIES_PER_SECOND)
        self._wall = wall
        # A name with this prefix is taken from a TLS connection alone, for this host and every path.
        self.cookie = "__Host-failshut" if inside.secure else "failshut"

    def session_of(self, request: Request) -> Session | None:
        """Return whose session a request shows; None without one that lives."""
        return self._sessions.find(request.cookies.get(self.cookie, ""))

    async def stranger(self, request: Request, scope: Scope, send: Send) -> None:
        """Answer somebody without a session: a field for the key, or nothing."""
        self._inside.audit.refuse(scope, "no_session")
        if request.method != "GET":
            await refuse(send)
            return
        again = request.fetch_site == "cross-site" and self.cookie not in request.cookies
        await self._show(send, request.path, again=again)

    async def sign_in(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a key out of a form, and answer with a session or with the form again."""
        if not request.is_own(self._inside.url):
            self._inside.audit.refuse(scope, "other_origin")
            await refuse(send)
            return
        fields = await form_of(scope, receive)
        where = fields.get("next", HOME)
        if not self._rates.take(request.peer):
            self._inside.audit.refuse(scope, "tries")
            await self._show(send, where, TOO_OFTEN, 429, [(b"retry-after", b"1")])
            return
        grant = self._inside.book.find(fields.get("key", "").strip().encode("utf-8", "replace"))
        if isinstance(grant, Refusal) or not grant.allows(Act.READ):
            why, key_id = (grant.value, "") if isinstance(grant, Refusal) else ("role", grant.id)
            self._inside.audit.refuse(scope, why, key_id)
            await self._show(send, where, WRONG)
            return
        try:
            token, _ = self._sessions.begin(grant)
        except TooMany:
            self._inside.audit.refuse(scope, "sessions", grant.id)
            await self._show(send, where, FULL, 429)
            return
        self._inside.uses.note(grant.id, int(self._wall() * 1000))
        self._inside.audit.note("signed_in", scope, grant.id, holder=grant.note)
        await reply_elsewhere(send, _own(where), [self._cookie(token)])

    async def sign_out(self, scope: Scope, session: Session, fields: dict[str, str], send: Send) -> None:
        """End this session, or all of its key."""
        ended = 1
        if fields.get("all"):
            ended = self._sessions.end_all_of(session.grant.id)
        else:
            self._sessions.end(session)
        self._inside.audit.note("signed_out", scope, session.grant.id, sessions=str(ended))
        await reply_elsewhere(send, HOME, [self._cookie("", gone=True)])

    async def _show(
        self, send: Send, path: str, why: str = "", status: int = 403, more: list[Header] | None = None, *, again: bool = False
    ) -> None:
        page = self._pages.stranger(next=_own(path), why=why, again=again)
        await reply_page(send, page, status, more or [], csp=csp_with_style(self._pages.stranger_style))

    def _cookie(self, token: str, *, gone: bool = False) -> Header:
        words = [f"{self.cookie}={token}", "Path=/", "HttpOnly", "SameSite=Strict"]
        words += ["Secure"] if self._inside.secure else []
        words += ["Max-Age=0"] if gone else []
        return b"set-cookie", "; ".join(words).encode()


def _own(path: str) -> str:
    """Return a path of the console as it is, and the first page for everything else.

    >>> _own("/console/gates/payments.refund"), _own("//elsewhere.example/console")
    ('/console/gates/payments.refund', '/console')
    """
    return path if _OWN_PATH.fullmatch(path) and path != SIGN_IN else HOME


__all__ = ["HOME", "SIGN_IN", "Door", "Refused"]
