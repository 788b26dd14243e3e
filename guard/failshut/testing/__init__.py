"""For the tests of a service: gates that a test opens, closes and lets lapse, with time in its hands and without a server.

    from failshut.testing import assert_guarded, rehearsal

    with rehearsal() as stage:
        refunds = stage.gate("payments.refund").open()
        assert_guarded(refunds, lambda effect: refund("order-7", pay=effect))

With pytest the fixture `failshut_gate` is `stage.gate`. The guard is the real one, over a store in memory: docs/testing.md.
Production code imports nothing of this package.
"""

from failshut.testing.control import GateControl
from failshut.testing.guarded import Effect, Executed, Verdict, assert_guarded
from failshut.testing.rehearsal import MakeGate, Rehearsal, rehearsal

__all__ = ["Effect", "Executed", "GateControl", "MakeGate", "Rehearsal", "Verdict", "assert_guarded", "rehearsal"]
