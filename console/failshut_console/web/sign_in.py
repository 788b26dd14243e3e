"""The door: an access key is exchanged for a session, and whoever has none gets a field for one and nothing else.

Every path below the console answers a stranger's GET with the same page and status 403, whether there is something or not.
The page is whole in itself: its style stands in it, so that nothing else is served to strangers. Tries of one address are
counted. Limits: behind a proxy all callers have the proxy's address, and share its tries.

A key for one sign-in also counts in a link, which a terminal prints: `/console/once/KEY`. It counts once at a gateway, and not
at one that began after the key was made: so a gateway that starts again takes no spent key. A browser says whether the person
opened the link, or another site did. Of another site it is refused, unspent.

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
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.asking.rates import Rates
from failshut_gateway.site import Inside
from failshut_gateway.wire.replies import Header, Receive, Scope, Send

#: Tries of one address in a second, right ones included.
TRIES_PER_SECOND: Final = 3
SIGN_IN: Final = "/console/sign-in"
HOME: Final = "/console"
#: Where a key for one sign-in stands in a link.
ONCE: Final = "/console/once/"
#: So many keys for one sign-in count at a gateway, and then no more until it starts again.
SPENT_MAX: Final = 5_000
_OWN_PATH: Final = re.compile(r"/console(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
WRONG: Final = "That access key does not count here."
SPENT: Final = "This link was used, or does not count here. `failshut access create --once` makes another."
FULL: Final = "Too many people are signed in. Try again later."
TOO_OFTEN: Final = "Too many tries. Wait a second, then try again."


class Door:
    """Sign-in and sign-out."""

    def __init__(self, inside: Inside, sessions: Sessions, pages: Pages, wall: Callable[[], float] = time.time) -> None:
        self._inside, self._sessions, self._pages = inside, sessions, pages
        self._rates = Rates(TRIES_PER_SECOND)
        self._wall = wall
        self._began_ms = int(wall() * 1000)
        self._spent: set[str] = set()
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
        await self._exchange(fields.get("key", ""), WRONG, where, scope, send)

    async def follow(self, request: Request, scope: Scope, send: Send) -> None:
        """Take a key for one sign-in out of a link that a person opened, and answer with a session."""
        if request.fetch_site != "none":
            self._inside.audit.refuse(scope, "other_origin")
            await self._show(send, HOME)
        elif not self._rates.take(request.peer):
            self._inside.audit.refuse(scope, "tries")
            await self._show(send, HOME, TOO_OFTEN, 429, [(b"retry-after", b"1")])
        else:
            await self._exchange(request.path.removeprefix(ONCE), SPENT, HOME, scope, send, in_link=True)

    async def _exchange(self, key: str, wrong: str, where: str, scope: Scope, send: Send, *, in_link: bool = False) -> None:
        """Begin a session with a key; `in_link`: only with one that is for one sign-in."""
        grant = self._inside.book.find(key.strip().encode("utf-8", "replace"), signing_in=True)
        why, key_id = (grant.value, "") if isinstance(grant, Refusal) else (self._lacks(grant, in_link), grant.id)
        if isinstance(grant, Refusal) or why:
            self._inside.audit.refuse(scope, why, key_id)
            await self._show(send, where, wrong)
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

    def _lacks(self, grant: Grant, in_link: bool) -> str:
        """Return why a key begins no session here, or "". A key for one sign-in is spent with the asking."""
        if not grant.allows(Act.READ):
            return "role"
        if not grant.once:
            return Refusal.ONE_SIGN_IN if in_link else ""
        if grant.id in self._spent or grant.created_ms < self._began_ms or len(self._spent) >= SPENT_MAX:
            return Refusal.ONE_SIGN_IN
        self._spent.add(grant.id)
        return ""

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
    return path if _OWN_PATH.fullmatch(path) and path != SIGN_IN and not path.startswith(ONCE) else HOME


__all__ = ["HOME", "ONCE", "SIGN_IN", "Door", "Refused"]
