"""Who is admitted: five questions in one order, as pure functions. The first that fails is the answer.

Identity: is the caller who it says, and may this subject execute? Policy: is the permit for the policy that the gate expects?
Environment: does the guard run where the permit says? Operation: may this be done? Proof: is the permit in force, and is a
probe token needed? `decide` asks all five, for Python and for HTTP alike. Whether a permit is in force depends on clocks and on
the store: the guard finds that, and hands `decide` the permit or the denial that it has instead.

Nothing here waits or changes. Limit: without a permit nobody knows whom it would admit. Then the answer is that proof fails,
unless the caller's own identity or operation fails already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failshut.admission.denial import Denial
from failshut.admission.subjects import matches, why_no_name
from failshut.cause import Cause
from failshut.permit import Permit


@dataclass(frozen=True, slots=True)
class Question:
    """What is known before a permit is looked at."""

    subject: object
    """Who executes; a name, see `refuse_names`."""
    operation: object = None
    """What is done; None claims nothing in particular."""
    policy: str = ""
    """The one policy digest that the gate accepts; empty: any."""
    here: Mapping[str, str] = field(default_factory=dict)
    """The context in which the guard and the gate say that they run."""
    identity: Denial | None = None
    """What was found against the caller's proof of who it is. A caller in this process needs none."""
    probing: bool = False
    """Whether a probe token is taken next."""


def decide(question: Question, held: Permit | Denial) -> Permit | Denial:
    """Return the permit under which the execution may start, or the denial by the first check that fails.

    `held` is the permit in force, or why there is none.
    """
    subject, operation = question.subject, question.operation
    if question.identity is not None:
        return question.identity
    if type(subject) is not str or why_no_name("the subject", subject):
        return Denial(Cause.IDENTITY, why_no_name("the subject", subject))
    unnamed = refuse_names(subject, operation)
    if isinstance(held, Denial):
        return unnamed or held
    claimed = operation if unnamed is None and isinstance(operation, str) else None
    refused = admit(held, subject, claimed, question.policy, question.here)
    if unnamed is not None and (refused is None or refused.cause is Cause.OPERATION):
        return unnamed
    if refused is not None:
        return refused
    if held.mode == "proving" and not question.probing:
        return Denial(Cause.PROBE_REQUIRED)
    return held


def refuse_names(subject: object, operation: object) -> Denial | None:
    """Refuse what is no text, or names nobody. An operation of None claims none in particular."""
    if why := why_no_name("the subject", subject):
        return Denial(Cause.IDENTITY, why)
    if operation is not None and (why := why_no_name("the operation", operation)):
        return Denial(Cause.OPERATION, why)
    return None


def admit(permit: Permit, subject: str, operation: str | None, policy: str, here: Mapping[str, str]) -> Denial | None:
    """Ask the first four questions. Return the denial, or None where the permit answers all of them.

    Args:
        permit: what the gate's lease rests on.
        subject: who executes; a name, see `refuse_names`.
        operation: what is done. Without one, only a permit for all operations admits.
        policy: the one policy digest that the gate accepts; empty: any.
        here: the context in which the guard and the gate say that they run.
    """
    if not matches(permit.subjects, subject):
        return Denial(Cause.IDENTITY, f"{subject!r} is not among the permitted subjects")
    if policy and permit.policy != policy:
        return Denial(Cause.POLICY, f"the permit is for {permit.policy}, expected {policy}")
    for name, value in permit.context.items():
        if here.get(name) != value:
            found = f"{here[name]!r}" if name in here else "nothing"
            return Denial(Cause.ENVIRONMENT, f"{name} must be {value!r}; this guard says {found}")
    if not matches(permit.operations, operation or ""):
        return Denial(Cause.OPERATION, f"operation {operation!r} is not permitted")
    return None
