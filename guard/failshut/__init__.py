"""Failshut's guard: admits an execution only while a signed, unexpired permit for its gate is at hand.

    from failshut import Gate, Withheld

    refunds = Gate("payments.refund")

    with refunds.execution(subject="agent:refund-7") as execution:
        pay(..., fencing_token=execution.epoch)

No permit, an old one, a forged one, no store, no monitor: `Withheld`, within 50 ms, with its cause.
"""

from failshut.admission.unfinished import RunsLater
from failshut.cause import Cause, Check
from failshut.config import Clocks, Configuration
from failshut.execution import Execution
from failshut.former_names import MOVED, forward
from failshut.gate import Gate
from failshut.guard import Guard, configure
from failshut.permit import Closing, Permit, verify
from failshut.withheld import Withheld

__all__ = [
    "Cause",
    "Check",
    "Clocks",
    "Closing",
    "Configuration",
    "Execution",
    "Gate",
    "Guard",
    "Permit",
    "RunsLater",
    "Withheld",
    "configure",
    "verify",
]

forward(__name__, MOVED)
