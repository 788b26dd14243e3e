"""One server of the benchmark `gateway`, on the gateway's server class: a bare 200, an empty FastAPI route, or a gateway.

gateway_server.py bare|fastapi|gateway PORT [STORE JWKS ACCESS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from failshut import Configuration
from failshut_gateway.gateway import Gateway, Settings
from failshut_gateway.server.server import GatewayServer, listen


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The floor."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def empty_route() -> Any:
    """What somebody writes first."""
    from fastapi import FastAPI, Response

    app = FastAPI()

    @app.get("/{path:path}")
    async def answer(path: str) -> Response:
        return Response(status_code=200)

    return app


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "gateway":
        store, jwks, access = sys.argv[3:6]
        guard = Configuration(store_url=store, jwks=json.loads(Path(jwks).read_text()), deadline_ms=2_000)
        sys.exit(Gateway(Settings(guard=guard, access=access, port=port, rate=1_000_000)).run())
    server = GatewayServer(
        bare if kind == "bare" else empty_route(), connections_max=1_024, stall_ms=1_000, head_seconds_max=10.0
    )
    server.run(sockets=[listen("127.0.0.1", port)])


main()
