"""MCP: a gate before the tools of a server, as a middleware of the server.

    MCPServer("shop", middleware=[GateMiddleware(Gate("payments.refund"), subject="mcp:shop")])  # or Server, or FastMCP

A call that is withheld does not reach its tool, and the client reads the cause in an error. With `when` only the tools that
it chooses by name are guarded. Whatever fails in `subject` or `when` is an error too, and no tool is called. A tool that runs
asynchronously is cancelled if the gate closes meanwhile. Limits: only what a client sends passes a middleware. A direct call,
for example `server.call_tool(...)`, bypasses it. Resources and prompts are not asked for.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.shared.exceptions import MCPError

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld

#: The code of JSON-RPC by which a client knows a denial: the first of those that are free to servers.
WITHHELD = -32000


class _Failed(Exception):
    """A tool raised, and the server made a result of it."""


class GateMiddleware:
    """Runs each `tools/call` inside an execution of the gate. `subject` may be a function of the message's context."""

    def __init__(self, gate: Gate, *, subject: Naming, when: Callable[[str], bool] = lambda tool: True) -> None:
        self._gate, self._subject, self._when = gate, subject, when

    async def __call__(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        if context.method != "tools/call" or not self._when(_tool(context)):
            return await call_next(context)
        result: Any = None
        try:
            async with self._gate.execution(named(self._subject, context)):
                result = await call_next(context)
                if isinstance(result, Mapping) and result.get("isError"):
                    raise _Failed
        except _Failed:
            pass
        except Withheld as denial:
            raise MCPError(WITHHELD, json.dumps(told(denial))) from denial
        return result


def _tool(context: Any) -> str:
    """Return the name of the tool: the official server hands over what was sent, FastMCP what it read."""
    return str(context.params["name"] if hasattr(context, "params") else context.message.name)
