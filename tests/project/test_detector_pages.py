"""docs/detectors.md says of every detector what its code says: parameters, defaults, a policy that takes it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import registry

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "detectors.md").read_text(encoding="utf-8")
ENTRIES = {match[1]: match[2] for match in re.finditer(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)}
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
POLICY = """\
gate: payments.refund
permit: {ttl: 3s}
conditions:
"""


def test_every_detector_has_an_entry_and_no_other() -> None:
    """One entry for each name in the registry."""
    assert sorted(ENTRIES) == sorted(registry.OURS)


@pytest.mark.parametrize("name", sorted(registry.OURS))
def test_an_entry_has_the_parameters_of_the_signature(name: str) -> None:
    """The same names, in the same order, with the same defaults; each with a unit."""
    rows = ROW.findall(ENTRIES[name])
    known = registry.parameters(registry.find(name))
    assert [row[0] for row in rows] == list(known)
    for parameter, unit, default, meaning in rows:
        assert str(known[parameter].type(default.replace(",", ""))) == str(known[parameter].default), f"{name}: {parameter}"
        assert unit.strip(), f"{name}: {parameter} has no unit"
        assert meaning.strip(), f"{name}: {parameter} means nothing"


@pytest.mark.parametrize("name", sorted(registry.OURS))
def test_an_entry_says_when_and_whence(name: str) -> None:
    """When to take it, when not, what it costs, its source; and a picture that is there."""
    entry = ENTRIES[name]
    for what in ("**When**", "**When not**", "**Cost**", "**Source"):
        assert what in entry, f"{name}: no {what}"
    assert re.findall(r"!\[[^\]]+\]\(pictures/(\w+)\.svg\)", entry) == [name]
    assert (DOCS / "pictures" / f"{name}.svg").is_file()


@pytest.mark.parametrize("name", sorted(registry.OURS))
def test_the_policy_of_an_entry_is_taken(name: str) -> None:
    """Its snippet is a condition of the right kind, which builds this very detector."""
    (snippet,) = re.findall(r"```yaml\n(.*?)```", ENTRIES[name], re.DOTALL)
    assert isinstance(yaml.safe_load(snippet), list)
    (condition,) = parse_policy(POLICY + textwrap.indent(snippet, "  ")).conditions
    assert [choice.name for choice in condition.detector.choices] == [name]  # type: ignore[union-attr]
    condition.build_detector()  # type: ignore[union-attr]
