"""Admission as a function: five questions in one order, asked of a permit, a caller and a place."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from failshut import Cause, Permit
from failshut.admission.checks import Question, admit, decide, refuse_names
from failshut.admission.denial import Denial
from failshut.cause import Check
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


# --- all five ---

#: What makes each of the five fail, in their order: the permit and what is asked of it, changed.
FACETS: dict[Check, list[tuple[dict[str, object], dict[str, object]]]] = {
    Check.IDENTITY: [
        ({}, {"subject": "human:7"}),
        ({}, {"subject": "agent:7\n"}),
        ({}, {"subject": None}),
        ({}, {"identity": Denial(Cause.IDENTITY, "no proof of who asks")}),
    ],
    Check.POLICY: [({}, {"policy": "sha256:" + "b" * 64})],
    Check.ENVIRONMENT: [({}, {"here": {"environment": "test"}})],
    Check.OPERATION: [({}, {"operation": "delete"}), ({}, {"operation": 7}), ({}, {"operation": ""})],
    Check.PROOF: [({"mode": "proving"}, {})],
}
ASKED: dict[str, object] = {"subject": "agent:7", "operation": "create", "policy": POLICY, "here": HERE}
NOT_IN_FORCE = [Denial(cause) for cause in Cause if Check.of(cause) is Check.PROOF]


def decided(*changes: tuple[dict[str, object], dict[str, object]]) -> Permit | Denial:
    """What is decided about a good question and a good permit, with these changes of both."""
    permit, asked = PERMIT, dict(ASKED)
    for of_permit, of_question in changes:
        permit = replace(permit, **of_permit)  # type: ignore[arg-type]
        asked |= of_question
    return decide(Question(**asked), permit)  # type: ignore[arg-type]


def test_nothing_against_it_is_the_permit_itself() -> None:
    """Five good answers admit, and a probe is admitted to a gate that is proving."""
    assert decided() is PERMIT
    proving = replace(PERMIT, mode="proving")
    assert decide(Question(**ASKED, probing=True), proving) is proving  # type: ignore[arg-type]


@pytest.mark.parametrize("facet", Check)
def test_each_facet_fails_alone(facet: Check) -> None:
    """One check that fails denies, and the denial says which."""
    for change in FACETS[facet]:
        found = decided(change)
        assert isinstance(found, Denial)
        assert found.failed is facet


@pytest.mark.parametrize(("first", "second"), list(combinations(Check, 2)))
def test_of_two_facets_the_first_in_order_is_named(first: Check, second: Check) -> None:
    """Two that fail deny as the first of them does alone, in whatever way each fails."""
    for one in FACETS[first]:
        for other in FACETS[second]:
            found = decided(other, one)
            assert isinstance(found, Denial)
            assert found.failed is first


def test_all_that_fail_together_are_named_by_the_first() -> None:
    """Any set of checks that fail: thirty-one ways to be denied, and none to be admitted."""
    for number in range(1, 6):
        for failing in combinations(Check, number):
            found = decided(*(FACETS[facet][0] for facet in failing))
            assert isinstance(found, Denial)
            assert found.failed is failing[0]


@pytest.mark.parametrize("held", NOT_IN_FORCE, ids=lambda held: held.cause.value)
def test_without_a_permit_proof_fails_unless_the_caller_itself_does(held: Denial) -> None:
    """The guard's own denial is the answer; a caller without a proven identity, or a name, does not learn it."""
    assert decide(Question(**ASKED), held) is held  # type: ignore[arg-type]
    for facet in (Check.IDENTITY, Check.OPERATION):
        for _, change in FACETS[facet]:
            found = decide(Question(**ASKED | change), held)  # type: ignore[arg-type]
            assert isinstance(found, Denial)
            assert found.failed is facet or (found is held and change in ({"subject": "human:7"}, {"operation": "delete"}))
