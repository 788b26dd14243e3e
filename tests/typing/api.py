"""The guard's public API as services use it: type-checked, never run."""

from __future__ import annotations

from failshut import Cause, Check, Configuration, Gate, Guard, Permit, Withheld, configure, telemetry
from failshut.permit import Closing, verify
from failshut.signing import KeySet, SigningKey
from failshut.testing import Effect, GateControl, MakeGate, Rehearsal, assert_guarded, rehearsal

guard: Guard = configure(store_url="redis://localhost:6379/0", jwks="jwks.json", context={"region": "eu"}, deadline_ms=50)
refunds = Gate("payments.refund")
pinned = Gate("payments.refund", context={"team": "a"}, policy="sha256:00", guard=guard)
ready: bool = refunds.prepare(seconds=2.0)


def plain() -> str:
    permit: Permit = refunds.check(subject="agent:refund-7", operation="create")
    with refunds.execution(subject="agent:refund-7", operation="create", parent=object()) as execution:
        execution.check()
        number: int = execution.fencing_token
        text: str = execution.epoch
        inside: Permit = execution.permit
    return f"{permit.jti} {number} {text} {inside.mode}"


async def awaited() -> None:
    async with refunds.execution("agent:refund-7") as execution:
        execution.check()


@refunds.guarded(subject="agent:refund-7")
def pay(amount_eur: float) -> int:
    return int(amount_eur)


@refunds.guarded(subject=lambda who, amount_eur: who, operation=lambda who, amount_eur: "pay")
async def pay_later(who: str, amount_eur: float) -> float:
    return amount_eur


async def call() -> None:
    number: int = pay(1.0)
    amount: float = await pay_later("agent:refund-7", 1.0)
    pay("1")  # type: ignore[arg-type]
    print(number, amount)


def denied() -> tuple[str, Cause, str, Check]:
    try:
        refunds.check("agent:refund-7")
    except Withheld as withheld:
        return withheld.gate, withheld.cause, withheld.because, withheld.failed
    raise AssertionError


def tokens(token: str) -> None:
    key = SigningKey.generate()
    key_set: KeySet = key.key_set()
    statement: Permit | Closing = verify(token, key_set, "payments.refund")
    print(statement, statement.claims())


def by_hand() -> Guard:
    return Guard(Configuration(store_url="redis://localhost:6379/0", jwks={"keys": []}))


def guarded_plainly(failshut_gate: MakeGate, failshut_rehearsal: Rehearsal) -> None:
    gate: GateControl = failshut_gate("payments.refund", subjects=["agent:*"], in_flight="finish", ttl_ms=1000).open()
    gate.prove(probes=2).stop_renewing().advance(0.5).close(Cause.DRIFT, "mean 48 to 97").lapse()
    failshut_rehearsal.advance(1)
    of_probes: int = gate.probes_left
    counted: dict[str, int] = gate.outcomes()
    assert_guarded(gate, lambda effect: pay(1.0))
    failshut_gate("payments.refund", in_flight="stop")  # type: ignore[arg-type]
    assert_guarded(gate.gate, plain)  # type: ignore[arg-type]
    with rehearsal(context={"region": "eu"}) as stage:
        stage.gate("payments.refund").close()
    print(of_probes, counted, Gate("payments.refund", guard=stage.guard))


async def guarded_later(failshut_gate: MakeGate) -> None:
    async def path(effect: Effect) -> None:
        wrapped = effect.calling(pay_later)
        amount: float = await wrapped("agent:refund-7", 1.0)
        await effect.awaited(amount)

    await assert_guarded(failshut_gate("payments.refund"), path, denial=(OSError, ValueError), seconds=1)


event: bytes = telemetry.joined([telemetry.sample("a", "b", 1.0), telemetry.heartbeat("a")])
