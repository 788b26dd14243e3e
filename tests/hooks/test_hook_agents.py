"""MCP and Pydantic AI: a tool whose call is withheld is not called, and neither is one whose hook fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hooks.conftest import broken

from failshut import Cause
from failshut.testing import GateControl

SUBJECT = "agent:refund-7"


def mcp_server(control: GateControl, executed: list[str], **options: Any) -> Any:
    """A server with a tool that pays, one that fails, one that is slow, and a hook."""
    mcpserver = pytest.importorskip("mcp.server.mcpserver")
    from failshut.hooks.mcp import GateMiddleware

    server = mcpserver.MCPServer("shop", middleware=[GateMiddleware(control.gate, **{"subject": SUBJECT, **options})])

    @server.tool()
    def refund(order: str) -> str:
        executed.append(order)
        return f"paid {order}"

    @server.tool()
    def fails() -> str:
        executed.append("fails")
        raise RuntimeError("no")

    @server.tool()
    async def slow() -> str:
        executed.append("slow")
        control.close(Cause.DRIFT)
        await asyncio.sleep(60)
        return "paid slowly"

    return server


async def mcp_call(server: Any, tool: str, **arguments: str) -> Any:
    """What a client is told: the text of a result, or the error."""
    from mcp import Client, MCPError

    async with Client(server) as client:
        try:
            result: Any = await client.call_tool(tool, arguments)
        except MCPError as error:
            return error
        return result.content[0].text


async def test_mcp_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """The client reads the cause in an error; the tool is called while the gate is open, and its failure counts."""
    server = mcp_server(control, executed)
    control.close(Cause.LOCK)
    denied = await mcp_call(server, "refund", order="7")
    assert (denied.code, json.loads(denied.message)["cause"], executed) == (-32000, "lock", [])
    control.open()
    assert await mcp_call(server, "refund", order="7") == "paid 7"
    assert "Error executing tool fails" in await mcp_call(server, "fails")
    assert executed == ["7", "fails"]
    assert control.outcomes() == {"ok": 1, "failed": 1}


async def test_mcp_ends_a_tool_whose_gate_closes(control: GateControl, executed: list[str]) -> None:
    """A tool that awaits is cancelled there, and the client is told."""
    control.open()
    denied = await mcp_call(mcp_server(control, executed), "slow")
    assert (json.loads(denied.message)["cause"], executed) == ("drift", ["slow"])


@pytest.mark.parametrize("options", [{"subject": broken}, {"when": broken}, {"subject": lambda context: 7}])
async def test_mcp_that_fails_executes_nothing(control: GateControl, executed: list[str], options: dict[str, Any]) -> None:
    """A hook that cannot name the subject, or cannot say whether it is meant, is an error."""
    control.open()
    answer = await mcp_call(mcp_server(control, executed, **options), "refund", order="7")
    assert isinstance(answer, Exception)
    assert executed == []


async def test_mcp_is_bypassed_by_a_direct_call(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says: what no client sent passes no middleware. So does a tool that is not meant."""
    control.close()
    await mcp_server(control, executed).call_tool("refund", {"order": "7"})
    meant = mcp_server(control, executed, when=lambda tool: tool != "refund")
    assert await mcp_call(meant, "refund", order="8") == "paid 8"
    assert isinstance(await mcp_call(meant, "fails"), Exception)
    assert executed == ["7", "8"]


def pydantic_agent(control: GateControl, executed: list[str], subject: Any = SUBJECT, guarded: bool = True) -> Any:
    """An agent that calls one tool, named by its prompt, and then says what it was told."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.toolsets import FunctionToolset

    from failshut.hooks.pydantic_ai import GateToolset

    def refund() -> str:
        executed.append("refund")
        return "paid"

    def fails() -> str:
        executed.append("fails")
        raise RuntimeError("no")

    async def slow() -> str:
        executed.append("slow")
        control.close(Cause.DRIFT)
        await asyncio.sleep(60)
        return "paid slowly"

    def model(messages: list[Any], info: Any) -> Any:
        last = messages[-1].parts[-1]
        if last.part_kind == "user-prompt":
            return ModelResponse(parts=[ToolCallPart(last.content, {})])
        return ModelResponse(parts=[TextPart(str(last.content))])

    toolset: Any = FunctionToolset([refund, fails, slow])
    wrapped = GateToolset(toolset, gate=control.gate, subject=subject) if guarded else toolset
    return pydantic_ai.Agent(FunctionModel(model), toolsets=[wrapped])


async def test_pydantic_ai_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """The model reads the cause, and its run goes on; the tool is called while the gate is open, and its failure counts."""
    agent = pydantic_agent(control, executed)
    control.close(Cause.LOCK)
    assert json.loads((await agent.run("refund")).output)["cause"] == "lock"
    assert executed == []
    control.open()
    assert (await agent.run("refund")).output == "paid"
    with pytest.raises(RuntimeError):
        await agent.run("fails")
    assert executed == ["refund", "fails"]
    assert control.outcomes() == {"ok": 1, "failed": 1}


async def test_pydantic_ai_ends_a_tool_whose_gate_closes(control: GateControl, executed: list[str]) -> None:
    """A tool that awaits is cancelled there, and the model is told."""
    control.open()
    told = await pydantic_agent(control, executed).run("slow")
    assert (json.loads(told.output)["cause"], executed) == ("drift", ["slow"])


async def test_pydantic_ai_that_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """A hook that cannot name the subject ends the run; a subject that is no name is withheld."""
    control.open()
    with pytest.raises(KeyError):
        await pydantic_agent(control, executed, broken).run("refund")
    assert "withheld" in (await pydantic_agent(control, executed, lambda context: 7).run("refund")).output
    assert executed == []


async def test_pydantic_ai_is_bypassed_by_the_toolset_itself(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says: the wrapped toolset knows nothing of the gate."""
    control.close()
    assert (await pydantic_agent(control, executed, guarded=False).run("refund")).output == "paid"
    assert executed == ["refund"]
