"""gRPC: a gate before the methods of a server.

    grpc.server(pool, interceptors=[GateInterceptor(Gate("payments.refund"), subject="service:refunds")])

A call that is withheld ends with UNAVAILABLE and its cause, and the method is not called. A stream of answers asks before each
answer, and ends where the gate has closed. Whatever fails in `subject` or `when` fails the call, and no method is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named
from failshut.withheld import Withheld


class GateInterceptor(grpc.ServerInterceptor):
    """Runs each call inside an execution of the gate. `subject` and `when` are given the call's details."""

    def __init__(self, gate: Gate, *, subject: Naming, when: Callable[[Any], bool] = lambda details: True) -> None:
        self._gate, self._subject, self._when = gate, subject, when

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Return the method, behind the gate."""
        handler = continuation(details)
        if handler is None or not self._when(details):
            return handler
        kind = ("stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary")
        name = "_".join(kind)
        wrapped = self._stream if handler.response_streaming else self._unary
        make = getattr(grpc, f"{name}_rpc_method_handler")
        return make(wrapped(getattr(handler, name), details), handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: Callable[..., Any], details: Any) -> Callable[..., Any]:
        def call(request: Any, context: Any) -> Any:
            try:
                with self._gate.execution(named(self._subject, details)):
                    return method(request, context)
            except Withheld as denial:
                context.abort(grpc.StatusCode.UNAVAILABLE, f"{denial.gate}: {denial.cause}")

        return call

    def _stream(self, method: Callable[..., Any], details: Any) -> Callable[..., Any]:
        def call(request: Any, context: Any) -> Iterator[Any]:
            try:
                with self._gate.execution(named(self._subject, details)) as execution:
                    for answer in method(request, context):
                        execution.check()
                        yield answer
            except Withheld as denial:
                context.abort(grpc.StatusCode.UNAVAILABLE, f"{denial.gate}: {denial.cause}")

        return call
