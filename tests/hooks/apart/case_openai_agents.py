"""OpenAI Agents: a function tool whose call is withheld is not invoked, and neither is one whose guardrail fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.exceptions import UserError
from hooks.conftest import broken
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from failshut import Cause
from failshut.hooks.openai_agents import gate_guardrail
from failshut.testing import GateControl

SUBJECT = "agent:refund-7"


class Scripted(Model):
    """Calls the tool `refund`, and then says what it was told."""

    async def get_response(self, system_instructions: Any, input: Any, *rest: Any, **more: Any) -> ModelResponse:
        told = [one["output"] for one in input if isinstance(one, dict) and one.get("type") == "function_call_output"]
        output: Any = ResponseFunctionToolCall(arguments="{}", call_id="1", name="refund", type="function_call")
        if told:
            text = ResponseOutputText(annotations=[], text=str(told[-1]), type="output_text")
            output = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *arguments: Any, **more: Any) -> Any:
        raise NotImplementedError


async def run(control: GateControl, executed: list[str], subject: Any = SUBJECT, guarded: bool = True) -> str:
    """What the model was told of its call."""

    @function_tool(tool_input_guardrails=[gate_guardrail(control.gate, subject=subject)] if guarded else [])
    async def refund() -> str:
        executed.append("refund")
        return "paid"

    agent: Any = Agent(name="shop", model=Scripted(), tools=[refund])
    return str((await Runner.run(agent, "7", run_config=RunConfig(tracing_disabled=True))).final_output)


async def test_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """The model reads the cause, and its run goes on; the tool is invoked while the gate is open."""
    control.close(Cause.LOCK)
    assert json.loads(await run(control, executed))["cause"] == "lock"
    assert executed == []
    control.open()
    assert await run(control, executed) == "paid"
    assert await run(control, executed, lambda data: f"agent:{data.agent.name}") == "paid"
    assert executed == ["refund", "refund"]


async def test_admits_nobody_while_the_gate_proves_itself(control: GateControl, executed: list[str]) -> None:
    """What only asks takes no probe: its outcome would prove nothing."""
    control.prove(3)
    assert json.loads(await run(control, executed))["cause"] == "probe_required"
    assert (executed, control.probes_left) == ([], 3)


async def test_what_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """A guardrail that cannot name the subject ends the run; a subject that is no name is withheld."""
    control.open()
    with pytest.raises(UserError, match="no subject"):
        await run(control, executed, broken)
    assert "withheld" in await run(control, executed, lambda data: 7)
    assert executed == []


async def test_a_tool_without_it_bypasses_it(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says: each tool has its own guardrails."""
    control.close()
    assert await run(control, executed, guarded=False) == "paid"
    assert executed == ["refund"]
