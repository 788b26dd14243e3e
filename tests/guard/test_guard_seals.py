"""Seals at the guard: one signed statement renews many gates, and what it does not name is closed."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from guard.standin import SUBJECT, FakeClocks, Monitor, admitted, denied_with, eventually, now_ms, withheld

from failshut import Cause, Gate, Guard, Permit, Withheld
from failshut.admission.denial import Denial
from failshut.background.seals import PartitionView, SealBoard
from failshut.execution import Execution
from failshut.lease import Moment
from failshut.permit import ForeignInstallation, verify
from failshut.seal import NAME_BYTES, Seal, name_of, seal_name, verify_seal
from failshut.signing import BadSignature, SigningKey, UnreadableToken, WrongType, read_token
from failshut.store.client import SealFound

HOUR_MS = 3_600_000


class Sealer:
    """Seals as the monitor does, for a stand-in monitor's gates."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def permit(self, **changes: Any) -> Permit:
        """Write a permit that lives by seals, under the present epoch."""
        permit = self.monitor.permit(**{"sealed": True, "exp_ms": now_ms() + HOUR_MS, **changes})
        self.monitor.write(permit)
        return permit

    def seal(self, *permits: Permit, evidence_ms: int = 0, **changes: Any) -> Seal:
        """Make the next seal, which names these permits, and no other."""
        self.monitor.offset += 1
        evidence_ms = evidence_ms or now_ms()
        kept_ms = evidence_ms + max((permit.ttl_ms for permit in permits), default=60_000)
        head: dict[str, Any] = {"installation": self.monitor.installation, "partition": 0, "term": self.monitor.term}
        named = [(evidence_ms, seal_name(permit)) for permit in permits]
        packed = Seal.of(**head, offset=self.monitor.offset, kept_ms=kept_ms, open_=named)
        return replace(packed, **changes)

    def write(self, seal: Seal, key: SigningKey | None = None, *, at: int = 0) -> str:
        """Write a seal where the monitor does."""
        token = seal.sign(key or self.monitor.key)
        self.monitor.client.set(self.monitor.names.seal(at), token, pxat=seal.kept_ms)
        return token

    def renew(self, *permits: Permit) -> Seal:
        """Make a seal and write it."""
        seal = self.seal(*permits)
        self.write(seal)
        return seal


@pytest.fixture
def sealer(monitor: Monitor) -> Sealer:
    monitor.ttl_ms = 60_000
    return Sealer(monitor)


# --- what a seal says ---


def test_a_seal_reads_back_and_names_each_permit_with_its_time(monitor: Monitor) -> None:
    """In any order of permits, with several evidence times."""
    names = [name_of("pay", f"{number:016d}", "sha256:p", "armed") for number in range(500)]
    open_ = [(1_000 + number % 3, name) for number, name in enumerate(names)]
    head: dict[str, Any] = {"installation": monitor.installation, "partition": 2, "term": 1, "offset": 9, "kept_ms": 5_000}
    seal = Seal.of(**head, open_=reversed(open_))
    read = verify_seal(seal.sign(monitor.key), monitor.key.key_set().of(monitor.installation))
    assert read == seal
    assert read.count == 500
    assert [read.time_of(name) for name in names] == [time_ms for time_ms, _ in open_]
    assert not read.time_of(name_of("pay", "0" * 16, "sha256:p", "bypass"))
    assert not read.time_of(b"\0" * NAME_BYTES)


