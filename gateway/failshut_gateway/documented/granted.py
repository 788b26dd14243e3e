"""Whose request it is, on the way from the door to a documented route, and what a role may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import HTTPException, Request

from failshut_gateway.access.grant import Act, Grant

#: Where the door leaves whose key it is, and what the request's headers say.
GRANT: Final = "failshut.grant"
HEARD: Final = "failshut.heard"
REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "Refused. Empty."},
    413: {"description": "The request has a body. Empty."},
    429: {"description": "The key asks too often. Empty."},
}


def may(act: Act | None) -> Callable[[Request], Grant]:
    """Return a dependency that gives the grant of a request, if its role lists the act; without one, to anybody with a key."""

    def granted(request: Request) -> Grant:
        grant = request.scope.get(GRANT)
        if not isinstance(grant, Grant) or (act is not None and not grant.allows(act)):
            raise HTTPException(403)
        return grant

    return granted
