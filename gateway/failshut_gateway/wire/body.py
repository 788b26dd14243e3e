"""The body of a request, bounded in bytes and in time.

What is said to be too long is refused before a byte of it is read. A body without a length is read up to the bound.
"""

from __future__ import annotations

import asyncio
from typing import Final

from failshut_gateway.wire.heard import Heard
from failshut_gateway.wire.replies import Receive

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 5.0


class TooLong(Exception):
    """The body is longer than the bound, or does not say its length in digits."""


class TooSlow(Exception):
    """The body did not come in time, or its sender went away."""


async def read_body(receive: Receive, heard: Heard, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the whole body. Raises TooLong, TooSlow."""
    said = heard.body_bytes
    if said is not None and said > bytes_max:
        raise TooLong
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise TooSlow
                part: bytes = message.get("body", b"")
                length += len(part)
                if length > bytes_max:
                    raise TooLong
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise TooSlow from error
