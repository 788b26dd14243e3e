"""When a lease begins and ends: the pure part, with both clocks in hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guard.standin import POLICY
from guard.test_guard_permit import KEY

from failshut import Cause, Closing, Permit
from failshut.admission.denial import Denial
from failshut.background.key_source import KeySource
from failshut.epoch import digits, epoch_of
from failshut.lease import Fenced, Lease, Moment, Slot
from failshut.signing import SigningKey

BASE_MS = 1_700_000_000_000
INSTALLATION = "i" * 32
VERIFIED = KeySource(KEY.key_set().of(INSTALLATION).to_dict()).verified


def permit(offset: int = 5, epoch: int = 5, evidence_ms: int = BASE_MS, ttl_ms: int = 3000) -> Permit:
    return Permit(
        installation=INSTALLATION,
        gate="g",
        epoch=epoch_of(1, epoch),
        offset=offset,
        partition=0,
        policy=POLICY,
        mode="armed",
        evidence_ms=evidence_ms,
        nbf_ms=evidence_ms,
        exp_ms=evidence_ms + ttl_ms,
        ttl_ms=ttl_ms,
        subjects=("*",),
    )


def closing(offset: int = 6, epoch: int = 6) -> Closing:
    return Closing(
        installation=INSTALLATION,
        gate="g",
        epoch=epoch_of(1, epoch),
        offset=offset,
        partition=0,
        policy=POLICY,
        cause=Cause.DRIFT,
        because="drift",
        evidence_ms=BASE_MS,
        breaker="TRIPPED",
    )


def at(mono: float, wall_ms: float = BASE_MS) -> Moment:
    return Moment(mono, wall_ms / 1000)


def slot(tolerance_ms: int = 500) -> Slot:
    return Slot("g", tolerance_ms)


def taken(target: Slot, statement: Permit | Closing, pttl_ms: int, moment: Moment) -> Lease | Denial:
    target.take(statement.sign(KEY).encode(), pttl_ms, moment, VERIFIED)
    return target.state


def lease(state: Lease | Denial) -> Lease:
    assert isinstance(state, Lease), (state.cause, state.because)
    return state


def denial(state: Lease | Denial) -> Denial:
    assert isinstance(state, Denial)
    return state


def test_a_lease_ends_with_the_shorter_of_the_stores_life_and_the_permits_end() -> None:
    """The monotonic end is the moment before the read plus the least of PTTL, ttl and the life until exp."""
    assert lease(taken(slot(), permit(), 1000, at(100))).mono_end == pytest.approx(101)
    assert lease(taken(slot(), permit(), 3000, at(100))).mono_end == pytest.approx(102.5)  # less the tolerance
    assert lease(taken(slot(0), permit(), 9000, at(100))).mono_end == pytest.approx(103)
    assert lease(taken(slot(), permit(), 3000, at(100))).wall_end == pytest.approx((BASE_MS + 2500) / 1000)


def test_neither_clock_alone_keeps_a_lease_alive() -> None:
    """A lease is over when either clock says so."""
    target = slot()
    taken(target, permit(), 2000, at(100))
    assert target.alive(at(101.9, BASE_MS + 1000))
    assert not target.alive(at(102.1, BASE_MS + 1000))  # the wall clock was stepped back
    assert not target.alive(at(100.1, BASE_MS + 2600))  # the wall clock was stepped forward


def test_the_monotonic_end_of_one_permit_never_grows() -> None:
    """A store that gives an old permit more life, or a wall clock stepped back, prolongs nothing."""
    target = slot()
    first = lease(taken(target, permit(), 1000, at(100))).mono_end
    assert lease(taken(target, permit(), 3000, at(100.5, BASE_MS - 400))).mono_end == first
    assert denial(taken(target, permit(), 3000, at(101.5, BASE_MS - 400))).cause is Cause.LAPSED


def test_an_older_permit_of_the_same_epoch_has_no_longer_end() -> None:
    """Alternating between two permits of one epoch does not reset the end of either."""
    target = slot()
    taken(target, permit(offset=5), 3000, at(100))
    end = lease(taken(target, permit(offset=6), 1000, at(100))).mono_end
    assert lease(taken(target, permit(offset=5), 3000, at(100.5))).mono_end == end
    assert lease(taken(target, permit(offset=6), 3000, at(100.6))).mono_end == end


def test_a_renewal_keeps_who_was_admitted_and_a_new_decision_does_not() -> None:
    """Those admitted under one authority stay so until the epoch, or anything they were judged by, changes."""
    target = slot()
    first = lease(taken(target, permit(offset=5), 3000, at(100)))
    first.admitted.add("agent")
    assert lease(taken(target, permit(offset=6), 3000, at(101, BASE_MS + 100))).admitted is first.admitted
    assert not lease(taken(target, permit(offset=7, epoch=7), 3000, at(101, BASE_MS + 100))).admitted
    narrower = replace(permit(offset=8, epoch=7), subjects=("other",))
    lease(target.state).admitted.add("agent")
    assert not lease(taken(target, narrower, 3000, at(101, BASE_MS + 100))).admitted


def test_those_admitted_before_a_denial_are_judged_anew() -> None:
    """Nothing that a lease remembered outlives it."""
    target = slot()
    lease(taken(target, permit(offset=5), 3000, at(100))).admitted.add("agent")
    target.take(None, -2, at(101), VERIFIED)
    assert not lease(taken(target, permit(offset=6), 3000, at(101, BASE_MS + 100))).admitted


def test_an_epoch_below_one_seen_is_stale() -> None:
    """A rolled-back store opens nothing, however valid its permit is."""
    target = slot()
    taken(target, permit(epoch=7, offset=7), 3000, at(100))
    assert denial(taken(target, permit(epoch=6, offset=9), 3000, at(100))).cause is Cause.STALE
    assert lease(taken(target, permit(epoch=7, offset=7), 3000, at(100))).permit.offset == 7


def test_an_epoch_is_latched_by_a_permit_that_could_not_be_used() -> None:
    """A verified record counts as seen even where its own times forbid its use."""
    target = slot()
    future = permit(epoch=9, offset=9, evidence_ms=BASE_MS + 10_000)
    assert denial(taken(target, future, 3000, at(100))).cause is Cause.CLOCK
    assert denial(taken(target, permit(), 3000, at(100))).cause is Cause.STALE


def test_a_forged_record_latches_nothing() -> None:
    """Who cannot sign cannot lock a guard out with a great epoch."""
    target = slot()
    forged = permit(epoch=99, offset=99).sign(SigningKey.generate()).encode()
    target.take(forged, 3000, at(100), VERIFIED)
    assert denial(target.state).cause is Cause.UNVERIFIED
    lease(taken(target, permit(), 3000, at(100)))


@pytest.mark.parametrize(("epoch", "offset"), [(5, 5), (6, 6), (6, 5)])
def test_a_permit_at_or_before_a_closing_is_stale(epoch: int, offset: int) -> None:
    """On a tie the closing wins: a standby that lags puts nothing back."""
    target = slot()
    assert denial(taken(target, closing(), -1, at(100))).cause is Cause.DRIFT
    assert denial(taken(target, permit(offset, epoch), 3000, at(100))).cause is Cause.STALE
    lease(taken(target, permit(offset=8, epoch=8), 3000, at(100)))


@pytest.mark.parametrize(
    ("epoch", "offset", "closed", "admits"),
    [
        *((5, 5, False, True), (5, 9, False, True), (4, 9, True, True), (6, 0, False, False)),
        *((5, 5, True, False), (5, 9, True, False), (6, 0, True, False), (5, 4, True, True)),
    ],
)
def test_a_permit_is_judged_beside_the_stores_fence(epoch: int, offset: int, closed: bool, admits: bool) -> None:
    """At or below a closing, or of an epoch below a permit's: stale, also for a slot that has seen nothing."""
    target = slot()
    fence = Fenced(epoch_of(1, epoch), digits(offset), closed)
    target.take(permit(offset=5, epoch=5).sign(KEY).encode(), 3000, at(100), VERIFIED, fence)
    assert isinstance(target.state, Lease) is admits
    if not admits:
        assert denial(target.state).cause is Cause.STALE


