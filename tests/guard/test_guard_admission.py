"""Admission as a function: four questions in one order, asked of a permit, a caller and a place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failshut import Cause, Permit
from failshut.admission.checks import admit, refuse_names
from failshut.admission.denial import Denial
from failshut.epoch import epoch_of

POLICY = "sha256:" + "a" * 64
PERMIT = Permit(
    installation="i" * 32,
    gate="g",
    epoch=epoch_of(1, 1),
    offset=1,
    partition=0,
    policy=POLICY,
    mode="armed",
    evidence_ms=1_000,
    nbf_ms=1_000,
    exp_ms=4_000,
    ttl_ms=3_000,
    subjects=("agent:*",),
    operations=("create", "read"),
    context={"environment": "production"},
)
HERE = {"environment": "production", "region": "eu"}
#: What must change for the question to be answered with no, in the order in which they are asked.
WRONG: dict[Cause, dict[str, object]] = {
    Cause.IDENTITY: {"subject": "human:7"},
    Cause.POLICY: {"policy": "sha256:" + "b" * 64},
    Cause.ENVIRONMENT: {"here": {"environment": "test"}},
    Cause.OPERATION: {"operation": "delete"},
}
RIGHT = {"permit": PERMIT, "subject": "agent:7", "operation": "create", "policy": POLICY, "here": HERE}


def test_what_answers_all_four_is_admitted() -> None:
    """Nothing is found against who, under what, where and what all fit; a gate that pins no policy takes any."""
    assert admit(**RIGHT) is None  # type: ignore[arg-type]
    assert admit(**RIGHT | {"policy": ""}) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", WRONG)
def test_one_wrong_answer_is_enough_and_the_first_is_named(cause: Cause) -> None:
    """Each question denies alone, and together with all that come after it."""
    causes = list(WRONG)
    for wrong in ([cause], causes[causes.index(cause) :]):
        changes: dict[str, object] = {}
        for one in wrong:
            changes |= WRONG[one]
        denial = admit(**RIGHT | changes)  # type: ignore[arg-type]
        assert denial is not None
        assert denial.cause is cause


@pytest.mark.parametrize("here", [{}, {"region": "production"}, {"environment": ""}, {"environment": "Production"}])
def test_a_context_that_is_not_proved_denies(here: dict[str, str]) -> None:
    """What the permit asks for must be said, by name and to the letter."""
    denial = admit(**RIGHT | {"here": here})  # type: ignore[arg-type]
    assert denial is not None
    assert denial.cause is Cause.ENVIRONMENT


def test_no_operation_is_covered_by_a_permit_for_all_alone() -> None:
    """Who claims no operation is admitted where every operation is."""
    denial = admit(**RIGHT | {"operation": None})  # type: ignore[arg-type]
    assert denial is not None
    assert denial.cause is Cause.OPERATION
    assert admit(**RIGHT | {"operation": None, "permit": replace(PERMIT, operations=("*",))}) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", 7, ("agent:7", "create"), None, b"agent:7"])
def test_what_is_no_name_is_nobody(name: object) -> None:
    """A subject is text that can be printed; None claims no operation, and is no subject."""
    denial = refuse_names(name, "create")
    assert denial is not None
    assert denial.cause is Cause.IDENTITY
    denial = refuse_names("agent:7", name)
    assert (denial is None) == (name is None)
    assert denial is None or denial.cause is Cause.OPERATION


def test_a_denial_admits_nobody_and_has_always_ended() -> None:
    """The hot path compares a denial as it does a lease: no name is in it, and no clock is before its end."""
    denial = Denial(Cause.LAPSED)
    assert denial.admitted == frozenset()
    assert max(denial.mono_end, denial.wall_end) == float("-inf")
