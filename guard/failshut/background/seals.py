"""The newest seal of each evidence partition, as one guard sees it.

A seal renews all gates of a partition. So it is read, verified and remembered once for all of them. A seal bounds a lease as
a record does. The first of two clocks ends the lease, and the life that the store gives the seal counts from before the read.
For one seal the monotonic end only ever moves earlier. A seal older than the last one is refused. So is a seal of a term that
is over. If no seal can be read or verified, a denial takes its place, and the gates of that partition are not renewed.

The store's newest term is not signed. So it is compared and never remembered: it can only deny. Everything here is a
function of arguments and memory: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from failshut.admission.denial import Denial, key_withdrawn
from failshut.cause import Cause
from failshut.epoch import epoch_of, term_of
from failshut.lease import Ends, Moment, View, ran_out
from failshut.permit import Permit
from failshut.seal import HEAD_BYTES, Seal, seal_name
from failshut.signing import TokenError, kid_of
from failshut.store.client import SealFound

VerifySeal = Callable[[bytes], Seal]

_NONE = Denial(Cause.NO_PERMIT, "the store holds no seal for this gate's partition")


@dataclass(slots=True)
class PartitionView:
    """A verified seal and the times that bound it. `first_mono` and `kept_mono` are monotonic times in seconds."""

    seal: Seal
    kid: str
    head: bytes
    """The first bytes of its token. No other seal begins with them."""
    first_mono: float
    kept_mono: float
    ahead: float
    """Monotonic clock minus wall clock in seconds, the smallest of all reads: a wall clock stepped back prolongs nothing."""

    @property
    def position(self) -> str:
        """The seal's place in the order of its partition's seals."""
        return self.seal.position

    def leaves_out(self, permit: Permit) -> bool:
        """Return whether the seal is not older than the permit and does not name it: its gate closed or has another permit."""
        return self.seal.position >= epoch_of(term_of(permit.epoch), permit.offset) and not self._time_of(permit)

    def ends(self, permit: Permit, tolerance_ms: int, now: Moment) -> Ends | Denial | None:
        """Return until when the seal renews the permit, or why it does not.

        Return None if the seal does not name the permit. Unless `leaves_out` is true, the seal then is older than the permit.
        """
        evidence_ms = self._time_of(permit)
        if not evidence_ms:
            return None
        end_ms = min(evidence_ms + permit.ttl_ms, permit.exp_ms)
        ends = Ends(self.mono_end(end_ms, permit.ttl_ms, tolerance_ms), (end_ms - tolerance_ms) / 1000, evidence_ms, end_ms)
        behind_ms = max(evidence_ms, permit.nbf_ms) - tolerance_ms - now.wall * 1000
        if behind_ms > 0:
            return Denial(Cause.CLOCK, f"this host's clock is {int(behind_ms) + tolerance_ms} ms behind the seal's evidence")
        if ends.mono <= now.mono or ends.wall <= now.wall:
            return Denial(Cause.LAPSED, ran_out(evidence_ms, end_ms, now))
        return ends

    def _time_of(self, permit: Permit) -> int:
        return self.seal.time_of(seal_name(permit))

    def mono_end(self, end_ms: int, ttl_ms: int, tolerance_ms: int) -> float:
        """Return the monotonic time (seconds) of an end that is given as `end_ms`."""
        by_store = self.kept_mono - (self.seal.kept_ms - end_ms) / 1000
        by_wall = (end_ms - tolerance_ms) / 1000 + self.ahead
        return min(self.first_mono + ttl_ms / 1000, by_store, by_wall)

    def seen_again(self, pttl_ms: int, before: Moment) -> None:
        """Record that the store still held the seal at `before`, for another `pttl_ms`. The bounds only move earlier."""
        self.kept_mono = min(self.kept_mono, before.mono + pttl_ms / 1000)
        self.ahead = min(self.ahead, before.mono - before.wall)


class SealBoard:
    """One guard's newest seal of each evidence partition. Callers hold the guard's lock."""

    def __init__(self) -> None:
        self._views: dict[int, PartitionView | Denial] = {}
        self._seen: dict[int, dict[str, str]] = {}  # by partition and key: the newest position that it signed

    def view(self, partition: int) -> View | Denial:
        """Return the newest seal of a partition, or why there is none."""
        return self._views.get(partition, _NONE)

    def head(self, partition: int) -> bytes:
        """Return the first bytes of the known seal's token. Return no bytes if no seal is known."""
        view = self._views.get(partition)
        return view.head if isinstance(view, PartitionView) else b""

    def take(self, partition: int, found: SealFound, before: Moment, verified: VerifySeal) -> None:
        """Judge what the store held for a partition. `found.token` is None if it is the token that is already known."""
        self._views[partition] = self._judge(partition, found, before, verified)

    def refuse(self, partition: int, because: str) -> None:
        """Store a denial in place of a seal that could not be judged."""
        self._views[partition] = Denial(Cause.UNVERIFIED, because)

    def withdraw(self, counts: Callable[[str], bool]) -> None:
        """Forget what removed keys signed: their seals, and the newest positions that this guard remembers from them."""
        for seen in self._seen.values():
            for kid in [kid for kid in seen if not counts(kid)]:
                del seen[kid]
        for partition, view in self._views.items():
            if isinstance(view, PartitionView) and not counts(view.kid):
                self._views[partition] = key_withdrawn(view.kid)

    def after_fork(self) -> None:
        """Drop all seals in a forked child. Keep the newest positions, which can only deny."""
        self._views = {}

    def _judge(self, partition: int, found: SealFound, before: Moment, verified: VerifySeal) -> PartitionView | Denial:
        known = self._views.get(partition)
        if found.head == b"" or found.pttl_ms == -2:
            return _NONE
        if found.pttl_ms == -1:
            return Denial(Cause.UNVERIFIED, "the store would keep this seal for ever: not the monitor's writing")
        if isinstance(known, PartitionView) and known.head == found.head:
            view = known
            view.seen_again(found.pttl_ms, before)
        else:
            try:
                seal = verified(found.token or b"")
            except TokenError as error:
                return Denial(error.cause, f"a seal that does not verify: {error}")
            if seal.partition != partition:
                return Denial(Cause.FOREIGN, f"a seal of partition {seal.partition} in the place of {partition}")
            kept_mono, ahead = before.mono + found.pttl_ms / 1000, before.mono - before.wall
            head, kid = (found.token or b"")[:HEAD_BYTES], kid_of(found.token or b"")
            view = PartitionView(seal, kid, head, before.mono, kept_mono, ahead)
        if view.seal.term < found.term:
            return Denial(Cause.STALE, f"a seal of term {view.seal.term}; the store was told of term {found.term}")
        newest = max(self._seen.get(partition, {}).values(), default="")
        if view.position < newest:
            return Denial(Cause.STALE, f"a seal of position {view.position}; {newest} was seen")
        self._seen.setdefault(partition, {})[view.kid] = view.position
        return view
