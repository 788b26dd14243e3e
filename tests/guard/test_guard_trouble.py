"""Trouble between guard and store, on real servers: what denies, with which cause, and that it recovers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guard.standin import SHORT_MS, SUBJECT, Monitor, admitted, denied_with, eventually, now_ms, withheld
from guard.test_guard_permit import header, token_of
from patience import PATIENCE, patient, within

from failshut import Cause, Check, Gate, Guard, Withheld
from failshut.epoch import epoch_of
from failshut.signing import SigningKey
from failshut.store.client import Store, Unreachable
from failshut.store.names import Names
from failshut_servers import Redis, Valkey


@pytest.fixture(params=["store", "redis_server"])
def server(request: pytest.FixtureRequest) -> Valkey | Redis:
    """Each trouble on both servers."""
    found: Valkey | Redis = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def monitor(server: Valkey | Redis, suffix: str) -> Iterator[Monitor]:
    monitor = Monitor(server.url, f"test.{suffix}")
    yield monitor
    monitor.shut_down()


def test_a_permit_admits_and_its_absence_denies(monitor: Monitor, gate: Gate) -> None:
    """The plain case, there and back."""
    denial = withheld(gate)
    assert denial is not None
    assert (denial.cause, denial.failed, denial.gate) == (Cause.NO_PERMIT, Check.PROOF, monitor.gate)
    permit = monitor.issue()
    assert admitted(gate) == permit


def test_a_flushed_store_denies(monitor: Monitor, gate: Gate) -> None:
    """FLUSHALL closes at the next read, long before the permit's end, and a renewal opens again."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    monitor.client.flushall()
    denied_with(gate, Cause.NO_PERMIT)
    monitor.issue()
    admitted(gate)


def test_a_permit_that_is_not_renewed_lapses(monitor: Monitor, gate: Gate) -> None:
    """Nobody says anything, and the gate closes."""
    monitor.issue(ttl_ms=SHORT_MS)
    admitted(gate)
    denied_with(gate, Cause.LAPSED)
    monitor.issue()
    admitted(gate)


