"""A key that is taken out of the guard's JWKS counts for nothing from the moment when anybody in the process saw the file."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from guard.standin import SUBJECT, Monitor, admitted, denied_with, eventually, withheld
from guard.test_guard_processes import Child
from patience import patient

from failshut import Cause, Gate, Guard, Withheld
from failshut.admission.denial import Denial
from failshut.background.key_source import FILE_BYTES_MAX, KeySource, NoInstallation
from failshut.epoch import epoch_of
from failshut.lease import Lease
from failshut.signing import KeySet, SigningKey
from failshut_servers import Valkey


@pytest.fixture
def jwks(monitor: Monitor, tmp_path: Path) -> Path:
    """The guard's file; at first it holds the monitor's key alone."""
    path = tmp_path / "jwks.json"
    monitor.write_jwks(path)
    monitor.ttl_ms = 600_000  # what a thief signs runs long
    monitor.issue()
    return path


@pytest.fixture
def guard(jwks: Path, make_guard: Callable[..., Guard]) -> Guard:
    return make_guard(jwks=str(jwks))


def replaced(monitor: Monitor, jwks: Path) -> SigningKey:
    """Take the monitor's key out: it was stolen. Returns it; the monitor signs with a new one."""
    stolen, monitor.key = monitor.key, SigningKey.generate()
    monitor.write_jwks(jwks)
    return stolen


def nobody_looks(guard: Guard) -> None:
    """End the background threads, so that only the test sees the file."""
    watcher, guard._watcher = guard._watcher, None
    assert watcher is not None
    watcher.stop(10)
    guard._running = lambda: Denial(Cause.STORE_UNREACHABLE, "nobody watches in this test")  # type: ignore[method-assign]


def looked(guard: Guard) -> None:
    """Have this thread see the file now."""
    guard.slots.refresh_keys(at_once=True)


# --- Whichever thread sees it ---


def test_a_push_that_needs_the_new_key_ends_every_lease_of_the_old_one(
    monitor: Monitor, guard: Guard, gate: Gate, jwks: Path
) -> None:
    """The listener sees the change first, on behalf of another gate; this gate's lease ends by it all the same."""
    admitted(gate)
    other = Gate(f"{monitor.gate}.other", guard=guard)
    withheld(other)
    nobody_looks(guard)
    replaced(monitor, jwks)
    token = monitor.closing(gate=other.name).sign(monitor.key).encode()
    eventually(lambda: (guard.slots.pushed(other.name, token), withheld(gate))[1])
    assert not guard.counts("")
    assert isinstance(withheld(gate), Withheld)


def test_a_permit_under_the_new_key_is_enough_to_end_the_others(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """The watcher sees it where another gate's record names a key that it does not know."""
    admitted(gate)
    other = guard.slot(f"{monitor.gate}.other", {}, "")
    nobody_looks(guard)
    replaced(monitor, jwks)
    token = monitor.permit(gate=other.gate).sign(monitor.key).encode()
    eventually(lambda: (guard.slots.take(other, token, 60_000, guard.moment()), withheld(gate))[1])  # type: ignore[func-returns-value]
    assert isinstance(other.state, Lease)


def test_a_dead_store_keeps_no_stolen_lease_alive(monitor: Monitor, gate: Gate, jwks: Path, store: Valkey) -> None:
    """No read succeeds and no caller asks: the lease that would run for minutes ends with its key."""
    admitted(gate)
    store.kill()
    replaced(monitor, jwks)
    denied_with(gate, Cause.UNVERIFIED, Cause.STORE_UNREACHABLE)
    assert not isinstance(gate._slot.state, Lease)


def test_a_paused_store_delays_no_withdrawal(
    monitor: Monitor, make_guard: Callable[..., Guard], jwks: Path, store: Valkey
) -> None:
    """The watcher waits for an answer for a minute; the file is looked at meanwhile."""
    gate = Gate(monitor.gate, guard=make_guard(jwks=str(jwks), store_timeout_ms=60_000))
    admitted(gate)
    store.pause()
    try:
        replaced(monitor, jwks)
        eventually(lambda: not isinstance(gate._slot.state, Lease))
        assert withheld(gate) is not None
    finally:
        store.resume()


def test_two_guards_of_a_process_see_it_together(
    monitor: Monitor, guard: Guard, gate: Gate, jwks: Path, make_guard: Callable[..., Guard]
) -> None:
    """A guard that has not looked goes on with no key that another guard has seen withdrawn."""
    other = make_guard(jwks=str(jwks))
    theirs = Gate(monitor.gate, guard=other)
    admitted(gate)
    admitted(theirs)
    nobody_looks(guard)
    nobody_looks(other)
    replaced(monitor, jwks)
    looked(other)
    assert withheld(gate) is not None
    assert withheld(theirs) is not None


# --- Whatever becomes of the file ---


def _in_place_with_the_same_time(path: Path, key: SigningKey) -> None:
    """As long as the former one, with its times: only the bytes differ."""
    before = path.stat()
    other = path.with_name("other.json")
    key.key_set().of(KeySet.load(path).installation).write(other)
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def _empty(path: Path, key: SigningKey) -> None:
    path.write_bytes(b"")


def _torn(path: Path, key: SigningKey) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _no_keys(path: Path, key: SigningKey) -> None:
    path.write_text('{"keys": []}')


def _deleted(path: Path, key: SigningKey) -> None:
    path.unlink()


def _folder(path: Path, key: SigningKey) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, key: SigningKey) -> None:
    """Reading it would wait for a writer."""
    path.unlink()
    os.mkfifo(path)


