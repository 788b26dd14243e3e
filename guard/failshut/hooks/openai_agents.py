"""OpenAI Agents: a gate before a function tool, as an input guardrail of the tool.

    @function_tool(tool_input_guardrails=[gate_guardrail(Gate("payments.refund"), subject="agent:refund-7")])
    async def refund(order: str): ...

A call that is withheld is rejected: the tool is not invoked, and the model reads the cause. Whatever fails in `subject` ends
the run, and the tool is not invoked either. A guardrail stands before the tool, not around it. So it only asks: it reports no
outcome, does not end a tool that runs, and admits nobody while the gate is PROVING. For these, open the tool's body with
`async with gate.execution(...)` instead. Limit: hosted tools, handoffs and tools of MCP servers ask no guardrail.
"""

from __future__ import annotations

import json

from agents import ToolGuardrailFunctionOutput, ToolInputGuardrail, ToolInputGuardrailData

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld


def gate_guardrail(gate: Gate, *, subject: Naming) -> ToolInputGuardrail:
    """Return a guardrail that admits a call while the gate is open. `subject` may be a function of the guardrail's data."""

    async def ask(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        try:
            gate.check(named(subject, data))
        except Withheld as denial:
            return ToolGuardrailFunctionOutput.reject_content(json.dumps(told(denial)), told(denial))
        return ToolGuardrailFunctionOutput.allow()

    return ToolInputGuardrail(guardrail_function=ask, name=f"gate {gate.name}")
