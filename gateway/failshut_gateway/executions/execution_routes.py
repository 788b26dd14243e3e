"""The routes of executions: begin, look, stream, outcome. None of them takes a body."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from failshut import Withheld
from failshut.background.outcomes import CANCELLED, FAILED, OK
from failshut.cause import Cause
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.asking.asker import Asker
from failshut_gateway.asking.audit import Audit
from failshut_gateway.asking.verdict import Verdict, withheld
from failshut_gateway.documented.granted import HEARD, REFUSED, may
from failshut_gateway.executions.execution_book import Executions, TooMany
from failshut_gateway.executions.live import Ending, Live
from failshut_gateway.executions.stop_stream import StopStream
from failshut_gateway.wire.heard import Heard

_BEGIN: Final[dict[int | str, dict[str, Any]]] = {
    **REFUSED,
    403: {"description": "Withheld, and why, to a key that is for this gate and subject. Otherwise refused, and empty."},
    429: {"description": "The key asks too often, or as many executions run as may. Empty."},
}
_GONE: Final[dict[int | str, dict[str, Any]]] = {
    **REFUSED,
    404: {"description": "The key has no such execution."},
    410: {"description": "It has ended, and how: the action must stop."},
}


#: Whose request it is, where the role may ask.
Asks = Annotated[Grant, Depends(may(Act.ASK))]


class Said(StrEnum):
    """How a caller says that its action ended."""

    OK = OK
    FAILED = FAILED
    CANCELLED = CANCELLED


# Long: one function for each route, which FastAPI takes its documentation from.
def execution_router(executions: Executions, asker: Asker, audit: Audit) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    def mine(execution: str, grant: Grant) -> Live:
        live = executions.find(grant, execution)
        if live is None:
            raise HTTPException(404)
        return live

    @router.post(
        "/v1/gates/{gate}/executions", status_code=201, responses=_BEGIN, summary="Begin: admission, epoch, a probe's token."
    )
    async def begin(
        gate: str,
        request: Request,
        grant: Asks,
        x_failshut_subject: Annotated[str | None, Header()] = None,
        x_failshut_operation: Annotated[str | None, Header()] = None,
    ) -> Response:
        subject, operation = _named(request, grant)
        if not subject or not asker.covers(grant, gate, subject):
            audit.refuse(request.scope, "not_covered" if subject else "no_subject", grant.id, gate=gate, subject=subject)
            raise HTTPException(403)
        found = asker.gate(grant, gate)
        if found is None:
            return _denied(withheld(Cause.UNKNOWN_GATE, "no gate has this name, or too many gates were asked for"))
        try:
            live = await executions.begin(grant, found, subject, operation)
        except Withheld as denial:
            return _denied(withheld(denial.cause, denial.because))
        except TooMany:
            raise HTTPException(429) from None
        permit = live.admitted.result().permit
        told = {"execution": live.id, "lost_after_ms": int(executions.lost_seconds * 1000), **Verdict(permit).context()}
        return JSONResponse(told, 201, {"x-failshut-epoch": permit.epoch, "cache-control": "no-store"})

    @router.get("/v1/executions/{execution}", responses=_GONE, summary="May it go on? Asking shows that the caller lives.")
    async def look(execution: str, grant: Asks) -> Response:
        live = mine(execution, grant)
        if live.ending is not None:
            return _ended(410, live.ending)
        told = {"execution": live.id, "state": "running", "epoch": live.admitted.result().epoch}
        return JSONResponse(told, headers={"cache-control": "no-store"})

    @router.get("/v1/executions/{execution}/stream", responses=_GONE, summary="Events; the stream ends when the action must.")
    async def stream(execution: str, grant: Asks) -> Response:
        live = mine(execution, grant)
        if live.ending is not None:
            return _ended(410, live.ending)
        try:
            return StopStream(executions, live)
        except TooMany:
            raise HTTPException(429) from None

    @router.post("/v1/executions/{execution}/{outcome}", responses=_GONE, summary="End: how the action ended. Once.")
    async def outcome(execution: str, outcome: Said, grant: Asks) -> Response:
        live = mine(execution, grant)
        live.end(Ending(outcome.value))
        await live.over.wait()
        ending = live.ending
        if ending is None:
            raise HTTPException(403)
        return _ended(200 if ending.outcome == outcome.value else 410, ending)

    return router


def _named(request: Request, grant: Grant) -> tuple[str, str | None]:
    """Return subject and operation as the headers say them; no subject where they are no text."""
    heard: Heard = request.scope[HEARD]
    try:
        return heard.text(b"x-failshut-subject") or grant.only_subject, heard.text(b"x-failshut-operation")
    except ValueError:
        return "", None


def _denied(verdict: Verdict) -> Response:
    return JSONResponse(verdict.context(), 403, {"cache-control": "no-store"})


def _ended(status: int, ending: Ending) -> Response:
    return JSONResponse(ending.to_dict(), status, {"cache-control": "no-store"})
