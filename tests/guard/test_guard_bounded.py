"""Whatever lies in the store, or is pushed, a guard reads no more of it than a token is long, and its other gates go on."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from guard.standin import SUBJECT, Monitor, admitted, denied_with, eventually, withheld

from failshut import Cause, Gate, Guard, Withheld
from failshut.signing import TOKEN_BYTES_MAX
from failshut.store.answers import ANSWER_BYTES_MAX, VALUE_BYTES_MAX, BoundedParser, TooLong, check_length
from failshut.store.client import Store, Unreachable
from failshut.store.connection import connect
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.store.client import Store as MonitorStore
from failshut_servers import Redis, Valkey

MB = 1024 * 1024


@pytest.fixture(params=["store", "redis_server"])
def server(request: pytest.FixtureRequest) -> Valkey | Redis:
    """Both servers say lengths in the same way."""
    found: Valkey | Redis = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def monitor(server: Valkey | Redis, suffix: str) -> Iterator[Monitor]:
    monitor = Monitor(server.url, f"test.{suffix}")
    monitor.ttl_ms = 600_000
    yield monitor
    monitor.shut_down()


@pytest.fixture
def other(monitor: Monitor, guard: Guard) -> Gate:
    """Another gate of the same guard, which is open."""
    gate = Gate(f"{monitor.gate}.other", guard=guard)
    monitor.write(monitor.permit(gate=gate.name), gate=gate.name)
    admitted(gate)
    return gate


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the values that were refused unread."""
    lengths: list[int] = []

    def watched(value_bytes: int, answer_bytes: int = 0) -> None:
        try:
            check_length(value_bytes, answer_bytes)
        except TooLong:
            lengths.append(value_bytes)
            raise

    monkeypatch.setattr("failshut.store.answers.check_length", watched)
    return lengths


def grown(client: redis.Redis, key: str, size: int) -> None:
    client.delete(key)
    client.setrange(key, size - 1, b"y")


def memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def goes_on(monitor: Monitor, gate: Gate) -> None:
    """A renewal of the gate is read, and a closing arrives: nothing in the background is stuck."""
    renewed = monitor.permit(gate=gate.name)
    monitor.write(renewed, gate=gate.name)
    eventually(lambda: admitted(gate) == renewed)


@pytest.mark.parametrize("size", [TOKEN_BYTES_MAX + 1, 40 * MB])
def test_a_giant_record_closes_its_own_gate_and_costs_no_memory(monitor: Monitor, gate: Gate, other: Gate, size: int) -> None:
    """Only the first 64 kB of it cross the wire; the gate is unverified, the other one is renewed beside it."""
    before = memory_mb()
    grown(monitor.client, monitor.names.record(monitor.gate), size)
    monitor.client.pexpire(monitor.names.record(monitor.gate), 600_000)
    assert denied_with(gate, Cause.UNVERIFIED).because.endswith(f"a token has at most {TOKEN_BYTES_MAX}")
    goes_on(monitor, other)
    assert memory_mb() - before < 20
    monitor.issue()
    admitted(gate)


def test_a_record_of_exactly_the_bound_is_read_whole(monitor: Monitor, server: Valkey | Redis) -> None:
    """Nothing is cut off a token that a guard would take."""
    content = b"x" * TOKEN_BYTES_MAX
    monitor.client.set(monitor.names.record(monitor.gate), content, px=60_000)
    (found,) = Store(server.url, 5_000).read(monitor.names, [monitor.gate])
    assert found.record == content


@pytest.mark.parametrize("field", ["epoch", "offset", "kind"])
def test_a_giant_fence_is_not_asked_for(monitor: Monitor, gate: Gate, other: Gate, field: str, refused: list[int]) -> None:
    """It is no fence of ours: it denies nothing, costs nothing and keeps nobody waiting."""
    fence: dict[Any, Any] = {"epoch": monitor.epoch, "offset": "0" * 16, "kind": "permit", field: "9" * (40 * MB)}
    monitor.client.hset(monitor.names.fence(monitor.gate), mapping=fence)
    monitor.issue()
    admitted(gate)
    goes_on(monitor, other)
    assert not refused


