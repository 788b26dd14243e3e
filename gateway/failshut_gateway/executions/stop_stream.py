"""The stream that ends when an execution must: server-sent events, with a sign of life every second.

`begun` with the epoch, then comments (`: alive`), then `end` with how it ended. A stream that ends without `end`, or is silent
for some seconds, means the same as a closing: nobody knows whether the gate is open.

Limit: a caller that is paused keeps its stream, because its system answers for it. It acts on nothing while it is paused.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.responses import Response

from failshut_gateway.executions.execution_book import Executions
from failshut_gateway.executions.live import Live
from failshut_gateway.wire.replies import CLOSE, NO_STORE, Receive, Scope, Send

ALIVE_SECONDS: Final = 1.0
#: A caller that does not take a few bytes for so long is gone.
SEND_SECONDS_MAX: Final = 5.0


def event(name: str, data: dict[str, Any]) -> bytes:
    """Return one server-sent event.

    >>> event("end", {"outcome": "ok"})
    b'event: end\\ndata: {"outcome": "ok"}\\n\\n'
    """
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class StopStream(Response):
    """The reply to a caller that waits for the end of one execution."""

    media_type = "text/event-stream"

    def __init__(self, executions: Executions, live: Live) -> None:
        super().__init__()
        self._executions, self._live = executions, live
        self._stream = executions.open_stream(live)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the execution ends, its caller goes away, or another stream takes its place."""
        loop, live = asyncio.get_running_loop(), self._live
        waits = {loop.create_task(_gone(receive)), loop.create_task(live.over.wait()), loop.create_task(self._stream.wait())}
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), NO_STORE, CLOSE]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _part(send, event("begun", {"execution": live.id, "epoch": live.admitted.result().epoch}))
            while not any(task.done() for task in waits):
                await _part(send, b": alive\n\n")
                await asyncio.wait(waits, timeout=ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if live.ending is not None:
                await _part(send, event("end", live.ending.to_dict()))
            await send({"type": "http.response.body", "body": b""})
        finally:
            for task in waits:
                task.cancel()
            self._executions.close_stream(live, self._stream)


async def _part(send: Send, data: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS_MAX):
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
