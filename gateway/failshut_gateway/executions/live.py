"""One execution whose action runs elsewhere: the guard's own execution, held open by a task of the gateway.

The task is inside `async with gate.execution(...)`, as a Python service would be. So a closing, a lapse and a withdrawn key
reach it as they reach every execution, and its outcome is counted where all are. The task waits for a word of its caller, and
leaves the block as that word says. Whatever else ends the task is `interrupted`.

Limit: the action is not here. The caller must stop it when its stream ends, however it ends.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final, NamedTuple

from failshut import Execution, Gate, Withheld
from failshut.background.outcomes import CANCELLED, FAILED, INTERRUPTED, OK
from failshut.cause import Cause
from failshut_gateway.access.grant import Grant
from failshut_gateway.asking.verdict import withheld

#: What a caller may say of the end.
OUTCOMES: Final = (OK, FAILED, CANCELLED)
#: The gate closed, or its caller may ask no more: the action must stop.
STOPPED: Final = "stopped"


class Ending(NamedTuple):
    """How an execution ended: one of the outcomes, `interrupted` or `stopped`, and why."""

    outcome: str
    cause: Cause | None = None
    because: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it for its caller."""
        told = {"outcome": self.outcome}
        if self.cause is not None:
            return {**told, **withheld(self.cause, self.because).context()}
        return {**told, "because": self.because} if self.because else told


class _Failed(Exception):
    """The caller says that its action failed."""


class _Lost(BaseException):
    """The caller says no more. No Exception, so that the guard counts it as interrupted."""


class Live:
    """One execution. Only in the event loop; `run` is its task."""

    def __init__(self, grant: Grant, gate: Gate, subject: str, operation: str | None, now_mono: float) -> None:
        self.id = secrets.token_hex(16)
        self.grant = grant
        self.ending: Ending | None = None
        """None while it runs."""
        self.over = asyncio.Event()
        self.admitted: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        """The guard's execution; raises Withheld where the guard denies."""
        self.seen_mono = now_mono
        """When its caller was heard last, where no stream is open."""
        self.stream: asyncio.Event | None = None
        """The open stream's; set, it ends that stream."""
        self._gate, self._subject, self._operation = gate, subject, operation
        self._word: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        """Have it end. The first word counts; `over` follows, and `ending` says what came of it."""
        if not self._word.done():
            self._word.set_result(ending)

    async def run(self) -> None:
        """Enter, wait for the word, and leave. Never raises."""
        ending = Ending(INTERRUPTED, because="the gateway stopped")
        try:
            async with self._gate.execution(self._subject, self._operation) as execution:
                self.admitted.set_result(execution)
                self._leave(await self._word)
            ending = self._word.result()
        except (_Failed, _Lost):
            ending = self._word.result()
        except Withheld as denial:
            said = self._word.result() if self._word.done() and not self._word.cancelled() else None
            mine = said is not None and said.outcome in (CANCELLED, STOPPED) and denial.because == _LEFT
            ending = said if said is not None and mine else Ending(STOPPED, denial.cause, denial.because)
            self._deny(denial)
        except BaseException as error:  # noqa: BLE001 - the guard has counted it as interrupted or failed, and nobody goes on
            if not isinstance(error, asyncio.CancelledError):
                ending = Ending(INTERRUPTED, Cause.FAULT, type(error).__name__)
            self._deny(Withheld(self._gate.name, Cause.FAULT, "it could not begin"))
        finally:
            self.ending = ending
            self.over.set()

    def _leave(self, word: Ending) -> None:
        """Leave the block so that the guard counts what the word says."""
        if word.outcome == OK:
            return
        if word.outcome == FAILED:
            raise _Failed
        if word.outcome in (CANCELLED, STOPPED):
            raise Withheld(self._gate.name, word.cause or Cause.FAULT, _LEFT)
        raise _Lost

    def _deny(self, denial: Withheld) -> None:
        if not self.admitted.done():
            self.admitted.set_exception(denial)


_LEFT: Final = "left by its caller's word"
