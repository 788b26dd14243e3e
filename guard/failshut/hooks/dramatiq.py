"""Dramatiq: a gate before actors.

    broker.add_middleware(GateMiddleware({"refund": Gate("payments.refund")}, subject="service:refunds", again_ms=30_000))

A message that is withheld is skipped, and its actor does not run. With `again_ms` it is put back into the queue first, to come
again after that time; without, it is gone. Dramatiq lets an actor run after any error of a middleware but `SkipMessage`. So
whatever fails here, for example in `subject`, is logged and skips the message.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dramatiq.middleware import Middleware, SkipMessage

from failshut.execution import Execution
from failshut.gate import Gate
from failshut.hooks.naming import Naming, named
from failshut.withheld import Withheld

logger = logging.getLogger(__name__)


class GateMiddleware(Middleware):
    """Runs each message of the named actors inside an execution of their gate. `subject` may be a function of the message."""

    def __init__(self, gates: Mapping[str, Gate], *, subject: Naming, again_ms: int | None = None) -> None:
        self._gates, self._subject, self._again_ms = dict(gates), subject, again_ms
        self._running: dict[str, Execution] = {}  # by message: as many as the worker has threads

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Enter an execution. Raises SkipMessage for whatever keeps it from being entered."""
        gate = self._gates.get(message.actor_name)
        if gate is None:
            return
        try:
            execution = gate.execution(named(self._subject, message))
            execution.__enter__()
            self._running[message.message_id] = execution
        except BaseException as error:
            if not isinstance(error, Withheld):
                logger.exception("a message of %s was skipped: its gate could not be asked", message.actor_name)
            elif self._again_ms is not None:
                broker.enqueue(message, delay=self._again_ms)
            raise SkipMessage(str(error)) from error

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Leave the execution, with the actor's outcome."""
        execution = self._running.pop(message.message_id, None)
        if execution is not None:
            execution.__exit__(type(exception) if exception else None, exception, None)