def test_a_giant_push_is_not_read_and_the_next_closing_is_heard(
    monitor: Monitor, gate: Gate, other: Gate, refused: list[int]
) -> None:
    """The connection is made anew, and the gates are read meanwhile."""
    monitor.issue()
    admitted(gate)
    eventually(lambda: monitor.client.publish(monitor.names.push, b"x" * (20 * MB)))
    eventually(lambda: refused == [20 * MB])
    eventually(lambda: (monitor.close(Cause.DRIFT, write=False), getattr(withheld(gate), "cause", None) is Cause.DRIFT)[1])
    goes_on(monitor, other)


def test_a_giant_probe_token_is_not_read(monitor: Monitor, gate: Gate, other: Gate, refused: list[int]) -> None:
    """The execution is withheld by type, and the next read works."""
    monitor.client.lpush(monitor.names.probes(monitor.gate), b"x" * (20 * MB))
    monitor.prove(0)
    denied_with(gate, Cause.PROBE_REQUIRED)
    with pytest.raises(Withheld) as caught, gate.execution(SUBJECT):
        pytest.fail("ran with a token of 20 MB")
    assert caught.value.cause in (Cause.STORE_UNREACHABLE, Cause.DEADLINE)
    assert refused == [20 * MB]
    goes_on(monitor, other)


def test_callers_are_answered_in_time_meanwhile(monitor: Monitor, make_guard: Callable[..., Guard]) -> None:
    """I5: with giants everywhere a cold gate's caller still gets a typed denial."""
    for name in ("a", "b", "c"):
        grown(monitor.client, monitor.names.record(f"{monitor.gate}.{name}"), 40 * MB)
    guard = make_guard(deadline_ms=10_000)
    for name in ("a", "b", "c"):
        denial = withheld(Gate(f"{monitor.gate}.{name}", guard=guard))
        assert denial is not None
        assert denial.cause is Cause.UNVERIFIED
    assert guard.faults == 0


# --- The parser ---


def test_an_answer_over_the_bound_is_refused_unread(server: Valkey | Redis, monitor: Monitor) -> None:
    """The length that the server announces is enough; the connection is not used again."""
    grown(monitor.client, "big", 40 * MB)
    client = connect(server.url, 5)
    before = memory_mb()
    with pytest.raises(TooLong, match=str(VALUE_BYTES_MAX)):
        client.get("big")
    assert client.ping()
    assert memory_mb() - before < 10
    client.close()


