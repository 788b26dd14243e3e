"""Answers of the store, bounded before they are read.

A server says how long an answer is before it sends it. redis-py accepts any length. So one value of 400 MB under one gate's
key, in a pushed message or in a list would fill the memory of every guard. The guard could then serve no other gate. This
parser refuses an answer that is longer than anything of ours, and does not read it. The connection is then closed, as after
any other failure.

Limit: it depends on two names inside redis-py (`_RESP2Parser`, and `read` of its buffer), which tests hold in place.
"""

from __future__ import annotations

from typing import Any, Final

import redis
from redis._parsers import _RESP2Parser

from failshut.seal import SEAL_BYTES_MAX

#: The longest value of ours is a seal.
VALUE_BYTES_MAX: Final = SEAL_BYTES_MAX + 1
#: All values of one answer: a read of 128 gates has at most half of it.
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024


class TooLong(redis.InvalidResponse):
    """The store was about to send more than anything of ours is long."""


def check_length(value_bytes: int, answer_bytes: int = 0) -> None:
    """Raise TooLong where a value, or the answer that it is a part of, is longer than anything of ours."""
    if value_bytes > VALUE_BYTES_MAX:
        raise TooLong(f"an answer of {value_bytes} bytes; at most {VALUE_BYTES_MAX} are read")
    if answer_bytes > ANSWER_BYTES_MAX:
        raise TooLong(f"an answer of more than {ANSWER_BYTES_MAX} bytes in all")


class BoundedParser(_RESP2Parser):
    """redis-py's own parser, with a bound."""

    def on_connect(self, connection: Any) -> None:
        """Take the connection's socket, and bound what is read from it."""
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        buffer: Any = self._buffer
        read = buffer.read

        def bounded(length: int, *more: Any, **named: Any) -> bytes:
            check_length(length, buffer.get_pos())
            data: bytes = read(length, *more, **named)
            return data

        buffer.read = bounded
