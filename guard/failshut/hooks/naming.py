"""What all hooks share: who executes, as a text or from what the framework hands over, and a denial in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from failshut.withheld import Withheld

#: A text, or a function of what the framework hands over (a scope, a request, a message).
Naming = str | Callable[[Any], str]


def named(naming: Naming, given: Any) -> str:
    """Return the name for this call. Whatever the function raises keeps the call from being executed."""
    return naming if isinstance(naming, str) else naming(given)


def told(denial: Withheld) -> dict[str, str]:
    """Return a denial for whoever asked: gate, cause, and the cause in words. Particulars stay in the service's log."""
    return {"withheld": denial.gate, "cause": str(denial.cause), "because": denial.cause.meaning}
