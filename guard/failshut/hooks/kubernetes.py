"""Kubernetes: a gate before changes of a cluster, as a validating admission webhook. It is an ASGI application of its own.

    app = AdmissionWebhook(Gate("fleet.scale"), subject=lambda request: request["userInfo"]["username"])

A change that is withheld is denied, and its author reads the cause. Whatever fails in `subject` denies the change too. If
nothing answers, the API server decides: `failurePolicy: Fail` denies, and a short `timeoutSeconds` bounds the wait. The
manifest that says so is docker/kubernetes/webhook.yaml. Limits: a webhook stands before the change, not around it. So it only
asks, and admits nobody while the gate is PROVING. What the manifest's rules do not name is not asked for, and neither is a
change of the manifest itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from failshut.gate import Gate
from failshut.hooks.asgi import Receive, Scope, Send
from failshut.hooks.naming import Naming, named
from failshut.withheld import Withheld

logger = logging.getLogger(__name__)

REVIEW_BYTES_MAX: Final = 8 << 20
"""An object, its former state and what is around them; the API server takes objects of up to 3 MiB. More is not read."""


class AdmissionWebhook:
    """Answers each AdmissionReview as the gate says. `subject` may be a function of its `request`. A GET asks for life."""

    def __init__(self, gate: Gate, *, subject: Naming) -> None:
        self._gate, self._subject = gate, subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"an admission webhook speaks HTTP, and not {scope['type']}")
        body, more = b"", scope["method"] == "POST"
        while more and len(body) <= REVIEW_BYTES_MAX:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, answer = (204, b"") if scope["method"] == "GET" else await self._answered(body)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    async def _answered(self, body: bytes) -> tuple[int, bytes]:
        try:
            request: dict[str, Any] = json.loads(body[: REVIEW_BYTES_MAX + 1])["request"]
            told: dict[str, Any] = {"uid": request["uid"], "allowed": False}
        except (ValueError, LookupError, TypeError, RecursionError):
            return 400, b'{"withheld": "this is no AdmissionReview"}'
        try:
            await asyncio.to_thread(self._gate.check, named(self._subject, request))
            told["allowed"] = True
        except Withheld as denial:
            told["status"] = {"code": 403, "message": f"{denial.gate} is closed ({denial.cause}): {denial.cause.meaning}"}
        except Exception:  # denies by itself: with failurePolicy: Ignore an HTTP error would let the change through
            logger.exception("a change was denied: the gate could not be asked")
            told["status"] = {"code": 500, "message": f"{self._gate.name} could not be asked, so the change is denied"}
        return 200, json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": told}).encode()
