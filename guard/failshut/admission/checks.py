"""Who is admitted under a permit: the checks that a permit answers by itself, as pure functions.

Admission asks five questions, in this order. Identity: may this subject execute? Policy: is the permit for the policy
that the gate expects? Environment: does the guard run where the permit says? Operation: may this be done? Proof: is the
permit in force, and is a probe token needed? The first four follow from the permit and from what the caller and the
gate say of themselves, and are here. Proof depends on clocks and on the store, and is the guard's.

Each function returns the denial, or None where it finds nothing against the execution. Nothing here waits or changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from failshut.admission.denial import Denial
from failshut.admission.subjects import matches, why_no_name
from failshut.cause import Cause
from failshut.permit import Permit


def refuse_names(subject: object, operation: object) -> Denial | None:
    """Refuse what is no text, or names nobody. An operation of None claims none in particular."""
    if why := why_no_name("the subject", subject):
        return Denial(Cause.IDENTITY, why)
    if operation is not None and (why := why_no_name("the operation", operation)):
        return Denial(Cause.OPERATION, why)
    return None


def admit(permit: Permit, subject: str, operation: str | None, policy: str, here: Mapping[str, str]) -> Denial | None:
    """Ask the first four questions.

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
