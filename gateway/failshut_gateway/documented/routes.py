"""The documented routes, on FastAPI: which gates there are, what each does, how the gateway is.

No request comes here without a key, but for routes that tell nobody anything: liveness, public keys, discovery. Each
other route names the act that a role must list. Answers come from the same guard as everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from failshut import Cause, Guard
from failshut.signing import KeySet, SigningKey, jwk_of
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.asking.asker import Asker
from failshut_gateway.asking.verdict import Verdict
from failshut_gateway.documented.gate_list import GateList
from failshut_gateway.documented.granted import REFUSED, may
from failshut_gateway.documented.metrics import Family, exposition
from failshut_gateway.documented.schema import hot_paths
from failshut_gateway.hot.authzen import configuration

GATES_PAGE_MAX: Final = 200
#: What needs no key, as the bytes of its path.
OPEN: Final = frozenset(
    {
        *(b"/v1/live", b"/.well-known/jwks.json"),
        *(b"/.well-known/authzen-configuration", b"/.well-known/failshut-gateway-jwks.json"),
    }
)


def shown(gate: str, verdict: Verdict) -> dict[str, Any]:
    """Return one gate for a screen. PROVING is closed to all but probes; a gate that nobody looked at is unknown."""
    if verdict.cause is Cause.UNKNOWN_GATE:
        return {"gate": gate, "state": "unknown", **verdict.context()}
    is_open = verdict.permit is not None and verdict.permit.mode != "proving"
    return {"gate": gate, "state": "open" if is_open else "closed", **verdict.context()}


# Long: one function for each route, which FastAPI takes its documentation from.
def make_app(
    guard: Guard,
    asker: Asker,
    url: str,
    signer: SigningKey | None,
    counters: Callable[[], list[Family]],
    health: Callable[[], Mapping[str, Any]],
    more: APIRouter,
) -> FastAPI:
    """Return the application. `counters` and `health` are called in the event loop, and wait for nothing."""
    app = FastAPI(title="Failshut gateway", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    gates = GateList(guard)

    @app.get("/v1/live", status_code=204, summary="Whether the process answers. Says nothing of any gate.")
    async def live() -> Response:
        return Response(status_code=204)

    @app.get("/.well-known/jwks.json", responses={403: REFUSED[403]}, summary="The monitor's public keys.")
    async def jwks() -> JSONResponse:
        try:
            found = await asyncio.to_thread(_key_set, guard)
        except (OSError, ValueError):
            raise HTTPException(403) from None
        return JSONResponse(found.to_dict())

    @app.get("/.well-known/authzen-configuration", summary="AuthZEN: where to ask.")
    async def discovery() -> JSONResponse:
        return JSONResponse(configuration(url, signer))

    @app.get("/.well-known/failshut-gateway-jwks.json", summary="The key that signs this gateway's metadata, and nothing else.")
    async def own_jwks() -> JSONResponse:
        return JSONResponse({"keys": [] if signer is None else [jwk_of(signer.public)]})

    @app.get("/v1/gates", responses=REFUSED, summary="The gates that the key is for, in order, and what each does.")
    async def list_gates(
        grant: Annotated[Grant, Depends(may(Act.READ))],
        after: Annotated[str, Query(max_length=128)] = "",
        limit: Annotated[int, Query(ge=1, le=GATES_PAGE_MAX)] = GATES_PAGE_MAX,
    ) -> JSONResponse:
        try:
            names = await asyncio.to_thread(gates.read)
        except Exception:  # noqa: BLE001 - nothing can be said about any gate, and the answer says so
            return JSONResponse({"gates": [], "next": "", "unknown": "the store does not answer"})
        mine = [name for name in names if name > after and grant.covers_gate(name)]
        verdicts = await asyncio.gather(*(asker.look(grant, name) for name in mine[:limit]))
        found = [shown(name, verdict) for name, verdict in zip(mine, verdicts, strict=False)]
        return JSONResponse({"gates": found, "next": mine[limit - 1] if len(mine) > limit else "", "unknown": ""})

    @app.get("/v1/permits/{gate}", responses=REFUSED, summary="The permit under which a gate is open, as its claims say.")
    async def permit(gate: str, grant: Annotated[Grant, Depends(may(Act.PROOF))]) -> JSONResponse:
        verdict = await asker.look(grant, gate)
        claims = None if verdict.permit is None else asdict(verdict.permit)
        return JSONResponse({**shown(gate, verdict), "claims": claims})

    @app.get("/v1/health", responses=REFUSED, summary="How the gateway is.")
    async def get_health(grant: Annotated[Grant, Depends(may(Act.READ))]) -> JSONResponse:
        return JSONResponse(dict(health()))

    @app.get("/metrics", responses=REFUSED, summary="Counters, in Prometheus's text format.")
    async def metrics(grant: Annotated[Grant, Depends(may(Act.READ))]) -> PlainTextResponse:
        return PlainTextResponse(exposition(counters()), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json", responses=REFUSED, summary="This document.", include_in_schema=False)
    async def openapi(grant: Annotated[Grant, Depends(may(None))]) -> JSONResponse:
        document = app.openapi()
        return JSONResponse({**document, "paths": {**document["paths"], **hot_paths()}})

    app.include_router(more)
    _refuse_without_a_word(app)
    return app


def _refuse_without_a_word(app: FastAPI) -> None:
    """Make a refusal, and an exception, an empty 403."""

    async def refuse(request: Request, error: Exception) -> Response:
        return Response(status_code=403, headers={"cache-control": "no-store"})

    async def slow_down(request: Request, error: Exception) -> Response:
        return Response(status_code=429, headers={"cache-control": "no-store", "retry-after": "1"})

    too_often: Callable[[Request, Exception], Awaitable[Response]] = slow_down
    forbidden: Callable[[Request, Exception], Awaitable[Response]] = refuse
    app.add_exception_handler(403, forbidden)
    app.add_exception_handler(429, too_often)
    app.add_exception_handler(Exception, forbidden)


def _key_set(guard: Guard) -> KeySet:
    jwks = guard.configuration.jwks
    return KeySet.from_dict(jwks) if isinstance(jwks, Mapping) else KeySet.load(jwks)