def _garbage(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return b"\xff\x00 garbage", Cause.UNVERIFIED


def _empty(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return b"", Cause.UNVERIFIED


def _other_gate(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.permit(gate="another.gate").sign(monitor.key), Cause.FOREIGN


def _older(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.permit(epoch=epoch_of(1, 1)).sign(monitor.key), Cause.STALE


def _other_key(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.permit().sign(SigningKey.generate()), Cause.UNVERIFIED


def _no_algorithm(monitor: Monitor) -> tuple[bytes | str, Cause]:
    token = token_of(header(alg="none", kid=monitor.key.kid), monitor.permit().claims(), monitor.key)
    return token.rpartition(".")[0] + ".", Cause.UNVERIFIED


def _other_type(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.key.sign(monitor.permit().claims(), "failshut-command+jwt"), Cause.UNVERIFIED


def _over(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.permit(evidence_ms=now_ms() - 5000, ttl_ms=4000).sign(monitor.key), Cause.LAPSED


def _future(monitor: Monitor) -> tuple[bytes | str, Cause]:
    return monitor.permit(evidence_ms=now_ms() + 600_000).sign(monitor.key), Cause.CLOCK


@pytest.mark.parametrize(
    "replacement",
    [_garbage, _empty, _other_gate, _older, _other_key, _no_algorithm, _other_type, _over, _future],
)
def test_a_replaced_permit_denies(
    monitor: Monitor, gate: Gate, replacement: Callable[[Monitor], tuple[bytes | str, Cause]]
) -> None:
    """Whatever lies in a permit's place closes the gate, says why, and does no lasting harm."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    record, cause = replacement(monitor)
    monitor.client.set(monitor.names.record(monitor.gate), record, px=60_000)
    denied_with(gate, cause)
    if cause is Cause.CLOCK:
        monitor.reopen()
    monitor.issue()
    admitted(gate)


def test_a_record_of_another_type_denies(monitor: Monitor, gate: Gate) -> None:
    """A list where a string should be is garbage like any other, and blinds no other gate."""
    monitor.ttl_ms = 60_000
    other = Gate(f"{monitor.gate}.other", guard=gate._given)
    for name in (monitor.gate, other.name):
        monitor.write(monitor.permit(gate=name), gate=name)
    admitted(gate)
    admitted(other)
    monitor.client.delete(monitor.names.record(monitor.gate))
    monitor.client.lpush(monitor.names.record(monitor.gate), "x")
    denied_with(gate, Cause.UNVERIFIED)
    monitor.write(monitor.permit(gate=other.name), gate=other.name)
    assert withheld(other) is None


def test_a_permit_that_will_not_expire_denies(monitor: Monitor, gate: Gate) -> None:
    """PERSIST on a permit closes its gate."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    monitor.client.persist(monitor.names.record(monitor.gate))
    denied_with(gate, Cause.UNVERIFIED)


def test_a_closing_by_push_and_one_by_read_alone_both_close(monitor: Monitor, gate: Gate) -> None:
    """Push makes it fast, the record makes it sure; either is enough."""
    monitor.ttl_ms = 60_000
    for write, push in ((True, False), (False, True), (True, True)):
        monitor.reopen()
        admitted(gate)
        monitor.close(Cause.DRIFT, write=write, push=push)
        assert denied_with(gate, Cause.DRIFT).because == "mean 48 to 97"


def test_a_closing_that_is_only_pushed_holds_against_the_old_permit(monitor: Monitor, gate: Gate) -> None:
    """The permit that still lies in the store is older than the closing: stale, not open."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    monitor.close(Cause.DRIFT, write=False)
    denied_with(gate, Cause.STALE)


@pytest.mark.parametrize("push", [b"", b"no newline", b"%s\ngarbage", b"\xff\n\xff", b"%s\n"])
def test_a_push_that_does_not_verify_closes_until_the_store_is_read_again(
    monitor: Monitor, gate: Gate, guard: Guard, push: bytes
) -> None:
    """Noise on the push channel costs a read, harms nothing else, and does not end the listening."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    eventually(lambda: monitor.client.publish(monitor.names.push, push.replace(b"%s", monitor.gate.encode())))
    admitted(gate)
    monitor.close(Cause.HEARTBEAT, write=False)
    denied_with(gate, Cause.HEARTBEAT, Cause.STALE)
    assert guard.faults == 0


def test_a_stopped_store_denies_when_the_lease_ends_and_an_empty_restart_denies(
    server: Valkey | Redis, monitor: Monitor, gate: Gate
) -> None:
    """No connection: the lease runs out. Back but empty: no permit. Written anew: it admits."""
    monitor.keep_renewing()
    admitted(gate)
    server.kill()
    denied_with(gate, Cause.STORE_UNREACHABLE)
    monitor.stop_renewing()
    server.start()
    denied_with(gate, Cause.NO_PERMIT, Cause.LAPSED)
    monitor.keep_renewing()
    admitted(gate)
    monitor.close(Cause.LAG, write=False)  # the subscription is back as well
    eventually(lambda: (monitor.close(Cause.LAG, write=False), getattr(withheld(gate), "cause", None) is Cause.LAG)[1])


def test_a_paused_store_denies_when_the_lease_ends(server: Valkey | Redis, monitor: Monitor, gate: Gate) -> None:
    """SIGSTOP: connections stay up and nothing answers; the gate closes all the same, and comes back."""
    monitor.keep_renewing()
    admitted(gate)
    server.pause()
    try:
        denied_with(gate, Cause.STORE_UNREACHABLE, Cause.DEADLINE)
    finally:
        server.resume()
    admitted(gate)


def _checked(gate: Gate) -> None:
    gate.check(SUBJECT)


def _entered(gate: Gate) -> None:
    with gate.execution(SUBJECT):
        pytest.fail("admitted by a store that does not answer")


def _awaited(gate: Gate) -> None:
    async def enter() -> None:
        async with gate.execution(SUBJECT):
            pytest.fail("admitted by a store that does not answer")

    asyncio.run(enter())


def _denials(way: Callable[[Gate], None], gates: list[Gate]) -> tuple[list[float], set[Cause]]:
    """How long each gate took to deny, in seconds, and with which causes."""
    seconds, causes = [], set()
    for gate in gates:
        began = time.monotonic()
        with pytest.raises(Withheld) as caught:
            way(gate)
        seconds.append(time.monotonic() - began)
        causes.add(caught.value.cause)
    return seconds, causes


@pytest.mark.parametrize("way", [_checked, _entered, _awaited])
@pytest.mark.parametrize("deadline_ms", [50, 400])
def test_a_cold_guard_before_a_paused_store_denies_within_its_deadline(
    server: Valkey | Redis, monitor: Monitor, make_guard: Callable[..., Guard], way: Callable[[Gate], None], deadline_ms: int
) -> None:
    """The first question of all, with nobody answering: typed, within the deadline as far as the machine lets it, and open
    once the store answers."""
    monitor.ttl_ms = 600_000
    monitor.issue()
    gates = [Gate(monitor.gate, guard=make_guard(deadline_ms=deadline_ms, store_timeout_ms=60_000)) for _ in range(5)]
    server.pause()
    try:
        seconds, causes = _denials(way, gates)
        again, more = _denials(way, gates)
    finally:
        server.resume()
    assert causes | more <= {Cause.DEADLINE, Cause.STORE_UNREACHABLE}
    assert max(seconds + again) < within(deadline_ms / 1000)
    assert min(seconds) < 2 * deadline_ms / 1000 * PATIENCE, "not one of five kept its deadline"
    for gate in gates:
        admitted(gate)


def test_a_probe_before_a_paused_store_is_denied_within_the_deadline(
    server: Valkey | Redis, monitor: Monitor, make_guard: Callable[..., Guard]
) -> None:
    """The token is asked for within what is left of the same deadline."""
    monitor.prove(3, ttl_ms=600_000)
    gates = [Gate(monitor.gate, guard=make_guard(deadline_ms=100, store_timeout_ms=60_000)) for _ in range(3)]
    for gate in gates:
        denied_with(gate, Cause.PROBE_REQUIRED)
    server.pause()
    try:
        seconds, causes = _denials(_entered, gates)
    finally:
        server.resume()
    assert causes == {Cause.DEADLINE}
    assert max(seconds) < within(0.1)
    assert min(seconds) < 0.2 * PATIENCE, "not one of three kept its deadline"


def test_a_slow_store_costs_a_caller_its_deadline_and_no_more(monitor: Monitor, make_guard: Callable[..., Guard]) -> None:
    """A store that takes longer than a caller waits: the caller is told, the background gets its answer later."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    gate = Gate(monitor.gate, guard=make_guard(deadline_ms=20, store_timeout_ms=20_000))
    monitor.client.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    denial = withheld(gate)
    assert denial is not None
    assert denial.cause in (Cause.DEADLINE, Cause.STORE_UNREACHABLE)
    admitted(gate)


def test_nobody_at_the_stores_address_denies(monitor: Monitor, make_guard: Callable[..., Guard], free_port: Any) -> None:
    """A refused connection is `store_unreachable`, at the first check and at every later one."""
    gate = Gate(monitor.gate, guard=make_guard(store_url=f"redis://127.0.0.1:{free_port()}/0"))
    for _ in range(3):
        denial = withheld(gate)
        assert denial is not None
        assert denial.cause is Cause.STORE_UNREACHABLE


def test_a_server_that_speaks_something_else_denies(monitor: Monitor, make_guard: Callable[..., Guard]) -> None:
    """Answers that are not the protocol are no driver's exception for the caller."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def babble() -> None:
            listener.settimeout(0.1)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                with connection:
                    try:
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n*9\r\n")
                    except OSError:
                        pass

        thread = threading.Thread(target=babble)
        thread.start()
        try:
            guard = make_guard(store_url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
            denied_with(Gate(monitor.gate, guard=guard), Cause.STORE_UNREACHABLE)
        finally:
            stop.set()
            thread.join()


def test_one_question_is_one_attempt() -> None:
    """The driver's own retries, which turn a refusal into seconds of stall, are off."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        attempts: list[int] = []

        def hang_up() -> None:
            listener.settimeout(20)
            try:
                while True:
                    connection, _ = listener.accept()
                    attempts.append(1)
                    connection.close()
            except OSError:
                return

        thread = threading.Thread(target=hang_up)
        thread.start()
        store = Store(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", 5000)
        with pytest.raises(Unreachable):
            store.read(Names("i" * 32), ["g"])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(patient(30))
    assert len(attempts) == 1


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:notaport/0", "nonsense"])
def test_a_store_address_that_is_none_denies(monitor: Monitor, make_guard: Callable[..., Guard], url: str) -> None:
    """A wrong URL closes; it does not raise something else, or hang."""
    denied_with(Gate(monitor.gate, guard=make_guard(store_url=url)), Cause.STORE_UNREACHABLE)


def test_no_keys_deny_and_a_key_file_is_followed(monitor: Monitor, make_guard: Callable[..., Guard], tmp_path: Any) -> None:
    """No key file: nothing verifies. Written, rotated, withdrawn: the guard follows without a restart."""
    monitor.ttl_ms = 60_000
    path = tmp_path / "jwks.json"
    monitor.issue()
    gate = Gate(monitor.gate, guard=make_guard(jwks=str(path)))
    denied_with(gate, Cause.UNVERIFIED)
    monitor.write_jwks(path)
    admitted(gate)
    former, monitor.key = monitor.key, SigningKey.generate()
    monitor.issue()
    denied_with(gate, Cause.UNVERIFIED)
    monitor.write_jwks(path, former, monitor.key)
    admitted(gate)
    monitor.write_jwks(path, former)  # the newer key is withdrawn: what it signed counts no more
    denied_with(gate, Cause.UNVERIFIED)
    path.write_text("{")
    eventually(lambda: "not JSON" in getattr(withheld(gate), "because", ""))
    monitor.write_jwks(path, former, monitor.key)
    admitted(gate)


def test_a_closing_overtakes_whatever_renews(monitor: Monitor, gate: Gate) -> None:
    """Permits of the former epoch that a lagging writer puts back after the closing open nothing."""
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    former_epoch = monitor.epoch
    monitor.close(Cause.FAILURE_RATE)
    denied_with(gate, Cause.FAILURE_RATE)
    monitor.issue(epoch=former_epoch)
    denied_with(gate, Cause.STALE)
    with pytest.raises(Withheld):
        gate.check(SUBJECT)
    monitor.reopen()
    admitted(gate)
