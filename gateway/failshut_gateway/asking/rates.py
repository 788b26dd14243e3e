"""How often each access key may ask: a bucket of tokens for each, filled at the key's rate.

Only callers that are known reach it. Issuers may know any number of them, so buckets that are full again make room at the
bound. A caller that finds no room is refused. Limit: each gateway counts for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

RATE_DEFAULT: Final = 5_000
BUCKETS_MAX: Final = 10_000


class Rates:
    """Buckets by key id. A bucket holds what a key may ask within one second.

    Args:
        per_second: questions of one key in a second.
        monotonic: a clock, in seconds.
    """

    def __init__(self, per_second: int = RATE_DEFAULT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._buckets: dict[str, tuple[float, float]] = {}
        self._swept = float("-inf")

    def take(self, key_id: str, questions: int = 1) -> bool:
        """Take so many tokens of a key's bucket. Return False, and take none, where there are fewer."""
        now = self._monotonic()
        tokens, since = self._buckets.get(key_id, (float(self._per_second), now))
        tokens = min(float(self._per_second), tokens + (now - since) * self._per_second)
        enough = tokens >= questions
        if len(self._buckets) >= BUCKETS_MAX and key_id not in self._buckets and not self._make_room(now):
            return False
        self._buckets[key_id] = (tokens - questions if enough else tokens, now)
        return enough

    def _make_room(self, now: float) -> bool:
        """Forget the buckets that are full again, at most once a second. Return whether there is room."""
        if now - self._swept >= 1.0:
            self._swept = now
            self._buckets = {key_id: bucket for key_id, bucket in self._buckets.items() if now - bucket[1] < 1.0}
        return len(self._buckets) < BUCKETS_MAX
