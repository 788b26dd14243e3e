"""What a service's own guards saw, in the metrics that the service already has: prometheus_client or OpenTelemetry.

The monitor says whether a gate is open. Only the guard knows whom it admitted, whom it withheld and why, because a gate
may be open while this service cannot read its permit. Call `export()` once when the service starts. It imports nothing that
the service does not have, and changes nothing of how a guard decides.

    import failshut.metrics

    failshut.metrics.export()

| metric | labels | value |
|---|---|---|
| `failshut_guard_executions_total` | gate, outcome | admitted executions that have ended: ok, failed, interrupted, cancelled |
| `failshut_guard_withheld_total` | gate, cause | denials, at the entry and in the middle of an execution |
| `failshut_guard_gate_open` | gate | 1 where this process holds a lease now |

OpenTelemetry has dots in place of the underscores, and no `_total`.

Limits: `Gate.check` admits without an execution, so it is not counted. Executions are counted when the guard's thread reads
them, four times a second, and not while the store of outcomes is away. A process that was forked counts from zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from failshut.guard import guards
from failshut.lease import Lease
from failshut.withheld import denials

EXECUTIONS: Final = "Executions that were admitted and have ended, by outcome."
WITHHELD: Final = "Denials by cause, at the entry and in the middle of an execution."
OPEN: Final = "1 where this process holds a lease of the gate now."

Row = tuple[tuple[str, str], float]


def export() -> list[str]:
    """Export to prometheus_client's default registry and to OpenTelemetry's global meter; return which of them there are."""
    found = []
    for name, one in (("prometheus_client", export_to_prometheus), ("opentelemetry", export_to_opentelemetry)):
        try:
            one()
        except ImportError:
            continue
        found.append(name)
    return found


def export_to_prometheus(registry: Any = None) -> None:
    """Add the guards' metrics to a registry of prometheus_client, by default its own. A second call changes nothing.

    Raises:
        ImportError: prometheus_client is not installed.
    """
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Guards:
        def collect(self) -> Iterator[Any]:
            executions = CounterMetricFamily("failshut_guard_executions", EXECUTIONS, labels=("gate", "outcome"))
            withheld = CounterMetricFamily("failshut_guard_withheld", WITHHELD, labels=("gate", "cause"))
            is_open = GaugeMetricFamily("failshut_guard_gate_open", OPEN, labels=("gate",))
            for family, rows in ((executions, ended()), (withheld, denied())):
                for labels, number in rows:
                    family.add_metric(labels, number)
            for gate, value in opened().items():
                is_open.add_metric((gate,), value)
            yield from (executions, withheld, is_open)

    registry = REGISTRY if registry is None else registry
    if not any(one is registry for one in _exported):
        registry.register(Guards())
        _exported.append(registry)


def export_to_opentelemetry(meter: Any = None) -> None:
    """Add the guards' metrics to a meter of OpenTelemetry, by default the global provider's. A second call changes nothing.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    from opentelemetry.metrics import Observation, get_meter

    given = meter or "global"
    if any(one is given for one in _exported):
        return
    _exported.append(given)
    meter = meter or get_meter("failshut")

    def observe(rows: Callable[[], Iterable[Row]], label: str) -> Callable[[Any], Iterable[Any]]:
        return lambda _: [Observation(number, {"gate": gate, label: value}) for (gate, value), number in rows()]

    meter.create_observable_counter("failshut.guard.executions", [observe(ended, "outcome")], description=EXECUTIONS)
    meter.create_observable_counter("failshut.guard.withheld", [observe(denied, "cause")], description=WITHHELD)
    meter.create_observable_gauge(
        "failshut.guard.gate.open", [lambda _: [Observation(value, {"gate": gate}) for gate, value in opened().items()]],
        description=OPEN,
    )  # fmt: skip


def ended() -> list[Row]:
    """Return how many executions of each gate ended how, over all guards of this process."""
    counts: Counter[tuple[str, str]] = Counter()
    for guard in guards():
        counts.update(guard.outcomes.ended)
    return [*counts.items()]


def denied() -> list[Row]:
    """Return how often each gate withheld for which cause."""
    return [(pair, float(number)) for pair, number in denials().items()]


def opened() -> dict[str, int]:
    """Return, for each gate that this process has asked, whether it holds a lease now: of one context at least."""
    found: dict[str, int] = {}
    for guard in guards():
        now = guard.moment()
        for slot in guard.slots.all():
            alive = isinstance(slot.state, Lease) and slot.state.alive(now)
            found[slot.gate] = max(found.get(slot.gate, 0), int(alive))
    return found


_exported: list[Any] = []
