"""The stream of a page: server-sent events with what has changed, one at least every second.

`seen` has rows that are new or changed, gates that are gone, and lives of permits. `gate` has one gate in full, `health` the
workers. `blind` says that nothing can be known now, and why. `over` is the last: the session has ended. A stream that is
silent for some seconds means the same as `blind`.

A session that ends, ends its streams at the next look. Whoever does not take what is sent for `SEND_SECONDS_MAX` is gone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from failshut_console.web.gate_feed import GateFeed
from failshut_console.web.gate_rows import Seen, gate_of, workers_of
from failshut_console.web.sessions import Session, Sessions
from failshut_gateway.wire.replies import CLOSE, NO_STORE, Receive, Send

SEND_SECONDS_MAX: Final = 5.0
ALIVE_SECONDS: Final = 1.0
#: Lives of permits change all the time: of few gates they are told this often, of many every second.
LIVES_SECONDS: Final = 0.3
LIVES_OFTEN_MAX: Final = 500


class Watcher:
    """What one page was told, and what it must be told next. `gate` empty: the list of all gates."""

    def __init__(self, session: Session, gate: str = "", health: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self._covers = session.grant.covers_gate
        self._gate, self._health = gate, health
        self._rows: dict[str, str] = {}
        self._lives: dict[str, tuple[int, int]] = {}
        self._lives_mono = self._said_mono = float("-inf")
        self._first = True

    def news(self, seen: Seen, mono: float) -> Iterator[bytes]:
        """Yield the events that tell what was seen."""
        due = mono - self._said_mono >= ALIVE_SECONDS
        if seen.look is None:
            if due:
                self._said_mono = mono
                yield event("blind", json.dumps({"now_ms": seen.now_ms, "why": seen.blind}))
            return
        text = self._text(seen, mono, due)
        if text is not None:
            self._said_mono = mono
            yield text

    def _text(self, seen: Seen, mono: float, due: bool) -> bytes | None:
        look = seen.look
        assert look is not None  # noqa: S101 - the caller asked
        if self._health is not None:
            return event("health", json.dumps({**workers_of(look), **self._health()})) if due else None
        if self._gate:
            row = seen.rows.get(self._gate, "")
            if not due and row == self._rows.get(self._gate):
                return None
            self._rows = {self._gate: row}
            view = next((view for view in look.gates if view.gate == self._gate), None)
            said = {"now_ms": look.now_ms, "gate": None if view is None else gate_of(view, look)}
            return event("gate", json.dumps(said))
        return self._list(seen, mono, due)

    def _list(self, seen: Seen, mono: float, due: bool) -> bytes | None:
        mine = {gate: text for gate, text in seen.rows.items() if self._rows.get(gate) is text or self._covers(gate)}
        rows = [text for gate, text in mine.items() if self._rows.get(gate) is not text]
        gone = [gate for gate in self._rows if gate not in mine]
        lives: dict[str, tuple[int, int]] = {}
        if rows or mono - self._lives_mono >= (LIVES_SECONDS if len(mine) <= LIVES_OFTEN_MAX else ALIVE_SECONDS):
            lives = {gate: seen.lives[gate] for gate in mine if self._lives.get(gate) != seen.lives[gate]}
            self._lives.update(lives)
            self._lives_mono = mono
        if not (rows or gone or lives or due or self._first):
            return None
        look = seen.look
        assert look is not None  # noqa: S101 - the caller asked
        head = {
            "now_ms": look.now_ms,
            "age_ms": look.evidence_age_ms,
            "waits": look.waits,
            "workers": len(look.workers),
            "troubles": sum(len(worker.troubles) + len(worker.gaps) for worker in look.workers),
            "full": self._first,
            "gone": gone,
            "lives": lives,
        }
        self._rows, self._first = mine, False
        return event("seen", f'{json.dumps(head, separators=(",", ":"))[:-1]},"rows":[{",".join(rows)}]}}')


class GateStream:
    """The reply to a page that watches."""

    def __init__(self, feed: GateFeed, sessions: Sessions, session: Session, watcher: Watcher) -> None:
        self._feed, self._sessions, self._session, self._watcher = feed, sessions, session, watcher

    async def send_to(self, receive: Receive, send: Send) -> None:
        """Send until the session ends or the page goes away."""
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_gone(receive))
        over = loop.create_task(self._session.over.wait())
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), NO_STORE, CLOSE]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            number = -1  # before the first look
            while not gone.done() and not over.done() and self._sessions.lives(self._session):
                news = loop.create_task(self._feed.after(number) if number >= 0 else self._feed.now())
                try:
                    await asyncio.wait({news, gone, over}, return_when=asyncio.FIRST_COMPLETED)
                    if not news.done():
                        break
                finally:
                    news.cancel()
                seen = news.result()
                number = seen.number
                for part in self._watcher.news(seen, time.monotonic()):
                    await _part(send, part)
            if not gone.done():
                await _part(send, event("over", "{}"))
                await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            over.cancel()


def event(name: str, text: str) -> bytes:
    """Return one server-sent event. The text is one line.

    >>> event("over", "{}")
    b'event: over\\ndata: {}\\n\\n'
    """
    return f"event: {name}\ndata: {text}\n\n".encode()


async def _part(send: Send, data: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS_MAX):
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
