"""The headers that the gateway listens to, each at most once.

A proxy that adds its own header behind a client's leaves two. Nobody can tell which one counts, so such a request is refused.
Everything else that a client sends is not even looked at: `X-Failshut-Epoch`, for example, is only ever said by the gateway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WANTED: Final = frozenset(
    {
        *(b"authorization", b"x-failshut-key", b"x-failshut-subject", b"x-failshut-operation"),
        *(b"content-type", b"content-length", b"transfer-encoding", b"x-request-id"),
    }
)
REQUEST_ID_BYTES_MAX: Final = 256


class Heard:
    """What the headers of one request say."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[bytes, bytes]) -> None:
        self._found = found

    @property
    def key(self) -> bytes | None:
        """The presented access key: `X-Failshut-Key`, or else a bearer's. None: there is none.

        A proxy that sets `X-Failshut-Key` speaks for itself; the `Authorization` beside it is its client's, for somebody else.
        """
        own = self._found.get(b"x-failshut-key")
        if own is not None:
            return own
        scheme, _, token = self._found.get(b"authorization", b"").partition(b" ")
        return token if scheme.lower() == b"bearer" and token else None

    @property
    def has_body(self) -> bool:
        """Whether a body follows, as far as the headers say."""
        return self._found.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self._found

    @property
    def body_bytes(self) -> int | None:
        """How long the body is said to be; None if it is not said, or not as a number."""
        text = self._found.get(b"content-length", b"")
        return int(text) if text.isdigit() and len(text) < 16 else None

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON."""
        return self._found.get(b"content-type", b"").partition(b";")[0].strip().lower() == b"application/json"

    @property
    def request_id(self) -> bytes | None:
        """The request's id, to be sent back as it came."""
        return self._found.get(b"x-request-id")

    @property
    def has_good_request_id(self) -> bool:
        """Whether its id, if it has one, is printable ASCII and not too long to be sent back."""
        text = self._found.get(b"x-request-id", b"x")
        return len(text) <= REQUEST_ID_BYTES_MAX and all(32 <= byte < 127 for byte in text)

    def text(self, name: bytes) -> str | None:
        """Return a header as text; None without it. Raises ValueError where it is no UTF-8."""
        value = self._found.get(name)
        return None if value is None else value.decode("utf-8")


def hear(headers: Iterable[tuple[bytes, bytes]]) -> Heard | None:
    """Return what the headers say; None if one that counts stands there twice."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found:
                return None
            found[name] = value
    return Heard(found)