def test_whatever_changes_what_a_permit_permits_changes_its_name(monitor: Monitor) -> None:
    """So no seal renews a permit of another epoch, policy, mode or gate."""
    permit = monitor.permit()
    others = [
        replace(permit, epoch="0" * 15 + "9"),
        replace(permit, policy="sha256:" + "1" * 64),
        replace(permit, mode="proving"),
        replace(permit, gate="another"),
    ]
    assert len({seal_name(one) for one in (permit, *others)}) == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"open": [[1_000, "AAAA"]]}, UnreadableToken),
        ({"open": [[0, base64.b64encode(b"x" * 12).decode()]]}, UnreadableToken),
        (
            {"open": [[2_000, base64.b64encode(b"x" * 12).decode()], [1_000, base64.b64encode(b"y" * 12).decode()]]},
            UnreadableToken,
        ),
        ({"open": [[True, base64.b64encode(b"x" * 12).decode()]]}, UnreadableToken),
        ({"open": None}, UnreadableToken),
        ({"partition": "0"}, UnreadableToken),
        ({"offset": -1}, UnreadableToken),
        ({"term": 1.0}, UnreadableToken),
        ({"kept_ms": 0}, UnreadableToken),
        ({"more": 1}, UnreadableToken),
        ({"installation": "b" * 32}, ForeignInstallation),
    ],
)
def test_a_seal_whose_claims_are_not_a_monitors_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    """Missing, wrong, out of order, too much, or of another installation."""
    key = SigningKey.generate()
    good = Seal.of("a" * 32, 0, 1, 5, 9_000, [(1_000, b"n" * 12)])
    keys = key.key_set().of("a" * 32)
    assert verify_seal(good.sign(key), keys) == good
    with pytest.raises(error):
        verify_seal(key.sign(good.claims() | change, "failshut-seal+jwt"), keys)


def test_a_seal_is_no_permit_and_a_permit_that_lives_by_seals_is_nothing_to_older_guards(monitor: Monitor) -> None:
    """Each type is pinned, so that nothing is read as what it is not."""
    keys = monitor.key.key_set().of(monitor.installation)
    permit = monitor.permit(sealed=True, exp_ms=now_ms() + HOUR_MS)
    assert verify(permit.sign(monitor.key), keys, monitor.gate) == permit
    with pytest.raises(WrongType):
        read_token(permit.sign(monitor.key), keys, "failshut-permit+jwt", "failshut-closing+jwt")
    with pytest.raises(WrongType):
        verify_seal(permit.sign(monitor.key), keys)
    with pytest.raises(WrongType):
        verify(Sealer(monitor).seal(permit).sign(monitor.key), keys, monitor.gate)
    with pytest.raises(ValueError, match="outlive"):
        monitor.permit(exp_ms=now_ms() + HOUR_MS)
    head, body, signature = Sealer(monitor).seal(permit).sign(monitor.key).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["kept_ms"] += 1
    forged = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
    with pytest.raises(BadSignature):
        verify_seal(f"{head}.{forged}.{signature}", keys)


# --- one guard on a real store ---


def test_a_permit_opens_with_a_seal_that_names_it_and_not_before(gate: Gate, sealer: Sealer) -> None:
    """A signed permit alone opens nothing."""
    permit = sealer.permit()
    denied_with(gate, Cause.NO_PERMIT)
    sealer.renew()
    denied_with(gate, Cause.STALE, Cause.NO_PERMIT)
    sealer.monitor.reopen(sealed=True, exp_ms=now_ms() + HOUR_MS)
    permit = sealer.permit()
    sealer.renew(permit)
    assert admitted(gate).epoch == permit.epoch


def test_a_seal_without_the_gate_ends_it_for_good(gate: Gate, sealer: Sealer, guard: Guard) -> None:
    """Running executions are withdrawn. Neither the old seal, a later one nor the old permit helps again."""
    monitor = sealer.monitor
    other = sealer.permit(gate=f"{monitor.gate}-beside")
    monitor.client.set(monitor.names.record(other.gate), other.sign(monitor.key), pxat=other.exp_ms)
    permit = sealer.permit()
    first = sealer.renew(permit, other)
    beside = Gate(other.gate, guard=guard)
    admitted(gate)
    admitted(beside)
    with gate.execution(SUBJECT) as execution:
        sealer.renew(other)
        eventually(lambda: _withdrawn(execution))
    assert denied_with(gate, Cause.STALE).cause is Cause.STALE
    sealer.write(first)  # by somebody who kept it
    denied_with(beside, Cause.STALE)
    sealer.renew(permit, other)  # or by a monitor that decides otherwise; the gate beside has it read
    admitted(beside)
    monitor.client.delete(monitor.names.record(monitor.gate))
    denied_with(gate, Cause.NO_PERMIT)
    monitor.write(permit)
    denied_with(gate, Cause.STALE)
    end = time.monotonic() + 0.5  # some reads of both
    while time.monotonic() < end:
        assert withheld(gate) is not None
        time.sleep(0.02)
    monitor.reopen(sealed=True, exp_ms=now_ms() + HOUR_MS)
    again = sealer.permit()
    sealer.renew(again, other)
    assert admitted(gate).epoch == again.epoch > permit.epoch


