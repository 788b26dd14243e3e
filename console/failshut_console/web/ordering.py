"""Orders: what an operator asks for in the console, signed, on the log, and answered by the decision that it led to.

The gateway signs only if it was given an operator's key. The name on the log is that of the access key's holder, with the
key's id. An order is for gates that the access key covers, by somebody who saw them a moment ago. A reset, an unlock and a
bypass answer the epoch that the page showed. So an order never speaks of a closing that nobody saw.

Where no decision came in time, or the broker did not answer, the answer is `unknown`: the order may count, or may not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from failshut.signing import SigningKey
from failshut_breakers.command import WHY_MAX, Bypass, Confirm, EndBypass, GateCommand, Lock, Reset, Unlock
from failshut_console.exits import Trouble
from failshut_console.monitor.send_command import send_and_wait
from failshut_console.web.sessions import Session
from failshut_gateway.access.grant import Act, Grant
from failshut_gateway.asking.audit import Audit
from failshut_gateway.wire.replies import Scope
from failshut_streams.control.client import new_id

GATES_MAX: Final = 50
AT_ONCE: Final = 4
WAITING_MAX: Final = 20
WAIT_SECONDS: Final = 15.0
#: Who saw a gate longer ago than this decides on what may have changed.
SEEN_MS_MAX: Final = 5_000
BYPASS_MINUTES_MAX: Final = 24 * 60
KINDS: Final = {"lock": Lock, "unlock": Unlock, "reset": Reset, "bypass": Bypass, "end_bypass": EndBypass, "confirm": Confirm}
_ANSWERS_AN_EPOCH: Final = ("unlock", "reset", "bypass", "confirm")


class BadOrder(ValueError):
    """An order that cannot be meant, in words for whoever gave it. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Signing:
    """With which key orders are signed, and where they go. `installation` may raise Trouble."""

    broker: str
    prefix: str
    key: SigningKey
    installation: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for: a kind, a reason, and gates with the epochs that the page showed."""

    kind: str
    why: str
    gates: Mapping[str, int]
    conditions: tuple[str, ...] = ()
    minutes: int = 0

    @classmethod
    def read(cls, said: Any, grant: Grant, now_ms: int) -> Order:
        """Read what a page sent. Raises BadOrder."""
        if not isinstance(said, dict) or said.get("kind") not in KINDS:
            raise BadOrder("no order is called so")
        kind, why, gates, seen_ms = said["kind"], said.get("why"), said.get("gates"), said.get("seen_ms")
        if type(seen_ms) is not int or abs(now_ms - seen_ms) > SEEN_MS_MAX:
            raise BadOrder("what you saw is old. Look again, then say it again")
        if not isinstance(why, str) or not why.strip() or not why.isprintable() or len(why) > WHY_MAX:
            raise BadOrder(f"a reason is one line of 1 to {WHY_MAX} characters: whoever reads the log asks for it first")
        if not isinstance(gates, dict) or not 0 < len(gates) <= GATES_MAX:
            raise BadOrder(f"an order is for 1 to {GATES_MAX} gates")
        if len(gates) > 1 and said.get("count") != len(gates):
            raise BadOrder(f"the number that you typed is not the number of gates, which is {len(gates)}")
        epochs = {gate: _epoch(gate, epoch, kind, grant) for gate, epoch in gates.items()}
        conditions, minutes = said.get("conditions", []), said.get("minutes", 0)
        if kind == "bypass":
            if len(gates) != 1 or not isinstance(conditions, list) or not 0 < len(conditions) <= 64:
                raise BadOrder("a bypass is for one gate, and names the conditions that it overrides")
            if type(minutes) is not int or not 0 < minutes <= BYPASS_MINUTES_MAX:
                raise BadOrder(f"a bypass lasts for 1 to {BYPASS_MINUTES_MAX} minutes")
        return cls(kind, why.strip(), epochs, tuple(map(str, conditions)), minutes)

    def command(self, gate: str, installation: str, by: str, now_ms: int) -> GateCommand:
        """Return the command about one gate. Raises BadOrder."""
        more: dict[str, Any] = {"epoch": self.gates[gate]} if self.kind in _ANSWERS_AN_EPOCH else {}
        if self.kind == "bypass":
            more |= {"conditions": self.conditions, "until_ms": now_ms + self.minutes * 60_000}
        head = {"installation": installation, "by": by, "why": self.why, "id": new_id(), "signed_ms": now_ms}
        try:
            made: GateCommand = KINDS[self.kind](gate=gate, **head, **more)
        except ValueError as error:
            raise BadOrder("the order cannot be written down as it is") from error
        return made


class Ordering:
    """Carries orders out. Only in the event loop. Without `signing` it carries none out, and says why."""

    def __init__(self, signing: Signing | None, audit: Audit, wall: Callable[[], float] = time.time) -> None:
        self._signing, self._audit, self._wall = signing, audit, wall
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def why_not(self, grant: Grant) -> str:
        """Return why somebody can give no orders here; empty where he can."""
        if not grant.allows(Act.ORDER):
            return "Your access key shows gates and commands none: its role is viewer."
        if self._signing is None:
            return "This gateway holds no operator's key, so nothing can be commanded here. Use the command line."
        return ""

    async def carry_out(self, scope: Scope, session: Session, said: Any) -> list[dict[str, Any]]:
        """Send an order for each of its gates, and return what became of it. Raises BadOrder: then nothing was sent."""
        grant, signing = session.grant, self._signing
        if why_not := self.why_not(grant):
            raise BadOrder(why_not)
        assert signing is not None  # noqa: S101 - `why_not` asked
        order = Order.read(said, grant, self._now_ms())
        if self._waiting >= WAITING_MAX:
            raise BadOrder("too many orders are on their way. Wait for them, then say it again")
        try:
            installation = signing.installation()
        except Trouble as trouble:
            raise BadOrder(f"{trouble.what}: nothing was sent") from trouble
        by = f"{grant.note[:150] or 'holder unnamed'} (access key {grant.id}, console)"
        order.command(next(iter(order.gates)), installation, by, self._now_ms())
        for gate in order.gates:
            self._audit.note("order", scope, grant.id, holder=grant.note, kind=order.kind, gate=gate, why=order.why)
        self._waiting += 1
        try:
            return list(
                await asyncio.gather(*(self._one(scope, session, order, gate, installation, by) for gate in order.gates))
            )
        finally:
            self._waiting -= 1

    async def _one(self, scope: Scope, session: Session, order: Order, gate: str, installation: str, by: str) -> dict[str, Any]:
        signing = self._signing
        assert signing is not None  # noqa: S101 - the caller asked
        async with self._at_once:
            if session.over.is_set():
                return _said(gate, order.kind, "not sent", "the session ended before this order was sent")
            command = order.command(gate, installation, by, self._now_ms())
            try:
                answer = await send_and_wait(signing.broker, signing.prefix, signing.key, command, WAIT_SECONDS)
                result = "unknown" if answer.result == "unanswered" else answer.result
                found = {**answer.as_json(), "result": result, "kind": order.kind}
            except Trouble as trouble:
                found = _said(gate, order.kind, "unknown", f"{trouble.what}. Whether the order counts is not known")
        self._audit.note("answer", scope, session.grant.id, kind=order.kind, gate=gate, result=str(found["result"]))
        return found

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _epoch(gate: Any, epoch: Any, kind: str, grant: Grant) -> int:
    if not isinstance(gate, str) or not grant.covers_gate(gate):
        raise BadOrder("your access key is not for this gate")
    if not isinstance(epoch, str) or (epoch and not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 16)):
        raise BadOrder("an epoch is a number")
    if not epoch and kind in _ANSWERS_AN_EPOCH:
        raise BadOrder(f"no closing of {gate} is known that this could answer")
    return int(epoch or "0")


def _said(gate: str, kind: str, result: str, because: str) -> dict[str, Any]:
    return {"gate": gate, "kind": kind, "result": result, "because": because, "breaker": "", "state": "", "epoch": ""}
