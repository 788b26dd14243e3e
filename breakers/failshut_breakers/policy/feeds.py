"""Which readings feed which condition of a gate: keys that a block of evidence and a policy have in common."""

from __future__ import annotations

from failshut_breakers.evidence.records import Beats, Commanded, Faults, FromMany, Lags, Outcomes, Reading, Samples, Sent
from failshut_breakers.policy.policy import Anomaly, ConditionPolicy, Conformance, Drift, FailureRate, Heartbeat, Lag


def key_of(reading: Reading) -> tuple[str, ...]:
    """Return what a block of readings is of."""
    match reading:
        case Samples() | Faults():
            return ("series", reading.series)
        case FromMany():
            return ("instances", reading.series)
        case Beats():
            return ("source", reading.source)
        case Lags():
            return ("lag", reading.group, reading.topic)
        case Outcomes() | Sent():
            return ("outcomes",)
    return ("unreadable",)


def upto_of(reading: Reading) -> int:
    """Return the offset behind a block's last reading."""
    if isinstance(reading, Samples):
        return reading.place(reading.count - 1)[0] + 1 if reading.count else 0
    if isinstance(reading, Commanded):
        return reading.offset + 1
    return reading.rows[-1][0] + 1 if reading.rows else 0


def keys_of_policy(policy: ConditionPolicy) -> list[tuple[str, ...]]:
    """Return what a condition reads."""
    match policy:
        case Drift() | Anomaly() | Conformance():
            return [("instances" if policy.by else "series", name) for name in policy.all_series]
        case Heartbeat():
            return [("source", policy.source) if policy.source else ("series", policy.series or "")]
        case Lag():
            return [("lag", policy.group, policy.topic)]
        case FailureRate():
            return [("outcomes",)]
    return [("unreadable",)]


def budget_of_ms(policy: ConditionPolicy) -> float:
    """Return the time in which a condition may be wrong once, 0 where its policy promises nothing."""
    return policy.false_trips if isinstance(policy, Drift | Anomaly | Conformance) else 0.0
