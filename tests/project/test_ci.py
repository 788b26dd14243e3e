"""The workflow and the hooks fit what runs them, and run what the README says."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
MADE = re.compile(r"\bmake ([a-z]+)")


class _Texts(yaml.SafeLoader):
    """YAML as GitHub reads it: `on` is a word, not a truth value."""


_Texts.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Texts.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """The workflow."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, _Texts)
    return document


def test_the_workflow_fits_the_schema(workflow: dict[str, Any]) -> None:
    """The workflows' JSON schema (from the package check-jsonschema) accepts it, and would not accept a slip."""
    path = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor/github-workflows.json")
    validator = jsonschema.Draft7Validator(json.loads(Path(str(path)).read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(workflow)] == []
    assert list(validator.iter_errors({**workflow, "job": {}}))


def test_every_python_of_the_package_is_tested(workflow: dict[str, Any]) -> None:
    """The matrix has the versions that the package names, and each runs the one script of a build machine."""
    job = workflow["jobs"]["test"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [found[1] for word in project["classifiers"] if (found := re.fullmatch(r".*Python :: (3\.\d+)", word))]
    assert job["strategy"]["matrix"]["python"] == named
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"
    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
    assert (ROOT / ".ci" / "run").is_file()


def test_whatever_is_made_can_be_made(workflow: dict[str, Any]) -> None:
    """Workflow, hooks and documents name targets that the Makefile has."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]]
    assert all(entry.startswith("make ") for entry in entries)
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    documents = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "docs/RELEASE.md")]
    quoted = [word for text in documents for word in re.findall(r"(?:`|^)(make [a-z]+)", text, re.MULTILINE)]
    named = {found for text in [*entries, *steps, *quoted] for found in MADE.findall(text)}
    assert {"check", "lint", "test"} <= named
    assert named <= TARGETS


def test_help_names_every_target() -> None:
    """`make help` has a line for each target that is for people."""
    said = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))
    assert said == TARGETS
