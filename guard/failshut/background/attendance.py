"""Who runs asynchronously: the executions of one gate in one event loop, and the one timer that watches their lease.

A closing must reach what runs, and so must a lapse, although the guard's own threads are stuck. A timer for each execution
costs more than the rest of it. So the executions of a gate in a loop share one. It is set where an execution begins under a
lease that the timer was not yet set for, and fires no later than that lease ends. Then each execution looks whether it may
go on, and it is set again for those that ask for it.

Limits: it keeps its loop in memory until another loop comes to the gate after this one was closed. After the last
execution its timer stays until the lease's end, and then is not set again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from failshut.lease import Lease, Moment, Slot


class Running(Protocol):
    """An execution that is looked after."""

    def look(self) -> bool:
        """Go on, or cancel the task; whether to look again when the present lease ends."""


class Attendance:
    """The executions of one slot in one event loop. All but `look_soon` is for that loop's thread."""

    __slots__ = ("_loop", "_timer", "lease", "running", "slot")

    def __init__(self, slot: Slot, loop: asyncio.AbstractEventLoop) -> None:
        self.slot = slot
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.running: set[Running] = set()
        self.lease: Lease | None = None
        """The newest lease that the timer was set for; None while there is no timer."""

    def watch(self, lease: Lease, now: Moment) -> None:
        """Have the timer fire when the lease ends, or before."""
        self.lease = lease
        seconds = min(lease.mono_end - now.mono, lease.wall_end - now.wall)
        at = self._loop.time() + max(0.001, seconds)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._wake)

    def look_soon(self) -> None:
        """Have the executions look, in their event loop; called from the guard's threads."""
        try:
            self._loop.call_soon_threadsafe(self.look)
        except RuntimeError:
            pass  # its loop is closed: nothing of it runs any more

    def look(self) -> None:
        """Have the executions look, and watch the present lease for those that go on under one."""
        again = [execution for execution in list(self.running) if execution.look()]
        lease = self.slot.state
        if again and isinstance(lease, Lease):
            self.watch(lease, self.slot.guard.moment())

    def _wake(self) -> None:
        self._timer = self.lease = None
        self.look()


def attendance_of(slot: Slot, loop: asyncio.AbstractEventLoop) -> Attendance:
    """The attendance of a slot in the loop that runs here; the first time it is made, and those of closed loops go."""
    found = slot.attendances.get(loop)
    if isinstance(found, Attendance):
        return found
    for other in list(slot.attendances):
        if other.is_closed():
            slot.attendances.pop(other, None)
    made = slot.attendances[loop] = Attendance(slot, loop)
    return made
