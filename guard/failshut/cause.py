"""Why a gate is closed: one fixed list, shared by guards, governors, screens and metrics.

Free text explains a denial to a person; programs branch, count and alert on the cause, so the list is
short, typed and only grows. Every part of Failshut that says why uses these values and nothing else. Limit:
a cause names one reason, the first that was found; a gate may have several at once.
"""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Cause(StrEnum):
    """Why a gate withholds. The value is the text on the wire."""

    # What a guard finds by itself.
    NO_PERMIT = "no_permit"
    LAPSED = "lapsed"
    STORE_UNREACHABLE = "store_unreachable"
    DEADLINE = "deadline"
    UNVERIFIED = "unverified"
    FOREIGN = "foreign"
    STALE = "stale"
    CLOCK = "clock"
    FORKED = "forked"

    # Which of the five checks of admission refused.
    IDENTITY = "identity"
    POLICY = "policy"
    ENVIRONMENT = "environment"
    OPERATION = "operation"
    PROBE_REQUIRED = "probe_required"
    PROBES_SPENT = "probes_spent"

    # Conditions that demand a trip.
    DRIFT = "drift"
    ANOMALY = "anomaly"
    CONFORMANCE = "conformance"
    HEARTBEAT = "heartbeat"
    LAG = "lag"
    FAILURE_RATE = "failure_rate"
    UNREADABLE = "unreadable"
    NONCONFORMING = "nonconforming"

    # What the governor says of the gate itself.
    INSUFFICIENT = "insufficient"
    NO_POLICY = "no_policy"
    BAD_POLICY = "bad_policy"
    LOCK = "lock"
    FAULT = "fault"
    GAP = "gap"
    ROUTING = "routing"
    PROVING = "proving"
    PROVING_FAILED = "proving_failed"
    PROVING_DEADLINE = "proving_deadline"
    BYPASS_ENDED = "bypass_ended"
    TERM = "term"
    UNKNOWN_GATE = "unknown_gate"

    @classmethod
    def _missing_(cls, value: object) -> Cause | None:
        """Read the word of before version 0.2, when a lock was a hold: statements and recordings may say so until 0.3."""
        return cls.LOCK if value == "hold" else None

    @property
    def meaning(self) -> str:
        """One line for a person who has not read the documentation."""
        return _MEANINGS[self]


@unique
class Check(StrEnum):
    """The five things that admission checks, in this order. A denial says which one failed."""

    IDENTITY = "identity"
    POLICY = "policy"
    ENVIRONMENT = "environment"
    OPERATION = "operation"
    PROOF = "proof"

    @classmethod
    def of(cls, cause: Cause) -> Check:
        """Return the check that a cause belongs to; whatever is not one of the first four is a lack of proof."""
        return _CHECKS.get(cause, cls.PROOF)


_CHECKS = {
    Cause.IDENTITY: Check.IDENTITY,
    Cause.POLICY: Check.POLICY,
    Cause.NO_POLICY: Check.POLICY,
    Cause.BAD_POLICY: Check.POLICY,
    Cause.ENVIRONMENT: Check.ENVIRONMENT,
    Cause.OPERATION: Check.OPERATION,
}

_MEANINGS = {
    Cause.NO_PERMIT: "the store holds no permit for this gate",
    Cause.LAPSED: "the last permit ran out and was not renewed",
    Cause.STORE_UNREACHABLE: "the store cannot be reached",
    Cause.DEADLINE: "no answer within the guard's deadline",
    Cause.UNVERIFIED: "the permit cannot be verified with a known key",
    Cause.FOREIGN: "the permit is another gate's",
    Cause.STALE: "the permit is older than a decision already seen",
    Cause.CLOCK: "this host's clock is behind the permit's beginning",
    Cause.FORKED: "the execution belongs to the process before the fork",
    Cause.IDENTITY: "the subject is not among those who may execute",
    Cause.POLICY: "the permit is not for the policy that the guard expects",
    Cause.ENVIRONMENT: "the guard runs in another context than the permit asks for",
    Cause.OPERATION: "the operation is not permitted",
    Cause.PROBE_REQUIRED: "the gate is proving: only executions with a probe token are admitted",
    Cause.PROBES_SPENT: "the gate is proving and its probe tokens are spent",
    Cause.DRIFT: "a series has drifted",
    Cause.ANOMALY: "a series does what it never did",
    Cause.CONFORMANCE: "too many events break a rule",
    Cause.HEARTBEAT: "a source has fallen silent",
    Cause.LAG: "a consumer group has fallen behind",
    Cause.FAILURE_RATE: "too many executions failed",
    Cause.UNREADABLE: "telemetry that cannot be read",
    Cause.NONCONFORMING: "a value that is not a number",
    Cause.INSUFFICIENT: "not enough evidence yet",
    Cause.NO_POLICY: "the gate has no policy",
    Cause.BAD_POLICY: "the gate's policy is not valid",
    Cause.LOCK: "an operator has locked the gate",
    Cause.FAULT: "a fault inside the gate's own evaluation",
    Cause.GAP: "evidence is missing from the log",
    Cause.ROUTING: "a worker reads the gate's policy differently, so its evidence does not count",
    Cause.PROVING: "the gate is proving and waits for outcomes",
    Cause.PROVING_FAILED: "a probe execution failed",
    Cause.PROVING_DEADLINE: "proving did not finish in time",
    Cause.BYPASS_ENDED: "an operator's bypass has ended",
    Cause.TERM: "the evidence log began a new term",
    Cause.UNKNOWN_GATE: "the monitor does not know this gate",
}