def _too_long(path: Path, key: SigningKey) -> None:
    path.write_bytes(path.read_bytes() + b" " * FILE_BYTES_MAX)


def _a_private_key(path: Path, key: SigningKey) -> None:
    path.write_text(path.read_text().replace('"use"', '"d": "AA", "use"'))


@pytest.mark.parametrize(
    "fate",
    [_in_place_with_the_same_time, _empty, _torn, _no_keys, _deleted, _folder, _pipe, _too_long, _a_private_key],
)
def test_a_file_that_no_longer_holds_the_key_ends_its_leases(
    guard: Guard, gate: Gate, jwks: Path, fate: Callable[[Path, SigningKey], None]
) -> None:
    """Replaced, unreadable, gone: what the file does not say now does not count, and the reason says so."""
    admitted(gate)
    fate(jwks, SigningKey.generate())
    denied_with(gate, Cause.UNVERIFIED)


def test_a_link_that_is_swapped_is_a_change(monitor: Monitor, make_guard: Callable[..., Guard], tmp_path: Path) -> None:
    """As Kubernetes replaces a mounted file: the path goes through a link to a folder, and only the link changes."""
    monitor.ttl_ms = 600_000
    monitor.issue()
    for folder, key in (("first", monitor.key), ("second", SigningKey.generate())):
        monitor.write_jwks(tmp_path / folder / "jwks.json", key)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "jwks.json").symlink_to("..data/jwks.json")
    gate = Gate(monitor.gate, guard=make_guard(jwks=str(tmp_path / "jwks.json")))
    admitted(gate)
    (tmp_path / "..next").symlink_to("second")
    os.replace(tmp_path / "..next", tmp_path / "..data")
    denied_with(gate, Cause.UNVERIFIED)


def test_the_same_bytes_in_another_file_change_nothing(guard: Guard, gate: Gate, jwks: Path) -> None:
    """A file that is written anew with what it held ends no lease."""
    admitted(gate)
    version = guard.slots._keys.version
    copy = jwks.with_name("copy")
    copy.write_bytes(jwks.read_bytes())
    os.replace(copy, jwks)
    looked(guard)
    assert guard.slots._keys.version == version
    assert withheld(gate) is None


