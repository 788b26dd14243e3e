"""What did not count for a gate is asked for again: after a while, less and less often, and not for ever."""

from __future__ import annotations

from itertools import pairwise

import pytest
from streams.front_door import EVIDENCE_ID, START_MS, at_ms
from streams.test_control import KEY, MONITOR, started
from streams.test_router import TELEMETRY, Bench, some

from failshut.signing import SigningKey
from failshut_streams.control.cutter import ControlCut
from failshut_streams.control.retelling import (
    ASKED_MAX,
    FIRST_SECONDS,
    VALID_MS,
    Asked,
    Retell,
    Retelling,
    encode_retell,
    is_retell,
)
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME


def asked(offset: int, retell: Retell, signer: SigningKey = MONITOR, asked_ms: int = 0, log: str = EVIDENCE_ID) -> Record:
    key, value = encode_retell(signer, retell, log, asked_ms or at_ms(offset))
    return Record(offset, at_ms(offset), APPEND_TIME, key, value, ())


def test_only_what_the_monitor_signed_for_this_log_asks_for_anything() -> None:
    """A request names a partition and an offset; nobody else can send a router back, nor a copy from elsewhere."""
    retell = Retell("telemetry", 3, 17)
    assert is_retell(asked(5, retell))
    assert Asked(EVIDENCE_ID).take(asked(5, retell), MONITOR.key_set()) == [retell]
    nothing = Asked(EVIDENCE_ID)
    assert nothing.take(asked(5, retell), None) == []
    for other in (
        asked(5, retell, KEY),
        asked(5, retell, log="another"),
        asked(5, retell, asked_ms=START_MS - VALID_MS),
        asked(5, Retell("telemetry", 3, -1)),
        asked(5, Retell("telemetry", True, 1)),
        Record(5, START_MS, APPEND_TIME, b"retell/telemetry/3", b"x", ()),
        Record(5, START_MS, APPEND_TIME, b"retell/telemetry/3", None, ()),
    ):
        assert nothing.take(other, MONITOR.key_set()) == []


def test_a_request_counts_once() -> None:
    """Whoever writes to control can copy one, and moves nobody by it."""
    retell = Retell("telemetry", 3, 17)
    asked_before = Asked(EVIDENCE_ID)
    assert asked_before.take(asked(5, retell), MONITOR.key_set())
    assert not asked_before.take(asked(9, retell, asked_ms=at_ms(5)), MONITOR.key_set())
    assert not asked_before.take(asked(9, retell, asked_ms=at_ms(4)), MONITOR.key_set())
    assert asked_before.take(asked(9, retell), MONITOR.key_set())


def test_a_request_is_for_routers_that_run() -> None:
    """One that starts tells everything from where it should; a request is no command, and no dead letter."""
    at = started(asked(2, Retell("telemetry", 0, 4)))
    cut: ControlCut = at.cut([asked(3, Retell("telemetry", 0, 4)), asked(4, Retell("telemetry", 0, 1), KEY)], 5)
    assert (cut.retells, cut.dead) == ([Retell("telemetry", 0, 4)], [])


def test_what_stays_owed_is_asked_for_less_and_less_often_and_not_for_ever() -> None:
    """A place that the front door no longer holds cannot be told again: an operator signs for it."""
    owed = {("telemetry", 0): 7}
    retelling = Retelling(MONITOR, "control", EVIDENCE_ID, lambda: owed)
    times = [now for now in range(100_000) if retelling.due(float(now))]
    assert times[0] >= FIRST_SECONDS
    assert len(times) == ASKED_MAX
    waits = [after - before for before, after in pairwise(times)]
    assert waits == sorted(waits)


def test_what_is_no_longer_owed_is_forgotten() -> None:
    """A place that was told again counts from the beginning if it is ever owed anew."""
    owed = {("telemetry", 0): 7}
    retelling = Retelling(MONITOR, "control", EVIDENCE_ID, lambda: owed)
    retelling.due(0.0)
    assert retelling.due(10.0) == [Retell("telemetry", 0, 7)]
    owed.clear()
    assert retelling.due(11.0) == []
    owed["telemetry", 0] = 9
    assert retelling.due(12.0) == []
    assert retelling.due(20.0) == [Retell("telemetry", 0, 9)]


@pytest.mark.parametrize(("position", "sought"), [(1, [{TELEMETRY: 1}]), (50, [])])
async def test_a_router_goes_back_and_never_forward(position: int, sought: list[dict[object, int]]) -> None:
    """It goes back to what is owed, where it has read beyond it."""
    bench = Bench()
    await bench.route(some(0))  # which finds an activation that came meanwhile, and goes back for it
    await bench.route(some(0, reading=2))
    bench.app.seeks.clear()
    await bench.take(asked(2, Retell("telemetry", 0, position)), asked(3, Retell("telemetry", 7, 0)))
    assert bench.app.seeks == sought


async def test_control_is_told_again_to_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a governor is owed of control, any router tells from its beginning."""
    bench = Bench()
    told: list[frozenset[int]] = []

    async def tell(evidence_partitions: frozenset[int]) -> None:
        told.append(evidence_partitions)

    monkeypatch.setattr(bench.router, "_tell_control", tell)
    await bench.take(asked(2, Retell("control", 0, 0)))
    assert told == [frozenset(range(3))]
