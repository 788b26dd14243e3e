"""Which conditions learn from telemetry of before their activation, and from which series.

A router and a governor must mean the same conditions. A governor knows more: a policy that went and came back finds what it
knew. So what routers tell may be more than is needed, and never less.

Limits: a condition on one series that is one stream. Others learn from news alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from failshut_breakers.policy.policy import Anomaly, ConditionPolicy, Conformance, Drift, Entry, Policy


class Wanted(NamedTuple):
    """What an activation's new conditions learn from: gates by series, and from how long before it (ms)."""

    series: Mapping[str, tuple[str, ...]]
    since_ms: int


def learns_from_history(policy: Policy, condition: ConditionPolicy) -> bool:
    """Return whether a condition of a policy, where it is new, learns from what was sent before."""
    if policy.learn.since is None or not isinstance(condition, Drift | Anomaly | Conformance):
        return False
    return condition.by is None and len(condition.all_series) == 1


def wanted_history(before: Mapping[str, Entry], after: Mapping[str, Entry], changed: Iterable[str]) -> Wanted:
    """Return what the conditions learn from that an activation brings or changes. `changed` are the gates that it concerns."""
    series: dict[str, set[str]] = {}
    since_ms = 0
    for gate in changed:
        policy, old = after[gate].policy, before[gate].policy if gate in before else None
        known = {one.name: one for one in old.conditions} if old is not None else {}
        for condition in policy.conditions if policy is not None else ():
            if policy is not None and known.get(condition.name) != condition and learns_from_history(policy, condition):
                since_ms = max(since_ms, policy.learn.since or 0)
                for name in keys_of_series(condition):
                    series.setdefault(name, set()).add(gate)
    return Wanted({name: tuple(sorted(gates)) for name, gates in sorted(series.items())}, since_ms)


def keys_of_series(condition: ConditionPolicy) -> tuple[str, ...]:
    """Return the series that feed a condition, if any do."""
    return condition.all_series if isinstance(condition, Drift | Anomaly | Conformance) else ()
