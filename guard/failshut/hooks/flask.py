"""Flask: a gate before every request, or of those that you choose.

    guard_requests(app, refunds, subject="service:refunds", when=lambda request: request.path.startswith("/refunds"))

A request that is withheld gets 503 with its cause, and the view is not called. Whatever fails in `subject` or `when` is a 500,
and the view is not called either. A view that runs long asks `g.failshut.check()`, and passes `g.failshut.fencing_token` on.
Limit: a response that is streamed is made after its execution has ended. Guard what the stream does by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, g, jsonify, request

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld


def guard_requests(app: Flask, gate: Gate, *, subject: Naming, when: Callable[[Any], bool] = lambda request: True) -> None:
    """Have each request of an application, or of those that `when` chooses, run inside an execution of the gate."""

    def enter() -> Any:
        if not when(request):
            return None
        execution = gate.execution(named(subject, request))
        try:
            execution.__enter__()
        except Withheld as denial:
            return jsonify(told(denial)), 503, {"Cache-Control": "no-store"}
        g.failshut = execution
        return None

    def leave(error: BaseException | None) -> None:
        execution = g.pop("failshut", None)
        if execution is not None:
            execution.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def withheld(denial: Withheld) -> Any:
        leave(denial)
        return jsonify(told(denial)), 503, {"Cache-Control": "no-store"}

    app.before_request(enter)
    app.teardown_request(leave)
    app.register_error_handler(Withheld, withheld)  # of g.failshut.check(), or of another gate in the view
