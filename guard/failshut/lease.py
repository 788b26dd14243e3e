"""When a guard may act on a permit: leases, and what ends them.

A permit is valid until it ends, but a guard cannot know that its own clock is right. So two clocks bound a lease, and the
first end counts. The monotonic end is the moment before the read plus the life that the store still gave the permit. The
wall clock's end is the permit's own end minus the tolerance. The monotonic end of one permit only ever moves earlier, and
`nbf` is compared at each read. So a wall clock that is stepped back prolongs nothing. A `Slot` remembers the newest
verified statement of a gate. Older ones are refused. Any read that is not a valid, current permit ends the lease. When a
key is withdrawn, what it signed ends: the lease, the verified statement, and what the slot remembers as newest.

Everything here is a function of arguments and memory: no clock, no I/O. Limit: an absent record and an older
epoch both deny. So a store that is restored from a backup closes its gates until the monitor writes again.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from failshut import epoch as epochs
from failshut.admission.denial import Denial, Withdrawal, key_withdrawn
from failshut.background.tally import Tally
from failshut.cause import Cause
from failshut.permit import Closing, Permit
from failshut.signing import TokenError, kid_of

#: Subjects and operations that one lease remembers as admitted. At the bound it forgets them all and checks anew.
ADMITTED_MAX: Final = 10_000
READ_INTERVAL_MS_MAX: Final = 250

Verify = Callable[[bytes, str], Permit | Closing]


class Lease:
    """The right to act on one permit until two ends, in seconds of the guard's two clocks.

    `admitted` holds who passed the first four checks. A renewal with the same authority takes it over, because the same
    permit admits them again. `kid` names the key that signed the permit. `evidence_ms` is the evidence time up to which the
    gate was proven. An execution keeps only the lease that admitted it. So a lease also records its slot, the closing before
    it, its process, and the tally that counts the execution's end.
    """

    __slots__ = (
        "admitted",
        "birth",
        "evidence_ms",
        "kid",
        "mono_end",
        "ok",
        "permit",
        "slot",
        "tally",
        "wall_end",
        "withdrawal",
    )

    def __init__(
        self,
        slot: Slot,
        permit: Permit,
        mono_end: float,
        wall_end: float,
        admitted: set[Any],
        kid: str = "",
        tally: Tally | None = None,
        evidence_ms: int = 0,
    ) -> None:
        self.permit = permit
        self.evidence_ms = evidence_ms or permit.evidence_ms
        self.mono_end = mono_end
        self.wall_end = wall_end
        self.admitted = admitted
        self.kid = kid
        self.slot = slot
        self.birth = slot.birth
        self.withdrawal = slot.withdrawal
        self.tally = tally or Tally()
        self.ok = self.tally.ok

    def alive(self, now: Moment) -> bool:
        """Return whether neither end has passed."""
        return now.mono < self.mono_end and now.wall < self.wall_end

    def prolong(self, ends: Ends) -> None:
        """Move both ends, because a later seal renews the same permit. Executions under this lease may go on."""
        self.mono_end, self.wall_end, self.evidence_ms = ends.mono, ends.wall, ends.evidence_ms

    def end(self) -> None:
        """End the lease, because it was replaced or withdrawn. Nobody who still has a reference may act on it."""
        self.mono_end = self.wall_end = float("-inf")


@dataclass(frozen=True, slots=True)
class Moment:
    """The times of both clocks in seconds, read together."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """The newest verified statement of a gate. A guard never accepts an older one."""

    fence: str = epochs.fence(epochs.ZERO, 0)
    epoch: str = epochs.ZERO
    closed: bool = False
    mono_end: float = float("inf")
    kid: str = ""


class Ends(NamedTuple):
    """Until when a guard may act on a permit, by each of its two clocks (seconds) and by evidence time (ms)."""

    mono: float
    wall: float
    evidence_ms: int
    end_ms: int


class View(Protocol):
    """The newest verified seal of an evidence partition (background/seals.py)."""

    kid: str

    def leaves_out(self, permit: Permit) -> bool:
        """Return whether the seal is not older than the permit and does not name it: its gate closed or has another permit."""

    def ends(self, permit: Permit, tolerance_ms: int, now: Moment) -> Ends | Denial | None:
        """Return until when the seal renews the permit, or why it does not. Return None if it is older than the permit."""


class Fenced(NamedTuple):
    """The monitor's last write of a gate, as the store holds it. It is unsigned, so it can only deny."""

    epoch: str
    offset: str
    closed: bool


