"""A witness over HTTP (C2SP tlog-witness), as an ASGI application: one path that cosigns, and one that shows.

One request is judged at a time, in a thread: no two of a log can be cosigned that do not continue each other. The new state is
on the disk before the cosignature is sent. Where the disk fails, nothing is signed, and the disk is asked what it holds before
the next request. Limits: one slow disk holds every log up; requests that wait are bounded by the connections.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from failshut_ledger.disk.witness_state import WitnessState
from failshut_ledger.errors import LedgerError
from failshut_ledger.notes.keys import Signer
from failshut_ledger.witness.judging import FORKED, STALE, Continues, Refused, cosigned, judge
from failshut_ledger.witness.request import ADD_PATH, REQUEST_BYTES_MAX, SIZE_TYPE

logger = logging.getLogger(__name__)

BODY_SECONDS_MAX: Final = 10.0
_FAILED: Final = 500
_TEXT: Final = "text/plain; charset=utf-8"
_SHOW = re.compile(r"/([0-9a-f]{64})/checkpoint")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class WitnessService:
    """One witness. `cosigned` counts its cosignatures, `refused` its other answers by status."""

    def __init__(
        self, state: WitnessState, signers: Sequence[Signer], clock: Callable[[], float] = time.time, *, body_bytes_max: int = 0
    ) -> None:
        self._state, self._signers, self._clock = state, tuple(signers), clock
        self._body_bytes_max = body_bytes_max or REQUEST_BYTES_MAX
        self._one = ThreadPoolExecutor(1, "failshut-witness")
        self._doubted: set[str] = set()  # logs whose last write failed: the disk knows
        self.cosigned = 0
        self.refused: dict[int, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path == ADD_PATH and method == "POST":
            body = await _body(receive, self._body_bytes_max)
            if body is None:
                await _reply(send, 400, b"the body is too long, or did not come in time\n", close=True)
                return
            await _reply(send, *await self._in_thread(self._add, body))
        elif (found := _SHOW.fullmatch(path)) and method == "GET":
            await _reply(send, *await self._in_thread(self._show, found[1]))
        else:
            await _reply(send, 404, b"a witness has POST /add-checkpoint and GET /HASH/checkpoint\n", close=True)

    def close(self) -> None:
        """End, when the request that runs is answered."""
        self._one.shutdown(wait=True)

    async def _in_thread(self, answer: Callable[[Any], tuple[int, bytes, str]], asked: object) -> tuple[int, bytes, str]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._one, answer, asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was signed
            said = str(error) if isinstance(error, LedgerError) else type(error).__name__
            logger.error("a request was not answered: %s", said)
            return _FAILED, b"the witness cannot answer now\n", _TEXT

    def _add(self, body: bytes) -> tuple[int, bytes, str]:
        """Judge a request, keep the new state, and cosign. Raises LedgerError where the state cannot be kept."""
        for origin in sorted(self._doubted):
            self._state.again(origin)
            self._doubted.discard(origin)
        found = judge(body, self._state.logs)
        if isinstance(found, Refused):
            return self._refuse(found)
        return self._cosign(found)

    def _cosign(self, found: Continues) -> tuple[int, bytes, str]:
        origin = found.checkpoint.origin
        note, lines = cosigned(found, self._signers, int(self._clock()))
        self._doubted.add(origin)
        self._state.keep(origin, note)
        self._doubted.discard(origin)
        self.cosigned += 1
        return 200, lines, _TEXT

    def _refuse(self, found: Refused) -> tuple[int, bytes, str]:
        self.refused[found.status] = self.refused.get(found.status, 0) + 1
        if found.status == STALE:
            return STALE, f"{found.size}\n".encode(), SIZE_TYPE
        if found.status == FORKED:  # one of its keys has signed it
            logger.warning("a log was refused: %a", found.why[:500])
        return found.status, f"{found.why[:500]!a}\n".encode(), _TEXT

    def _show(self, name: str) -> tuple[int, bytes, str]:
        note = self._state.note(name)
        return (404, b"nothing of that log was cosigned\n", _TEXT) if note is None else (200, note, _TEXT)


async def _body(receive: Receive, bytes_max: int) -> bytes | None:
    """Return the whole body; None where it is longer than the bound, or does not come in time."""
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                parts.append(message.get("body", b""))
                if sum(map(len, parts)) > bytes_max:
                    return None
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return None


async def _reply(send: Send, status: int, body: bytes, kind: str = _TEXT, *, close: bool = False) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"connection", b"close")] if close else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
