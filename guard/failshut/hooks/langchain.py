"""LangChain and LangGraph: a gate before the tools of an agent, as a middleware of the agent.

    create_agent(model, tools, middleware=[GateMiddleware(Gate("payments.refund"), subject="agent:refund-7")])

A call that is withheld does not reach its tool, and the model reads the cause. With `when` only the tools that it chooses by
name are guarded. Whatever fails in `subject` or `when` ends the run, and no tool is called. A tool that runs asynchronously is
cancelled if the gate closes meanwhile. Put this middleware last: a middleware behind it that calls the tool again does so under
one permit. Limits: `tool.invoke(...)` and a `ToolNode` of your own graph bypass it, unless you pass its methods on as
`ToolNode(tools, wrap_tool_call=..., awrap_tool_call=...)`. A tool that interrupts its graph counts as failed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld


class GateMiddleware(AgentMiddleware):
    """Runs each call of a tool inside an execution of the gate. `subject` may be a function of the call's request."""

    def __init__(self, gate: Gate, *, subject: Naming, when: Callable[[str], bool] = lambda tool: True) -> None:
        super().__init__()
        self._gate, self._subject, self._when = gate, subject, when

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        if not self._when(request.tool_call["name"]):
            return handler(request)
        try:
            with self._gate.execution(named(self._subject, request)):
                return handler(request)
        except Withheld as denial:
            return _rejected(request, denial)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        if not self._when(request.tool_call["name"]):
            return await handler(request)
        try:
            async with self._gate.execution(named(self._subject, request)):
                return await handler(request)
        except Withheld as denial:
            return _rejected(request, denial)


def _rejected(request: Any, denial: Withheld) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(json.dumps(told(denial)), name=call["name"], tool_call_id=call["id"], status="error")
