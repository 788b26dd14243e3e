"""The gateway and its OpenAPI document: schemathesis asks whatever the document allows, and much that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from draws import draws
from gateway.gateway_support import Running
from guard.standin import SUBJECT, Monitor
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from patience import patient

from failshut_gateway.documented import routes

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed here (pip install schemathesis)")

OPEN = {path.decode() for path in routes.OPEN}


@pytest.fixture
def document(running: Running, monitor: Monitor) -> Any:
    """The document, as somebody with a key gets it; its gates are one that is open and one that is not there."""
    monitor.ttl_ms = 600_000
    monitor.issue()
    found = running.get("/openapi.json", running.key()).json
    for operations in found["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "gate":  # or else no gate that is drawn is there
                    parameter["schema"] = {"type": "string", "enum": [monitor.gate, "no.gate"]}
    return found


def generated(document: Any, modes: list[Any]) -> dict[str, Any]:
    """A strategy of requests for each operation of the document."""
    schema = schemathesis.openapi.from_dict(document)
    return {
        f"{operation.method.upper()} {operation.path}": {mode: operation.as_strategy(generation_mode=mode) for mode in modes}
        for operation in (found.ok() for found in schema.get_all_operations())
    }


@pytest.mark.slow
def test_nothing_that_the_document_allows_or_forbids_is_a_5xx(running: Running, document: Any, tmp_path: Path) -> None:
    """Each operation, with requests that fit it and with ones that do not: no 5xx, no undocumented status, no fault within."""
    key = {"service": running.key(), "viewer": running.key(role="viewer", subjects=[])}
    base = f"http://127.0.0.1:{running.port}"
    operations = generated(document, list(schemathesis.GenerationMode))
    assert len(operations) >= 13
    seen: set[tuple[str, int]] = set()
    for name, strategies in operations.items():
        method, _, path = name.partition(" ")
        documented = {int(status) for status in document["paths"][path][method.lower()]["responses"]}
        for mode, strategy in strategies.items():
            negative = mode is schemathesis.GenerationMode.NEGATIVE
            asked(strategy, base, list(key.values()), documented, seen, negative)
    assert running.gateway.front.faults == 0
    statuses = {status for _, status in seen}
    assert statuses >= {200, 201, 204, 400, 403, 404}, statuses


def asked(strategy: Any, base: str, keys: list[str], documented: set[int], seen: set[tuple[str, int]], negative: bool) -> None:
    """Ask what a strategy draws, with each key and without one."""

    @settings(max_examples=draws(20), deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def ask(case: Any) -> None:
        path = str(case.operation.path)
        for key in keys:
            reply = case.call(
                base_url=base, headers={"X-Failshut-Key": key, "X-Failshut-Subject": SUBJECT}, timeout=patient(30)
            )
            assert reply.status_code < 500, (path, reply.status_code)
            # Of what does not fit: the server's own 400, no such path, another method.
            assert reply.status_code in documented | {400, 404, 405}, (path, reply.status_code)
            seen.add((path, reply.status_code))
        bare = case.call(base_url=base, timeout=patient(30))
        if path in OPEN:
            assert bare.status_code in {200, 204, 400, 403, 404, 405}, path
        else:
            assert bare.status_code in {400, 403}, path
            assert bare.status_code == 400 or not bare.content, path

    try:
        ask()
    except Unsatisfiable:
        assert negative  # an operation without parameters has no request that does not fit


def test_the_document_is_one_of_openapi(document: Any) -> None:
    """It can be read as OpenAPI 3, and every operation in it says what its statuses mean."""
    assert document["openapi"].startswith("3.")
    assert generated(json.loads(json.dumps(document)), [schemathesis.GenerationMode.POSITIVE])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            assert all(reply["description"] for reply in operation["responses"].values()), (path, method)
