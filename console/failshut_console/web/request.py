"""What the console reads of a request: its path, cookie, origin, and a small body.

A header that counts may stand there once. A POST must come from a page of this console: the browser says so itself, in
`Sec-Fetch-Site` or in `Origin`. What does not say where it comes from is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from failshut_gateway.wire.body import TooLong, TooSlow, read_body
from failshut_gateway.wire.heard import hear
from failshut_gateway.wire.replies import Receive, Scope

BODY_BYTES_MAX: Final = 32 * 1024
FIELDS_MAX: Final = 20
PATH_CHARS_MAX: Final = 300
QUERY_BYTES_MAX: Final = 1_000
_ONCE: Final = frozenset((b"cookie", b"origin", b"sec-fetch-site", b"host", b"x-failshut-csrf", b"content-length"))


class Refused(Exception):
    """What cannot be meant: it is answered with 403, without a word."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a browser."""

    method: str
    path: str
    query: dict[str, str]
    cookies: dict[str, str]
    origin: str
    fetch_site: str
    host: str
    csrf: str
    peer: str

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """Read the head of a request. Raises Refused."""
        found: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _ONCE:
                if name in found:
                    raise Refused
                found[name] = value.decode("latin-1")
        path = scope["path"]
        if (
            len(path) > PATH_CHARS_MAX
            or not path.isascii()
            or not path.isprintable()
            or len(scope["query_string"]) > QUERY_BYTES_MAX
        ):
            raise Refused
        client = scope.get("client")
        return cls(
            method=scope["method"],
            path=path,
            query=_pairs(scope["query_string"].decode("latin-1")),
            cookies=_cookies(found.get(b"cookie", "")),
            origin=found.get(b"origin", ""),
            fetch_site=found.get(b"sec-fetch-site", ""),
            host=found.get(b"host", ""),
            csrf=found.get(b"x-failshut-csrf", ""),
            peer=str(client[0]) if client else "",
        )

    def is_own(self, url: str) -> bool:
        """Return whether it comes from a page of this console, as its browser says. `url` is where the gateway is reached."""
        if self.fetch_site:
            return self.fetch_site == "same-origin"
        place = urlsplit(self.origin).netloc if self.origin not in ("", "null") else ""
        return bool(place) and place in (self.host, urlsplit(url).netloc)


async def form_of(scope: Scope, receive: Receive) -> dict[str, str]:
    """Return the fields of a form. Raises Refused."""
    try:
        return _pairs((await body_of(scope, receive)).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused from error


async def body_of(scope: Scope, receive: Receive) -> bytes:
    """Return a small body. Raises Refused."""
    heard = hear(scope["headers"])
    if heard is None:
        raise Refused
    try:
        return await read_body(receive, heard, BODY_BYTES_MAX)
    except (TooLong, TooSlow) as error:
        raise Refused from error


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise Refused from error
    if len(dict(pairs)) != len(pairs):
        raise Refused
    return dict(pairs)


def _cookies(text: str) -> dict[str, str]:
    """Return cookies; of one that stands there twice nobody can tell which counts, so neither does."""
    found: dict[str, str] = {}
    twice = set()
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name in found:
            twice.add(name)
        found[name] = value
    return {name: value for name, value in found.items() if name not in twice}