@dataclass(slots=True, eq=False)
class Slot:
    """One gate as one guard sees it. It is written under the guard's lock. Callers read it without a lock."""

    gate: str
    tolerance_ms: int
    policy: str = ""
    """The one policy digest that its callers accept. An empty text accepts any."""
    here: Mapping[str, str] = field(default_factory=dict)
    """The context in which the guard and its callers say that they run."""
    state: Lease | Denial = field(default_factory=lambda: Denial(Cause.NO_PERMIT, "not read yet"))
    withdrawal: Withdrawal | None = None
    """The last closing. None if there was none yet."""
    seen: _Seen = field(default_factory=_Seen)
    concluded_mono: float = float("-inf")
    """The monotonic time (seconds) at which the last attempt to read ended, successful or not."""
    unreachable: str = ""
    """Why the last attempt to read failed. Empty after a success."""
    interval_ms: int = READ_INTERVAL_MS_MAX
    birth: object = field(default_factory=object)
    """A different object in each process. By it an execution notices that a fork has parted it from its permit."""
    sealed: Permit | None = None
    """The permit in the record if seals renew it. None if there is none, or if a seal no longer named it."""
    read_mono: float = float("-inf")
    """The monotonic time (seconds) of the last attempt to read the record."""
    _sealed_kid: str = ""
    attendances: dict[AbstractEventLoop, Any] = field(default_factory=dict)
    """The asynchronous executions that a withdrawal must reach, by event loop (background/attendance.py)."""
    guard: Any = None
    """The guard that made this slot, for its executions. The gate may ask another guard meanwhile."""
    tally_of: Callable[[str, str], Tally] = field(default=lambda gate, epoch: Tally())
    """A function that opens a tally for a gate and an epoch. A book reads that tally."""
    _verified: tuple[bytes, Permit | Closing, str] | None = None
    _seen_under: dict[str, _Seen] = field(default_factory=dict)
    """The newest statement by each key: as many as there are keys. If a key is withdrawn, `seen` is the newest of the rest."""
    _seal_kid: str = ""
    """The key that signed the seal which last renewed the lease."""
    _last_ms: tuple[int, int] = (0, 0)
    """Evidence time and end of the last lease, in ms."""

    def alive(self, now: Moment) -> bool:
        """Return whether there is a lease and neither of its ends has passed."""
        state = self.state
        return isinstance(state, Lease) and state.alive(now)

    def has_verified(self, token: bytes) -> bool:
        """Return whether this very token is the one that was verified last."""
        return self._verified is not None and self._verified[0] == token

    def take(self, record: bytes | None, pttl_ms: int, before: Moment, verified: Verify, fence: Fenced | None = None) -> None:
        """Judge what the store held for this gate. The new state is a lease or a denial, never the old state."""
        self.unreachable = ""
        if record is None or pttl_ms == -2:
            self._deny(self._absent(before))
            return
        try:
            statement, kid = self._statement(record, verified)
        except TokenError as error:
            self._deny(Denial(error.cause, str(error)))
            return
        if isinstance(statement, Closing):
            self._take_closing(statement, kid)
        elif below := _below(statement, fence):
            self._deny(below)
        else:
            self._take_permit(statement, kid, pttl_ms, before)

    def push(self, token: bytes, verified: Verify) -> bool:
        """Judge a pushed closing. Return False if the store must be read again at once."""
        try:
            statement, kid = self._statement(token, verified)
        except TokenError as error:
            self._deny(Denial(error.cause, f"a push that does not verify: {error}"))
            return False
        if not isinstance(statement, Closing):
            self._deny(Denial(Cause.UNVERIFIED, "a push that is not a closing"))
            return False
        if epochs.fence(statement.epoch, statement.offset) < self.seen.fence:
            return False  # an old closing, sent again: the store holds the newest statement
        self._take_closing(statement, kid)
        return True

    def denial(self, now: Moment) -> Denial:
        """Return why there is no lease now. Call it only if `alive` is false."""
        state = self.state
        if isinstance(state, Denial) and (self.withdrawal is not None and self.seen.closed):
            return state  # a closing stays true when the store goes away
        if self.unreachable:
            return Denial(Cause.STORE_UNREACHABLE, self.unreachable)
        if isinstance(state, Denial):
            return state
        return Denial(Cause.LAPSED, ran_out(*self._last_ms, now))

    def withdraw(self, counts: Callable[[str], bool]) -> None:
        """Forget what removed keys signed, including what this gate remembers because of them."""
        self.concluded_mono = self.read_mono = float("-inf")  # the store is asked at once, and callers wait for its answer
        if self._verified is not None and not counts(self._verified[2]):
            self._verified = None
        self._seen_under = {kid: seen for kid, seen in self._seen_under.items() if counts(kid)}
        if self.seen.kid and not counts(self.seen.kid):
            self.seen = max(self._seen_under.values(), key=lambda seen: seen.fence, default=_Seen())
        withdrawal = self.withdrawal
        if withdrawal is not None and withdrawal.in_flight == "finish" and not counts(withdrawal.kid):
            self.withdrawal = None  # it may be a forged leave to finish; a closing that cancels counts whoever signed it
        if isinstance(self.state, Lease) and not counts(self.state.kid):
            self._deny(key_withdrawn(self.state.kid))
        elif isinstance(self.state, Lease) and self.sealed is not None and not counts(self._seal_kid):
            self._replace(key_withdrawn(self._seal_kid), self.sealed)

    def withhold(self, denial: Denial) -> None:
        """End the lease for a reason that is in no record."""
        self._deny(denial)

    def interrupt_if_withheld(self) -> None:
        """Ask running executions to look whether they may go on, if there is no lease any more.

        Callers do not hold the guard's lock. If the next seal decides, the executions go on until their lease would have
        ended, because an edit closes nothing.
        """
        if isinstance(self.state, Denial) and self.sealed is None:
            self.interrupt()

    def interrupt(self) -> None:
        """Ask running executions to look whether they may go on."""
        for attendance in list(self.attendances.values()):
            attendance.look_soon()

    def after_fork(self) -> None:
        """Reset the slot in a forked child. Keep only the newest statement that was seen, which can only deny."""
        self._deny(Denial(Cause.NO_PERMIT, "not read yet in this process"))
        self.birth = object()
        self.attendances = {}
        self.concluded_mono = self.read_mono = float("-inf")
        self.unreachable = ""
        self._verified = None

    def _statement(self, token: bytes, verified: Verify) -> tuple[Permit | Closing, str]:
        """Verify a token. Return its statement and the name of the key that signed it. Raises TokenError."""
        if self._verified is not None and self._verified[0] == token:
            return self._verified[1:]
        statement, kid = verified(token, self.gate), kid_of(token)
        self._verified = (token, statement, kid)
        return statement, kid

    def _see(self, seen: _Seen) -> None:
        """Remember a statement as the newest by its key, and as the newest of all keys, if it is."""
        before = self._seen_under.get(seen.kid)
        if before is None or seen.fence >= before.fence:
            self._seen_under[seen.kid] = seen
        if seen.fence >= self.seen.fence:
            self.seen = seen

    def _take_closing(self, closing: Closing, kid: str) -> None:
        fence = epochs.fence(closing.epoch, closing.offset)
        if fence < self.seen.fence:
            self._deny(Denial(Cause.STALE, f"a closing of epoch {closing.epoch}, older than {self.seen.epoch}"))
            return
        again = self.seen.closed and fence == self.seen.fence and isinstance(self.state, Denial)
        self._see(_Seen(fence, closing.epoch, True, kid=kid))
        self._deny(Denial(closing.cause, closing.because))
        if not again:
            self.withdrawal = Withdrawal(closing.cause, closing.because, closing.in_flight, kid)

    def _take_permit(self, permit: Permit, kid: str, pttl_ms: int, before: Moment) -> None:
        fence = epochs.fence(permit.epoch, permit.offset)
        seen = self.seen
        if permit.epoch < seen.epoch or (seen.closed and fence <= seen.fence):
            self._deny(Denial(Cause.STALE, f"a permit of epoch {permit.epoch}; epoch {seen.epoch} was seen"))
            return
        if permit.sealed:
            self._take_sealed(permit, kid, fence, pttl_ms)
            return
        wall_ms = before.wall * 1000
        end_ms = permit.exp_ms - self.tolerance_ms
        life_ms = min(pttl_ms, permit.ttl_ms, end_ms - wall_ms)
        mono_end = before.mono + life_ms / 1000
        if fence > seen.fence:
            self._see(_Seen(fence, permit.epoch, False, mono_end, kid))
        else:  # the same permit again, or an older one of its epoch: its end never grows
            mono_end = min(mono_end, seen.mono_end)
            self._see(_Seen(fence, permit.epoch, False, mono_end, kid))
            self.seen = _Seen(seen.fence, seen.epoch, False, mono_end, seen.kid)
        self._last_ms = permit.evidence_ms, permit.exp_ms
        self.interval_ms = max(1, min(READ_INTERVAL_MS_MAX, permit.ttl_ms // 4))
        if pttl_ms == -1:
            self._deny(Denial(Cause.UNVERIFIED, "the store would keep this permit for ever: not the monitor's writing"))
        elif wall_ms < permit.nbf_ms - self.tolerance_ms:
            behind = permit.nbf_ms - int(wall_ms)
            self._deny(Denial(Cause.CLOCK, f"this host's clock is {behind} ms behind the permit's beginning"))
        elif mono_end <= before.mono or end_ms <= wall_ms:
            self._deny(Denial(Cause.LAPSED, ran_out(*self._last_ms, before)))
        else:
            self._replace(Lease(self, permit, mono_end, end_ms / 1000, self._admitted(permit), kid, self._tally(permit)))

    def _tally(self, permit: Permit) -> Tally:
        """Return the tally that counts executions under this permit. Successive leases of one epoch share a tally."""
        state = self.state
        if isinstance(state, Lease) and state.permit.epoch == permit.epoch:
            return state.tally
        return self.tally_of(self.gate, permit.epoch)

    def _take_sealed(self, permit: Permit, kid: str, fence: str, pttl_ms: int) -> None:
        """Remember a permit that seals renew. A lease on a permit with the same authority goes on until its end."""
        self._see(_Seen(fence, permit.epoch, False, kid=kid))
        self.interval_ms = max(1, min(READ_INTERVAL_MS_MAX, permit.ttl_ms // 4))
        if pttl_ms < 0:
            self._deny(Denial(Cause.UNVERIFIED, "the store would keep this permit for ever: not the monitor's writing"))
            return
        self.sealed, self._sealed_kid = permit, kid
        state = self._same(permit)
        if state is not None:
            ends = state.mono_end, state.wall_end
            self._replace(Lease(self, permit, *ends, state.admitted, kid, state.tally, state.evidence_ms), permit)
        else:
            self._replace(Denial(Cause.NO_PERMIT, "no seal has named this permit yet"), permit)

    def renew(self, view: View | Denial, now: Moment) -> None:
        """Apply the newest seal of the partition: renew the lease, or deny. A `view` that is a denial denies, too."""
        permit = self.sealed
        if permit is None:
            return
        if isinstance(view, Denial):
            self._replace(view, permit)
            return
        if view.leaves_out(permit):  # the permit is over in this process for good, even if it is delivered again
            self._see(_Seen(epochs.fence(permit.epoch, epochs.OFFSET_MAX), permit.epoch, True, kid=self._sealed_kid))
            self._deny(
                Denial(Cause.STALE, f"the newest seal does not name the permit of epoch {permit.epoch}: its gate closed")
            )
            return
        ends = view.ends(permit, self.tolerance_ms, now)
        if isinstance(ends, Denial):
            self._replace(ends, permit)
        elif ends is not None:
            self._last_ms, self._seal_kid = (ends.evidence_ms, ends.end_ms), view.kid
            if isinstance(self.state, Lease) and self.state.permit is permit:
                self.state.prolong(ends)
            else:
                kid, tally = self._sealed_kid, self._tally(permit)
                admitted = self._admitted(permit)
                self._replace(Lease(self, permit, ends.mono, ends.wall, admitted, kid, tally, ends.evidence_ms), permit)

    def _same(self, permit: Permit) -> Lease | None:
        """Return the present lease if its permit has the same authority, otherwise None."""
        state = self.state
        return state if isinstance(state, Lease) and _authority(state.permit) == _authority(permit) else None

    def _admitted(self, permit: Permit) -> set[Any]:
        same = self._same(permit)
        return same.admitted if same is not None else set()

    def _absent(self, before: Moment) -> Denial:
        if self._last_ms[1] and before.wall * 1000 >= self._last_ms[1] - self.tolerance_ms:
            return Denial(Cause.LAPSED)
        return Denial(Cause.NO_PERMIT)

    def _deny(self, denial: Denial) -> None:
        self._replace(denial)

    def _replace(self, state: Lease | Denial, sealed: Permit | None = None) -> None:
        """Replace the state, and end the former lease for everybody who refers to it. Only this method changes the state.

        `sealed` is the permit that the next seal may renew. Without it no seal renews anything until the record is read again.
        """
        former, self.state, self.sealed = self.state, state, sealed
        if isinstance(former, Lease):
            former.end()


def _below(permit: Permit, fence: Fenced | None) -> Denial | None:
    """Return why a permit older than the store's own fence does not count: not the monitor but somebody else wrote it."""
    if fence is None:
        return None
    closed_since = fence.closed and epochs.fence(permit.epoch, permit.offset) <= fence.epoch + fence.offset
    if not closed_since and permit.epoch >= fence.epoch:
        return None
    what = "a closing" if fence.closed else "a permit"
    return Denial(Cause.STALE, f"a permit of epoch {permit.epoch}; the store was given {what} of {fence.epoch} since")


def _authority(permit: Permit) -> tuple[Any, ...]:
    """Return all that decides who is admitted. While it is equal, those who were admitted stay admitted."""
    return (
        permit.epoch,
        permit.mode,
        permit.policy,
        permit.subjects,
        permit.operations,
        permit.context,
        permit.in_flight,
    )


def ran_out(evidence_ms: int, end_ms: int, now: Moment) -> str:
    """Return in words when a permit of evidence time `evidence_ms` ended."""
    past_ms = int(now.wall * 1000) - end_ms
    when = f"{past_ms} ms ago" if past_ms >= 0 else f"for this guard, {-past_ms} ms before its own end"
    return f"the permit of evidence time {evidence_ms} ran out {when}"