def test_a_key_that_is_added_ends_nothing(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """The first half of a rotation: leases of the key that stays go on."""
    admitted(gate)
    monitor.key.key_set().of(monitor.installation).joined(SigningKey.generate().key_set()).write(jwks)
    nobody_looks(guard)
    looked(guard)
    assert withheld(gate) is None


def test_keys_that_were_withdrawn_are_not_in_force_when_leases_end(monitor: Monitor, jwks: Path) -> None:
    """Leases end while neither the old key nor a new one is in force, so no token of the old key passes in between."""
    source = KeySource(str(jwks))
    source.refresh(lambda counts: None)
    kid = next(iter(source._keys._keys))  # type: ignore[union-attr]
    monitor.write_jwks(jwks, SigningKey.generate())
    told: list[tuple[bool, bool]] = []
    source.refresh(lambda counts: told.append((counts(kid), source.counts(kid))), at_once=True)
    assert told == [(False, False)]
    assert not source.counts(kid)


@pytest.mark.parametrize("installation", ["", "anotherinstallation"])
def test_the_same_keys_of_another_installation_are_other_keys(
    monitor: Monitor, guard: Guard, gate: Gate, jwks: Path, installation: str
) -> None:
    """A file that names another installation, or none, ends what the former one's statements opened, and is not heard after."""
    admitted(gate)
    nobody_looks(guard)
    KeySet(KeySet.load(jwks)._keys.values(), installation).write(jwks)
    looked(guard)
    assert isinstance(withheld(gate), Withheld)
    assert guard.slots.pushed(gate.name, monitor.permit().sign(monitor.key).encode())
    assert not isinstance(gate._slot.state, Lease)
    if installation:
        assert guard.slots.names().installation == installation
    else:
        with pytest.raises(NoInstallation):
            guard.slots.names()


# --- Whatever rests on it ---


def test_a_lease_that_was_settled_before_admits_nobody_after(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """Who has the lease in hand already is denied all the same, on either way in."""
    admitted(gate)
    lease = guard.obtain(gate._slot, guard.deadline())
    assert isinstance(lease, Lease)
    nobody_looks(guard)
    replaced(monitor, jwks)
    looked(guard)
    assert isinstance(guard.admit(gate._slot, lease, SUBJECT, None, probing=False), Denial)
    with pytest.raises(Withheld), gate.execution(SUBJECT):
        pytest.fail("ran under a withdrawn key")


@pytest.mark.parametrize("mode", ["armed", "bypass"])
@pytest.mark.parametrize("in_flight", ["cancel", "finish"])
def test_what_runs_under_the_key_is_told(
    monitor: Monitor, guard: Guard, gate: Gate, jwks: Path, in_flight: str, mode: str
) -> None:
    """check() raises, also where the thief's permit says that executions may finish."""
    monitor.issue(in_flight=in_flight, mode=mode)
    eventually(lambda: admitted(gate).in_flight == in_flight)
    with pytest.raises(Withheld) as caught, gate.execution(SUBJECT) as execution:  # noqa: PT012 - one execution
        execution.check()
        nobody_looks(guard)
        replaced(monitor, jwks)
        looked(guard)
        execution.check()
    assert caught.value.cause is Cause.UNVERIFIED


@pytest.mark.parametrize("in_flight", ["cancel", "finish"])
async def test_what_runs_under_the_key_is_cancelled(monitor: Monitor, gate: Gate, jwks: Path, in_flight: str) -> None:
    """An asynchronous execution is interrupted where it waits."""
    monitor.issue(in_flight=in_flight)
    await asyncio.to_thread(eventually, lambda: admitted(gate).in_flight == in_flight)
    with pytest.raises(Withheld) as caught:  # noqa: PT012 - one execution
        async with asyncio.timeout(patient(20)), gate.execution(SUBJECT):
            replaced(monitor, jwks)
            await asyncio.Event().wait()
    assert caught.value.cause is Cause.UNVERIFIED


def test_an_orderly_rotation_ends_nothing_that_runs(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """The new key signs, then the old one goes: what the old one admitted is covered by a permit that counts."""
    admitted(gate)
    former = monitor.key
    with gate.execution(SUBJECT) as execution:
        monitor.key = SigningKey.generate()
        former.key_set().of(monitor.installation).joined(monitor.key.key_set()).write(jwks)
        renewed = monitor.issue()
        eventually(lambda: admitted(gate) == renewed)
        monitor.write_jwks(jwks)
        looked(guard)
        assert not guard.counts(former.kid)
        execution.check()
        monitor.close(Cause.DRIFT)
        denied_with(gate, Cause.DRIFT)
        with pytest.raises(Withheld):
            execution.check()


@pytest.mark.parametrize("forged", ["permit", "closing", "same epoch"])
def test_what_the_thief_made_the_guard_remember_is_forgotten(monitor: Monitor, gate: Gate, jwks: Path, forged: str) -> None:
    """A great epoch under the stolen key bars no permit of the true one once the key is gone."""
    former, monitor.epoch = monitor.epoch, epoch_of(8000, 7)
    if forged == "same epoch":
        monitor.epoch, monitor.offset = former, 10**12
    if forged == "closing":
        monitor.term = 8000
        monitor.close(Cause.LOCK)
        denied_with(gate, Cause.LOCK)
    else:
        seen = monitor.issue(ttl_ms=2_000 if forged == "same epoch" else 600_000)
        eventually(lambda: admitted(gate) == seen)
    monitor.term, monitor.epoch, monitor.offset = 1, former, 200
    replaced(monitor, jwks)
    denied_with(gate, Cause.UNVERIFIED)
    again = monitor.issue()
    eventually(lambda: admitted(gate) == again)


def test_a_probe_token_under_the_key_admits_nobody(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """The key goes between the permit and its token: the token is reported, and nothing is executed."""
    permit = monitor.prove(1)
    denied_with(gate, Cause.PROBE_REQUIRED)
    fetch = guard.probe

    def slow(*given: object) -> object:
        answer = fetch(*given)  # type: ignore[arg-type]
        replaced(monitor, jwks)
        looked(guard)
        return answer

    guard.probe = slow  # type: ignore[assignment]
    with pytest.raises(Withheld), gate.execution(SUBJECT):
        pytest.fail("ran under a withdrawn key")
    told = eventually(monitor.outcomes)[0]
    assert (told["outcome"], told["token"]) == ("cancelled", monitor.probe_token(0, permit.epoch))


# --- Processes ---


def test_a_child_takes_no_withdrawn_key_along(monitor: Monitor, guard: Guard, gate: Gate, jwks: Path) -> None:
    """A child that is forked after the file changed verifies nothing with the keys that its parent still had."""
    admitted(gate)
    nobody_looks(guard)
    replaced(monitor, jwks)
    del guard._running  # the child has a background of its own
    child = Child(lambda: str(getattr(withheld(gate), "cause", "admitted"))).result()
    assert child == Cause.UNVERIFIED.value


def test_a_child_that_was_forked_during_a_look_follows_the_file(monitor: Monitor, gate: Gate, guard: Guard, jwks: Path) -> None:
    """The lock of the look is the parent's; the child looks with its own."""
    admitted(gate)

    def child() -> str:
        admitted(gate)
        monitor.write_jwks(jwks, SigningKey.generate())
        return denied_with(gate, Cause.UNVERIFIED).cause.value

    with guard.slots._keys._looking:
        assert Child(child).result() == "unverified"


# --- The drill ---


def test_the_drill_for_a_stolen_key(monitor: Monitor, make_guard: Callable[..., Guard], jwks: Path, store: Valkey) -> None:
    """docs/trouble/stolen-key.md, step by step, against a thief who goes on writing: forged permits, pushes and epochs count
    for nothing once the file is replaced, and the gates come back under the new key."""
    guards = [make_guard(jwks=str(jwks)) for _ in range(2)]
    gates = [Gate(monitor.gate, guard=guard) for guard in guards]
    for gate in gates:
        admitted(gate)
    thief = Monitor(store.url, monitor.gate, monitor.key)
    thief.term, thief.epoch, thief.ttl_ms = 8000, epoch_of(8000, 1), 24 * 3_600_000
    stop = threading.Event()

    def steal() -> None:
        while not stop.is_set():
            thief.issue(subjects=("*",), in_flight="finish")
            stop.wait(0.05)

    writing = threading.Thread(target=steal, daemon=True)
    writing.start()
    try:
        for gate in gates:
            eventually(lambda gate=gate: withheld(gate, "agent:thief") is None)  # type: ignore[misc]
        with gates[0].execution("agent:thief") as running:
            replaced(monitor, jwks)  # steps 1 and 2: a new key, and a JWKS that holds it alone, on every host
            for gate in gates:
                eventually(lambda gate=gate: withheld(gate, "agent:thief"))  # type: ignore[misc]
                assert not isinstance(gate._slot.state, Lease)
            with pytest.raises(Withheld):
                running.check()
            for gate in gates:  # the thief still writes, and nobody believes it
                for _ in range(50):
                    assert getattr(withheld(gate, "agent:thief"), "cause", None) is not None
    finally:
        stop.set()
        writing.join(patient(20))
        thief.shut_down()
    store_client = monitor.client
    store_client.flushall()  # step 3: what the thief wrote goes along
    monitor.keep_renewing(ttl_ms=3000)  # step 4: the monitor signs with the new key
    for gate in gates:
        admitted(gate)
        assert withheld(gate, "agent:thief") is not None
    assert len(KeySet.load(jwks)) == 1
