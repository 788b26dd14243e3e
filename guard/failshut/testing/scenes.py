"""What leads to each cause: how a gate comes to be closed, as it does in production.

A cause that a monitor decides is said by a signed closing. A cause that a guard finds by itself comes about by what makes a
guard find it: a record that is gone, a signature of a stranger's, a clock that is behind. So a test sees the cause, the words
and the failed check that a service sees.

Three causes are not found as they are named:

- `forked` is found only by an execution that runs while its process forks; whoever asks afterwards finds `no_permit`.
- `probe_required` is what `check` finds where an execution finds `probes_spent`: the gate is proving, and no token is left.
- `policy` is found by a gate that accepts one policy alone; here a closing says it, so that it closes every gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from failshut.cause import Cause
from failshut.epoch import digits
from failshut.lease import Fenced
from failshut.signing import SigningKey
from failshut.testing.monitor import PlayedMonitor
from failshut.testing.statements import Statements

AHEAD_MS: Final = 60_000
"""How far the monitor's clock is ahead of one that is behind."""
ELSEWHERE: Final = {"failshut.testing": "elsewhere"}


def close(monitor: PlayedMonitor, cause: Cause, because: str) -> None:
    """Close the gate for this cause. `because` is what a closing says; what a guard finds, it says itself."""
    scene = SCENES.get(cause)
    if scene is None:
        monitor.close(cause, because or f"the test closed it: {cause.meaning}")
    else:
        scene(monitor)


def lapse(monitor: PlayedMonitor) -> None:
    """Let the permit run out, unrenewed."""
    monitor.be_open()
    monitor.fall_silent()
    monitor.stage.advance(monitor.terms.ttl_ms / 1000)


def _lose_permit(monitor: PlayedMonitor) -> None:
    monitor.be_open()
    monitor.fall_silent()
    monitor.stage.store.lose(monitor.gate)
    monitor.stage.guard.deliver(monitor.gate)


def _lose_store(monitor: PlayedMonitor) -> None:
    monitor.be_open()
    monitor.stage.store.of(monitor.gate).away = True
    monitor.stage.advance(monitor.terms.ttl_ms / 1000)


def _stall_store(monitor: PlayedMonitor) -> None:
    monitor.be_open()
    monitor.stage.store.of(monitor.gate).stalled = True
    monitor.stage.advance(monitor.terms.ttl_ms / 1000)


def _sign_with_another_key(monitor: PlayedMonitor) -> None:
    monitor.decide()
    stranger = SigningKey.generate()
    _keep_putting(monitor, lambda: monitor.stage.put(monitor.gate, monitor.permit(), stranger))


def _mistake_the_gate(monitor: PlayedMonitor) -> None:
    monitor.decide()
    other = Statements(monitor.stage.installation, "failshut.testing.another")
    fields = monitor.terms.fields()
    _keep_putting(monitor, lambda: monitor.stage.put(monitor.gate, other.permit_at(monitor.stage.clock.now_ms, **fields)))


def _put_back_an_older_permit(monitor: PlayedMonitor) -> None:
    monitor.be_open()
    former = monitor.says.epoch
    monitor.decide()
    monitor.stage.store.of(monitor.gate).fence = Fenced(monitor.says.epoch, digits(monitor.says.offset), True)
    _keep_putting(monitor, lambda: monitor.stage.put(monitor.gate, monitor.permit(epoch=former)))


def _fall_behind(monitor: PlayedMonitor) -> None:
    monitor.decide()

    def put() -> None:
        ahead = monitor.permit(evidence_ms=monitor.stage.clock.now_ms + AHEAD_MS)
        monitor.stage.write(monitor.gate, ahead)

    _keep_putting(monitor, put)


def _fork(monitor: PlayedMonitor) -> None:
    _lose_permit(monitor)
    for slot in monitor.stage.guard.slots.all():
        if slot.gate == monitor.gate:
            slot.after_fork()


def _admit_nobody(monitor: PlayedMonitor) -> None:
    monitor.decide()
    monitor.issue(subjects=())


def _permit_nothing(monitor: PlayedMonitor) -> None:
    monitor.decide()
    monitor.issue(operations=())


def _permit_elsewhere(monitor: PlayedMonitor) -> None:
    monitor.decide()
    monitor.issue(context={**monitor.terms.context, **ELSEWHERE})


def _spend_probes(monitor: PlayedMonitor) -> None:
    monitor.prove(0)


def _keep_putting(monitor: PlayedMonitor, put: Callable[[], None]) -> None:
    put()
    monitor.stage.renewals[monitor.gate] = put


#: What a guard finds by itself, and what makes it find it. Every other cause is said by a closing.
SCENES: Final[Mapping[Cause, Callable[[PlayedMonitor], None]]] = MappingProxyType(
    {
        Cause.NO_PERMIT: _lose_permit,
        Cause.LAPSED: lapse,
        Cause.STORE_UNREACHABLE: _lose_store,
        Cause.DEADLINE: _stall_store,
        Cause.UNVERIFIED: _sign_with_another_key,
        Cause.FOREIGN: _mistake_the_gate,
        Cause.STALE: _put_back_an_older_permit,
        Cause.CLOCK: _fall_behind,
        Cause.FORKED: _fork,
        Cause.IDENTITY: _admit_nobody,
        Cause.OPERATION: _permit_nothing,
        Cause.ENVIRONMENT: _permit_elsewhere,
        Cause.PROBE_REQUIRED: _spend_probes,
        Cause.PROBES_SPENT: _spend_probes,
    }
)
