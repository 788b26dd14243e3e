"""An application beside the routes: what a gateway gives it, and where its paths begin.

The console (`failshut_console.web`) is one. The gateway knows nothing of its pages. It hands over whose keys count, the audit,
and how the gateway is. An exception of the application is a 403, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from failshut_gateway.access.access_book import AccessBook
from failshut_gateway.access.last_uses import LastUses
from failshut_gateway.asking.audit import Audit
from failshut_gateway.wire.replies import Receive, Scope, Send

#: Where its paths begin: this one, and all below it.
SITE: Final = b"/console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What an application gets of its gateway. All of it is used in the event loop."""

    book: AccessBook
    uses: LastUses
    audit: Audit
    url: str
    """Under which callers reach the gateway."""
    health: Callable[[], Mapping[str, Any]]
    """How the gateway is; it waits for nothing."""
    streams_max: int
    """Connections that may be kept open for streams."""

    @property
    def secure(self) -> bool:
        """Whether callers come over TLS, whoever ends it."""
        return self.url.startswith("https://")


class Site(Protocol):
    """The application. It answers whatever lies at or below `SITE`, strangers included."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. An exception is the caller's to turn into a 403."""

    async def close(self) -> None:
        """End what runs for long: the gateway ends."""


MakeSite = Callable[[Inside], Site]


def is_site(raw_path: bytes) -> bool:
    """Return whether a path is the application's.

    >>> is_site(b"/console/gates"), is_site(b"/consoles")
    (True, False)
    """
    return raw_path == SITE or raw_path.startswith(SITE + b"/")
