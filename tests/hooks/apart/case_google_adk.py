"""Google ADK: a tool whose call is withheld is not called, and neither is one whose hook fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types
from hooks.conftest import broken

from failshut import Cause
from failshut.hooks.google_adk import GatePlugin, gate_callback
from failshut.testing import GateControl

SUBJECT = "agent:refund-7"


class Scripted(BaseLlm):
    """Calls the tool `refund`, and then says that it is done."""

    model: str = "scripted"

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:
        part = llm_request.contents[-1].parts[-1]
        said = types.Part(text="done") if part.function_response else types.Part.from_function_call(name="refund", args={})
        yield LlmResponse(content=types.Content(role="model", parts=[said]))


async def run(control: GateControl, executed: list[str], place: str, **options: Any) -> Any:
    """What the model was told of its call. The hook is the agent's callback, a plugin, or nowhere."""

    async def refund() -> dict[str, str]:
        """Pay."""
        executed.append("refund")
        return {"is": "paid"}

    told = {"subject": SUBJECT, **options}
    callback = gate_callback(control.gate, **told) if place == "callback" else None
    agent = LlmAgent(name="shop", model=Scripted(), tools=[refund], before_tool_callback=callback)
    plugins: Any = [GatePlugin(control.gate, **told)] if place == "plugin" else []
    events = await InMemoryRunner(agent=agent, app_name="shop", plugins=plugins).run_debug("7", quiet=True)
    return next(answer.response for event in events for answer in event.get_function_responses())


@pytest.mark.parametrize("place", ["callback", "plugin"])
async def test_withholds_and_admits(control: GateControl, executed: list[str], place: str) -> None:
    """The model reads the cause, and its run goes on; the tool is called while the gate is open."""
    control.close(Cause.LOCK)
    assert (await run(control, executed, place))["cause"] == "lock"
    assert executed == []
    control.open()
    assert await run(control, executed, place) == {"is": "paid"}
    assert await run(control, executed, place, subject=lambda context: f"agent:{context.agent_name}") == {"is": "paid"}
    assert executed == ["refund", "refund"]


@pytest.mark.parametrize("place", ["callback", "plugin"])
async def test_admits_nobody_while_the_gate_proves_itself(control: GateControl, executed: list[str], place: str) -> None:
    """What only asks takes no probe: its outcome would prove nothing."""
    control.prove(3)
    assert (await run(control, executed, place))["cause"] == "probe_required"
    assert (executed, control.probes_left) == ([], 3)


@pytest.mark.parametrize("place", ["callback", "plugin"])
@pytest.mark.parametrize("options", [{"subject": broken}, {"when": broken}], ids=["subject", "when"])
async def test_what_fails_executes_nothing(
    control: GateControl, executed: list[str], place: str, options: dict[str, Any]
) -> None:
    """A hook that cannot name the subject, or cannot say whether it is meant, ends the run."""
    control.open()
    with pytest.raises((KeyError, RuntimeError), match="no subject"):
        await run(control, executed, place, **options)
    assert "withheld" in await run(control, executed, place, subject=lambda context: 7)
    assert executed == []


async def test_an_agent_without_it_bypasses_it(control: GateControl, executed: list[str]) -> None:
    """As docs/hooks.md says: each agent has its own callbacks. What is not meant passes as well."""
    control.close()
    assert await run(control, executed, "nowhere") == {"is": "paid"}
    assert await run(control, executed, "plugin", when=lambda tool: tool != "refund") == {"is": "paid"}
    assert executed == ["refund", "refund"]
