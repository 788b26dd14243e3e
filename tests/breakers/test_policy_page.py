"""The page about policies: every example on it is a policy, and it names every condition and every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from failshut_breakers.conditions import build
from failshut_breakers.policy.conditions import KINDS
from failshut_breakers.policy.policy import Policy, parse_policy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_every_example_is_a_policy_whose_conditions_can_be_built(text: str) -> None:
    """What a reader copies is taken."""
    for condition in parse_policy(text).conditions:
        assert build(condition).brief().status in ("insufficient", "holds")


def test_the_page_names_every_condition_and_every_setting() -> None:
    """Nothing that a policy may say is left for its reader to find in the source."""
    named = set(re.findall(r"[a-z_]+", PAGE))
    settings = {setting for kind in KINDS.values() for setting in kind.model_fields}
    assert named >= {*KINDS, *settings, *Policy.model_fields, "votes", "within", "false_trips"}
