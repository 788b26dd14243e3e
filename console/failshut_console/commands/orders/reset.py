"""`failshut reset`: a breaker proves itself again, in answer to one closing."""

from __future__ import annotations

from failshut_console.commands.orders.answering import answers_a_closing


@answers_a_closing("reset")
def reset() -> None:
    """Let a tripped or locked breaker prove itself. A reset answers one closing, by its epoch; a later demand voids it.

    `failshut unlock` is for a locked breaker alone, and refuses any other.

    It is refused while the cause persists. If the policy asks for probes, the gate is PROVING first: a few executions
    are admitted, and their outcomes decide.

    Exit status: 0 the breaker proves itself or is armed, 1 refused (it says why), 2 wrong usage, 3 nobody answered.
    """
