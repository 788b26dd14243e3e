"""Which readings concern which gate: a pure function of the policies in force.

Routers look every sample up here, so the tables are plain dictionaries of tuples. A gate whose policy is at fault is
fed nothing: it is closed, and its next policy starts without evidence. Records that nobody can read feed the gates
that ask about them, and no other: garbage on a topic is not everybody's. Outcomes feed the gates that have a condition
on them. Those of probes feed every gate with a policy, because any breaker may be proving.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from failshut_breakers.policy.policy import (
    Anomaly,
    ConditionPolicy,
    Conformance,
    Drift,
    FailureRate,
    Heartbeat,
    Lag,
    PolicyBook,
)

Gates = tuple[str, ...]
Key = tuple[str, ...]


def keys_of(condition: ConditionPolicy) -> list[Key]:
    """Return what feeds a condition: kinds of readings, each with the name that it goes by."""
    match condition:
        case Drift() | Anomaly() | Conformance():
            return [("instances" if condition.by else "series", name) for name in condition.all_series]
        case Heartbeat():
            return [("source", condition.source) if condition.source else ("series", condition.series or "")]
        case Lag():
            return [("lag", condition.group, condition.topic)]
        case FailureRate():
            return [("outcomes",)]
    return [("unreadable",)]


@dataclass(frozen=True)
class Routes:
    """Who is fed by what. `routing` names the activation that these come from."""

    routing: int = -1
    series: dict[str, Gates] = field(default_factory=dict)
    instances: dict[str, Gates] = field(default_factory=dict)  # by series: who judges it by instance
    sources: dict[str, Gates] = field(default_factory=dict)
    lags: dict[tuple[str, str], Gates] = field(default_factory=dict)
    gates: dict[str, None] = field(default_factory=dict)  # every gate with a policy, in order
    outcomes: frozenset[str] = frozenset()  # gates with a condition on outcomes
    unreadable: Gates = ()  # whose policies ask about records that nobody can read
    made: tuple[bytes, ...] = ()  # by evidence partition: the digest of all this for its gates, which every run carries

    @classmethod
    def of(cls, book: PolicyBook, made: tuple[bytes, ...] = ()) -> Routes:
        """Return the routes of the policies in force; `made` holds their digest for each evidence partition."""
        series: dict[str, set[str]] = {}
        instances: dict[str, set[str]] = {}
        sources: dict[str, set[str]] = {}
        lags: dict[tuple[str, str], set[str]] = {}
        outcomes: set[str] = set()
        unreadable: set[str] = set()
        policies = {gate: entry.policy for gate, entry in book.entries.items() if entry.policy is not None}
        for gate, policy in policies.items():
            for key in (key for condition in policy.conditions for key in keys_of(condition)):
                match key:
                    case ("series", name):
                        series.setdefault(name, set()).add(gate)
                    case ("instances", name):
                        instances.setdefault(name, set()).add(gate)
                    case ("source", name):
                        sources.setdefault(name, set()).add(gate)
                    case ("lag", group, topic):
                        lags.setdefault((group, topic), set()).add(gate)
                    case ("outcomes",):
                        outcomes.add(gate)
                    case ("unreadable",):
                        unreadable.add(gate)
        return cls(
            routing=book.routing,
            series={name: tuple(sorted(gates)) for name, gates in series.items()},
            instances={name: tuple(sorted(gates)) for name, gates in instances.items()},
            sources={name: tuple(sorted(gates)) for name, gates in sources.items()},
            lags={name: tuple(sorted(gates)) for name, gates in lags.items()},
            gates=dict.fromkeys(sorted(policies)),
            outcomes=frozenset(outcomes),
            unreadable=tuple(sorted(unreadable)),
            made=made,
        )