def test_many_values_of_one_answer_are_bounded_together(server: Valkey | Redis, monitor: Monitor) -> None:
    """A list of a thousand values, each within its bound."""
    monitor.client.rpush("list", *[b"x" * VALUE_BYTES_MAX] * (ANSWER_BYTES_MAX // VALUE_BYTES_MAX + 5))
    client = connect(server.url, 20)
    with pytest.raises(TooLong, match="in all"):
        client.lrange("list", 0, -1)
    client.close()


def test_the_bound_of_an_answer_holds_a_full_read() -> None:
    """128 gates with the longest tokens that there are."""
    check_length(TOKEN_BYTES_MAX + 1, 128 * (TOKEN_BYTES_MAX + 1 + 200))


def test_the_parser_is_the_one_in_use(server: Valkey | Redis) -> None:
    """redis-py takes the parser that it is given, also where hiredis is installed."""
    client = connect(server.url, 5)
    client.ping()
    connection: Any = client.connection_pool.get_connection()
    assert type(connection._parser) is BoundedParser
    client.connection_pool.release(connection)
    client.close()


# --- The fence ---


def statement(monitor: Monitor, kind: str, token: str, offset: int, epoch: str, exp_ms: int = 0) -> tuple[Statement, bytes]:
    return Statement(monitor.gate, kind, epoch, offset, token, exp_ms, 0, ""), b"{}"  # type: ignore[arg-type]


async def test_a_permit_that_is_put_back_over_a_closing_opens_no_cold_guard(
    monitor: Monitor, make_guard: Callable[..., Guard], server: Valkey | Redis
) -> None:
    """Unexpired, signed, and older than the last write of the real script: a guard that has seen nothing else refuses it."""
    permit = monitor.permit()
    old = permit.sign(monitor.key)
    closing = monitor.closing(Cause.DRIFT)
    async with MonitorStore(server.url) as store:
        await store.write([statement(monitor, "permit", old, permit.offset, permit.epoch, permit.exp_ms)])
        await store.write([statement(monitor, "closing", closing.sign(monitor.key), closing.offset, closing.epoch)])
        monitor.client.set(monitor.names.record(monitor.gate), old, pxat=permit.exp_ms)
        cold = Gate(monitor.gate, guard=make_guard())
        assert denied_with(cold, Cause.STALE).because.endswith(f"was given a closing of {closing.epoch} since")
        for _ in range(20):
            assert withheld(cold) is not None
            time.sleep(0.02)
        later = monitor.permit(epoch=closing.epoch, offset=closing.offset + 1)
        token = later.sign(monitor.key)
        await store.write([statement(monitor, "permit", token, later.offset, later.epoch, later.exp_ms)])
    assert admitted(cold) == later


def test_who_takes_the_fence_away_too_gains_the_permits_own_end_at_a_cold_guard(
    monitor: Monitor, gate: Gate, make_guard: Callable[..., Guard]
) -> None:
    """The fence is unsigned: without it a guard that has seen nothing admits, and no longer than the permit says itself."""
    old = monitor.issue(ttl_ms=8_000)
    assert admitted(gate) == old
    monitor.close(Cause.DRIFT)
    denied_with(gate, Cause.DRIFT)
    monitor.client.delete(monitor.names.fence(monitor.gate))
    monitor.client.set(monitor.names.record(monitor.gate), old.sign(monitor.key))
    monitor.client.pexpire(monitor.names.record(monitor.gate), 600_000)
    cold = Gate(monitor.gate, guard=make_guard())
    admitted(cold)
    denied_with(gate, Cause.STALE)
    denied_with(cold, Cause.LAPSED)
    assert withheld(cold) is not None


def test_a_permit_of_a_former_epoch_is_below_the_fence_of_a_later_permit(monitor: Monitor, gate: Gate) -> None:
    """A rolled-back record is refused, and a renewal of the fence's own epoch is not."""
    permit = monitor.issue()
    fence: dict[Any, Any] = {"epoch": f"{int(monitor.epoch) + 1:016d}", "offset": "0" * 16, "kind": "permit"}
    monitor.client.hset(monitor.names.fence(monitor.gate), mapping=fence)
    denied_with(gate, Cause.STALE)
    monitor.client.hset(monitor.names.fence(monitor.gate), mapping={"epoch": monitor.epoch, "offset": "9" * 15 + "0"})
    assert admitted(gate) == permit


@pytest.mark.parametrize(
    "fence",
    [
        {"epoch": "9" * 16, "offset": "0" * 16, "kind": "closing"},
        {"epoch": "z" * 16, "offset": "0" * 16, "kind": "closing"},
        {"epoch": "", "offset": "", "kind": ""},
        {"epoch": "1", "offset": "2", "kind": "closing"},
        {"epoch": "0" * 16, "offset": "0" * 16, "kind": "foreign"},
        {"epoch": "0" * 16},
    ],
    ids=lambda fence: "-".join(fence.values()),
)
def test_what_no_monitor_can_have_written_is_no_fence(monitor: Monitor, gate: Gate, fence: dict[Any, Any]) -> None:
    """Garbage beside a good record takes nothing away: who may write it could as well take the record away."""
    monitor.client.hset(monitor.names.fence(monitor.gate), mapping=fence)
    monitor.issue()
    admitted(gate)


def test_a_fence_of_another_type_is_no_fence(monitor: Monitor, gate: Gate, other: Gate) -> None:
    """A list where a hash should be is not asked for, and blinds nobody."""
    monitor.client.rpush(monitor.names.fence(monitor.gate), "x")
    monitor.issue()
    admitted(gate)
    goes_on(monitor, other)


def test_a_fence_that_grows_while_it_is_read_keeps_no_gate_unread(
    monitor: Monitor, server: Valkey | Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured small, read giant: that gate is read without its fence, and the others in the same read keep theirs."""
    monitor.client.hset(monitor.names.fence(monitor.gate), mapping={"epoch": "1" * MB, "offset": "1", "kind": "permit"})
    monitor.client.hset(monitor.names.fence("other"), mapping={"epoch": "1" * 16, "offset": "1" * 16, "kind": "closing"})
    monitor.issue()
    monkeypatch.setattr("failshut.store.client._fenced", lambda client, names, gates: frozenset(gates))
    store = Store(server.url, 5_000)
    found, other = store.read(monitor.names, [monitor.gate, "other"])
    assert found.record is not None
    assert found.fence is None
    assert other.fence == ("1" * 16, "1" * 16, True)
    with pytest.raises(Unreachable):
        Store("redis://127.0.0.1:1/0", 500).read(monitor.names, [monitor.gate])
