"""Google ADK: a gate before the tools of an agent, as its `before_tool_callback`, or of all agents of an app, as a plugin.

    LlmAgent(..., before_tool_callback=gate_callback(Gate("payments.refund"), subject="agent:refund-7"))
    App(..., plugins=[GatePlugin(Gate("payments.refund"), subject="agent:refund-7", when=lambda tool: tool == "refund")])

A call that is withheld does not reach its tool, and the model reads the cause. Whatever fails in `subject` or `when` ends the
run, and no tool is called. A callback stands before the tool, not around it. So it only asks: it reports no outcome, does not
end a tool that runs, and admits nobody while the gate is PROVING. For these, open the tool's body with `async with
gate.execution(...)` instead. Limits: tools that the model's provider runs ask no callback. A callback guards its agent alone,
and neither sub-agents nor tools that are nodes of a workflow. The plugin guards these as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.adk.plugins.base_plugin import BasePlugin

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named, told
from failshut.withheld import Withheld

Callback = Callable[[Any, dict[str, Any], Any], dict[str, str] | None]


def gate_callback(gate: Gate, *, subject: Naming, when: Callable[[str], bool] = lambda tool: True) -> Callback:
    """Return a callback that lets a tool run while the gate is open. `subject` may be a function of the tool's context."""

    def ask(tool: Any, args: dict[str, Any], tool_context: Any) -> dict[str, str] | None:
        if not when(tool.name):
            return None
        try:
            gate.check(named(subject, tool_context))
        except Withheld as denial:
            return told(denial)
        return None

    return ask


class GatePlugin(BasePlugin):
    """Asks the gate before each tool of each agent of an app, or before those that `when` chooses by name."""

    def __init__(self, gate: Gate, *, subject: Naming, when: Callable[[str], bool] = lambda tool: True) -> None:
        super().__init__(name=f"gate {gate.name}")
        self._ask = gate_callback(gate, subject=subject, when=when)

    async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> dict[str, str] | None:
        return self._ask(tool, tool_args, tool_context)
