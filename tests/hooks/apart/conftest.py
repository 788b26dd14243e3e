"""The gate of the other hooks' tests. These run in .venv-agents: test_hook_apart.py starts them."""

from hooks.conftest import control, executed

__all__ = ["control", "executed"]
