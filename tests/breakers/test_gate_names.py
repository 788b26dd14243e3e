"""What a gate may be called is one pattern: a service names no gate that no policy can open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log import policy

from failshut import Gate
from failshut.store.names import check_gate
from failshut_breakers.command import CommandError, parse_command
from failshut_breakers.policy.policy import PolicyError, gates_named, parse_policy

BEAT = "heartbeat: {source: a, grace: 3s}"
GOOD = ["a", "7", "payments.refund", "Fleet-scale_2", "a.", "x" * 128]
BAD = ["", "team/refund", "_x", ".x", "-x", "x" * 129, "x" * 150, "a b", "a:b", "a\n", "é", "٣"]
NAMES = st.one_of(st.sampled_from(GOOD + BAD), st.text(max_size=140), st.from_regex(r"[A-Za-z0-9._/-]{1,140}", fullmatch=True))


def a_service_may_use(name: str) -> bool:
    try:
        Gate(name)
    except ValueError:
        return False
    return True


def a_policy_may_use(name: str) -> bool:
    try:
        return parse_policy(policy(BEAT, gate=json.dumps(name))).gate == name
    except PolicyError:
        return False


def an_operator_may_use(name: str) -> bool:
    said = {"kind": "lock", "installation": "a" * 16, "by": "x", "why": "y", "id": "z", "signed_ms": 1, "gate": name}
    try:
        parse_command(json.dumps(said).encode())
    except CommandError:
        return False
    return True


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_is_good_for_all(name: str) -> None:
    """A guard, a policy, a command, and whoever looks for names in a policy that is broken, take it."""
    assert a_service_may_use(name)
    assert a_policy_may_use(name)
    assert an_operator_may_use(name)
    assert gates_named(f"gate: {name}\n") == [name]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_bad_for_all(name: str) -> None:
    """What no policy can open is refused where a service names it, and the error says so."""
    with pytest.raises(ValueError, match="no policy can open"):
        Gate(name)
    assert not a_policy_may_use(name)
    assert not an_operator_may_use(name)
    assert name not in gates_named(f"gate: {name}\n")


@given(NAMES)
def test_guards_and_policies_agree_on_any_name(name: str) -> None:
    """Whatever the text, a guard takes it if and only if a policy and a command do."""
    assert a_service_may_use(name) == a_policy_may_use(name) == an_operator_may_use(name)


def test_what_is_no_text_is_no_name_and_is_not_quoted() -> None:
    """An error names the type of what is no text, and quotes no more of a long one than helps."""
    with pytest.raises(ValueError, match="not a gate's name: int"):
        check_gate(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a gate's name") as caught:
        check_gate("x" * 1_000_000)
    assert len(str(caught.value)) < 500
