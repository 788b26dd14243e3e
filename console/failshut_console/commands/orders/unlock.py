"""`failshut unlock`: a locked breaker proves itself again, in answer to one closing."""

from __future__ import annotations

from failshut_console.commands.orders.answering import answers_a_closing


@answers_a_closing("unlock")
def unlock() -> None:
    """Let a locked breaker prove itself. It answers one closing, by its epoch; a later lock or demand voids it.

    It is refused while a cause persists. It is also refused for a breaker that is not locked: use `failshut reset`. If the
    policy asks for probes, the gate is PROVING first: a few executions are admitted, and their outcomes decide.

    Exit status: 0 the breaker proves itself or is armed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