def test_each_seal_renews_every_gate_of_its_partition_with_one_signature(
    make_guard: Callable[..., Guard], sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty gates cost one verification a seal."""
    monitor, guard = sealer.monitor, make_guard()
    permits = [sealer.permit(gate=f"{monitor.gate}-{number}") for number in range(40)]
    for permit in permits:
        monitor.client.set(monitor.names.record(permit.gate), permit.sign(monitor.key), pxat=permit.exp_ms)
    sealer.renew(*permits)
    gates = [Gate(permit.gate, guard=guard) for permit in permits]
    for one in gates:
        admitted(one)
    seals, statements = [], []
    keys = guard.slots._keys
    real_seal, real = keys.verified_seal, keys.verified

    def verified_seal(token: bytes) -> Seal:
        seals.append(token)
        return real_seal(token)

    def verified(token: bytes, name: str) -> Any:
        statements.append(name)
        return real(token, name)

    monkeypatch.setattr(keys, "verified_seal", verified_seal)
    monkeypatch.setattr(keys, "verified", verified)
    ends = [one._slot.state.mono_end for one in gates]
    sealer.renew(*permits)
    eventually(lambda: all(one._slot.state.mono_end > end for one, end in zip(gates, ends, strict=True)))
    assert len(seals) == 1
    assert statements == []
    for one in gates:
        admitted(one)


def test_a_closing_wins_over_a_seal_that_still_names_the_gate(gate: Gate, sealer: Sealer) -> None:
    """I4: a closing ends its permit, whatever a seal says."""
    permit = sealer.permit()
    sealer.renew(permit)
    admitted(gate)
    sealer.monitor.close()
    assert denied_with(gate, Cause.DRIFT).cause is Cause.DRIFT
    sealer.renew(permit)
    for _ in range(50):
        denial = withheld(gate)
        assert denial is not None


def test_a_flushed_store_takes_all_gates_away(gate: Gate, sealer: Sealer) -> None:
    """No seal, no lease."""
    sealer.renew(sealer.permit())
    admitted(gate)
    sealer.monitor.client.delete(sealer.monitor.names.seal(0))
    denied_with(gate, Cause.NO_PERMIT)


async def test_an_edit_that_opens_anew_cancels_nothing(gate: Gate, sealer: Sealer) -> None:
    """A new epoch that covers the same execution lets it go on."""
    permit = sealer.permit(in_flight="cancel")
    sealer.renew(permit)
    await asyncio.to_thread(admitted, gate)
    async with gate.execution(SUBJECT) as execution:
        sealer.monitor.offset += 1
        sealer.monitor.epoch = f"{int(permit.epoch) + 50:016d}"
        edited = sealer.permit(in_flight="cancel", policy="sha256:" + "e" * 64)
        sealer.renew(edited)
        found = await asyncio.to_thread(eventually, lambda: admitted(gate).epoch == edited.epoch)
        assert found
        await asyncio.sleep(0.05)
        execution.check()


def test_a_key_that_is_withdrawn_takes_its_seals_along(
    make_guard: Callable[..., Guard], sealer: Sealer, tmp_path: Path
) -> None:
    """Also what it made the guard remember: a position far ahead does not keep the true ones out."""
    monitor, stolen = sealer.monitor, SigningKey.generate()
    path = tmp_path / "jwks.json"
    monitor.write_jwks(path, monitor.key, stolen)
    gate = Gate(monitor.gate, guard=make_guard(jwks=str(path), installation=monitor.installation))
    permit = sealer.permit()
    sealer.write(sealer.seal(permit, offset=1 << 39), stolen)  # ahead of everything that the monitor will write for years
    admitted(gate)
    monitor.write_jwks(path, monitor.key)
    denied_with(gate, Cause.UNVERIFIED)
    sealer.renew(permit)
    admitted(gate)


# --- what bounds a lease, without a store ---


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"head": b"", "token": None}, Cause.NO_PERMIT),
        ({"pttl_ms": -2}, Cause.NO_PERMIT),
        ({"pttl_ms": -1}, Cause.UNVERIFIED),
        ({"term": 2}, Cause.STALE),
        ({"token": b"garbage"}, Cause.UNVERIFIED),
    ],
)
def test_what_is_no_seal_of_now_leaves_a_denial(sealer: Sealer, wrong: dict[str, Any], cause: Cause) -> None:
    """Absent, over, for ever, of a former term, or garbage."""
    board, found, verified = _board(sealer)
    board.take(0, found, Moment(10.0, 1_000.0), verified)
    assert not isinstance(board.view(0), Denial)
    board = SealBoard()
    board.take(0, found._replace(**wrong), Moment(10.0, 1_000.0), verified)
    view = board.view(0)
    assert isinstance(view, Denial)
    assert view.cause is cause


def test_a_seal_of_another_partition_or_an_older_one_leaves_a_denial(sealer: Sealer) -> None:
    """In the wrong place, or put back."""
    board, found, verified = _board(sealer)
    board.take(3, found, Moment(10.0, 1_000.0), verified)
    assert isinstance(view := board.view(3), Denial)
    assert view.cause is Cause.FOREIGN
    permit = sealer.monitor.permit(sealed=True, exp_ms=now_ms() + HOUR_MS)
    later = _found(sealer.seal(permit).sign(sealer.monitor.key))
    board.take(0, later, Moment(10.0, 1_000.0), verified)
    assert not isinstance(board.view(0), Denial)
    board.take(0, found, Moment(10.1, 1_000.1), verified)
    assert isinstance(view := board.view(0), Denial)
    assert view.cause is Cause.STALE
    board.after_fork()
    board.take(0, found, Moment(10.2, 1_000.2), verified)
    assert isinstance(board.view(0), Denial), "what was seen stays seen"


def test_the_same_seal_never_ends_later_than_it_did(sealer: Sealer) -> None:
    """I6: no clock that is stepped back prolongs it."""
    board, found, verified = _board(sealer)
    seal = verified(found.token or b"")
    (evidence_ms, _), *_ = seal.open
    wall = evidence_ms / 1000
    board.take(0, found, Moment(100.0, wall), verified)
    view = board.view(0)
    assert isinstance(view, PartitionView)
    end = view.mono_end(evidence_ms + 3_000, 3_000, 500)
    assert end == pytest.approx(102.5)
    for later in (
        (found, Moment(101.0, wall - 50.0)),  # the wall clock was stepped back
        (found._replace(pttl_ms=found.pttl_ms + 50_000), Moment(101.0, wall + 1.0)),  # the store's clock was
    ):
        board.take(0, later[0]._replace(token=None), later[1], verified)
        assert view.mono_end(evidence_ms + 3_000, 3_000, 500) <= end
    board.take(0, found._replace(pttl_ms=1_000, token=None), Moment(101.0, wall + 1.0), verified)
    less = view.mono_end(evidence_ms + 3_000, 3_000, 500)
    assert less < end, "the store gives it less"
    board.take(0, found._replace(pttl_ms=60_000, token=None), Moment(101.1, wall + 1.1), verified)
    assert view.mono_end(evidence_ms + 3_000, 3_000, 500) == less, "and never more again"


def test_a_lease_by_a_seal_ends_by_either_clock(make_guard: Callable[..., Guard], sealer: Sealer, clocks: FakeClocks) -> None:
    """A store that would keep the seal for an hour opens nothing for longer than the ttl."""
    monitor = sealer.monitor
    monitor.ttl_ms = 3_000
    gate = Gate(monitor.gate, guard=make_guard(clocks=clocks.clocks()))
    permit = sealer.permit()
    seal = sealer.seal(permit)
    monitor.client.set(
        monitor.names.seal(0), seal.sign(monitor.key), pxat=seal.kept_ms + HOUR_MS
    )  # a store that lives too long
    admitted(gate)
    denied_with(gate, Cause.LAPSED)


def _withdrawn(execution: Execution) -> bool:
    try:
        execution.check()
    except Withheld:
        return True
    return False


def _found(token: str) -> SealFound:
    return SealFound(token.encode()[:512], token.encode(), 60_000, 1)


def _board(sealer: Sealer) -> tuple[SealBoard, SealFound, Callable[[bytes], Seal]]:
    monitor = sealer.monitor
    permit = monitor.permit(sealed=True, exp_ms=now_ms() + HOUR_MS, ttl_ms=60_000)
    token = sealer.seal(permit).sign(monitor.key)
    keys = monitor.key.key_set().of(monitor.installation)
    return SealBoard(), _found(token), lambda data: verify_seal(data, keys)
