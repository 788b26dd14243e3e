"""Answers of the store to the monitor, bounded before they are read, as failshut.store.answers does for guards.

Guards write the stream of outcomes, so its entries may have any length.
"""

from __future__ import annotations

from redis._parsers import _AsyncRESP2Parser

from failshut.store.answers import check_length


class BoundedAsyncParser(_AsyncRESP2Parser):
    """redis-py's own parser, with a bound. For clients with `protocol=2`."""

    async def _read(self, length: int) -> bytes:
        check_length(length, self._pos)
        return await super()._read(length)
