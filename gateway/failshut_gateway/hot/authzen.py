"""AuthZEN 1.0 over HTTP: evaluation, evaluations and discovery.

A decision is 200 with `true` or `false`, and its context says why: epoch and permit, or cause and which of the five checks
failed. What is malformed is 400, and is said to somebody with a key alone. Whatever fails within is a 403.
"""

from __future__ import annotations

import time
from typing import Any, Final

from failshut.cause import Cause
from failshut.signing import SigningKey
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.asking.asker import Asker
from failshut_gateway.asking.doorkeeper import Doorkeeper, TooOften
from failshut_gateway.asking.verdict import Verdict, withheld
from failshut_gateway.hot.mapping import Rules
from failshut_gateway.hot.questions import (
    DENY_FIRST,
    PERMIT_FIRST,
    Batch,
    Malformed,
    Question,
    read_batch,
    read_document,
    read_question,
)
from failshut_gateway.wire.body import TooLong, TooSlow, read_body
from failshut_gateway.wire.heard import Heard
from failshut_gateway.wire.replies import CLOSE, Header, Receive, Scope, Send, reply_empty, reply_json

EVALUATION: Final = b"/access/v1/evaluation"
EVALUATIONS: Final = b"/access/v1/evaluations"
DISCOVERY: Final = b"/.well-known/authzen-configuration"
#: None of Failshut's own types: no guard takes this for a permit, whoever's key signed it.
TYP_METADATA: Final = "JWT"
#: All questions of one request together wait no longer; those that are left are denied.
BATCH_SECONDS_MAX: Final = 2.0


def configuration(url: str, signer: SigningKey | None = None) -> dict[str, Any]:
    """Return the metadata document of a gateway that is reached at `url`; with a key, the same once more, signed."""
    document = {
        "policy_decision_point": url,
        "access_evaluation_endpoint": url + EVALUATION.decode(),
        "access_evaluations_endpoint": url + EVALUATIONS.decode(),
    }
    return document if signer is None else {**document, "signed_metadata": signer.sign({"iss": url, **document}, TYP_METADATA)}


class AuthZen:
    """Answers at both endpoints."""

    def __init__(self, doorkeeper: Doorkeeper, asker: Asker, rules: Rules) -> None:
        self._doorkeeper = doorkeeper
        self._asker = asker
        self._rules = rules
        self.admitted = 0
        self.withheld = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. An exception is the caller's to turn into a 403."""
        try:
            let_in = self._doorkeeper.let_in(scope, Act.ASK)
        except TooOften:
            await reply_empty(send, 429, [(b"retry-after", b"1"), CLOSE])
            return
        if let_in is None:
            await reply_empty(send, 403, [CLOSE])
            return
        grant, heard = let_in
        more: list[Header] = []
        try:
            document = await self._document(scope, receive, heard)
            if heard.request_id is not None:
                more.append((b"x-request-id", heard.request_id))
            answer = await self._answer(scope, grant, document)
        except Malformed as error:
            await reply_json(send, 400, str(error), [*more, CLOSE])
        except TooLong:
            await reply_empty(send, 413, [CLOSE])
        except TooSlow:
            await reply_empty(send, 408, [CLOSE])
        except TooOften:
            await reply_empty(send, 429, [(b"retry-after", b"1"), *more])
        else:
            await reply_json(send, 200, answer, more)

    async def _document(self, scope: Scope, receive: Receive, heard: Heard) -> dict[str, Any]:
        if not heard.has_good_request_id:
            raise Malformed("X-Request-ID is longer than 256 bytes, or not printable ASCII")
        if scope["method"] != "POST":
            raise Malformed("the method is POST")
        if not heard.is_json:
            raise Malformed("the content type is application/json")
        return read_document(await read_body(receive, heard))

    async def _answer(self, scope: Scope, grant: Grant, document: dict[str, Any]) -> dict[str, Any]:
        found = read_question(document) if scope["raw_path"] == EVALUATION else read_batch(document)
        if isinstance(found, Question):
            return self._decision(await self._ask(scope, grant, found))
        self._doorkeeper.charge(scope, grant, len(found.questions) - 1)
        return {"evaluations": await self._all(scope, grant, found)}

    async def _all(self, scope: Scope, grant: Grant, batch: Batch) -> list[dict[str, Any]]:
        """Answer one after the other, and end where the semantic says so."""
        end = time.monotonic() + BATCH_SECONDS_MAX
        answers = []
        for question in batch.questions:
            if isinstance(question, Malformed):
                self.withheld += 1
                answers.append({"decision": False, "context": {"error": {"status": 400, "message": str(question)}}})
            elif time.monotonic() > end:
                answers.append(self._decision(withheld(Cause.DEADLINE)))
            else:
                answers.append(self._decision(await self._ask(scope, grant, question)))
            decision = answers[-1]["decision"]
            if (batch.semantic == DENY_FIRST and not decision) or (batch.semantic == PERMIT_FIRST and decision):
                break
        return answers

    async def _ask(self, scope: Scope, grant: Grant, question: Question) -> Verdict:
        target = self._rules.target(question)
        if target is None:
            return withheld(Cause.UNKNOWN_GATE, "no rule of this gateway leads from the resource to a gate")
        if not self._asker.covers(grant, target.gate, target.subject):
            self._doorkeeper.audit.refuse(scope, "not_covered", grant.id, gate=target.gate, subject=target.subject)
        return await self._asker.ask(grant, target.gate, target.subject, target.operation)

    def _decision(self, verdict: Verdict) -> dict[str, Any]:
        if verdict.admits:
            self.admitted += 1
        else:
            self.withheld += 1
        return {"decision": verdict.admits, "context": verdict.context()}