def test_an_old_closing_in_the_store_is_stale_and_no_withdrawal() -> None:
    """A closing from before the present permit denies while it lies there, and cancels nothing."""
    target = slot()
    taken(target, permit(offset=8, epoch=8), 3000, at(100))
    assert denial(taken(target, closing(), -1, at(100))).cause is Cause.STALE
    assert target.withdrawal is None


def test_an_old_closing_that_is_pushed_again_takes_nothing_away() -> None:
    """A replayed push only makes the guard look."""
    target = slot()
    taken(target, permit(offset=8, epoch=8), 3000, at(100))
    assert not target.push(closing().sign(KEY).encode(), VERIFIED)
    lease(target.state)


def test_a_pushed_closing_takes_the_lease_away_and_stays() -> None:
    """A closing that came by push holds, though the read that was under way still finds the permit."""
    target = slot()
    taken(target, permit(), 3000, at(100))
    assert target.push(closing().sign(KEY).encode(), VERIFIED)
    assert denial(target.state).cause is Cause.DRIFT
    assert denial(taken(target, permit(), 3000, at(100))).cause is Cause.STALE


def test_a_push_that_is_no_closing_takes_the_lease_away_until_the_next_read() -> None:
    """Garbage and permits in the push channel close, and the store decides again."""
    for push in (b"", b"garbage", permit(offset=9, epoch=9).sign(KEY).encode()):
        target = slot()
        taken(target, permit(), 3000, at(100))
        assert not target.push(push, VERIFIED)
        assert denial(target.state).cause is Cause.UNVERIFIED
        lease(taken(target, permit(), 3000, at(100)))


