"""FastMCP: the hook of MCP servers is a middleware there as well."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from hooks.conftest import broken

from failshut import Cause
from failshut.hooks.mcp import GateMiddleware
from failshut.testing import GateControl

SUBJECT = "agent:refund-7"


async def run(control: GateControl, executed: list[str], name: str = "refund", directly: bool = False, **options: Any) -> str:
    """What the client was told of its call: the result, or the error. A direct call leaves the middleware out."""
    middleware: Any = GateMiddleware(control.gate, **{"subject": SUBJECT, **options})
    server: Any = FastMCP("shop", middleware=[middleware])

    @server.tool
    def refund() -> str:
        executed.append("refund")
        return "paid"

    @server.tool
    def fails() -> str:
        executed.append("fails")
        raise RuntimeError("no")

    @server.tool
    async def slow() -> str:
        executed.append("slow")
        control.close(Cause.DRIFT)
        await asyncio.sleep(60)
        return "paid slowly"

    if directly:
        return str((await server.call_tool(name, {}, run_middleware=False)).content[0].text)
    async with Client(server) as client:
        try:
            return str((await client.call_tool(name, {})).data)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


async def test_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """The client reads the cause in an error; the tool is called while the gate is open, and its failure counts."""
    control.close(Cause.LOCK)
    assert '"cause": "lock"' in await run(control, executed)
    assert executed == []
    control.open()
    assert await run(control, executed) == "paid"
    assert "Error" in await run(control, executed, "fails")
    assert executed == ["refund", "fails"]
    assert control.outcomes() == {"ok": 1, "failed": 1}


async def test_ends_a_tool_whose_gate_closes(control: GateControl, executed: list[str]) -> None:
    """A tool that awaits is cancelled there, and the client is told."""
    control.open()
    assert '"cause": "drift"' in await run(control, executed, "slow")
    assert executed == ["slow"]


@pytest.mark.parametrize("options", [{"subject": broken}, {"when": broken}, {"subject": lambda context: 7}])
async def test_what_fails_executes_nothing(control: GateControl, executed: list[str], options: dict[str, Any]) -> None:
    """A hook that cannot name the subject, or cannot say whether it is meant, is an error."""
    control.open()
    assert "Error" in await run(control, executed, **options)
    assert executed == []


async def test_a_direct_call_bypasses_it(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says. What is not meant passes as well."""
    control.close()
    assert await run(control, executed, directly=True) == "paid"
    assert await run(control, executed, when=lambda tool: tool != "refund") == "paid"
    assert executed == ["refund", "refund"]
