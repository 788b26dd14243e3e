"""Pydantic AI: a gate before the tools of a toolset.

    Agent(model, toolsets=[GateToolset(FunctionToolset([refund]), gate=Gate("payments.refund"), subject="agent:refund-7")])

A call that is withheld does not reach its tool, and the model reads the cause. Whatever fails in `subject` ends the run, and no
tool is called. A tool that runs asynchronously is cancelled if the gate closes meanwhile. Limit: tools that the agent gets in
another way are not guarded: `tools=...`, `@agent.tool`, the provider's own, and the wrapped toolset itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import RunContext, ToolFailed
from pydantic_ai.toolsets import WrapperToolset
from pydantic_ai.toolsets.abstract import ToolsetTool

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld


@dataclass
class GateToolset(WrapperToolset[Any]):
    """Runs each call of a toolset's tools inside an execution of the gate. `subject` may be a function of the run's context."""

    gate: Gate = field(kw_only=True)
    subject: Naming = field(kw_only=True)

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]) -> Any:
        try:
            async with self.gate.execution(named(self.subject, ctx)):
                return await super().call_tool(name, tool_args, ctx, tool)
        except Withheld as denial:
            raise ToolFailed(json.dumps(told(denial))) from denial
