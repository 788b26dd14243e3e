"""LangChain and LangGraph: a tool whose call is withheld is not called, and neither is one whose hook fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hooks.conftest import broken
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from failshut import Cause
from failshut.hooks.langchain import GateMiddleware
from failshut.testing import GateControl

SUBJECT = "agent:refund-7"


class Scripted(BaseChatModel):
    """Calls the tool that its prompt names, and then says what it was told."""

    def _generate(self, messages: list[Any], stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        last = messages[-1]
        calls = [{"name": last.content, "args": {}, "id": "1"}] if isinstance(last, HumanMessage) else []
        answer = AIMessage("" if calls else last.content, tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        return self

    @property
    def _llm_type(self) -> str:
        return "scripted"


def made(control: GateControl, executed: list[str]) -> list[Any]:
    """A tool that pays, one that fails, and one that is slow."""

    @tool
    def refund() -> str:
        """Pay."""
        executed.append("refund")
        return "paid"

    @tool
    def fails() -> str:
        """Fail."""
        executed.append("fails")
        raise RuntimeError("no")

    @tool
    async def slow() -> str:
        """Pay slowly."""
        executed.append("slow")
        control.close(Cause.DRIFT)
        await asyncio.sleep(60)
        return "paid slowly"

    return [refund, fails, slow]


async def run(
    control: GateControl, executed: list[str], name: str = "refund", asynchronous: bool = True, **options: Any
) -> str:
    """What the model was told of its call."""
    middleware = GateMiddleware(control.gate, **{"subject": SUBJECT, **options})
    agent = create_agent(Scripted(), made(control, executed), middleware=[middleware])
    given: Any = {"messages": [HumanMessage(name)]}
    ended = await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    return str(ended["messages"][-1].content)


@pytest.mark.parametrize("asynchronous", [True, False], ids=["asynchronous", "synchronous"])
async def test_withholds_and_admits(control: GateControl, executed: list[str], asynchronous: bool) -> None:
    """The model reads the cause, and its run goes on; the tool is called while the gate is open, and its failure counts."""
    control.close(Cause.LOCK)
    assert json.loads(await run(control, executed, asynchronous=asynchronous))["cause"] == "lock"
    assert executed == []
    control.open()
    assert await run(control, executed, asynchronous=asynchronous) == "paid"
    with pytest.raises(RuntimeError):
        await run(control, executed, "fails", asynchronous)
    assert executed == ["refund", "fails"]
    assert control.outcomes() == {"ok": 1, "failed": 1}


async def test_ends_a_tool_whose_gate_closes(control: GateControl, executed: list[str]) -> None:
    """A tool that awaits is cancelled there, and the model is told."""
    control.open()
    assert json.loads(await run(control, executed, "slow"))["cause"] == "drift"
    assert executed == ["slow"]


@pytest.mark.parametrize("asynchronous", [True, False], ids=["asynchronous", "synchronous"])
@pytest.mark.parametrize("options", [{"subject": broken}, {"when": broken}], ids=["subject", "when"])
async def test_what_fails_executes_nothing(
    control: GateControl, executed: list[str], options: dict[str, Any], asynchronous: bool
) -> None:
    """A hook that cannot name the subject, or cannot say whether it is meant, ends the run."""
    control.open()
    with pytest.raises(KeyError):
        await run(control, executed, asynchronous=asynchronous, **options)
    assert "withheld" in await run(control, executed, asynchronous=asynchronous, subject=lambda request: 7)
    assert executed == []


async def test_a_node_of_ones_own_graph_needs_its_methods(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says: a ToolNode without them bypasses the hook, and one with them does not."""
    control.close(Cause.LOCK)
    hook = GateMiddleware(control.gate, subject=SUBJECT)
    bare = ToolNode(made(control, executed))
    guarded = ToolNode(made(control, executed), wrap_tool_call=hook.wrap_tool_call, awrap_tool_call=hook.awrap_tool_call)
    call: Any = {"messages": [AIMessage("", tool_calls=[{"name": "refund", "args": {}, "id": "1"}])]}
    told = []
    for node in (bare, guarded):
        graph = StateGraph(MessagesState)
        graph.add_node("tools", node)
        graph.add_edge(START, "tools")
        told.append((await graph.compile().ainvoke(call))["messages"][-1].content)
    assert (told[0], json.loads(told[1])["cause"], executed) == ("paid", "lock", ["refund"])


async def test_what_is_not_meant_passes(control: GateControl, executed: list[str]) -> None:
    """`when` chooses by the tool's name."""
    control.close()
    assert await run(control, executed, when=lambda name: name != "refund") == "paid"
    assert executed == ["refund"]
