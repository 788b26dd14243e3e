"""The asynchronous executions of one gate in one event loop, and the one timer that watches their lease.

A closing must reach executions that already run. A lapse must reach them too, even while the guard's own threads are stuck.
A timer for each execution would cost more than the rest of its work. So all executions of a gate in one loop share a timer.
An execution sets it when it begins under a lease that the timer was not yet set for. The timer fires no later than that
lease ends. Then each execution checks whether it may go on. The timer is set again if one of them asks for it.

Limits: an attendance keeps its loop in memory until another loop uses the gate after this loop was closed. After the last
execution has ended, the timer stays until the lease's end and is not set again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from failshut.lease import Lease, Moment, Slot


class Running(Protocol):
    """An execution that an attendance watches."""

    def look(self) -> bool:
        """Go on, or cancel the task. Return whether to look again when the present lease ends."""


class Attendance:
    """The executions of one slot in one event loop. Only that loop's thread may use it, except for `look_soon`."""

    __slots__ = ("_loop", "_timer", "lease", "running", "slot")

    def __init__(self, slot: Slot, loop: asyncio.AbstractEventLoop) -> None:
        self.slot = slot
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.running: set[Running] = set()
        self.lease: Lease | None = None
        """The newest lease that the timer was set for; None while there is no timer."""

    def watch(self, lease: Lease, now: Moment) -> None:
        """Set the timer so that it fires when the lease ends, or before."""
        self.lease = lease
        seconds = min(lease.mono_end - now.mono, lease.wall_end - now.wall)
        at = self._loop.time() + max(0.001, seconds)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._wake)

    def look_soon(self) -> None:
        """Schedule `look` in the executions' event loop. The guard's threads call this."""
        try:
            self._loop.call_soon_threadsafe(self.look)
        except RuntimeError:
            pass  # its loop is closed: nothing of it runs any more

    def look(self) -> None:
        """Ask each execution to look whether it may go on. Watch the present lease if one of them asks to look again."""
        again = [execution for execution in list(self.running) if execution.look()]
        lease = self.slot.state
        if again and isinstance(lease, Lease):
            self.watch(lease, self.slot.guard.moment())

    def _wake(self) -> None:
        self._timer = self.lease = None
        self.look()


def attendance_of(slot: Slot, loop: asyncio.AbstractEventLoop) -> Attendance:
    """Return the attendance of a slot in the loop that runs here. The first call makes it and drops those of closed loops."""
    found = slot.attendances.get(loop)
    if isinstance(found, Attendance):
        return found
    for other in list(slot.attendances):
        if other.is_closed():
            slot.attendances.pop(other, None)
    made = slot.attendances[loop] = Attendance(slot, loop)
    return made
