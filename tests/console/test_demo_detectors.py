"""The demonstration's drift can be shown with any detector."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from failshut_breakers.policy.policy import parse_policy
from failshut_console.demo.conductor import Conductor
from failshut_console.demo.detector_choice import cause, with_detector
from failshut_console.exits import Exit, Trouble
from failshut_console.local.state import State
from failshut_detectors.registry import OURS

POLICY = resources.files("failshut_console.demo").joinpath("policies/payments-refund.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_every_detector_fits_the_refund_agents_policy(name: str) -> None:
    """The policy with it is whole, differs in that one condition, and closes for the cause of the detector's condition."""
    before, after = parse_policy(POLICY), parse_policy(with_detector(POLICY, name))
    (condition,) = [one for one in after.conditions if one.name == "amounts"]
    assert [choice.name for choice in condition.detector.choices] == [name]  # type: ignore[union-attr]
    assert condition.kind == cause(name)  # type: ignore[union-attr]
    assert [one for one in after.conditions if one.name != "amounts"] == [
        one for one in before.conditions if not one.name.startswith("drift")
    ]


def test_an_unknown_detector_starts_nothing(tmp_path: Path) -> None:
    """The names that there are stand in the error, and no server was started."""
    with pytest.raises(Trouble, match="no detector is named 'psychic'") as found:
        Conductor(State(tmp_path), seconds=1, detector="psychic").run()
    assert found.value.status is Exit.USAGE
    assert not list(tmp_path.iterdir())
