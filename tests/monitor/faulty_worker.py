"""A real worker with one fault in it, for troubles that cannot be had from outside.

`FAILSHUT_TEST_FAULT` names the fault; it stands while the file `FAILSHUT_TEST_TRIGGER` is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaTimeoutError

from failshut_breakers.evidence.records import Run
from failshut_detectors import registry
from failshut_streams import worker
from failshut_streams.control.reader import ControlReader
from failshut_streams.governor import snapshots
from failshut_streams.governor.effects import Effects
from failshut_streams.router.evidence_writer import EvidenceWriter
from failshut_streams.sources.marks import MarkWriter, wall_ms
from failshut_streams.transport import Record

HOUR_MS = 3_600_000


def _instead_of_a_batch_with_readings(trigger: Path, fail: bool) -> None:
    """Leave one batch with telemetry readings unwritten: in silence, or as a producer does whose batch expires."""
    write = EvidenceWriter.write

    async def faulty(self: EvidenceWriter, runs: Iterable[tuple[int, Run]]) -> None:
        batch = list(runs)
        if trigger.exists() and any(run.topic == "telemetry" and run.readings for _, run in batch):
            trigger.unlink()
            if fail:
                raise KafkaTimeoutError("the batch has expired")
            return
        await write(self, batch)

    EvidenceWriter.write = faulty  # type: ignore[method-assign]


def _deaf_to_control(trigger: Path) -> None:
    """See no new control record: a router that still has the old policy."""
    next_batch = ControlReader.next_batch

    async def faulty(self: ControlReader, timeout_ms: int) -> list[Record]:
        records = await next_batch(self, timeout_ms)
        return [] if trigger.exists() else records

    ControlReader.next_batch = faulty  # type: ignore[method-assign]


def _clock(trigger: Path, off_ms: int) -> int:
    return wall_ms() + (off_ms if trigger.exists() else 0)


def _marks(trigger: Path, off_ms: int) -> None:
    setattr(worker, "MarkWriter", partial(MarkWriter, clock_ms=lambda: _clock(trigger, off_ms)))  # noqa: B010 - not its export


def _governors_clock(trigger: Path, off_ms: int) -> None:
    def faulty(*given: Any) -> Effects:
        effects = Effects(*given)
        effects._clock = lambda: _clock(trigger, off_ms)
        return effects

    setattr(worker, "Effects", faulty)  # noqa: B010 - not its export


def _older(_trigger: Path) -> None:
    """Be of a version that does not know a detector yet."""
    del registry.OURS["hddm_w"]


def _without_cel(_trigger: Path) -> None:
    """Lack the library that expressions need."""
    sys.modules["cel_expr_python"] = None  # type: ignore[assignment]


def _another_version(_trigger: Path) -> None:
    """Be of another version: no snapshot of this one can be read."""
    snapshots._code = lambda: "another version"  # type: ignore[assignment]


FAULTS: dict[str, Callable[[Path], None]] = {
    "loses_a_batch": partial(_instead_of_a_batch_with_readings, fail=False),
    "fails_a_batch": partial(_instead_of_a_batch_with_readings, fail=True),
    "deaf_to_control": _deaf_to_control,
    "fast_marks": partial(_marks, off_ms=HOUR_MS),
    "slow_marks": partial(_marks, off_ms=-HOUR_MS),
    "older": _older,
    "another_version": _another_version,
    "without_cel": _without_cel,
    "slow_governor": partial(_governors_clock, off_ms=-HOUR_MS),
}

if __name__ == "__main__":
    FAULTS[os.environ["FAILSHUT_TEST_FAULT"]](Path(os.environ["FAILSHUT_TEST_TRIGGER"]))
    worker.main()
