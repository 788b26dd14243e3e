"""Sessions: what a browser gets in exchange for an access key, for a while.

A session is a random token in a cookie. Here stands its SHA-256, so that nobody who reads this process's memory dump signs in.
A session lives as long as its key counts, `LIFE_SECONDS` at most, and `IDLE_SECONDS` without a request or a stream. Each of
its pages and streams asks `lives`; so a session that ends, ends in every tab at once.

Limits: sessions belong to one gateway, and end with it. A gateway does not know of the sessions of others.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from failshut_gateway.access.grant import Grant

LIFE_SECONDS: Final = 4 * 3600.0
IDLE_SECONDS: Final = 15 * 60.0
SESSIONS_MAX: Final = 1_000
#: At this bound of one key its oldest session ends.
SESSIONS_OF_KEY_MAX: Final = 20
STREAMS_OF_SESSION_MAX: Final = 12
TOKEN_CHARS: Final = 43


class TooMany(Exception):
    """All sessions that there may be are in use, by other keys."""


@dataclass(slots=True, eq=False)
class Session:
    """One session. `over` is set once it has ended: whatever runs for long waits for it."""

    grant: Grant
    csrf: str
    began_mono: float
    seen_mono: float
    over: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0


class Sessions:
    """All sessions of one gateway. Only in the event loop.

    Args:
        counts: whether a key still counts, as it was when the session began.
        monotonic: a clock, in seconds.
    """

    def __init__(self, counts: Callable[[Grant], bool], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._monotonic = monotonic
        self._by_digest: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def begin(self, grant: Grant) -> tuple[str, Session]:
        """Return a new session and the token that names it. Raises TooMany."""
        self.sweep()
        own = [(digest, session) for digest, session in self._by_digest.items() if session.grant.id == grant.id]
        if len(own) >= SESSIONS_OF_KEY_MAX:
            self._end(*min(own, key=lambda one: one[1].began_mono))
        elif len(self._by_digest) >= SESSIONS_MAX:
            raise TooMany
        token, now = secrets.token_urlsafe(32), self._monotonic()
        session = Session(grant, secrets.token_urlsafe(32), now, now)
        self._by_digest[_digest(token)] = session
        return token, session

    def find(self, token: str) -> Session | None:
        """Return the session that a token names; None where there is none that lives."""
        if len(token) != TOKEN_CHARS:
            return None
        digest = _digest(token)
        session = self._by_digest.get(digest)
        if session is None or not self.lives(session):
            return None
        session.seen_mono = self._monotonic()
        return session

    def lives(self, session: Session) -> bool:
        """Return whether a session lives. One that does not has ended for good."""
        now = self._monotonic()
        kept = session.streams > 0 or now - session.seen_mono <= IDLE_SECONDS
        if not session.over.is_set() and kept and now - session.began_mono <= LIFE_SECONDS and self._counts(session.grant):
            return True
        self.end(session)
        return False

    def end(self, session: Session) -> None:
        """End one session, everywhere."""
        for digest, one in list(self._by_digest.items()):
            if one is session:
                self._end(digest, one)
        session.over.set()

    def end_all_of(self, key_id: str) -> int:
        """End every session of a key; return how many there were."""
        own = [session for session in self._by_digest.values() if session.grant.id == key_id]
        for session in own:
            self.end(session)
        return len(own)

    def sweep(self) -> None:
        """Forget the sessions that do not live any more."""
        for session in list(self._by_digest.values()):
            self.lives(session)

    def end_all(self) -> None:
        """End every session."""
        for digest, session in list(self._by_digest.items()):
            self._end(digest, session)

    def take_stream(self, session: Session) -> bool:
        """Count a stream of a session; False, and none is counted, where it has as many as it may."""
        if session.streams >= STREAMS_OF_SESSION_MAX:
            return False
        session.streams += 1
        return True

    def give_stream(self, session: Session) -> None:
        """Count a stream that ended."""
        session.streams -= 1
        session.seen_mono = self._monotonic()

    def _end(self, digest: bytes, session: Session) -> None:
        self._by_digest.pop(digest, None)
        session.over.set()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
