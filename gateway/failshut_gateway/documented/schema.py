"""The hot paths in OpenAPI: they are answered before FastAPI sees a request, so they are described by hand."""

from __future__ import annotations

from typing import Any, Final

_NO_BODY: Final = {
    "403": {"description": "Refused, withheld, or something failed. Empty."},
    "429": {"description": "The key asks too often. Empty."},
}
_TEXT: Final = {"type": "string", "minLength": 1}


def _entity(*members: str) -> dict[str, Any]:
    properties = {**dict.fromkeys(members, _TEXT), "properties": {"type": "object"}}
    return {"type": "object", "required": list(members), "properties": properties}


_EVALUATION: Final = {
    "type": "object",
    "required": ["subject", "action", "resource"],
    "properties": {
        "subject": _entity("type", "id"),
        "action": _entity("name"),
        "resource": _entity("type", "id"),
        "context": {"type": "object"},
    },
}
_DECISION: Final = {
    "type": "object",
    "required": ["decision"],
    "properties": {"decision": {"type": "boolean"}, "context": {"type": "object"}},
}


def _asks(summary: str, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
            "responses": {
                "200": {"description": "The decision.", "content": {"application/json": {"schema": answer}}},
                "400": {"description": "Malformed.", "content": {"application/json": {"schema": {"type": "string"}}}},
                "408": {"description": "The body did not come in time. Empty."},
                "413": {"description": "The body is too long. Empty."},
                **_NO_BODY,
            },
        }
    }


def hot_paths() -> dict[str, Any]:
    """Return the paths object of what is not FastAPI's."""
    gate = {"name": "gate", "in": "path", "required": True, "schema": {"type": "string"}}
    headers = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in ("X-Failshut-Subject", "X-Failshut-Operation")
    ]
    epoch = {"X-Failshut-Epoch": {"schema": {"type": "string", "pattern": "^[0-9]{16}$"}}}
    asked = {
        "summary": "May an execution start? Any method, and any path below.",
        "parameters": [gate, *headers],
        "responses": {"200": {"description": "Admitted. Empty.", "headers": epoch}, "403": _NO_BODY["403"]},
    }
    batch = {
        "type": "object",
        "properties": {
            **_EVALUATION["properties"],  # type: ignore[dict-item] # the dict above
            "evaluations": {"type": "array", "items": {"type": "object"}, "maxItems": 100},
            "options": {"type": "object"},
        },
    }
    several = {"type": "object", "properties": {"evaluations": {"type": "array", "items": _DECISION}}}
    return {
        "/v1/forward-auth/{gate}": {"get": asked},
        "/access/v1/evaluation": _asks("AuthZEN: one question.", _EVALUATION, _DECISION),
        "/access/v1/evaluations": _asks("AuthZEN: several questions.", batch, several),
    }
