"""FastAPI: a gate before one route, as a dependency. The route gets the execution, and passes its fencing token on.

    @app.post("/refunds")
    async def refund(execution: Annotated[Execution, Depends(admitted(refunds, subject="service:refunds"))]):
        await pay(..., fencing_token=execution.fencing_token)

A call that is withheld gets 503 with its cause, and the route is not called. Whatever fails in `subject` is a 500, and the
route is not called either. For many routes at once there is the middleware in asgi.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from fastapi import HTTPException, Request

from failshut.execution import Execution
from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld


def admitted(gate: Gate, *, subject: Naming) -> Callable[[Request], AsyncIterator[Execution]]:
    """Return a dependency that enters an execution before the route, and leaves it behind it."""

    async def enter(request: Request) -> AsyncIterator[Execution]:
        try:
            async with gate.execution(named(subject, request)) as execution:
                yield execution
        except Withheld as denial:
            raise HTTPException(503, told(denial)) from denial

    enter.__annotations__ = {"request": Request, "return": AsyncIterator[Execution]}  # FastAPI reads objects, not texts
    return enter
