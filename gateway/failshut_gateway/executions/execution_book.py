"""All executions that callers have begun over HTTP: bounded, and watched for callers that are lost.

A caller shows that it lives by an open stream, or by asking. One that does neither for `lost_seconds` is lost, and its
execution is `interrupted`. One whose key is revoked meanwhile is stopped. At the bound nobody begins another: 429. How the last
`ENDED_MAX` executions ended is remembered for late callers.

Limit: a gateway keeps its executions to itself. When it ends, all of them are interrupted, and their streams end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from failshut import Cause, Gate, Withheld
from failshut.background.outcomes import INTERRUPTED
from failshut_gateway.access.grant import Grant
from failshut_gateway.executions.live import STOPPED, Ending, Live

EXECUTIONS_MAX: Final = 4_096
LOST_SECONDS: Final = 10.0
ENDED_MAX: Final = 4_096
#: The part of all executions that one key may have at once.
SHARE_OF_KEY: Final = 0.5
_LOOK_SECONDS_MAX: Final = 0.5
_CLOSE_SECONDS_MAX: Final = 2.0


class TooMany(Exception):
    """As many executions run as may, or streams are open."""


class Executions:
    """The executions of one gateway. Only in the event loop.

    Args:
        counts: whether a caller's grant still counts.
        executions_max: how many may run at once.
        streams_max: how many of them may have a stream open.
        lost_seconds: how long a caller may be silent.
    """

    # Long: one argument for each bound.
    def __init__(
        self,
        counts: Callable[[Grant], bool],
        *,
        executions_max: int = EXECUTIONS_MAX,
        streams_max: int = EXECUTIONS_MAX,
        lost_seconds: float = LOST_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._executions_max, self._streams_max = executions_max, streams_max
        self.lost_seconds = lost_seconds
        self._monotonic = monotonic
        self._live: dict[str, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_key: Counter[str] = Counter()
        self._ended: OrderedDict[str, Live] = OrderedDict()
        self._watch_task: asyncio.Task[None] | None = None
        self._closed = False
        self.streams = 0
        self.outcomes: Counter[str] = Counter()
        """How many ended, by outcome."""

    def __len__(self) -> int:
        return len(self._live)

    async def begin(self, grant: Grant, gate: Gate, subject: str, operation: str | None) -> Live:
        """Return an execution that was admitted. Raises Withheld, or TooMany at the bound."""
        if self._closed:
            raise Withheld(gate.name, Cause.FAULT, "the gateway is ending")
        of_key_max = max(1, int(self._executions_max * SHARE_OF_KEY))
        if len(self._live) >= self._executions_max or self._of_key[grant.id] >= of_key_max:
            raise TooMany
        live = Live(grant, gate, subject, operation, self._monotonic())
        self._live[live.id] = live
        self._of_key[grant.id] += 1
        task = asyncio.get_running_loop().create_task(live.run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._retire(live, done))
        if self._watch_task is None or self._watch_task.done():
            self._watch_task = asyncio.get_running_loop().create_task(self._watch())
        await asyncio.shield(live.admitted)
        live.seen_mono = self._monotonic()
        return live

    def find(self, grant: Grant, execution: str) -> Live | None:
        """Return a key's own execution, running or ended; its caller is heard by that. Nobody finds another's."""
        live = self._live.get(execution) or self._ended.get(execution)
        if live is None or live.grant.id != grant.id or not live.admitted.done() or live.admitted.exception() is not None:
            return None
        live.seen_mono = self._monotonic()
        return live

    def open_stream(self, live: Live) -> asyncio.Event:
        """Return what ends a new stream of this execution; the former one ends now. Raises TooMany."""
        if live.stream is not None:
            live.stream.set()
        elif self.streams >= self._streams_max:
            raise TooMany
        else:
            self.streams += 1
        live.stream = asyncio.Event()
        return live.stream

    def close_stream(self, live: Live, stream: asyncio.Event) -> None:
        """Note that a stream has ended. From now on its caller is silent, unless another one is open."""
        if live.stream is stream:
            self.streams -= 1
            live.stream = None
            live.seen_mono = self._monotonic()

    async def close(self) -> None:
        """Interrupt all executions, so that their streams end. Nobody begins another."""
        self._closed = True
        for live in list(self._live.values()):
            live.end(Ending(INTERRUPTED, because="the gateway is ending"))
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_SECONDS_MAX)

    def _retire(self, live: Live, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._live.pop(live.id, None)
        self._of_key[live.grant.id] -= 1
        if not self._of_key[live.grant.id]:
            del self._of_key[live.grant.id]
        if live.admitted.done() and live.admitted.exception() is None and live.ending is not None:
            self.outcomes[live.ending.outcome] += 1
            self._ended[live.id] = live
            if len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)

    async def _watch(self) -> None:
        """Look at all executions until there is none."""
        while self._live:
            await asyncio.sleep(min(_LOOK_SECONDS_MAX, self.lost_seconds / 4))
            now_mono = self._monotonic()
            for live in list(self._live.values()):
                if not self._counts(live.grant):
                    live.end(Ending(STOPPED, Cause.IDENTITY, "the caller's access has ended"))
                elif live.stream is None and now_mono - live.seen_mono > self.lost_seconds:
                    live.end(Ending(INTERRUPTED, because="its caller was lost"))
