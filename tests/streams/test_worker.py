"""A worker whose loops end, ends: none of them goes in silence."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from failshut_streams import worker
from failshut_streams.worker import LoopEnded, WorkerApp


async def kept(loop: Any, stopping: bool = False) -> None:
    """Keep a loop as a worker does that is, or is not, about to stop."""
    await WorkerApp._for_ever(SimpleNamespace(should_stop=stopping), loop)  # type: ignore[arg-type]


async def ends() -> None:
    """A loop that comes to an end."""


async def cancels() -> None:
    """A loop in which a driver is cancelled; mode takes that for an end in order."""
    raise asyncio.CancelledError


async def fails() -> None:
    """A loop with an error of its own."""
    raise OSError("its own")


async def test_a_loop_that_ends_ends_the_worker() -> None:
    """Whether it returned or was cancelled from within: control, commits, the store would go without anybody noticing."""
    for loop in (ends(), cancels()):
        with pytest.raises(LoopEnded):
            await kept(loop)
    with pytest.raises(OSError, match="its own"):
        await kept(fails())


async def test_a_loop_may_end_when_the_worker_stops() -> None:
    """A stop cancels every loop, and that is no error."""
    await kept(ends(), stopping=True)
    with pytest.raises(asyncio.CancelledError):
        await kept(cancels(), stopping=True)


def test_detectors_are_imported_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is broken stops a worker at its start, not in the middle of the log."""

    def load() -> None:
        raise ImportError("river is broken")

    monkeypatch.setattr(worker, "OURS", SimpleNamespace(load=load))
    with pytest.raises(ImportError, match="river is broken"):
        worker.run(SimpleNamespace(worker_id="w", group="g"))  # type: ignore[arg-type] # nothing else of it is looked at
