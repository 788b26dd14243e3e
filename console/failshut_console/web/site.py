"""The console as an application of the gateway: which path is which, for whom, and with which rights.

First the door: without a session every path is alike. Then the path. A POST needs the session's token in its form or header,
and must come from a page of this host. What nobody knows is an empty 404 for those who are signed in. Whatever fails is a
403, which the gateway says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final

from failshut.store.names import check_gate
from failshut_console.monitor.gate_views import Looker
from failshut_console.web.gate_feed import GateFeed
from failshut_console.web.gate_rows import gate_of, in_order, row_of, workers_of
from failshut_console.web.gate_stream import GateStream, Watcher
from failshut_console.web.history import SPANS_HOURS, History
from failshut_console.web.ledger_look import LedgerLook
from failshut_console.web.ordering import BadOrder, Ordering, Signing
from failshut_console.web.pages import ASSETS, Assets, Pages
from failshut_console.web.replies import refuse, reply, reply_json, reply_page
from failshut_console.web.request import Refused, Request, body_of, form_of
from failshut_console.web.sessions import LIFE_SECONDS, Session, Sessions
from failshut_console.web.sign_in import HOME, ONCE, SIGN_IN, Door
from failshut_gateway.access.grant import Act
from failshut_gateway.site import Inside
from failshut_gateway.wire.replies import Receive, Scope, Send
from failshut_gateway.wire.strict_json import strict

GATES: Final = "/console/gates/"
#: So many gates stand in a page before its script runs.
FIRST_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the console reads, and with what it signs."""

    make_reader: Callable[[], Looker]
    broker: str = ""
    prefix: str = ""
    jwks: str = ""
    signing: Signing | None = None
    ledger: LedgerLook | None = None


