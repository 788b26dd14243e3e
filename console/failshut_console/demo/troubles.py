"""The six kinds of trouble: how each begins and ends, which gate must close, why, and within which bound.

A bound is a sum that a reader can check: what the condition itself takes, the permit's ttl, and the tolerance for clocks. Push
makes closings much faster than that; the bound is what holds when nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from failshut.store.connection import connect
from failshut_console.demo import names
from failshut_console.demo.answers import closed_at
from failshut_console.demo.channel import Channel
from failshut_console.demo.detector_choice import DETECTION_RECORDS, cause
from failshut_console.demo.services.payment_router import PAYMENTS_PER_SECOND
from failshut_console.demo.services.refund_agent import PER_SECOND
from failshut_console.local.stack import Stack

TTL_SECONDS = 2.0
TOLERANCE_SECONDS = 0.5
LAPSE_SECONDS = TTL_SECONDS + TOLERANCE_SECONDS
LAPSE_IS = f"ttl {TTL_SECONDS:g} + tolerance {TOLERANCE_SECONDS:g}"
ADWIN_LOOKS, ADWIN_CLOCK = 2, 32
GRACE_SECONDS = 2.0
ALLOWED_RECORDS, BEHIND_SECONDS, SAMPLED_SECONDS = 60, 2.0, 0.5
WATCHED_SECONDS, WRITTEN_SECONDS = 0.2, 2.0
NO_PERMIT = frozenset({"no_permit"})

BACKLOG_SECONDS = ALLOWED_RECORDS / PAYMENTS_PER_SECOND + 0.2  # the last read may be two tenths of a second old


@dataclass(frozen=True)
class Kind:
    """One kind of trouble.

    `begin` returns the moment at which it began, in seconds of the monotonic clock; `end` puts things right.
    `fresh_is_fine`: what the monitor has proved anew after the beginning is no slip.
    `runs_out`: nobody closes the gate, its last permit runs out. A guard that stalled may see one lapse and then read a later
    one, so the closing is the denial after which nothing is admitted.
    """

    name: str
    title: str
    gates: tuple[str, ...]
    causes: tuple[str, ...]  # the first is the expected one; the others say the same, as the moment has it
    bound_s: float
    bound_is: str
    begin: Callable[[], float]
    end: Callable[[], object]
    fresh_is_fine: bool = False
    runs_out: bool = False


class Troubles:
    """Makes trouble for one stack and its services."""

    def __init__(self, stack: Stack, channel: Channel, break_policy: Callable[[bool], float], detector: str = "") -> None:
        self._stack = stack
        self._channel = channel
        self._break_policy = break_policy
        self._drift_is = cause(detector)
        self._drift_records = DETECTION_RECORDS if detector else ADWIN_LOOKS * ADWIN_CLOCK

    def all(self) -> list[Kind]:
        """Return every kind, in the order in which they are made."""
        return [
            self._of_service(
                self._drift_is,
                "refund amounts drift from 48 to 97 EUR",
                "refund-agent",
                names.REFUND,
                self._drift_records / PER_SECOND + LAPSE_SECONDS,
                f"{self._drift_records} records {self._drift_records / PER_SECOND:.1f} + {LAPSE_IS}",
            ),
            self._of_service(
                "heartbeat",
                "the autoscaler's heartbeat stops",
                "autoscaler",
                names.SCALE,
                GRACE_SECONDS + LAPSE_SECONDS,
                f"grace {GRACE_SECONDS:g} + {LAPSE_IS}",
            ),
            self._of_service(
                "lag",
                "the payment router's consumer group falls behind",
                "payment-router",
                names.ROUTE,
                BACKLOG_SECONDS + SAMPLED_SECONDS + BEHIND_SECONDS + LAPSE_SECONDS,
                f"backlog {BACKLOG_SECONDS:.1f} + sample {SAMPLED_SECONDS:g} + behind {BEHIND_SECONDS:g} + {LAPSE_IS}",
            ),
            Kind(
                "policy",
                "the autoscaler's policy file turns invalid",
                (names.SCALE,),
                ("bad_policy",),
                WATCHED_SECONDS + WRITTEN_SECONDS + LAPSE_SECONDS,
                f"look {WATCHED_SECONDS:g} + write {WRITTEN_SECONDS:g} + {LAPSE_IS}",
                lambda: self._break_policy(True),
                lambda: self._break_policy(False),
            ),
            Kind(
                "flush",
                "the store is flushed",
                (names.ROUTE,),
                tuple(NO_PERMIT),
                LAPSE_SECONDS,
                LAPSE_IS,
                self._flush,
                lambda: None,
                fresh_is_fine=True,
            ),
            Kind(
                "kill",
                "the monitor is killed (SIGKILL)",
                (names.REFUND, names.ROUTE, names.SCALE),
                ("lapsed", "no_permit"),
                LAPSE_SECONDS,
                LAPSE_IS,
                self._kill,
                lambda: self._stack.start_worker(self._stack.workers[0].name),
                runs_out=True,
            ),
        ]

    def _of_service(self, cause: str, title: str, service: str, gate: str, bound_s: float, bound_is: str) -> Kind:
        return Kind(
            cause,
            title,
            (gate,),
            (cause,),
            bound_s,
            bound_is,
            lambda: self._channel.order(service, True),
            lambda: self._channel.order(service, False),
        )

    def _kill(self) -> float:
        began = time.monotonic()
        self._stack.workers[0].kill()
        return began

    def _flush(self) -> float:
        """Flush the store again and again until the gate's guard has closed, or the last permit has run out.

        The monitor writes each gate's next permit a third of a second later, and guards look four times a second. On a machine
        that stalls, a guard looks later still. A flush that ends before the guard looks shows nothing.
        """
        began = time.monotonic()
        with connect(self._stack.valkey.url, 1.0) as client:
            while time.monotonic() < began + LAPSE_SECONDS:
                client.flushall()
                if closed_at(self._channel.answers(names.ROUTE, began), NO_PERMIT):
                    break
                time.sleep(0.005)
        return began