def test_one_closing_is_one_withdrawal_however_often_it_is_read() -> None:
    """Reading a closing again does not look like another one."""
    target = slot()
    taken(target, closing(), -1, at(100))
    first = target.withdrawal
    taken(target, closing(), -1, at(101))
    target.push(closing().sign(KEY).encode(), VERIFIED)
    assert target.withdrawal is first
    taken(target, closing(offset=9, epoch=9), -1, at(102))
    assert target.withdrawal is not first


def test_a_clock_before_the_permits_beginning_denies_at_each_read() -> None:
    """nbf is compared at every read, with the tolerance, and not only when the permit is new."""
    target = slot()
    lease(taken(target, permit(), 3000, at(100)))
    lease(taken(target, permit(), 3000, at(100.1, BASE_MS - 499)))
    assert denial(taken(target, permit(), 3000, at(100.2, BASE_MS - 501))).cause is Cause.CLOCK
    lease(taken(target, permit(), 3000, at(100.3)))


def test_a_permit_that_the_store_would_keep_for_ever_denies() -> None:
    """The monitor always writes an expiry; a record without one is somebody else's writing."""
    assert denial(taken(slot(), permit(), -1, at(100))).cause is Cause.UNVERIFIED


def test_a_permit_that_is_over_denies_as_lapsed() -> None:
    """Past its end less the tolerance a permit is no lease, whatever life the store gives it."""
    assert denial(taken(slot(), permit(), 3000, at(100, BASE_MS + 2500))).cause is Cause.LAPSED
    assert denial(taken(slot(), permit(), 0, at(100))).cause is Cause.LAPSED
    assert denial(taken(slot(3000), permit(), 3000, at(100))).cause is Cause.LAPSED


def test_absence_is_a_lapse_after_the_end_and_no_permit_before() -> None:
    """What vanished before its time was taken away; what vanished after it ran out."""
    target = slot()
    target.take(None, -2, at(100), VERIFIED)
    assert denial(target.state).cause is Cause.NO_PERMIT
    taken(target, permit(), 3000, at(100))
    target.take(None, -2, at(101, BASE_MS + 1000), VERIFIED)
    assert denial(target.state).cause is Cause.NO_PERMIT
    taken(target, permit(), 3000, at(101, BASE_MS + 1000))
    target.take(None, -2, at(103, BASE_MS + 3000), VERIFIED)
    assert denial(target.state).cause is Cause.LAPSED


def test_an_unreachable_store_says_so_only_once_the_lease_is_over_and_never_over_a_closing() -> None:
    """A lease outlives the connection; a closing stays the reason although nobody can ask again."""
    target = slot()
    taken(target, permit(), 1000, at(100))
    target.unreachable = "refused"
    assert target.alive(at(100.5))
    assert target.denial(at(101.5)).cause is Cause.STORE_UNREACHABLE
    taken(target, closing(), -1, at(101.5))
    target.unreachable = "refused"
    assert target.denial(at(102)).cause is Cause.DRIFT


def test_a_child_keeps_what_was_seen_and_nothing_that_admits() -> None:
    """After a fork the latch stays and the lease does not."""
    target = slot()
    taken(target, permit(epoch=7, offset=7), 3000, at(100))
    birth = target.birth
    target.after_fork()
    assert denial(target.state).cause is Cause.NO_PERMIT
    assert target.birth is not birth
    assert denial(taken(target, permit(epoch=6, offset=8), 3000, at(100))).cause is Cause.STALE