class Console:
    """The application. Only in the event loop."""

    def __init__(self, inside: Inside, sources: Sources) -> None:
        self._inside = inside
        self._assets = Assets()
        self._pages = Pages(self._assets)
        self.sessions = Sessions(inside.book.counts)
        self._door = Door(inside, self.sessions, self._pages)
        self._feed = GateFeed(sources.make_reader)
        self._ordering = Ordering(sources.signing, inside.audit)
        self._history = History(sources.broker, sources.prefix, sources.jwks)
        self._ledger = sources.ledger
        self._streams = 0

    async def close(self) -> None:
        """End every session, and with them their streams."""
        self.sessions.end_all()
        await self._feed.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"].startswith(ONCE):
            scope = {**scope, "raw_path": ONCE.encode()}  # whatever becomes of it, the audit stores no key
        try:
            request = Request.of(scope)
            if request.path == SIGN_IN and request.method == "POST":
                await self._door.sign_in(request, scope, receive, send)
                return
            if request.path.startswith(ONCE) and request.method == "GET":
                await self._door.follow(request, scope, send)
                return
            session = self._door.session_of(request)
            if session is None:
                await self._door.stranger(request, scope, send)
            elif request.method == "GET":
                await self._get(request, session, receive, send)
            elif request.method == "POST" and request.is_own(self._inside.url):
                await self._post(request, session, scope, receive, send)
            else:
                await refuse(send)
        except Refused:
            self._inside.audit.refuse(scope, "malformed")
            await refuse(send)

    async def _get(self, request: Request, session: Session, receive: Receive, send: Send) -> None:
        path = request.path.rstrip("/")
        if path in (HOME, SIGN_IN):
            await self._show_gates(session, send)
        elif path.startswith(GATES):
            await self._gate(path.removeprefix(GATES), request, session, send)
        elif path == "/console/stream":
            await self._stream(request, session, receive, send)
        elif path == "/console/session":
            await reply_json(send, {"ends_in_seconds": self._ends_in(session)})
        elif path == "/console/proofs":
            await reply_page(send, self._page("proofs.html", session, place="proofs"))
        elif path == "/console/health":
            await self._show_health(session, send)
        elif path in self._assets.by_path and path.startswith(ASSETS):
            await reply(send, 200, *self._assets.by_path[path], kept=True)
        else:
            await refuse(send, 404)

    async def _post(self, request: Request, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        if request.path == "/console/sign-out":
            fields = await form_of(scope, receive)
            if _same(fields.get("csrf", ""), session.csrf):
                await self._door.sign_out(scope, session, fields, send)
                return
        elif request.path == "/console/orders" and _same(request.csrf, session.csrf):
            await self._order(session, scope, receive, send)
            return
        self._inside.audit.refuse(scope, "no_token", session.grant.id)
        await refuse(send)

    async def _show_gates(self, session: Session, send: Send) -> None:
        seen = await self._feed.now()
        mine = [] if seen.look is None else [view for view in in_order(seen.look) if session.grant.covers_gate(view.gate)]
        rows = [row_of(view) for view in mine[:FIRST_MAX]]
        page = self._page("gates.html", session, place="gates", rows=rows, gates=len(mine), blind=seen.blind)
        await reply_page(send, page)

    async def _gate(self, rest: str, request: Request, session: Session, send: Send) -> None:
        """Answer for one gate: its page, or what the log says of it. A gate that is not for this key does not exist."""
        gate, _, part = rest.partition("/")
        try:
            check_gate(gate)
        except ValueError:
            await refuse(send, 404)
            return
        if not session.grant.covers_gate(gate):
            await refuse(send, 404)
        elif part == "decisions":
            hours = request.query.get("hours", "24")
            if hours not in map(str, SPANS_HOURS):
                raise Refused
            await reply_json(send, await self._history.decisions(gate, int(hours)))
        elif part == "policy":
            await reply_json(send, await self._history.policy(gate))
        elif part:
            await refuse(send, 404)
        else:
            seen = await self._feed.now()
            views = [] if seen.look is None else [view for view in seen.look.gates if view.gate == gate]
            found = gate_of(views[0], seen.look) if views and seen.look is not None else None
            page = self._page("gate.html", session, place="gates", gate=gate, found=found, blind=seen.blind, spans=SPANS_HOURS)
            await reply_page(send, page)

    async def _show_health(self, session: Session, send: Send) -> None:
        seen = await self._feed.now()
        found = None if seen.look is None else workers_of(seen.look)
        page = self._page("health.html", session, place="health", found=found, blind=seen.blind)
        await reply_page(send, page)

    async def _stream(self, request: Request, session: Session, receive: Receive, send: Send) -> None:
        gate = request.query.get("gate", "")
        if gate and not session.grant.covers_gate(gate):
            await refuse(send, 404)
            return
        if self._streams >= self._inside.streams_max or not self.sessions.take_stream(session):
            await refuse(send, 429)
            return
        self._streams += 1
        try:
            health = self._health if "health" in request.query else None
            stream = GateStream(self._feed, self.sessions, session, Watcher(session, gate, health))
            await stream.send_to(receive, send)
        finally:
            self._streams -= 1
            self.sessions.give_stream(session)

    def _health(self) -> dict[str, Any]:
        return {"gateway": dict(self._inside.health()), "ledger": None if self._ledger is None else self._ledger.now()}

    async def _order(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        if not session.grant.allows(Act.ORDER):
            self._inside.audit.refuse(scope, "role", session.grant.id)
            await refuse(send)
            return
        try:
            said = strict(await body_of(scope, receive))
            answers = await self._ordering.carry_out(scope, session, said)
        except BadOrder as bad:
            await reply_json(send, {"refused": str(bad), "answers": []}, 409)
        except (ValueError, RecursionError) as error:
            raise Refused from error
        else:
            await reply_json(send, {"refused": "", "answers": answers})

    def _page(self, name: str, session: Session, **values: Any) -> str:
        grant, why_not = session.grant, self._ordering.why_not(session.grant)
        start = {"csrf": session.csrf, "may_order": not why_not, "now_ms": int(time.time() * 1000)}
        about = {
            "holder": grant.note or f"access key {grant.id}",
            "role": grant.role,
            "ends_in": self._ends_in(session),
            "why_not": why_not,
            "start": json.dumps(start),
        }
        return self._pages.render(name, session=session, **about, **values)

    def _ends_in(self, session: Session) -> int:
        return max(0, int(session.began_mono + LIFE_SECONDS - time.monotonic()))


def _same(told: str, expected: str) -> bool:
    return compare_digest(told.encode(), expected.encode())
