"""Outcomes of one gate put together, so that a second of executions is a record or two, and no condition reads less.

A gate's conditions read how many executions ended in which way, and which of them failed one after the other. They also read
which numbers of a guard's count came (failure_rate.py, sent.py). So entries are put together only where none of that changes.
They are neighbours with the same outcome, of one guard, process and epoch, and their numbers follow each other. Cancelled
executions count as nothing and part no neighbours. What holds a probe's token stays by itself.

What went well may wait for more of its kind, in the store, for a second or a twentieth of the window that reads it. What did
not is never waited for: outcomes.lua sees it, and then the whole stream is read, in its order.

Limits: guards of several processes make a record each. A gate at which good and bad alternate has as many records as entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from failshut_breakers.policy.policy import Entry, FailureRate

WAIT_MS: Final = 1_000
"""So long an outcome may wait in the store for others, at most."""
WINDOW_PARTS: Final = 20
"""And no longer than this part of the shortest window that reads it: a short window would else see them in lumps."""
COUNT_MAX: Final = 2**31 - 1
"""The largest count of a record."""
_WAITS_KEPT: Final = 100_000

Said = dict[str, Any]
"""An outcome as a record says it."""


def put_together(outcomes: Iterable[Said]) -> list[Said]:
    """Return the same outcomes of one gate, in as few records as say the same, in the order in which each begins.

    >>> ok = {"outcome": "ok", "epoch": "0", "guard": "a", "token": "", "lost": 0}
    >>> put_together([ok | {"count": 2, "total": 2, "id": "1"}, ok | {"count": 3, "total": 5, "id": "2"}])
    [{'outcome': 'ok', 'epoch': '0', 'guard': 'a', 'token': '', 'lost': 0, 'count': 5, 'total': 5, 'id': '2'}]
    """
    records: list[Said] = []
    newest: dict[tuple[str, ...], Said] = {}
    outcome = ""
    for said in outcomes:
        if said["outcome"] not in (outcome, "cancelled") or said["token"]:
            newest = {key: record for key, record in newest.items() if record["outcome"] == "cancelled"}
            outcome = said["outcome"]
        if said["token"]:
            records.append(said)
            continue
        key = (said["outcome"], said["guard"], said.get("instance", ""), said["epoch"])
        before = newest.get(key)
        if before is not None and _follows(before, said):
            before["count"] += said["count"]
            before["lost"] += said["lost"]
            before["total"], before["id"] = said["total"], said["id"]
        else:
            newest[key] = dict(said)
            records.append(newest[key])
    return records


def _follows(before: Said, said: Said) -> bool:
    """Return whether one record can say both: their numbers follow each other, and it has room for them."""
    joins = not said["guard"] or said["total"] - said["count"] == before["total"]
    return joins and all(before[name] + said[name] <= COUNT_MAX for name in ("count", "lost"))


def wait_ms_of(entry: Entry) -> int:
    """Return how long outcomes of a gate may wait for others."""
    conditions = entry.policy.conditions if entry.policy is not None else ()
    windows = [condition.window // WINDOW_PARTS for condition in conditions if isinstance(condition, FailureRate)]
    return min([WAIT_MS, *windows])


class Waits:
    """How long outcomes of each gate may wait, by the policies in force; asked of every gate ten times a second."""

    def __init__(self, entries: Callable[[], Mapping[str, Entry]]) -> None:
        self._entries = entries
        self._known: dict[str, int] = {}  # by the policy's digest

    def __call__(self, gate: str) -> int:
        """Return milliseconds; none where no policy speaks of the gate any more."""
        entry = self._entries().get(gate)
        if entry is None:
            return 0
        wait_ms = self._known.get(entry.digest)
        if wait_ms is None:
            if len(self._known) >= _WAITS_KEPT:
                self._known.clear()
            wait_ms = self._known[entry.digest] = wait_ms_of(entry)
        return wait_ms
