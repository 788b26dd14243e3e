"""The conditions of a policy, one kind per file. `build` makes the condition that a policy requests."""

from failshut_breakers.conditions.base import NEVER_MS, Condition, Demand, Moment, Status
from failshut_breakers.conditions.by_instance import ByInstanceCondition
from failshut_breakers.conditions.conformance import ConformanceCondition
from failshut_breakers.conditions.failure_rate import FailureRateCondition
from failshut_breakers.conditions.heartbeat import HeartbeatCondition
from failshut_breakers.conditions.lag import LagCondition
from failshut_breakers.conditions.on_series import AnomalyCondition, DriftCondition
from failshut_breakers.conditions.together import TogetherCondition
from failshut_breakers.conditions.unreadable import UnreadableCondition
from failshut_breakers.policy.policy import Anomaly, ConditionPolicy, Conformance, Drift, FailureRate, Heartbeat, Lag

__all__ = ["NEVER_MS", "Condition", "Demand", "Moment", "Status", "build"]


def build(policy: ConditionPolicy) -> Condition:
    """Return the condition that a policy requests, without any evidence yet."""
    match policy:
        case Drift() | Anomaly() if policy.detector.width:
            return TogetherCondition(policy)
        case Drift() | Anomaly() | Conformance() if policy.by:
            return ByInstanceCondition(policy)
        case Drift():
            return DriftCondition(policy)
        case Anomaly():
            return AnomalyCondition(policy)
        case Conformance():
            return ConformanceCondition(policy)
        case Heartbeat():
            return HeartbeatCondition(policy)
        case Lag():
            return LagCondition(policy)
        case FailureRate():
            return FailureRateCondition(policy)
    return UnreadableCondition(policy)
